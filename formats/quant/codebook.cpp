#include "formats/quant/codebook.h"

#include <limits>

namespace sluice::quant {
namespace {

// Element `i` of a code of `bits` bits for each.
int LevelOf(std::uint32_t code, int bits, int i) {
  return static_cast<int>(code >> (bits * i)) & ((1 << bits) - 1);
}

// Whether all levels of a code occur.
bool IsReachable(std::uint32_t code, int dimensions, int bits, int levels) {
  for (int i = 0; i < dimensions; ++i) {
    if (LevelOf(code, bits, i) >= levels) return false;
  }
  return true;
}

// Squared distances of the points of a book, whose levels stand in `levels` one after the other,
// from a code. In terms of levels: those of the values 2 * level + 1 are four times as large.
void MeasureDistances(std::span<const std::uint8_t> levels, int dimensions, int bits,
                      std::uint32_t code, std::span<int> distances) {
  const std::uint8_t* level = levels.data();
  for (int& distance : distances) {
    distance = 0;
    for (int i = 0; i < dimensions; ++i, ++level) {
      const int step = *level - LevelOf(code, bits, i);
      distance += step * step;
    }
  }
}

// Appends to `out` the indices of the points at the `rings` smallest distances, ring by ring.
void AppendRings(std::span<const int> distances, int rings, std::vector<std::uint16_t>& out) {
  int last = -1;
  for (int ring = 0; ring < rings; ++ring) {
    int next = std::numeric_limits<int>::max();
    for (const int distance : distances) {
      if (distance > last && distance < next) next = distance;
    }
    for (std::size_t point = 0; point < distances.size(); ++point) {
      if (distances[point] == next) out.push_back(static_cast<std::uint16_t>(point));
    }
    last = next;
  }
}

}  // namespace

Codebook::Codebook(std::span<const std::uint16_t> codes, int dimensions, int bits, int levels,
                   int rings)
    : dimensions_(dimensions), bits_(bits) {
  const std::uint32_t all = 1U << (dimensions * bits);
  index_of_.assign(all, -1);
  for (std::size_t point = 0; point < codes.size(); ++point) {
    index_of_[codes[point]] = static_cast<std::int16_t>(point);
    for (int i = 0; i < dimensions; ++i) {
      levels_.push_back(static_cast<std::uint8_t>(LevelOf(codes[point], bits, i)));
    }
  }
  std::vector<int> distances(codes.size());
  first_.reserve(all + 1);
  for (std::uint32_t code = 0; code < all; ++code) {
    first_.push_back(static_cast<std::uint32_t>(neighbours_.size()));
    if (index_of_[code] < 0 && IsReachable(code, dimensions, bits, levels)) {
      MeasureDistances(levels_, dimensions, bits, code, distances);
      AppendRings(distances, rings, neighbours_);
    }
  }
  first_.push_back(static_cast<std::uint32_t>(neighbours_.size()));
}

const Codebook& Iq1Book() {
  static const Codebook kBook(kIQ1Codes, 8, 2, 3, 3);
  return kBook;
}
const Codebook& Iq2SBook() {
  static const Codebook kBook(kIQ2_SCodes, 8, 2, 3, 1);
  return kBook;
}
const Codebook& Iq2XsBook() {
  static const Codebook kBook(kIQ2_XSCodes, 8, 2, 3, 2);
  return kBook;
}
const Codebook& Iq2XxsBook() {
  static const Codebook kBook(kIQ2_XXSCodes, 8, 2, 3, 2);
  return kBook;
}
const Codebook& Iq3SBook() {
  static const Codebook kBook(kIQ3_SCodes, 4, 3, 8, 3);
  return kBook;
}
const Codebook& Iq3XxsBook() {
  static const Codebook kBook(kIQ3_XXSCodes, 4, 3, 8, 2);
  return kBook;
}

}  // namespace sluice::quant
