// Strided views: the normal form of every reshape, permutation, transposition, slice and squeeze.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

// One step of an odometer over source elements.
struct Axis {
  std::uint64_t extent = 1;
  std::uint64_t stride = 1;  // source elements between neighbours along this axis
  bool operator==(const Axis&) const = default;
};

// A sequence of source elements: an odometer over `axes`, outermost first, that starts at source
// element `offset`. Only the order of the elements counts; the shape a target declares for them is
// somebody else's business, so merging axes needs no operation.
class StridedView {
 public:
  static constexpr std::size_t kMaxAxes = 8;

  // The elements of a row-major tensor in storage order. REQUIRES: shape.size() <= kMaxAxes.
  static StridedView Whole(std::span<const std::uint64_t> shape);

  // Axis `axis` becomes two: `outer` groups of extent / outer neighbours.
  // REQUIRES: outer divides the extent, fewer than kMaxAxes axes.
  void Split(std::size_t axis, std::uint64_t outer);
  // Keeps `count` positions of an axis from `begin` on. REQUIRES: begin + count <= extent.
  void Take(std::size_t axis, std::uint64_t begin, std::uint64_t count);
  void Swap(std::size_t a, std::size_t b);
  // Drops an axis. REQUIRES: its extent is 1.
  void Squeeze(std::size_t axis);

  [[nodiscard]] std::span<const Axis> axes() const { return {axes_.data(), rank_}; }
  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  [[nodiscard]] std::uint64_t elements() const;

  // The same sequence with as few axes as possible: neighbouring axes that form one run are merged
  // and axes of extent 1 dropped. A view of contiguous elements has at most one axis, of stride 1.
  [[nodiscard]] StridedView Coalesced() const;
  // REQUIRES: coalesced.
  [[nodiscard]] bool IsContiguous() const;

  // The lowest source element that position `first` or a later one of the sequence touches: what
  // lies below is behind the reader. Positions past the end give UINT64_MAX.
  [[nodiscard]] std::uint64_t LowestFrom(std::uint64_t first) const;

  // Whether both walk over the same elements by the same axes.
  bool operator==(const StridedView& other) const;

 private:
  std::array<Axis, kMaxAxes> axes_{};
  std::size_t rank_ = 0;
  std::uint64_t offset_ = 0;
};

// A rectangular part of a view: an odometer without partial axes.
struct Box {
  std::vector<Axis> axes;      // outermost first; the last is the innermost of the target
  std::uint64_t source = 0;    // first source element
  std::uint64_t position = 0;  // of its first element in the sequence the box was cut from, from 0
  std::uint64_t elements = 1;
};

// Positions [first, first + count) of the view's sequence as boxes in sequence order, at most two
// for each axis and one more. REQUIRES: first + count <= view.elements().
[[nodiscard]] std::vector<Box> CutBoxes(const StridedView& view, std::uint64_t first,
                                        std::uint64_t count);

// Source elements from the first to one past the last that a box touches.
struct ElementRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
[[nodiscard]] ElementRange SourceRange(const Box& box);

}  // namespace sluice
