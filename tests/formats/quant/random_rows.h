// Reproducible rows of floats for property tests: the same on every machine and library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace sluice::testing {

class RandomRows {
 public:
  explicit RandomRows(std::uint64_t seed) : engine_(seed) {}

  // From 0 up to 1.
  float Uniform() { return static_cast<float>(engine_() >> 40) * 0x1p-24F; }
  // Nearly normal, variance 1: the sum of twelve uniform numbers.
  float Normal() {
    float sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return sum;
  }
  std::uint32_t Bits() { return static_cast<std::uint32_t>(engine_() >> 32); }

  template <class Draw>
  std::vector<float> Row(std::size_t elements, const Draw& draw) {
    std::vector<float> row(elements);
    for (float& value : row) value = draw();
    return row;
  }
  std::vector<float> NormalRow(std::size_t elements, float deviation) {
    return Row(elements, [&] { return deviation * Normal(); });
  }
  std::vector<float> PositiveRow(std::size_t elements) {
    return Row(elements, [&] { return Uniform(); });
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace sluice::testing
