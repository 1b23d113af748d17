// Outputs must not replace files that flags name.
#pragma once

#include <string>

#include "cli/command.h"
#include "core/result.h"

namespace sluice::cli {

// kUsage when `output` is, by any name, a file that a flag names as an input or as another output.
Status CheckNotGiven(const std::string& output, const QuantizeFlags& quantize,
                     const std::string& chat_template = "");

}  // namespace sluice::cli
