#include "cli/given_files.h"

#include <filesystem>
#include <system_error>

#include "core/path.h"

namespace sluice::cli {

Status CheckNotGiven(const std::string& output, const QuantizeFlags& quantize,
                     const std::string& chat_template) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (const std::string& input : {chat_template, quantize.imatrix, quantize.tensor_types_file}) {
    if (!input.empty() && fs::equivalent(input, output, error)) {
      return MakeError(ErrorCode::kUsage, "output is one of the sources").In(output);
    }
  }
  if (!quantize.save_types.empty() && !output.empty() &&
      PlaceOf(output) == PlaceOf(quantize.save_types)) {
    return MakeError(ErrorCode::kUsage, "two outputs are the same").In(output);
  }
  return Ok();
}

}  // namespace sluice::cli
