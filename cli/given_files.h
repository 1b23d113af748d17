// Outputs must not replace files that flags name.
#pragma once

#include <initializer_list>
#include <string>

#include "cli/command.h"
#include "core/result.h"

namespace sluice::cli {

// kUsage when `output`, which may be empty, or the file of --save-types is, by any name, a file
// that a flag names as an input, or both are the same.
Status CheckNotGiven(const std::string& output, const QuantizeFlags& quantize,
                     const std::string& chat_template = "");

// kUsage when `output` is, by any name, one of the inputs or a file in a folder among them. Empty
// inputs are none.
Status CheckNotInput(const std::string& output, std::initializer_list<std::string> inputs);

}  // namespace sluice::cli
