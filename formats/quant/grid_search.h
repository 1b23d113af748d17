// The search that the IQ2 and IQ3 types share: magnitudes as points of a codebook, signs apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/quant/codebook.h"

namespace sluice::quant {

inline constexpr std::size_t kMaxSubBlock = 32;
inline constexpr std::size_t kMaxGridGroups = 8;
inline constexpr std::size_t kSignGroup = 8;

// A sub-block of 16 or 32 elements: one scale, groups of 8 (IQ2) or 4 (IQ3) that are points.
struct SubBlock {
  std::size_t size = 0;
  std::array<float, kMaxSubBlock> magnitudes;  // signs taken off; one may be negative
  std::array<float, kMaxSubBlock> weights;
  std::array<float, kMaxSubBlock> roots;                      // square roots of the weights
  std::array<std::uint8_t, kMaxSubBlock / kSignGroup> signs;  // bit i: element i is negative
  std::array<std::uint8_t, kMaxSubBlock> levels;
  float scale = 0;
};

enum class SignRule : std::uint8_t {
  kFull,  // eight sign bits
  kEven,  // an even number of negatives: seven bits are stored, the eighth is their parity
};

// Fills magnitudes, roots, signs and zero levels from the values and sub.weights.
void SplitSigns(std::span<const float> x, SignRule rule, SubBlock& sub);

// The largest magnitude, signed as it stands.
float LargestOf(const SubBlock& sub);

// Which groups get new levels from the scale that the search found.
enum class Reassign : std::uint8_t {
  kOffBook,      // those whose levels were no point of the book
  kAllIfAnyOff,  // all, if there is one of those
  kAll,
};

struct GridSearch {
  int tries;    // candidates t = -tries .. tries
  float first;  // inverse scales (first + t * step) / largest
  float step;
  Reassign reassign;
};
// Tries all candidates, keeps levels and scale of the best fit, and then assigns groups again.
// `start` is the scale before the first candidate. Signs are inverted if the scale is negative.
void SearchGrid(const Codebook& book, const GridSearch& search, float largest, float start,
                SignRule rule, SubBlock& sub);

// The index of the point that a group's levels are.
std::uint32_t PointOf(const Codebook& book, const SubBlock& sub, std::size_t group);

// Seven stored sign bits and the eighth, their parity.
std::uint32_t WithParity(std::uint32_t signs);

// scale * values[level] of each element of a point, negated where its bit of `signs` is set.
void DecodePoint(const Codebook& book, std::uint32_t point, std::span<const float> values,
                 float scale, std::uint32_t signs, float* out);

}  // namespace sluice::quant
