// Errors of tensor types as a table, as JSON and as a page with plots.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "pipeline/measure/model.h"

namespace sluice::cli {

// Prints a line for each tensor and kind, then the totals.
void PrintErrors(const ErrorReport& report);

// See docs/json.md. `source` is the path that was measured.
[[nodiscard]] nlohmann::ordered_json ErrorsJson(const ErrorReport& report,
                                                const std::string& source);

// An HTML page that loads nothing: totals as table and plot, the error along the blocks for each
// kind of tensor, and a table of all tensors.
[[nodiscard]] std::string ErrorsPage(const ErrorReport& report, std::string_view source);

}  // namespace sluice::cli
