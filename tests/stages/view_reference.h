// A slow and obvious model of views: an array that really moves its elements.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "stages/view.h"
#include "tests/stages/random.h"

namespace sluice::testing {

// A row-major array whose values are the numbers of the source elements.
class ReferenceArray {
 public:
  explicit ReferenceArray(std::vector<std::uint64_t> shape) : shape_(std::move(shape)) {
    values_.resize(Count());
    std::iota(values_.begin(), values_.end(), 0);
  }

  void Split(std::size_t axis, std::uint64_t outer) {
    shape_.insert(shape_.begin() + static_cast<std::ptrdiff_t>(axis), outer);
    shape_[axis + 1] /= outer;  // row-major values stay where they are
  }
  void Take(std::size_t axis, std::uint64_t begin, std::uint64_t count) {
    ReferenceArray taken(*this);
    taken.shape_[axis] = count;
    taken.Rebuild([&](std::vector<std::uint64_t> index) {
      index[axis] += begin;
      return At(index);
    });
    *this = taken;
  }
  void Swap(std::size_t a, std::size_t b) {
    ReferenceArray swapped(*this);
    std::swap(swapped.shape_[a], swapped.shape_[b]);
    swapped.Rebuild([&](std::vector<std::uint64_t> index) {
      std::swap(index[a], index[b]);
      return At(index);
    });
    *this = swapped;
  }
  void Squeeze(std::size_t axis) {
    shape_.erase(shape_.begin() + static_cast<std::ptrdiff_t>(axis));
  }

  [[nodiscard]] const std::vector<std::uint64_t>& shape() const { return shape_; }
  [[nodiscard]] const std::vector<std::uint64_t>& values() const { return values_; }

 private:
  [[nodiscard]] std::uint64_t Count() const {
    std::uint64_t count = 1;
    for (const std::uint64_t extent : shape_) count *= extent;
    return count;
  }
  [[nodiscard]] std::uint64_t At(const std::vector<std::uint64_t>& index) const {
    std::uint64_t position = 0;
    for (std::size_t i = 0; i < index.size(); ++i) position = position * shape_[i] + index[i];
    return values_[position];
  }
  template <class Value>
  void Rebuild(const Value& value) {
    values_.resize(Count());
    for (std::uint64_t position = 0; position < values_.size(); ++position) {
      std::vector<std::uint64_t> index(shape_.size());
      std::uint64_t left = position;
      for (std::size_t i = shape_.size(); i-- > 0; left /= shape_[i]) index[i] = left % shape_[i];
      values_[position] = value(index);
    }
  }

  std::vector<std::uint64_t> shape_;
  std::vector<std::uint64_t> values_;
};

// The source elements of an odometer, one after the other.
inline void AppendElements(std::span<const Axis> axes, std::uint64_t source,
                           std::vector<std::uint64_t>& elements) {
  if (axes.empty()) {
    elements.push_back(source);
    return;
  }
  for (std::uint64_t i = 0; i < axes.front().extent; ++i) {
    AppendElements(axes.subspan(1), source + i * axes.front().stride, elements);
  }
}
inline std::vector<std::uint64_t> ElementsOf(const StridedView& view) {
  std::vector<std::uint64_t> elements;
  AppendElements(view.axes(), view.offset(), elements);
  return elements;
}
inline std::vector<std::uint64_t> ElementsOf(const Box& box) {
  std::vector<std::uint64_t> elements;
  AppendElements(box.axes, box.source, elements);
  return elements;
}

// The same random words applied to a view and to the model of it.
struct ViewAndReference {
  StridedView view;
  ReferenceArray reference;
};

inline std::vector<std::uint64_t> RandomShape(Random& random, std::size_t max_rank,
                                              std::uint64_t max_extent) {
  std::vector<std::uint64_t> shape(random.Between(0, max_rank));
  for (std::uint64_t& extent : shape) extent = random.Between(1, max_extent);
  return shape;
}

inline void ApplyRandomWord(Random& random, ViewAndReference& both) {
  const std::vector<std::uint64_t> shape = both.reference.shape();
  if (shape.empty()) return;
  const std::size_t axis = random.Between(0, shape.size() - 1);
  switch (random.Between(0, 3)) {
    case 0: {
      if (shape.size() == StridedView::kMaxAxes) return;
      std::uint64_t outer = random.Between(1, shape[axis]);
      while (shape[axis] % outer != 0) --outer;
      both.view.Split(axis, outer);
      both.reference.Split(axis, outer);
      return;
    }
    case 1: {
      const std::uint64_t count = random.Between(1, shape[axis]);
      const std::uint64_t begin = random.Between(0, shape[axis] - count);
      both.view.Take(axis, begin, count);
      both.reference.Take(axis, begin, count);
      return;
    }
    case 2: {
      const std::size_t other = random.Between(0, shape.size() - 1);
      both.view.Swap(axis, other);
      both.reference.Swap(axis, other);
      return;
    }
    default:
      if (shape[axis] != 1) return;
      both.view.Squeeze(axis);
      both.reference.Squeeze(axis);
  }
}

inline ViewAndReference RandomView(Random& random, std::size_t max_rank, std::uint64_t max_extent,
                                   std::size_t max_words) {
  const std::vector<std::uint64_t> shape = RandomShape(random, max_rank, max_extent);
  ViewAndReference both{StridedView::Whole(shape), ReferenceArray(shape)};
  for (std::size_t words = random.Between(0, max_words); words > 0; --words) {
    ApplyRandomWord(random, both);
  }
  return both;
}

}  // namespace sluice::testing
