// Boxes: rectangular parts of a view's sequence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "stages/view.h"
#include "tests/stages/view_reference.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using testing::ElementsOf;
using ::testing::IsEmpty;
using testing::Random;
using testing::RandomView;
using ::testing::SizeIs;
using testing::ViewAndReference;

constexpr int kManyViews = 3000;

// Checks that boxes tile positions [first, first + count) of `values`, in order.
void ExpectTiles(const std::vector<Box>& boxes, const std::vector<std::uint64_t>& values,
                 std::uint64_t first, std::uint64_t count) {
  std::uint64_t position = 0;
  for (const Box& box : boxes) {
    ASSERT_EQ(box.position, position);
    ASSERT_GT(box.elements, 0);
    const std::vector<std::uint64_t> elements = ElementsOf(box);
    ASSERT_EQ(elements.size(), box.elements);
    ASSERT_EQ(elements.front(), box.source);
    ASSERT_LE(position + box.elements, count);
    ASSERT_TRUE(std::equal(elements.begin(), elements.end(),
                           values.begin() + static_cast<std::ptrdiff_t>(first + position)));
    position += box.elements;
  }
  ASSERT_EQ(position, count);
}

TEST(CutBoxes, TileRandomRangesInSequenceOrder) {
  Random random(11);
  for (int i = 0; i < kManyViews; ++i) {
    const ViewAndReference both = RandomView(random, 4, 6, 6);
    const StridedView view = random.OneIn(2) ? both.view : both.view.Coalesced();
    const std::vector<std::uint64_t>& values = both.reference.values();
    for (int range = 0; range < 4; ++range) {
      const std::uint64_t first = random.Between(0, values.size());
      const std::uint64_t count = random.Between(0, values.size() - first);
      const std::vector<Box> boxes = CutBoxes(view, first, count);
      ASSERT_LE(boxes.size(), 2 * view.axes().size() + 1);
      ASSERT_NO_FATAL_FAILURE(ExpectTiles(boxes, values, first, count));
    }
  }
}

TEST(CutBoxes, EveryRangeOfSmallViews) {
  Random random(12);
  for (int i = 0; i < 60; ++i) {
    const ViewAndReference both = RandomView(random, 3, 4, 5);
    const std::vector<std::uint64_t>& values = both.reference.values();
    for (std::uint64_t first = 0; first <= values.size(); ++first) {
      for (std::uint64_t count = 0; first + count <= values.size(); ++count) {
        ASSERT_NO_FATAL_FAILURE(
            ExpectTiles(CutBoxes(both.view, first, count), values, first, count));
      }
    }
  }
}

TEST(CutBoxes, WholeViewIsOneBox) {
  Random random(13);
  for (int i = 0; i < 500; ++i) {
    const ViewAndReference both = RandomView(random, 4, 5, 6);
    const StridedView view = both.view.Coalesced();
    EXPECT_THAT(CutBoxes(view, 0, view.elements()), SizeIs(1));
  }
}

TEST(CutBoxes, CutsPartialRowsOffBothEnds) {
  const std::vector<std::uint64_t> shape{5, 4};
  const std::vector<Box> boxes = CutBoxes(StridedView::Whole(shape), 3, 11);
  ASSERT_THAT(boxes, SizeIs(3));
  EXPECT_THAT(boxes[0].axes, ElementsAre(Axis{1, 1}));
  EXPECT_EQ(boxes[0].source, 3);
  EXPECT_THAT(boxes[1].axes, ElementsAre(Axis{2, 4}, Axis{4, 1}));
  EXPECT_EQ(boxes[1].source, 4);
  EXPECT_EQ(boxes[1].position, 1);
  EXPECT_THAT(boxes[2].axes, ElementsAre(Axis{2, 1}));
  EXPECT_EQ(boxes[2].source, 12);
  EXPECT_EQ(boxes[2].position, 9);
}

TEST(CutBoxes, OfNothingIsEmpty) {
  const std::vector<std::uint64_t> shape{3, 4};
  StridedView view = StridedView::Whole(shape);
  EXPECT_THAT(CutBoxes(view, 12, 0), IsEmpty());
  EXPECT_THAT(CutBoxes(view, 5, 0), IsEmpty());
  view.Take(1, 2, 0);
  EXPECT_EQ(view.elements(), 0);
  EXPECT_THAT(CutBoxes(view, 0, 0), IsEmpty());
}

TEST(CutBoxes, OfAScalarIsThatElement) {
  const std::vector<Box> boxes = CutBoxes(StridedView::Whole({}), 0, 1);
  ASSERT_THAT(boxes, SizeIs(1));
  EXPECT_THAT(boxes[0].axes, IsEmpty());
  EXPECT_EQ(boxes[0].elements, 1);
}

TEST(CutBoxes, CountsBeyond32Bits) {
  // A view is arithmetic only: no memory of its size is needed.
  const std::vector<std::uint64_t> shape{1 << 20, 1 << 20};
  StridedView view = StridedView::Whole(shape);
  view.Swap(0, 1);
  const std::uint64_t first = (std::uint64_t{1} << 40) - 2;
  const std::vector<Box> boxes = CutBoxes(view, first, 2);
  ASSERT_THAT(boxes, SizeIs(1));
  EXPECT_EQ(boxes[0].source, (std::uint64_t{1} << 40) - 1 - (1 << 20));
  EXPECT_EQ(view.LowestFrom(first), boxes[0].source);
}

TEST(SourceRange, SpansLeastToGreatestElement) {
  Random random(14);
  for (int i = 0; i < kManyViews; ++i) {
    const ViewAndReference both = RandomView(random, 4, 5, 6);
    const std::uint64_t first = random.Between(0, both.view.elements() - 1);
    const std::uint64_t count = random.Between(1, both.view.elements() - first);
    for (const Box& box : CutBoxes(both.view, first, count)) {
      const std::vector<std::uint64_t> elements = ElementsOf(box);
      const auto [least, greatest] = std::minmax_element(elements.begin(), elements.end());
      const ElementRange range = SourceRange(box);
      ASSERT_EQ(range.begin, *least);
      ASSERT_EQ(range.end, *greatest + 1);
    }
  }
}

}  // namespace
}  // namespace sluice
