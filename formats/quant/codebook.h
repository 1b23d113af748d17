// Codebooks: the points that the IQ types choose among, and the nearest points of all others.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::quant {

// In formats/quant/codebook_data.cpp.
extern const std::array<std::uint16_t, 2048> kIQ1Codes;
extern const std::array<std::uint16_t, 1024> kIQ2_SCodes;
extern const std::array<std::uint16_t, 512> kIQ2_XSCodes;
extern const std::array<std::uint16_t, 256> kIQ2_XXSCodes;
extern const std::array<std::uint16_t, 512> kIQ3_SCodes;
extern const std::array<std::uint16_t, 256> kIQ3_XXSCodes;

// A set of points. A point is a code: `dimensions` levels of `bits` bits each, element 0 lowest.
// The search works with the values 2 * level + 1 of the levels. Immutable once built.
class Codebook {
 public:
  // `levels` is how many levels occur (3 or 8). The list of a code that is not in the book holds
  // every point whose squared distance is one of the `rings` smallest distinct ones, nearest first,
  // then by index.
  Codebook(std::span<const std::uint16_t> codes, int dimensions, int bits, int levels, int rings);

  [[nodiscard]] int dimensions() const { return dimensions_; }
  // The levels of a point, one for each dimension.
  [[nodiscard]] std::span<const std::uint8_t> LevelsAt(std::size_t index) const {
    const auto size = static_cast<std::size_t>(dimensions_);
    return {levels_.data() + index * size, size};
  }
  // The index of a code, or -1.
  [[nodiscard]] int IndexOf(std::uint32_t code) const { return index_of_[code]; }
  // The neighbours of a code that is not in the book.
  [[nodiscard]] std::span<const std::uint16_t> Neighbours(std::uint32_t code) const {
    return {neighbours_.data() + first_[code], first_[code + 1] - first_[code]};
  }
  [[nodiscard]] std::uint32_t CodeOf(std::span<const std::uint8_t> levels) const {
    std::uint32_t code = 0;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      code |= static_cast<std::uint32_t>(levels[i]) << (static_cast<std::size_t>(bits_) * i);
    }
    return code;
  }

 private:
  int dimensions_;
  int bits_;
  std::vector<std::uint8_t> levels_;       // of all points, one point after the other
  std::vector<std::int16_t> index_of_;     // by code
  std::vector<std::uint32_t> first_;       // by code: where its list begins
  std::vector<std::uint16_t> neighbours_;  // all lists, one after the other
};

// Each built when it is first asked for; may be called by several threads at once.
const Codebook& Iq1Book();
const Codebook& Iq2SBook();
const Codebook& Iq2XsBook();
const Codebook& Iq2XxsBook();
const Codebook& Iq3SBook();
const Codebook& Iq3XxsBook();

}  // namespace sluice::quant
