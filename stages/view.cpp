#include "stages/view.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace sluice {
namespace {

// Number of elements below each axis: the weight of one step of that axis in the sequence.
std::array<std::uint64_t, StridedView::kMaxAxes + 1> Weights(std::span<const Axis> axes) {
  std::array<std::uint64_t, StridedView::kMaxAxes + 1> weights{};
  weights[axes.size()] = 1;
  for (std::size_t i = axes.size(); i-- > 0;) weights[i] = weights[i + 1] * axes[i].extent;
  return weights;
}

class BoxCutter {
 public:
  explicit BoxCutter(const StridedView& view)
      : axes_(view.axes()), weights_(Weights(view.axes())) {}

  // Cuts [first, first + count) of the odometer made of the axes from `axis` on.
  void Cut(std::size_t axis, std::uint64_t source, std::uint64_t first, std::uint64_t count) {
    if (count == 0) return;
    if (count == weights_[axis] || axis == axes_.size()) {
      Emit(axes_.subspan(axis), source, count);
      return;
    }
    const std::uint64_t step = weights_[axis + 1];
    std::uint64_t index = first / step;
    const std::uint64_t lead = std::min(count, first % step == 0 ? 0 : step - first % step);
    if (lead > 0) {
      Cut(axis + 1, source + index * axes_[axis].stride, first % step, lead);
      count -= lead;
      ++index;
    }
    if (const std::uint64_t whole = count / step; whole > 0) {
      std::vector<Axis> axes(axes_.begin() + static_cast<std::ptrdiff_t>(axis), axes_.end());
      axes[0].extent = whole;
      Emit(axes, source + index * axes_[axis].stride, whole * step);
      index += whole;
    }
    Cut(axis + 1, source + index * axes_[axis].stride, 0, count % step);
  }

  std::vector<Box> Take() { return std::move(boxes_); }

 private:
  void Emit(std::span<const Axis> axes, std::uint64_t source, std::uint64_t elements) {
    boxes_.push_back({{axes.begin(), axes.end()}, source, position_, elements});
    position_ += elements;
  }

  std::span<const Axis> axes_;
  std::array<std::uint64_t, StridedView::kMaxAxes + 1> weights_;
  std::uint64_t position_ = 0;
  std::vector<Box> boxes_;
};

}  // namespace

StridedView StridedView::Whole(std::span<const std::uint64_t> shape) {
  assert(shape.size() <= kMaxAxes);
  StridedView view;
  view.rank_ = shape.size();
  std::uint64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    view.axes_[i] = {shape[i], stride};
    stride *= shape[i];
  }
  return view;
}

void StridedView::Split(std::size_t axis, std::uint64_t outer) {
  assert(axis < rank_ && rank_ < kMaxAxes && outer > 0 && axes_[axis].extent % outer == 0);
  const Axis whole = axes_[axis];
  std::copy_backward(axes_.begin() + static_cast<std::ptrdiff_t>(axis),
                     axes_.begin() + static_cast<std::ptrdiff_t>(rank_),
                     axes_.begin() + static_cast<std::ptrdiff_t>(rank_ + 1));
  ++rank_;
  const std::uint64_t inner = whole.extent / outer;
  axes_[axis] = {outer, whole.stride * inner};
  axes_[axis + 1] = {inner, whole.stride};
}

void StridedView::Take(std::size_t axis, std::uint64_t begin, std::uint64_t count) {
  assert(axis < rank_ && begin <= axes_[axis].extent && count <= axes_[axis].extent - begin);
  offset_ += begin * axes_[axis].stride;
  axes_[axis].extent = count;
}

void StridedView::Swap(std::size_t a, std::size_t b) {
  assert(a < rank_ && b < rank_);
  std::swap(axes_[a], axes_[b]);
}

void StridedView::Squeeze(std::size_t axis) {
  assert(axis < rank_ && axes_[axis].extent == 1);
  std::copy(axes_.begin() + static_cast<std::ptrdiff_t>(axis + 1),
            axes_.begin() + static_cast<std::ptrdiff_t>(rank_),
            axes_.begin() + static_cast<std::ptrdiff_t>(axis));
  --rank_;
}

bool StridedView::operator==(const StridedView& other) const {
  return offset_ == other.offset_ && std::ranges::equal(axes(), other.axes());
}

std::uint64_t StridedView::elements() const {
  std::uint64_t product = 1;
  for (const Axis& axis : axes()) product *= axis.extent;
  return product;
}

StridedView StridedView::Coalesced() const {
  StridedView merged;
  merged.offset_ = offset_;
  for (const Axis& axis : axes()) {
    if (axis.extent == 1) continue;
    if (merged.rank_ > 0) {
      Axis& outer = merged.axes_[merged.rank_ - 1];
      if (outer.stride == axis.extent * axis.stride) {
        outer = {outer.extent * axis.extent, axis.stride};
        continue;
      }
    }
    merged.axes_[merged.rank_++] = axis;
  }
  return merged;
}

bool StridedView::IsContiguous() const {
  return rank_ == 0 || (rank_ == 1 && axes_[0].stride == 1);
}

std::uint64_t StridedView::LowestFrom(std::uint64_t first) const {
  constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
  if (first >= elements()) return kNone;
  const auto weights = Weights(axes());
  // At each axis the lowest later element either shares the position so far or starts at the next
  // step of that axis; strides are not negative, so the start of a step is its lowest element.
  std::uint64_t lowest = kNone;
  std::uint64_t source = offset_;
  for (std::size_t i = 0; i < rank_; ++i) {
    const std::uint64_t index = first / weights[i + 1];
    first %= weights[i + 1];
    if (index + 1 < axes_[i].extent) {
      lowest = std::min(lowest, source + (index + 1) * axes_[i].stride);
    }
    source += index * axes_[i].stride;
  }
  return std::min(lowest, source);
}

std::vector<Box> CutBoxes(const StridedView& view, std::uint64_t first, std::uint64_t count) {
  assert(first <= view.elements() && count <= view.elements() - first);
  BoxCutter cutter(view);
  cutter.Cut(0, view.offset(), first, count);
  return cutter.Take();
}

ElementRange SourceRange(const Box& box) {
  ElementRange range{box.source, box.source + 1};
  for (const Axis& axis : box.axes) range.end += (axis.extent - 1) * axis.stride;
  return range;
}

}  // namespace sluice
