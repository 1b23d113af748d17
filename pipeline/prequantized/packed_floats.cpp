// Weights in 8-bit floats or integers with the weight's own shape, and in 4-bit floats.
#include <fmt/format.h>

#include <utility>

#include "core/checked.h"
#include "pipeline/prequantized/packed_layouts.h"

namespace sluice {
namespace {

// ---- 8-bit codes in the weight's own shape -----------------------------------------------------

// The shapes of scales that would be accepted.
std::string ScaleShapes(const StackExtents& full, bool is_stack, const WeightScheme& scheme) {
  const std::string stack = is_stack ? fmt::format("{}, ", full.matrices) : "";
  if (scheme.block_rows > 0) {
    return fmt::format(
        "[{}{}, {}] (blocks of {} x {})", stack, CeilDivide(full.rows, scheme.block_rows),
        CeilDivide(full.columns, scheme.block_columns), scheme.block_rows, scheme.block_columns);
  }
  return fmt::format("[] or [{}{}, 1]", stack, full.rows);
}

std::string SharedWords(const StackExtents& full, const StackExtents& shared) {
  if (shared.rows == 1 && shared.columns == full.columns) return "each row";
  if (shared.columns == 1 && shared.rows == full.rows) return "each column";
  if (shared.rows == full.rows && shared.columns == full.columns) {
    return shared.matrices == 1 && full.matrices > 1 ? "each matrix" : "all";
  }
  return fmt::format("each block of {} x {}", shared.rows, shared.columns);
}

// The scales of codes that have the weight's name, by any of the names they go by.
const PackedPart* NeedScales(PackedGroups& groups, const PackedPart& codes) {
  const std::string& name = codes.info->name;
  const bool is_inverse = groups.config().method == QuantMethod::kFp8;
  std::vector<std::string> found;
  for (const std::string_view suffix : {"_scale_inv", "_scale", ".scale_inv", ".scale"}) {
    std::string candidate = name + std::string(suffix);
    if (groups.Find(candidate) != nullptr) found.push_back(std::move(candidate));
  }
  if (found.size() > 1) {
    groups.Report(MakeError(ErrorCode::kMismatch, "two tensors of scales for the same weights")
                      .At(name)
                      .Expected(fmt::format("'{}' or '{}'", found[0], found[1]))
                      .Actual("both"));
    return nullptr;
  }
  if (found.empty()) found.push_back(name + (is_inverse ? "_scale_inv" : "_scale"));
  return groups.Need(codes, found.front(),
                     {Dtype::kF32, Dtype::kF16, Dtype::kBF16, Dtype::kF8E8M0});
}

// ---- 4-bit floats: NVFP4 and MXFP4 --------------------------------------------------------------

PackedSource Fp4Source(const PackedPart& codes, const PackedPart& scales, const StackExtents& full,
                       bool is_mx) {
  const std::uint64_t group = is_mx ? 32 : 16;
  const std::uint64_t block = is_mx ? 32 : 64;  // of the GGUF type
  PackedSource source{full.matrices, full.rows, full.columns};
  source.codes = RowMajor(codes, PackedNumber::kE2M1, full, {});
  source.scales =
      RowMajor(scales, is_mx ? PackedNumber::kE8M0 : PackedNumber::kE4M3,
               {full.matrices, full.rows, CeilDivide(full.columns, group)}, {1, 1, group});
  if (full.columns % block == 0) {
    source.blocks = is_mx ? gguf::TensorType::kMXFP4 : gguf::TensorType::kNVFP4;
  }
  source.words = is_mx ? "dequantise MXFP4" : "dequantise NVFP4 with a scale of the scales";
  return source;
}

bool HasWholeGroups(PackedGroups& groups, const PackedPart& codes, const PackedPart& scales,
                    const PackedSource& source) {
  const std::uint64_t group = source.scales.column.group;
  if (source.columns % group == 0) return true;
  groups.ReportShape(codes, scales,
                     fmt::format("groups of {}, which divide {} columns,", group, source.columns));
  return false;
}

bool AddGlobal(PackedGroups& groups, const PackedPart& codes, const std::string& name,
               const StackExtents& full, PackedSource& source) {
  const PackedPart* const global =
      groups.Need(codes, name, {Dtype::kF32, Dtype::kF16, Dtype::kBF16});
  if (global == nullptr) return false;
  const std::uint64_t numbers = *CheckedProduct(global->info->shape);
  if (numbers != 1 && numbers != full.matrices) {
    groups.ReportShape(codes, *global,
                       full.matrices == 1 ? "[] or [1]" : fmt::format("[] or [{}]", full.matrices));
    return false;
  }
  const StackExtents shared{numbers == 1 ? full.matrices : 1, full.rows, full.columns};
  source.global = RowMajor(*global, *NumberOf(global->info->dtype), {numbers, 1, 1}, shared);
  return true;
}

}  // namespace

void TakeScaled(PackedGroups& groups, const PackedPart& codes) {
  const std::string& name = codes.info->name;
  if (groups.IsKept(name)) return;
  const PackedPart* const scales = NeedScales(groups, codes);
  const auto full = groups.NeedExtents(codes);
  if (scales == nullptr || !full) return;
  const bool is_stack = codes.info->shape.size() == 3;
  const std::vector<std::uint64_t>& shape = scales->info->shape;
  std::optional<StackExtents> shared;
  StackExtents stored;
  for (const WeightScheme& scheme : groups.config().schemes) {
    if (!shared && scheme.bits == 8) shared = SharedScales(shape, *full, is_stack, scheme, stored);
  }
  if (!shared) {
    const std::string expected = ScaleShapes(*full, is_stack, groups.config().schemes.front());
    return groups.ReportShape(codes, *scales, expected);
  }
  PackedSource source{full->matrices, full->rows, full->columns};
  source.codes = RowMajor(codes, *NumberOf(codes.info->dtype), *full, {});
  source.scales = RowMajor(*scales, *NumberOf(scales->info->dtype), stored, *shared);
  if (const PackedPart* zeros = groups.Find(name + "_zero_point")) {
    if (!groups.HasDtype(codes, *zeros, {Dtype::kI8}) || !groups.HasShape(codes, *zeros, shape)) {
      return;
    }
    source.zeros = RowMajor(*zeros, PackedNumber::kSigned8, stored, *shared);
  }
  source.words = fmt::format("dequantise {} with a scale for {}", DtypeName(codes.info->dtype),
                             SharedWords(*full, *shared));
  groups.Add(codes, name, codes.info->shape, false, std::move(source));
}

void TakeFp4(PackedGroups& groups, const PackedPart& codes, const std::string& name,
             std::string_view global_suffix, bool global_divides) {
  if (groups.IsKept(name)) return;
  const PackedPart* const scales =
      groups.Need(codes, name + "_scale", {Dtype::kF8E4M3, Dtype::kU8, Dtype::kF8E8M0});
  auto full = groups.NeedExtents(codes);
  if (scales == nullptr || !full) return;
  full->columns *= 2;
  const bool is_mx = scales->info->dtype != Dtype::kF8E4M3;
  std::vector<std::uint64_t> shape = codes.info->shape;
  shape.back() = full->columns;
  PackedSource source = Fp4Source(codes, *scales, *full, is_mx);
  std::vector<std::uint64_t> expected = shape;
  expected.back() = CeilDivide(full->columns, source.scales.column.group);
  if (!groups.HasShape(codes, *scales, expected) ||
      !HasWholeGroups(groups, codes, *scales, source)) {
    return;
  }
  if (!is_mx) {
    source.global_divides = global_divides;
    if (!AddGlobal(groups, codes, name + std::string(global_suffix), *full, source)) return;
  }
  groups.Add(codes, name, std::move(shape), false, std::move(source));
}

void TakeBlocks(PackedGroups& groups, const PackedPart& codes, const std::string& name) {
  if (groups.IsKept(name)) return;
  const PackedPart* const scales =
      groups.Need(codes, name + "_scales", {Dtype::kU8, Dtype::kF8E8M0});
  if (scales == nullptr || !groups.HasDtype(codes, codes, {Dtype::kU8})) return;
  std::vector<std::uint64_t> shape = codes.info->shape;
  constexpr std::uint64_t kGroupBytes = 16;
  if (shape.size() < 3 || shape.back() != kGroupBytes) {
    return groups.ReportShape(*scales, codes, "[..., rows, groups, 16]");
  }
  shape.pop_back();
  if (!groups.HasShape(codes, *scales, shape)) return;
  shape.back() *= 2 * kGroupBytes;
  const auto full = ExtentsOf(shape);
  if (!full) return groups.ReportShape(*scales, codes, "[..., rows, groups, 16]");
  groups.Add(codes, name, shape, false, Fp4Source(codes, *scales, *full, true));
}

}  // namespace sluice
