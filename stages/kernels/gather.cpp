#include "stages/kernels/gather.h"

#include <algorithm>
#include <cstring>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stages/kernels/gather.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace sluice::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
void Transpose8x8(const std::uint16_t* in, std::size_t in_stride, std::uint16_t* out,
                  std::size_t out_stride) {
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t j = 0; j < 8; ++j) out[j * out_stride + i] = in[i * in_stride + j];
  }
}
#else
// Transposes 8 x 8 elements of 16 bits: three rounds of interleaving with partners 4, 2, 1 apart.
// `in_stride` and `out_stride` count elements.
void Transpose8x8(const std::uint16_t* HWY_RESTRICT in, std::size_t in_stride,
                  std::uint16_t* HWY_RESTRICT out, std::size_t out_stride) {
  const hn::FixedTag<std::uint16_t, 8> d;
  hn::Vec<decltype(d)> a[8];
  hn::Vec<decltype(d)> b[8];
  for (std::size_t i = 0; i < 8; ++i) a[i] = hn::LoadU(d, in + i * in_stride);
  for (std::size_t i = 0; i < 4; ++i) {
    b[2 * i] = hn::InterleaveLower(d, a[i], a[i + 4]);
    b[2 * i + 1] = hn::InterleaveUpper(d, a[i], a[i + 4]);
  }
  for (std::size_t i = 0; i < 4; ++i) {
    a[2 * i] = hn::InterleaveLower(d, b[i], b[i + 4]);
    a[2 * i + 1] = hn::InterleaveUpper(d, b[i], b[i + 4]);
  }
  for (std::size_t i = 0; i < 4; ++i) {
    hn::StoreU(hn::InterleaveLower(d, a[i], a[i + 4]), d, out + 2 * i * out_stride);
    hn::StoreU(hn::InterleaveUpper(d, a[i], a[i + 4]), d, out + (2 * i + 1) * out_stride);
  }
}

#endif

// A tile of kTileSide x kTileSide 16-bit elements between two contiguous buffers.
void TransposeTile16(const std::uint16_t* in, std::uint16_t* out) {
  constexpr std::size_t kSide = 32;
  for (std::size_t row = 0; row < kSide; row += 8) {
    for (std::size_t column = 0; column < kSide; column += 8) {
      Transpose8x8(in + row * kSide + column, kSide, out + column * kSide + row, kSide);
    }
  }
}

}  // namespace sluice::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice::kernels {
namespace {

HWY_EXPORT(TransposeTile16);

// A square tile of this side has rows of whole cache lines for 2-byte elements and stays in L1.
constexpr std::size_t kTileSide = 32;

// One plane of a transposition, in bytes: `rows` target rows of `columns` elements. Neighbours of a
// target row lie `source_stride` apart in the source; its rows lie next to each other.
struct Plane {
  const std::byte* source;
  std::size_t source_stride;
  std::byte* target;
  std::size_t target_stride;
  std::size_t rows;
  std::size_t columns;
};

template <typename T>
void TransposeTile(const T* in, T* out) {
  for (std::size_t row = 0; row < kTileSide; ++row) {
    for (std::size_t column = 0; column < kTileSide; ++column) {
      out[column * kTileSide + row] = in[row * kTileSide + column];
    }
  }
}
template <>
void TransposeTile(const std::uint16_t* in, std::uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(TransposeTile16)(in, out);
}

// Both sides of a tile are touched in whole lines and the shuffling happens in L1: strides that
// are powers of two would otherwise evict a line before it is used up.
template <typename T>
void TransposePlane(const Plane& plane) {
  T in[kTileSide * kTileSide];
  T out[kTileSide * kTileSide];
  for (std::size_t column = 0; column < plane.columns; column += kTileSide) {
    const std::size_t columns = std::min(kTileSide, plane.columns - column);
    for (std::size_t row = 0; row < plane.rows; row += kTileSide) {
      const std::size_t rows = std::min(kTileSide, plane.rows - row);
      for (std::size_t i = 0; i < columns; ++i) {
        const std::byte* const from =
            plane.source + (column + i) * plane.source_stride + row * sizeof(T);
        __builtin_prefetch(from + 128);
        std::memcpy(in + i * kTileSide, from, rows * sizeof(T));
      }
      TransposeTile<T>(in, out);
      for (std::size_t i = 0; i < rows; ++i) {
        std::memcpy(plane.target + (row + i) * plane.target_stride + column * sizeof(T),
                    out + i * kTileSide, columns * sizeof(T));
      }
    }
  }
}

void TransposePlane(const Plane& plane, std::size_t element_bytes) {
  switch (element_bytes) {
    case 1:
      return TransposePlane<std::uint8_t>(plane);
    case 2:
      return TransposePlane<std::uint16_t>(plane);
    case 4:
      return TransposePlane<std::uint32_t>(plane);
    default:
      return TransposePlane<std::uint64_t>(plane);
  }
}

// An axis of a gather, in bytes on both sides.
struct CopyAxis {
  std::size_t extent;
  std::size_t source_stride;
  std::size_t target_stride;
};

// Calls `visit(source, target)` for each position of `axes`, outermost first.
template <class Visit>
void ForEachPosition(std::span<const CopyAxis> axes, const std::byte* source, std::byte* target,
                     const Visit& visit) {
  if (axes.empty()) return visit(source, target);
  const CopyAxis& axis = axes.front();
  for (std::size_t i = 0; i < axis.extent; ++i) {
    ForEachPosition(axes.subspan(1), source + i * axis.source_stride,
                    target + i * axis.target_stride, visit);
  }
}

std::vector<CopyAxis> CopyAxes(const Box& box, std::size_t element_bytes) {
  std::vector<CopyAxis> axes;
  std::size_t target_stride = element_bytes;
  for (std::size_t i = box.axes.size(); i-- > 0;) {
    axes.push_back({box.axes[i].extent, box.axes[i].stride * element_bytes, target_stride});
    target_stride *= box.axes[i].extent;
  }
  std::reverse(axes.begin(), axes.end());
  return axes;
}

}  // namespace

void GatherBox(const Box& box, std::size_t element_bytes, const std::byte* source,
               std::span<std::byte> out) {
  std::vector<CopyAxis> axes = CopyAxes(box, element_bytes);
  if (axes.empty()) {
    std::memcpy(out.data(), source, element_bytes);
    return;
  }
  const CopyAxis inner = axes.back();
  axes.pop_back();
  if (inner.source_stride == element_bytes) {
    ForEachPosition(axes, source, out.data(), [&](const std::byte* from, std::byte* to) {
      std::memcpy(to, from, inner.extent * element_bytes);
    });
    return;
  }
  // The axis along which the source is contiguous, or nearest to it, becomes the rows of a plane.
  const auto run = std::min_element(axes.begin(), axes.end(), [](const auto& a, const auto& b) {
    return a.source_stride < b.source_stride;
  });
  if (run != axes.end() && run->source_stride == element_bytes) {
    const CopyAxis rows = *run;
    axes.erase(run);
    ForEachPosition(axes, source, out.data(), [&](const std::byte* from, std::byte* to) {
      TransposePlane({from, inner.source_stride, to, rows.target_stride, rows.extent, inner.extent},
                     element_bytes);
    });
    return;
  }
  axes.push_back(inner);
  ForEachPosition(axes, source, out.data(), [&](const std::byte* from, std::byte* to) {
    std::memcpy(to, from, element_bytes);
  });
}

}  // namespace sluice::kernels
#endif  // HWY_ONCE
