// The codebooks' neighbour lists against checksums of the reference's.
#include "formats/quant/codebook.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "golden_vectors.h"

namespace sluice::quant {
namespace {

struct NamedBook {
  std::string_view name;
  const Codebook& (*book)();
  std::size_t points;
  int levels;
};
constexpr std::array kBooks{
    NamedBook{"iq1", Iq1Book, 2048, 3},     NamedBook{"iq2_s", Iq2SBook, 1024, 3},
    NamedBook{"iq2_xs", Iq2XsBook, 512, 3}, NamedBook{"iq2_xxs", Iq2XxsBook, 256, 3},
    NamedBook{"iq3_s", Iq3SBook, 512, 8},   NamedBook{"iq3_xxs", Iq3XxsBook, 256, 8},
};

// Every code that such levels can make, ascending.
std::vector<std::uint32_t> ReachableCodes(const Codebook& book, int levels) {
  const int bits = 16 / book.dimensions() == 2 ? 2 : 3;
  std::vector<std::uint32_t> codes{0};
  for (int element = book.dimensions() - 1; element >= 0; --element) {
    std::vector<std::uint32_t> longer;
    for (const std::uint32_t code : codes) {
      for (std::uint32_t level = 0; level < static_cast<std::uint32_t>(levels); ++level) {
        longer.push_back(code | level << (bits * element));
      }
    }
    codes = std::move(longer);
  }
  return codes;
}

// As the checksums are defined: code, count and indices of each code off the book, 16 bits each.
TEST(Codebook, NeighbourListsAreThoseOfTheReference) {
  const auto recorded =
      nlohmann::json::parse(testing::ReadFile(testing::QuantGoldenPath("neighbours.json")));
  for (const NamedBook& named : kBooks) {
    const Codebook& book = named.book();
    std::vector<std::uint16_t> words;
    std::size_t off_book = 0;
    for (const std::uint32_t code : ReachableCodes(book, named.levels)) {
      if (book.IndexOf(code) >= 0) continue;
      const auto neighbours = book.Neighbours(code);
      words.push_back(static_cast<std::uint16_t>(code));
      words.push_back(static_cast<std::uint16_t>(neighbours.size()));
      words.insert(words.end(), neighbours.begin(), neighbours.end());
      ++off_book;
    }
    const auto& entry = recorded["books"][named.name];
    EXPECT_EQ(off_book, entry["off_grid_codes"].get<std::size_t>()) << named.name;
    EXPECT_EQ(testing::Sha256Hex(std::as_bytes(std::span(words))),
              entry["sha256"].get<std::string>())
        << named.name;
  }
}

TEST(Codebook, PointsAreFoundByTheirCode) {
  for (const NamedBook& named : kBooks) {
    const Codebook& book = named.book();
    for (std::size_t point = 0; point < named.points; ++point) {
      const auto levels = book.LevelsAt(point);
      ASSERT_EQ(levels.size(), static_cast<std::size_t>(book.dimensions()));
      for (const int level : levels) ASSERT_LT(level, named.levels) << named.name << " " << point;
      ASSERT_EQ(book.IndexOf(book.CodeOf(levels)), static_cast<int>(point)) << named.name;
      ASSERT_TRUE(book.Neighbours(book.CodeOf(levels)).empty()) << named.name;
    }
  }
}

// What encoders leave where they store nothing: index 0 has to be a group of lowest levels.
TEST(Codebook, PointZeroHasTheLowestLevels) {
  for (const NamedBook& named : kBooks) EXPECT_EQ(named.book().IndexOf(0), 0) << named.name;
}

}  // namespace
}  // namespace sluice::quant
