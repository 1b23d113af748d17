#include "cli/given_files.h"

#include <filesystem>
#include <system_error>

#include "core/path.h"

namespace sluice::cli {

namespace fs = std::filesystem;

Status CheckNotInput(const std::string& output, std::initializer_list<std::string> inputs) {
  std::error_code error;
  const auto is_output = [&](const fs::path& input) {
    return fs::equivalent(input, output, error);
  };
  for (const std::string& input : inputs) {
    if (input.empty()) continue;
    bool given = is_output(input);
    for (fs::directory_iterator file(input, error), end; !given && file != end;
         file.increment(error)) {
      given = is_output(*file);
    }
    if (given) return MakeError(ErrorCode::kUsage, "output is one of the sources").In(output);
  }
  return Ok();
}

Status CheckNotGiven(const std::string& output, const QuantizeFlags& quantize,
                     const std::string& chat_template) {
  for (const std::string& written : {output, quantize.save_types}) {
    SLUICE_TRY(
        CheckNotInput(written, {chat_template, quantize.imatrix, quantize.tensor_types_file}));
  }
  if (!quantize.save_types.empty() && !output.empty() &&
      PlaceOf(output) == PlaceOf(quantize.save_types)) {
    return MakeError(ErrorCode::kUsage, "two outputs are the same").In(output);
  }
  return Ok();
}

}  // namespace sluice::cli
