#include "cli/prompt.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "core/file.h"

namespace sluice::cli {
namespace {

constexpr std::uint64_t kMaxPromptBytes = std::uint64_t{256} << 20;

Result<std::string> ReadStandardInput() {
  std::string text;
  std::array<char, 65536> block{};
  while (true) {
    const ssize_t count = ::read(STDIN_FILENO, block.data(), block.size());
    if (count == 0) return text;
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoError("cannot read", "standard input", errno);
    }
    text.append(block.data(), static_cast<std::size_t>(count));
    if (text.size() > kMaxPromptBytes) {
      return MakeError(ErrorCode::kUsage, "the text on standard input is too long");
    }
  }
}

}  // namespace

void AddPromptFlags(CLI::App& command, PromptFlags& flags) {
  flags.text_option =
      command.add_option("-p,--prompt", flags.text, "The text; default: standard input")
          ->type_name("TEXT");
  command.add_option("--file", flags.file, "A file with the text; default: standard input")
      ->type_name("FILE")
      ->excludes(flags.text_option);
}

Result<std::string> ReadPrompt(const PromptFlags& flags) {
  if (flags.text_option->count() > 0) return flags.text;
  return flags.file.empty() ? ReadStandardInput() : ReadWholeFile(flags.file, kMaxPromptBytes);
}

}  // namespace sluice::cli
