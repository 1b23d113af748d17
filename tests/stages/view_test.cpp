// Strided views against an array that really moves its elements.
#include "stages/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/stages/view_reference.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using testing::ElementsOf;
using ::testing::IsEmpty;
using testing::Random;
using testing::RandomView;
using testing::ReferenceArray;
using testing::ViewAndReference;

constexpr int kManyShapes = 4000;

std::vector<std::uint64_t> ShapeOf(const StridedView& view) {
  std::vector<std::uint64_t> shape;
  for (const Axis& axis : view.axes()) shape.push_back(axis.extent);
  return shape;
}

// Applies one word many times, to fresh views, and compares shape and elements.
template <class Word>
void CompareWord(std::uint64_t seed, const Word& word) {
  Random random(seed);
  for (int i = 0; i < kManyShapes; ++i) {
    ViewAndReference both = RandomView(random, 4, 6, 2);
    if (both.reference.shape().empty()) continue;
    const std::size_t axis = random.Between(0, both.reference.shape().size() - 1);
    if (!word(random, both, axis)) continue;
    ASSERT_EQ(ShapeOf(both.view), both.reference.shape());
    ASSERT_EQ(ElementsOf(both.view), both.reference.values());
    ASSERT_EQ(both.view.elements(), both.reference.values().size());
  }
}

TEST(StridedView, WholeIsRowMajorOrder) {
  const std::vector<std::uint64_t> shape{2, 3, 4};
  const StridedView view = StridedView::Whole(shape);
  EXPECT_THAT(view.axes(), ElementsAre(Axis{2, 12}, Axis{3, 4}, Axis{4, 1}));
  EXPECT_EQ(view.offset(), 0);
  EXPECT_EQ(view.elements(), 24);
  EXPECT_EQ(ElementsOf(view), ReferenceArray(shape).values());
}

TEST(StridedView, WholeOfAScalarHasOneElement) {
  const StridedView view = StridedView::Whole({});
  EXPECT_THAT(view.axes(), IsEmpty());
  EXPECT_EQ(view.elements(), 1);
  EXPECT_THAT(ElementsOf(view), ElementsAre(0));
}

TEST(StridedView, SplitMakesGroupsOfNeighbours) {
  const std::vector<std::uint64_t> shape{6, 2};
  StridedView view = StridedView::Whole(shape);
  view.Split(0, 3);
  EXPECT_THAT(view.axes(), ElementsAre(Axis{3, 4}, Axis{2, 2}, Axis{2, 1}));
  CompareWord(1, [](Random& random, ViewAndReference& both, std::size_t axis) {
    const std::uint64_t extent = both.reference.shape()[axis];
    std::uint64_t outer = random.Between(1, extent);
    while (extent % outer != 0) --outer;
    both.view.Split(axis, outer);
    both.reference.Split(axis, outer);
    return true;
  });
}

TEST(StridedView, TakeKeepsAPartOfAnAxis) {
  CompareWord(2, [](Random& random, ViewAndReference& both, std::size_t axis) {
    const std::uint64_t extent = both.reference.shape()[axis];
    const std::uint64_t count = random.Between(0, extent);
    const std::uint64_t begin = random.Between(0, extent - count);
    both.view.Take(axis, begin, count);
    both.reference.Take(axis, begin, count);
    return true;
  });
}

TEST(StridedView, SwapTransposesTwoAxes) {
  CompareWord(3, [](Random& random, ViewAndReference& both, std::size_t axis) {
    const std::size_t other = random.Between(0, both.reference.shape().size() - 1);
    both.view.Swap(axis, other);
    both.reference.Swap(axis, other);
    return true;
  });
}

TEST(StridedView, SqueezeDropsAnAxisOfOne) {
  CompareWord(4, [](Random& random, ViewAndReference& both, std::size_t axis) {
    const std::uint64_t at = random.Between(0, both.reference.shape()[axis] - 1);
    both.view.Take(axis, at, 1);
    both.reference.Take(axis, at, 1);
    both.view.Squeeze(axis);
    both.reference.Squeeze(axis);
    return true;
  });
}

TEST(StridedView, CompositionsOfWordsMatchTheReference) {
  Random random(5);
  for (int i = 0; i < kManyShapes; ++i) {
    const ViewAndReference both = RandomView(random, 4, 6, 8);
    ASSERT_EQ(ShapeOf(both.view), both.reference.shape());
    ASSERT_EQ(ElementsOf(both.view), both.reference.values());
  }
}

TEST(StridedView, SplitReachesTheLastAxis) {
  const std::vector<std::uint64_t> shape{2, 2, 2, 2, 2, 2, 4};
  StridedView view = StridedView::Whole(shape);
  view.Split(6, 2);
  EXPECT_EQ(view.axes().size(), StridedView::kMaxAxes);
  EXPECT_EQ(ElementsOf(view), ReferenceArray(shape).values());
}

TEST(StridedView, RotaryHalvesBecomeInterleavedPairs) {
  // Two heads of four rows: within each head, row s * 2 + j moves to 2 * j + s.
  const std::vector<std::uint64_t> shape{8, 1};
  StridedView view = StridedView::Whole(shape);
  view.Split(0, 2);
  view.Split(1, 2);
  view.Swap(1, 2);
  EXPECT_THAT(ElementsOf(view), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST(StridedView, CoalescedKeepsTheSequence) {
  Random random(6);
  for (int i = 0; i < kManyShapes; ++i) {
    const ViewAndReference both = RandomView(random, 4, 6, 8);
    ASSERT_EQ(ElementsOf(both.view.Coalesced()), both.reference.values());
  }
}

TEST(StridedView, CoalescedLeavesNothingToMerge) {
  Random random(7);
  for (int i = 0; i < kManyShapes; ++i) {
    const StridedView merged = RandomView(random, 5, 4, 8).view.Coalesced();
    const std::span<const Axis> axes = merged.axes();
    for (std::size_t axis = 0; axis < axes.size(); ++axis) {
      ASSERT_GT(axes[axis].extent, 1);
      if (axis == 0) continue;
      ASSERT_NE(axes[axis - 1].stride, axes[axis].extent * axes[axis].stride);
    }
  }
}

TEST(StridedView, IsContiguousExactlyForRuns) {
  Random random(8);
  int runs = 0;
  int others = 0;
  for (int i = 0; i < kManyShapes; ++i) {
    const ViewAndReference both = RandomView(random, 3, 5, 5);
    const std::vector<std::uint64_t>& values = both.reference.values();
    bool is_run = true;
    for (std::size_t j = 1; j < values.size(); ++j) {
      is_run = is_run && values[j] == values[j - 1] + 1;
    }
    const StridedView merged = both.view.Coalesced();
    ASSERT_EQ(merged.IsContiguous(), is_run);
    if (is_run) {
      ASSERT_LE(merged.axes().size(), 1);
    }
    ++(is_run ? runs : others);
  }
  // The property says something only if both kinds occur often.
  EXPECT_GT(runs, kManyShapes / 10);
  EXPECT_GT(others, kManyShapes / 10);
}

TEST(StridedView, LowestFromIsTheLeastElementOfTheRest) {
  constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
  Random random(9);
  for (int i = 0; i < kManyShapes; ++i) {
    ViewAndReference both = RandomView(random, 4, 5, 6);
    const StridedView& view = random.OneIn(2) ? both.view : (both.view = both.view.Coalesced());
    const std::vector<std::uint64_t>& values = both.reference.values();
    std::uint64_t lowest = kNone;
    for (std::uint64_t first = values.size(); first-- > 0;) {
      lowest = std::min(lowest, values[first]);
      ASSERT_EQ(view.LowestFrom(first), lowest) << "from position " << first;
    }
    ASSERT_EQ(view.LowestFrom(values.size()), kNone);
    ASSERT_EQ(view.LowestFrom(values.size() + 3), kNone);
  }
}

}  // namespace
}  // namespace sluice
