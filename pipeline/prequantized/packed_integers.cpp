// Weights in integers that are packed into words of 32 bits.
#include <fmt/format.h>

#include <utility>

#include "core/checked.h"
#include "pipeline/prequantized/packed_layouts.h"

namespace sluice {
namespace {

constexpr std::uint64_t kWordBits = 32;

// The shape of scales by the first scheme of integers.
std::string PackedScaleShapes(const QuantizationConfig& config, const StackExtents& words) {
  for (const WeightScheme& scheme : config.schemes) {
    if (scheme.is_float) continue;
    const std::uint64_t columns = words.columns * (kWordBits / scheme.bits);
    const std::uint64_t group = scheme.group_size == 0 ? columns : scheme.group_size;
    return fmt::format("[{}, {}] (groups of {}, {} bits)", words.rows, CeilDivide(columns, group),
                       group, scheme.bits);
  }
  return "a group of integer weights in config_groups";
}

// Adds the list that assigns rows or columns to groups, if there is one. False and a problem when
// it is none, or missing where the scheme needs it.
bool AddGroups(PackedGroups& groups, const PackedPart& codes, const std::string& name,
               std::uint64_t length, std::uint64_t num_groups, bool of_rows,
               const WeightScheme& scheme, PackedSource& source) {
  const bool is_needed = scheme.lists_groups && num_groups > 1;
  const PackedPart* const list =
      is_needed ? groups.Need(codes, name, {Dtype::kI32}) : groups.Find(name);
  if (list == nullptr) return !is_needed;
  if (!groups.HasDtype(codes, *list, {Dtype::kI32}) || !groups.HasShape(codes, *list, {length})) {
    return false;
  }
  source.groups =
      GroupList{RowMajor(*list, PackedNumber::kF32, {1, 1, length}, {}), of_rows, num_groups};
  for (PackedField* field : {&source.scales, source.zeros ? &*source.zeros : nullptr}) {
    if (field != nullptr) (of_rows ? field->row : field->column).group = 1;
  }
  return true;
}

std::string IntegerWords(const WeightScheme& scheme, const PackedSource& source) {
  return fmt::format("dequantise {}-bit integers in groups of {}{}", scheme.bits,
                     scheme.group_size == 0 ? "all inputs" : fmt::format("{}", scheme.group_size),
                     source.groups ? " by activation order" : "");
}

void AddPacked(PackedGroups& groups, const PackedPart& codes, const PackedPart& scales,
               const std::string& name, const StackExtents& full, const WeightScheme& scheme) {
  const std::uint64_t num_groups = scales.info->shape.back();
  const std::uint64_t per_word = kWordBits / scheme.bits;
  const std::uint64_t group = scheme.group_size == 0 ? full.columns : scheme.group_size;
  const StackExtents stored{full.matrices, full.rows, num_groups};
  PackedSource source{full.matrices, full.rows, full.columns};
  source.codes = RowMajor(codes, UnsignedOf(scheme.bits), full, {});
  source.codes.row.stride_bits = codes.info->shape.back() * kWordBits;
  source.codes.matrix.stride_bits = full.rows * source.codes.row.stride_bits;
  source.scales = RowMajor(scales, *NumberOf(scales.info->dtype), stored, {1, 1, group});
  source.zero_shift = static_cast<float>(std::uint64_t{1} << (scheme.bits - 1));
  if (const PackedPart* zeros = groups.Find(name + "_zero_point")) {
    const std::vector<std::uint64_t> expected{CeilDivide(full.rows, per_word), num_groups};
    if (!groups.HasDtype(codes, *zeros, {Dtype::kI32}) ||
        !groups.HasShape(codes, *zeros, expected)) {
      return;
    }
    source.zeros = RowMajor(*zeros, UnsignedOf(scheme.bits), stored, {1, 1, group});
    source.zeros->column.stride_bits = kWordBits;
    source.zeros->row = {per_word, num_groups * kWordBits, static_cast<std::uint32_t>(scheme.bits)};
    source.zero_shift = 0;
  }
  if (!AddGroups(groups, codes, name + "_g_idx", full.columns, num_groups, false, scheme, source))
    return;
  std::vector<std::uint64_t> shape = codes.info->shape;
  shape.back() = full.columns;
  source.words = IntegerWords(scheme, source);
  groups.Add(codes, name, std::move(shape), false, std::move(source));
}

struct PackedFit {
  const WeightScheme* scheme = nullptr;
  std::uint64_t columns = 0;
};

// The first scheme by which the words of a row and its groups are those of the same columns: of
// these, where they are known.
std::optional<PackedFit> FindFit(const QuantizationConfig& config, std::uint64_t words,
                                 std::uint64_t num_groups, std::optional<std::uint64_t> known) {
  for (const WeightScheme& scheme : config.schemes) {
    if (scheme.is_float) continue;
    const std::uint64_t per_word = kWordBits / scheme.bits;
    const bool has_groups = scheme.group_size > 0;
    const auto widest = has_groups ? CheckedMul(num_groups, scheme.group_size) : words * per_word;
    const std::uint64_t columns = known.value_or(widest.value_or(0));
    if (CeilDivide(columns, per_word) == words &&
        num_groups == (has_groups ? CeilDivide(columns, scheme.group_size) : 1)) {
      return PackedFit{&scheme, columns};
    }
  }
  return std::nullopt;
}

}  // namespace

void TakePacked(PackedGroups& groups, const PackedPart& codes, const std::string& name) {
  if (codes.info->dtype == Dtype::kU8) return TakeFp4(groups, codes, name, "_global_scale", true);
  if (groups.IsKept(name)) return;
  const PackedPart* const scales =
      groups.Need(codes, name + "_scale", {Dtype::kF32, Dtype::kF16, Dtype::kBF16});
  groups.LeaveOut(name + "_shape");
  if (scales == nullptr || !groups.HasDtype(codes, codes, {Dtype::kI32})) return;
  const auto words = groups.NeedExtents(codes);
  if (!words) return;
  const auto grouped = ExtentsOf(scales->info->shape);
  const auto fit_of = [&](std::optional<std::uint64_t> columns) -> std::optional<PackedFit> {
    if (!grouped || grouped->rows != words->rows || grouped->matrices != words->matrices) return {};
    return FindFit(groups.config(), words->columns, grouped->columns, columns);
  };
  std::optional<PackedFit> fit = fit_of(std::nullopt);
  // The last word and the last group of a row may be partly filled: then only its shape says so.
  if (const PackedPart* const shape = groups.Find(name + "_shape")) {
    const auto stated = groups.NeedShape(codes, *shape);
    if (!stated) return;
    std::vector<std::uint64_t> expected = codes.info->shape;
    expected.back() = stated->back();
    const auto exact = *stated == expected ? fit_of(stated->back()) : std::nullopt;
    if (!exact && fit) {
      expected.back() = fit->columns;
      return groups.ReportShape(codes, *shape, ShapeText(expected), ShapeText(*stated));
    }
    fit = exact;
  }
  if (!fit) {
    return groups.ReportShape(codes, *scales, PackedScaleShapes(groups.config(), *words));
  }
  AddPacked(groups, codes, *scales, name, {words->matrices, words->rows, fit->columns},
            *fit->scheme);
}

void TakeWords(PackedGroups& groups, const PackedPart& codes, const std::string& base) {
  const std::string name = base + "weight";
  if (groups.IsKept(name)) return;
  const PackedPart* const scales =
      groups.Need(codes, base + "scales", {Dtype::kF32, Dtype::kF16, Dtype::kBF16});
  const PackedPart* const zeros = groups.Need(codes, base + "qzeros", {Dtype::kI32});
  if (scales == nullptr || zeros == nullptr || !groups.HasDtype(codes, codes, {Dtype::kI32})) {
    return;
  }
  const auto words = groups.NeedExtents(codes);
  if (!words) return;
  if (words->matrices > 1) return groups.ReportShape(*scales, codes, "[inputs, outputs]");
  const WeightScheme& scheme = groups.config().schemes.front();
  const bool is_awq = groups.config().method == QuantMethod::kAwq;
  const std::uint64_t per_word = kWordBits / scheme.bits;
  const std::uint64_t inputs = words->rows * (is_awq ? 1 : per_word);
  const std::uint64_t outputs = words->columns * (is_awq ? per_word : 1);
  const std::uint64_t group = scheme.group_size == 0 ? inputs : scheme.group_size;
  const std::uint64_t num_groups = CeilDivide(inputs, group);
  if (!groups.HasShape(codes, *scales, {num_groups, outputs}) ||
      !groups.HasShape(codes, *zeros, {num_groups, CeilDivide(outputs, per_word)})) {
    return;
  }
  const auto bits = static_cast<std::uint32_t>(scheme.bits);
  const PackedAxis packed{per_word, kWordBits, bits, is_awq};
  PackedSource source{1, inputs, outputs};
  source.codes = RowMajor(codes, UnsignedOf(bits), {1, inputs, outputs}, {});
  source.codes.row = is_awq ? PackedAxis{1, words->columns * kWordBits}
                            : PackedAxis{per_word, outputs * kWordBits, bits};
  source.codes.column = is_awq ? packed : PackedAxis{1, kWordBits};
  source.scales =
      RowMajor(*scales, *NumberOf(scales->info->dtype), {1, num_groups, outputs}, {1, group, 1});
  source.zeros = RowMajor(*zeros, UnsignedOf(bits), {1, num_groups, outputs}, {1, group, 1});
  source.zeros->row.stride_bits = zeros->info->shape.back() * kWordBits;
  source.zeros->column = packed;
  source.zero_shift = groups.config().stores_zeros_less_one ? 1 : 0;
  if (!is_awq &&
      !AddGroups(groups, codes, base + "g_idx", inputs, num_groups, true, scheme, source)) {
    return;
  }
  source.words = IntegerWords(scheme, source);
  groups.Add(codes, name, {outputs, inputs}, true, std::move(source));
}

}  // namespace sluice
