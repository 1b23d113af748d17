// Reproducible randomness for property tests: the same numbers on every machine and library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace sluice::testing {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  // A number from `least` to `most`, both included. The bias of the remainder does not matter here,
  // that standard distributions differ between libraries would.
  std::uint64_t Between(std::uint64_t least, std::uint64_t most) {
    return least + engine_() % (most - least + 1);
  }
  bool OneIn(std::uint64_t chances) { return engine_() % chances == 0; }

  void Fill(std::span<std::byte> bytes) {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(engine_() >> 32);
  }
  std::vector<std::byte> Bytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    Fill(bytes);
    return bytes;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace sluice::testing
