// Runs a fuzz target without libFuzzer: the given files, or the seeds and a fixed sequence of
// mutations. An input that kills the program is left in a file of the working folder.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <span>

#include "fuzz.h"

// Sanitizers that abort give the handler below its chance.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1"; }
// NOLINTEND(bugprone-reserved-identifier)

namespace sluice::fuzz {

MemoryFile::MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  if (descriptor_ < 0) std::abort();
  path_ = "/proc/self/fd/" + std::to_string(descriptor_);
}

MemoryFile::~MemoryFile() { ::close(descriptor_); }

void MemoryFile::SetContent(std::string_view content) {
  const auto size = static_cast<ssize_t>(content.size());
  if (::ftruncate(descriptor_, size) != 0 ||
      ::pwrite(descriptor_, content.data(), content.size(), 0) != size) {
    std::abort();
  }
}

namespace {

constexpr int kMutations = SLUICE_FUZZ_MUTATIONS;
constexpr std::size_t kMaxInputBytes = 4096;

std::string_view current_input;
std::string crash_path;

// Only what a signal handler may call.
void SaveInput() {
  const int file = ::open(crash_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return;
  const bool saved = ::write(file, current_input.data(), current_input.size()) >= 0;
  ::close(file);
  constexpr std::string_view kNote = "fuzz: the input is in the .crash file of this folder\n";
  if (saved && ::write(STDERR_FILENO, kNote.data(), kNote.size()) < 0) return;
}

void OnFatalSignal(int signal) {
  SaveInput();
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void SaveInputsThatKill() {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    struct sigaction present {};
    ::sigaction(signal, nullptr, &present);
    // A sanitizer's own handler reports first, and then aborts.
    if ((present.sa_flags & SA_SIGINFO) == 0 && present.sa_handler == SIG_DFL) {
      ::signal(signal, OnFatalSignal);
    }
  }
}

void Run(std::string_view input) {
  // An exact copy, so that the address sanitizer sees reads behind it.
  const std::vector<std::uint8_t> copy(input.begin(), input.end());
  current_input = input;
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

class Mutator {
 public:
  explicit Mutator(std::vector<std::string> seeds) : seeds_(std::move(seeds)) {}

  std::string Next() {
    std::string input = seeds_[Below(seeds_.size())];
    for (std::size_t left = 1 + Below(6); left > 0; --left) MutateOnce(input);
    if (input.size() > kMaxInputBytes) input.resize(kMaxInputBytes);
    return input;
  }

 private:
  // Not a std distribution: those differ between standard libraries.
  std::size_t Below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void MutateOnce(std::string& input) {
    const std::size_t at = Below(input.size());
    const std::size_t count = Below(std::min<std::size_t>(input.size() - at, 32) + 1);
    switch (Below(9)) {
      case 0:
        if (!input.empty()) input[at] = static_cast<char>(input[at] ^ (1 << Below(8)));
        break;
      case 1:
        if (!input.empty()) input[at] = static_cast<char>(random_());
        break;
      case 2:
        input.erase(at, count);
        break;
      case 3:
        input.insert(at, input.substr(at, count));
        break;
      case 4:
        input.insert(at, 1, static_cast<char>(random_()));
        break;
      case 5:
        input.resize(at);
        break;
      case 6:
        OverwriteWithNumber(input, at);
        break;
      case 7:
        ReplaceToken(input, at, count);
        break;
      default: {
        const std::string& other = seeds_[Below(seeds_.size())];
        const std::size_t from = Below(other.size());
        input.replace(at, count, other, from, Below(64));
        break;
      }
    }
  }

  // A little-endian integer of 4 or 8 bytes, at or near a border.
  void OverwriteWithNumber(std::string& input, std::size_t at) {
    constexpr std::array<std::uint64_t, 10> kBorders{
        0, 1, 4, 32, 64, 0x7FFF'FFFF, 0x8000'0000, 0xFFFF'FFFF, 0x8000'0000'0000'0000, ~0ULL};
    const std::uint64_t number = kBorders[Below(kBorders.size())] + Below(3) - 1;
    const std::size_t size = std::min<std::size_t>(Below(2) == 0 ? 4 : 8, input.size() - at);
    std::memcpy(input.data() + at, &number, size);
  }

  // A piece of text that means something to a JSON reader.
  void ReplaceToken(std::string& input, std::size_t at, std::size_t count) {
    constexpr std::array<std::string_view, 20> kTokens{"null",
                                                       "true",
                                                       "-1",
                                                       "0",
                                                       "1.5",
                                                       "1e400",
                                                       "18446744073709551615",
                                                       "18446744073709551616",
                                                       "4294967296",
                                                       "\"\"",
                                                       "[]",
                                                       "{}",
                                                       "[",
                                                       "]",
                                                       "{",
                                                       "}",
                                                       ",",
                                                       ":",
                                                       "\\u0120",
                                                       "\" \""};
    input.replace(at, count, kTokens[Below(kTokens.size())]);
  }

  std::vector<std::string> seeds_;
  std::mt19937_64 random_{20240229};
};

int RunFiles(std::span<char*> paths) {
  for (const char* const path : paths) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "fuzz: cannot open %s\n", path);
      return 1;
    }
    Run(std::string(std::istreambuf_iterator<char>(file), {}));
  }
  return 0;
}

int RunMutations() {
  const std::vector<std::string> seeds = Seeds();
  Run("");
  for (const std::string& seed : seeds) Run(seed);
  Mutator mutator(seeds);
  for (int i = 0; i < kMutations; ++i) Run(mutator.Next());
  return 0;
}

}  // namespace
}  // namespace sluice::fuzz

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  const std::string program = arguments[0];
  sluice::fuzz::crash_path = program.substr(program.find_last_of('/') + 1) + ".crash";
  sluice::fuzz::SaveInputsThatKill();
  return argc > 1 ? sluice::fuzz::RunFiles(arguments.subspan(1)) : sluice::fuzz::RunMutations();
}
