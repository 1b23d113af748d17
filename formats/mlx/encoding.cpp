#include "formats/mlx/encoding.h"

#include <array>

namespace sluice::mlx {
namespace {

// Indexed by Mode.
constexpr std::array<std::string_view, 4> kNames{"affine", "nvfp4", "mxfp4", "mxfp8"};

}  // namespace

std::string_view ModeName(Mode mode) { return kNames[static_cast<std::size_t>(mode)]; }

std::optional<Mode> ParseMode(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Mode>(i);
  }
  return std::nullopt;
}

std::optional<Encoding> EncodingOf(Mode mode) {
  switch (mode) {
    case Mode::kNvfp4:
      return Encoding{mode, 4, 16, Dtype::kU8};
    case Mode::kMxfp4:
      return Encoding{mode, 4, 32, Dtype::kU8};
    case Mode::kMxfp8:
      return Encoding{mode, 8, 32, Dtype::kU8};
    case Mode::kAffine:
      break;
  }
  return std::nullopt;
}

bool IsKnown(const Encoding& encoding) {
  if (encoding.mode != Mode::kAffine) return encoding == EncodingOf(encoding.mode);
  const Dtype scales = encoding.scale_dtype;
  return (encoding.bits == 4 || encoding.bits == 8) &&
         (encoding.group == 32 || encoding.group == 64 || encoding.group == 128) &&
         (scales == Dtype::kBF16 || scales == Dtype::kF16 || scales == Dtype::kF32);
}

}  // namespace sluice::mlx
