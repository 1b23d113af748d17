// The gather kernel: element by element the same as the odometer, on every SIMD target.
#include "stages/kernels/gather.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "simd_targets.h"
#include "tests/stages/guard.h"
#include "tests/stages/view_reference.h"

namespace sluice {
namespace {

using testing::ElementsOf;
using testing::ForEachSimdTarget;
using ::testing::Gt;
using testing::kGuard;
using testing::kGuardBytes;
using testing::Random;
using testing::RandomView;
using ::testing::SizeIs;

constexpr std::array<std::size_t, 4> kWidths{1, 2, 4, 8};

std::uint64_t ElementsOfWhole(std::span<const std::uint64_t> shape) {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : shape) count *= extent;
  return count;
}

// Gathers `box` out of a source of `source_elements`, both sides `misaligned` bytes off, and
// compares with the odometer. The source ends with its last element, so that an address sanitizer
// sees reads beyond it.
void CheckGather(const Box& box, std::size_t width, std::uint64_t source_elements,
                 std::size_t misaligned, Random& random) {
  const std::vector<std::byte> memory = random.Bytes(misaligned + source_elements * width);
  const std::byte* const source = memory.data() + misaligned;
  const std::size_t bytes = box.elements * width;
  std::vector<std::byte> target(kGuardBytes + misaligned + bytes + kGuardBytes, kGuard);
  std::byte* const out = target.data() + kGuardBytes + misaligned;
  kernels::GatherBox(box, width, source + box.source * width, {out, bytes});

  std::vector<std::byte> expected;
  for (const std::uint64_t element : ElementsOf(box)) {
    expected.insert(expected.end(), source + element * width, source + (element + 1) * width);
  }
  ASSERT_EQ(std::memcmp(out, expected.data(), bytes), 0) << "width " << width;
  for (std::size_t i = 0; i < target.size(); ++i) {
    const std::byte* const at = target.data() + i;
    if (at >= out && at < out + bytes) continue;
    ASSERT_EQ(*at, kGuard) << "width " << width << ": byte " << at - out << " relative to out";
  }
}

TEST(GatherBox, RandomBoxesOfEveryWidth) {
  ForEachSimdTarget([] {
    Random random(21);
    for (int i = 0; i < 400; ++i) {
      const StridedView view = RandomView(random, 4, 9, 6).view.Coalesced();
      const std::uint64_t first = random.Between(0, view.elements() - 1);
      const std::uint64_t count = random.Between(1, view.elements() - first);
      for (const Box& box : CutBoxes(view, first, count)) {
        const std::size_t width = kWidths[random.Between(0, kWidths.size() - 1)];
        ASSERT_NO_FATAL_FAILURE(
            CheckGather(box, width, SourceRange(box).end, random.Between(0, 7), random));
      }
    }
  });
}

// Sides just below, at and above multiples of the kernel's tile of 32 x 32.
constexpr std::array<std::uint64_t, 9> kRaggedSides{1, 2, 7, 31, 32, 33, 63, 64, 97};

TEST(GatherBox, TransposesWithRaggedSides) {
  ForEachSimdTarget([] {
    Random random(22);
    for (const std::uint64_t rows : kRaggedSides) {
      for (const std::uint64_t columns : kRaggedSides) {
        const std::array<std::uint64_t, 2> shape{rows, columns};
        StridedView view = StridedView::Whole(shape);
        view.Swap(0, 1);
        const std::vector<Box> boxes = CutBoxes(view, 0, view.elements());
        ASSERT_THAT(boxes, SizeIs(1));
        for (const std::size_t width : kWidths) {
          ASSERT_NO_FATAL_FAILURE(
              CheckGather(boxes.front(), width, rows * columns, random.Between(0, 7), random));
        }
      }
    }
  });
}

TEST(GatherBox, TransposesOfPartsOfAMatrix) {
  // The source rows are longer than the box, so its strides are not its extents.
  ForEachSimdTarget([] {
    Random random(23);
    for (int i = 0; i < 150; ++i) {
      const std::array<std::uint64_t, 2> shape{random.Between(1, 80), random.Between(1, 80)};
      StridedView view = StridedView::Whole(shape);
      for (const std::size_t axis : {0, 1}) {
        const std::uint64_t count = random.Between(1, shape[axis]);
        view.Take(axis, random.Between(0, shape[axis] - count), count);
      }
      view.Swap(0, 1);
      const Box box = CutBoxes(view, 0, view.elements()).front();
      const std::size_t width = kWidths[random.Between(0, kWidths.size() - 1)];
      ASSERT_NO_FATAL_FAILURE(
          CheckGather(box, width, ElementsOfWhole(shape), random.Between(0, 7), random));
    }
  });
}

TEST(GatherBox, BatchesOfTransposes) {
  // Experts in front of a transposition, and every other order of three axes.
  ForEachSimdTarget([] {
    Random random(24);
    for (const auto& [a, b] : {std::pair(1, 2), std::pair(0, 2), std::pair(0, 1)}) {
      for (const std::uint64_t rows : {3, 32, 35}) {
        const std::array<std::uint64_t, 3> shape{3, rows, 33};
        StridedView view = StridedView::Whole(shape);
        view.Swap(a, b);
        const Box box = CutBoxes(view, 0, view.elements()).front();
        for (const std::size_t width : kWidths) {
          ASSERT_NO_FATAL_FAILURE(
              CheckGather(box, width, ElementsOfWhole(shape), random.Between(0, 7), random));
        }
      }
    }
  });
}

TEST(GatherBox, NoAxisOfStrideOne) {
  // Neither copied runs nor planes: every element stands alone.
  ForEachSimdTarget([] {
    Random random(25);
    const std::array<std::uint64_t, 3> shape{6, 5, 4};
    StridedView view = StridedView::Whole(shape);
    view.Take(2, 3, 1);
    view.Squeeze(2);
    view.Swap(0, 1);
    const Box box = CutBoxes(view, 0, view.elements()).front();
    for (const std::size_t width : kWidths) {
      ASSERT_NO_FATAL_FAILURE(CheckGather(box, width, ElementsOfWhole(shape), 3, random));
    }
  });
}

TEST(GatherBox, EveryAddressOfATranspose) {
  ForEachSimdTarget([] {
    Random random(26);
    const std::array<std::uint64_t, 2> shape{40, 40};
    StridedView view = StridedView::Whole(shape);
    view.Swap(0, 1);
    const Box box = CutBoxes(view, 0, view.elements()).front();
    for (std::size_t misaligned = 0; misaligned < 16; ++misaligned) {
      ASSERT_NO_FATAL_FAILURE(CheckGather(box, 2, 1600, misaligned, random));
    }
  });
}

TEST(GatherBox, SingleElement) {
  Random random(27);
  for (const std::size_t width : kWidths) {
    ASSERT_NO_FATAL_FAILURE(CheckGather(Box{{}, 2, 0, 1}, width, 3, 1, random));
    ASSERT_NO_FATAL_FAILURE(CheckGather(Box{{{1, 1}}, 2, 0, 1}, width, 3, 1, random));
    ASSERT_NO_FATAL_FAILURE(CheckGather(Box{{{1, 7}}, 0, 0, 1}, width, 1, 5, random));
  }
}

TEST(SimdTargets, MoreThanOneIsTested) {
  // Every x86-64 and ARM64 machine has a vector target beside the portable one.
  EXPECT_THAT(hwy::SupportedAndGeneratedTargets(), SizeIs(Gt(1)));
}

}  // namespace
}  // namespace sluice
