// What a fuzz program defines, and what it may use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

// libFuzzer's entry point: one input, which the function must survive. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace sluice::fuzz {

// Valid inputs from which the plain main makes broken ones.
std::vector<std::string> Seeds();

// A property of every accepted input. Aborts, which the driver and libFuzzer take for a find.
inline void Require(bool holds) {
  if (!holds) std::abort();
}

// A file in memory, for functions that read files.
class MemoryFile {
 public:
  MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  void SetContent(std::string_view content);
  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::string path_;
};

}  // namespace sluice::fuzz
