#include "pipeline/mlx/policy.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <utility>

namespace sluice {
namespace {

constexpr std::array<std::pair<std::string_view, MlxType>, 5> kNames{{
    {"int4", MlxType::kInt4},
    {"int8", MlxType::kInt8},
    {"nvfp4", MlxType::kNvfp4},
    {"mxfp4", MlxType::kMxfp4},
    {"mxfp8", MlxType::kMxfp8},
}};

bool Contains(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

bool IsIntegers(MlxType type) { return type == MlxType::kInt4 || type == MlxType::kInt8; }

// Matrices worth quantizing; the router decides too much for its size.
bool IsQuantized(std::string_view name, std::span<const std::uint64_t> shape) {
  constexpr std::uint64_t kFewElements = 1024;
  if (!name.ends_with(".weight") || name.ends_with(".mlp.gate.weight")) return false;
  for (const std::string_view part : {"embed", "norm", "ln_"}) {
    if (Contains(name, part)) return false;
  }
  const bool stacked = shape.size() == 3 && Contains(name, ".switch_mlp.");
  if (shape.size() != 2 && !stacked) return false;
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>()) >=
         kFewElements;
}

// Outputs that many values depend on get 8 bits.
MlxType TypeOf(std::string_view name, MlxType requested) {
  const MlxType wide = IsIntegers(requested) ? MlxType::kInt8 : MlxType::kMxfp8;
  if (Contains(name, "lm_head")) return wide;
  if (!Contains(name, "down_proj")) return requested;
  if (requested == MlxType::kInt4) return wide;
  const bool of_expert = Contains(name, ".switch_mlp.") || Contains(name, ".shared_experts.");
  const bool four_bits = requested == MlxType::kNvfp4 || requested == MlxType::kMxfp4;
  return four_bits && !of_expert ? wide : requested;
}

}  // namespace

std::optional<MlxType> ParseMlxType(std::string_view name) {
  const auto found = std::find_if(kNames.begin(), kNames.end(),
                                  [&](const auto& known) { return known.first == name; });
  if (found == kNames.end()) return std::nullopt;
  return found->second;
}

mlx::Encoding MlxEncodingOf(MlxType type, std::uint32_t affine_group, Dtype source) {
  switch (type) {
    case MlxType::kNvfp4:
      return *mlx::EncodingOf(mlx::Mode::kNvfp4);
    case MlxType::kMxfp4:
      return *mlx::EncodingOf(mlx::Mode::kMxfp4);
    case MlxType::kMxfp8:
      return *mlx::EncodingOf(mlx::Mode::kMxfp8);
    default:
      break;
  }
  const bool stays = source == Dtype::kF16 || source == Dtype::kF32;
  return {mlx::Mode::kAffine, type == MlxType::kInt4 ? 4U : 8U, affine_group,
          stays ? source : Dtype::kBF16};
}

std::optional<mlx::Encoding> ChooseMlxEncoding(std::string_view name,
                                               std::span<const std::uint64_t> shape, MlxType type,
                                               std::uint32_t affine_group, Dtype source) {
  if (!IsQuantized(name, shape)) return std::nullopt;
  const mlx::Encoding encoding = MlxEncodingOf(TypeOf(name, type), affine_group, source);
  if (shape.back() % encoding.group != 0) return std::nullopt;
  return encoding;
}

}  // namespace sluice
