#include "stages/packed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string_view>

#include "stages/kernels/cast.h"
#include "stages/packed_field.h"
#include "stages/tensor_expr.h"

namespace sluice {
namespace {

constexpr std::string_view kRepairOrZero =
    "repair the checkpoint, or take 0 for such values with --type TYPE --nan zero";

// Elements dequantised at once: their numbers stay in the first-level cache.
constexpr std::uint64_t kPackedTileElements = 1024;

// Bits from the start of a word to its end.
std::uint64_t WordBits(const PackedField& field) {
  std::uint64_t bits = BitsOf(field.number);
  for (const PackedAxis* axis : {&field.row, &field.column}) {
    if (axis->shift_bits > 0) bits = std::max(bits, axis->group * axis->shift_bits);
  }
  return bits;
}

// Codes of a group as blocks have them: byte j holds elements j and j + half, not 2 j and 2 j + 1.
void InterleaveHalves(const std::byte* in, std::size_t half, std::byte* out) {
  const auto code = [&](std::size_t k) { return (in[k / 2] >> (k % 2 * 4)) & std::byte{15}; };
  for (std::size_t j = 0; j < half; ++j) out[j] = code(j) | code(j + half) << 4;
}

}  // namespace

bool Segment::operator==(const Segment& other) const {
  const bool same_packing =
      packed == other.packed || (packed && other.packed && *packed == *other.packed);
  return shard == other.shard && byte_offset == other.byte_offset && dtype == other.dtype &&
         view == other.view && end == other.end && blocks == other.blocks && same_packing;
}

std::uint32_t BitsOf(PackedNumber number) {
  switch (number) {
    case PackedNumber::kUnsigned2:
      return 2;
    case PackedNumber::kUnsigned4:
    case PackedNumber::kE2M1:
      return 4;
    case PackedNumber::kF16:
    case PackedNumber::kBF16:
      return 16;
    case PackedNumber::kF32:
      return 32;
    default:
      return 8;
  }
}

std::uint64_t LowestByte(const PackedSource& packed, const PackedField& field,
                         std::uint64_t element) {
  if (element == packed.elements()) return field.bytes;
  if (field.matrix.group > 1 && packed.matrices > 1) return 0;
  const PackedPosition at = PositionOf(packed, element);
  std::uint64_t bit = field.matrix.Word(at.matrix) + field.row.Word(at.row);
  // Rows that share a group come back to its first column.
  if (field.row.group == 1) bit += field.column.Word(at.column);
  return bit / 8;
}

std::uint64_t PastByte(const PackedSource& packed, const PackedField& field,
                       std::uint64_t element) {
  if (element == 0) return 0;
  if (element == packed.elements()) return field.bytes;
  PackedPosition at = PositionOf(packed, element - 1);
  if (field.matrix.group > 1 && at.matrix > 0) return field.bytes;
  if (field.row.group > 1) at.column = packed.columns - 1;
  const std::uint64_t bit = field.matrix.Word(at.matrix) + field.row.Word(at.row) +
                            field.column.Word(at.column) + WordBits(field);
  return std::min(field.bytes, (bit + 7) / 8);
}

std::vector<const PackedField*> WalkedFields(const PackedSource& packed) {
  std::vector<const PackedField*> fields{&packed.codes};
  if (packed.groups) return fields;
  fields.push_back(&packed.scales);
  if (packed.zeros) fields.push_back(&*packed.zeros);
  return fields;
}

std::uint64_t UnpackerBytes(const SourceSet& sources, const PackedSource& packed) {
  std::vector<const PackedField*> fields = WalkedFields(packed);
  if (packed.groups) fields.push_back(&packed.groups->field);
  std::uint64_t bytes = 0;
  for (const PackedField* field : fields) {
    if (sources.MustRead(field->shard)) bytes += std::min(field->bytes, kReadAheadBytes);
  }
  return bytes;
}

class Unpacker::Impl {
 public:
  Impl(const SourceSet& sources, const PackedSource& packed)
      : packed_(packed),
        sources_(sources),
        codes_(sources, packed.codes),
        scales_(sources, packed.scales) {
    if (packed.zeros) zeros_.emplace(sources, *packed.zeros);
    if (packed.global) global_.emplace(sources, *packed.global);
    if (!packed.groups) return;
    groups_.emplace(sources, packed.groups->field);
    groups_->Expect(packed.groups->field.bytes);
  }

  [[nodiscard]] gguf::TensorType blocks() const { return *packed_.blocks; }

  // Calls visit(position, count, done) for the parts of [first, first + count) that lie in one row
  // and have at most `most` elements.
  template <class Visit>
  Status ForEachRow(std::uint64_t first, std::uint64_t count, std::uint64_t most,
                    const Visit& visit) {
    Expect(first + count);
    for (std::uint64_t done = 0; done < count;) {
      const PackedPosition at = PositionOf(packed_, first + done);
      const std::uint64_t part = std::min({most, count - done, packed_.columns - at.column});
      SLUICE_TRY(visit(at, part, done));
      done += part;
    }
    return Ok();
  }

  // Gives how many values became 0.
  Result<std::uint64_t> DequantizeRun(const PackedPosition& at, std::uint64_t count, float* out) {
    std::array<float, kPackedTileElements> scales;
    SLUICE_TRY(codes_.Values(at, count, out));
    SLUICE_TRY(GroupValues(scales_, at, count, scales.data()));
    if (global_) SLUICE_TRY(ApplyGlobal(at.matrix, count, scales.data()));
    const bool has_bad_scale = kernels::HasNonFinite({scales.data(), count});
    if (has_bad_scale && !packed_.zero_non_finite) return ScaleError(at, scales);
    if (zeros_) {
      std::array<float, kPackedTileElements> zeros;
      SLUICE_TRY(GroupValues(*zeros_, at, count, zeros.data()));
      for (std::uint64_t k = 0; k < count; ++k) out[k] -= zeros[k] + packed_.zero_shift;
    } else if (packed_.zero_shift != 0) {
      for (std::uint64_t k = 0; k < count; ++k) out[k] -= packed_.zero_shift;
    }
    for (std::uint64_t k = 0; k < count; ++k) out[k] *= scales[k];
    return has_bad_scale ? ZeroWithoutScale({scales.data(), count}, out) : 0;
  }

  // Gives how many values became 0.
  Result<std::uint64_t> RepackRun(const PackedPosition& at, std::uint64_t count, std::byte* out) {
    const bool is_mx = *packed_.blocks == gguf::TensorType::kMXFP4;
    const std::size_t group = is_mx ? 32 : 16;     // elements of one scale
    const std::size_t num_scales = is_mx ? 1 : 4;  // of one block
    std::uint64_t bit = 0;
    SLUICE_TRY(CheckGlobal(at.matrix));
    SLUICE_ASSIGN(const std::byte* codes, codes_.Run(at, count, bit));
    SLUICE_ASSIGN(const std::byte* scales, scales_.Run(at, count, bit));
    const std::uint32_t largest = is_mx ? 0xFE : 0x7E;
    std::uint64_t zeroed = 0;
    for (std::uint64_t done = 0; done < count; done += group * num_scales, scales += num_scales) {
      const auto is_unusable = [&](std::size_t s) {
        return std::to_integer<std::uint32_t>(scales[s]) > largest;
      };
      for (std::size_t s = 0; s < num_scales; ++s, ++out) {
        *out = scales[s];
        if (!is_unusable(s)) continue;
        SLUICE_TRY(CheckZeroed(scales[s], {at.matrix, at.row, at.column + done + s * group}));
        *out = std::byte{0};  // as in blocks of zeros
        zeroed += group;
      }
      for (std::size_t s = 0; s < num_scales; ++s, codes += group / 2, out += group / 2) {
        if (is_unusable(s)) {
          std::fill_n(out, group / 2, std::byte{0});
        } else {
          InterleaveHalves(codes, group / 2, out);
        }
      }
    }
    return zeroed;
  }

  Status CheckIntact() const {
    SLUICE_TRY(sources_.CheckIntact(packed_.codes.shard));
    SLUICE_TRY(sources_.CheckIntact(packed_.scales.shard));
    if (packed_.zeros) SLUICE_TRY(sources_.CheckIntact(packed_.zeros->shard));
    if (packed_.global) SLUICE_TRY(sources_.CheckIntact(packed_.global->shard));
    if (packed_.groups) SLUICE_TRY(sources_.CheckIntact(packed_.groups->field.shard));
    return Ok();
  }

 private:
  // The walked fields will be asked for what elements up to `end` need.
  void Expect(std::uint64_t end) {
    codes_.Expect(PastByte(packed_, codes_.field(), end));
    if (groups_) return;
    scales_.Expect(PastByte(packed_, scales_.field(), end));
    if (zeros_) zeros_->Expect(PastByte(packed_, zeros_->field(), end));
  }

  // Values of scales or zeros, which a list of groups may scatter.
  Status GroupValues(FieldReader& reader, const PackedPosition& at, std::uint64_t count,
                     float* out) {
    if (!groups_) return reader.Values(at, count, out);
    if (packed_.groups->of_rows) {
      SLUICE_ASSIGN(const std::uint64_t group, GroupOf(at.row));
      return reader.Values({at.matrix, group, at.column}, count, out);
    }
    row_values_.resize(packed_.groups->num_groups);
    SLUICE_TRY(reader.Values({at.matrix, at.row, 0}, row_values_.size(), row_values_.data()));
    for (std::uint64_t k = 0; k < count; ++k) {
      SLUICE_ASSIGN(const std::uint64_t group, GroupOf(at.column + k));
      out[k] = row_values_[group];
    }
    return Ok();
  }

  Result<std::uint64_t> GroupOf(std::uint64_t position) {
    std::int32_t group = 0;
    SLUICE_ASSIGN(const std::byte* const bytes,
                  groups_->Bytes(position * sizeof group, (position + 1) * sizeof group));
    std::memcpy(&group, bytes, sizeof group);
    if (group >= 0 && static_cast<std::uint64_t>(group) < packed_.groups->num_groups) {
      return static_cast<std::uint64_t>(group);
    }
    return MakeError(ErrorCode::kCorrupt, "a group number without scales")
        .At(groups_->field().name)
        .Expected(fmt::format("0 to {}, the groups of '{}'", packed_.groups->num_groups - 1,
                              packed_.scales.name))
        .Actual(fmt::format("{} at position {}", group, position));
  }

  static std::uint64_t ZeroWithoutScale(std::span<const float> scales, float* out) {
    std::uint64_t zeroed = 0;
    for (std::size_t k = 0; k < scales.size(); ++k) {
      if (std::isfinite(scales[k])) continue;
      out[k] = 0;
      ++zeroed;
    }
    return zeroed;
  }

  // About the first of `scales`, those of the elements from `at` on, that is not finite.
  Error ScaleError(PackedPosition at, std::span<const float> scales) {
    std::size_t first = 0;
    while (std::isfinite(scales[first])) ++first;
    at.column += first;
    if (groups_) {
      std::uint64_t& position = packed_.groups->of_rows ? at.row : at.column;
      SLUICE_ASSIGN(position, GroupOf(position));
    }
    float scale = 0;
    SLUICE_TRY(scales_.Values(at, 1, &scale));
    const std::uint64_t bit = BitOf(packed_.scales, at);
    std::string found = fmt::format("{} in element {}", scale, bit / BitsOf(packed_.scales.number));
    if (std::isfinite(scale)) {
      found += fmt::format(", {} once {} '{}'", scales[first],
                           packed_.global_divides ? "divided by" : "times", packed_.global->name);
    }
    return MakeError(ErrorCode::kCorrupt, "a scale that is no finite number")
        .In(sources_.PathOf(packed_.scales.shard))
        .At(packed_.scales.name)
        .AtOffset(packed_.scales.byte_offset + bit / 8)
        .Expected(fmt::format("finite scales for '{}'", packed_.codes.name))
        .Actual(found)
        .Advice(kRepairOrZero);
  }

  Status ApplyGlobal(std::uint64_t matrix, std::uint64_t count, float* scales) {
    SLUICE_TRY(CheckGlobal(matrix));
    float global = 0;
    SLUICE_TRY(global_->Values({matrix, 0, 0}, 1, &global));
    for (std::uint64_t k = 0; k < count; ++k) {
      scales[k] = packed_.global_divides ? scales[k] / global : scales[k] * global;
    }
    return Ok();
  }

  // Whether the values of a scale that no block holds become zeros; the error if not.
  Status CheckZeroed(std::byte scale, const PackedPosition& at) const {
    const bool is_mx = *packed_.blocks == gguf::TensorType::kMXFP4;
    const bool is_nan = is_mx || (scale | std::byte{0x80}) == std::byte{0xFF};  // else negative
    if (is_nan && packed_.zero_non_finite) return Ok();
    const std::uint64_t byte = BitOf(packed_.scales, at) / 8;
    return MakeError(ErrorCode::kCorrupt, "a scale that is no number or negative")
        .In(sources_.PathOf(packed_.scales.shard))
        .At(packed_.scales.name)
        .AtOffset(packed_.scales.byte_offset + byte)
        .Expected(fmt::format("positive scales for '{}'", packed_.codes.name))
        .Actual(fmt::format("byte {:#04x} in element {}, for row {}, column {}",
                            std::to_integer<unsigned>(scale), byte, at.row, at.column))
        .Advice(is_nan ? kRepairOrZero : "");
  }

  // Where values without a scale become 0, the F32 that repacked blocks have beside them does.
  Status CheckGlobal(std::uint64_t matrix) {
    if (!global_ || packed_.zero_non_finite) return Ok();
    float global = 0;
    SLUICE_TRY(global_->Values({matrix, 0, 0}, 1, &global));
    const bool is_usable = std::isfinite(packed_.global_divides ? 1 / global : global);
    if (is_usable && std::isfinite(global)) return Ok();
    const std::uint64_t bit = BitOf(*packed_.global, {matrix, 0, 0});
    return MakeError(ErrorCode::kCorrupt, "a scale of the scales that is not finite")
        .In(sources_.PathOf(packed_.global->shard))
        .At(packed_.global->name)
        .AtOffset(packed_.global->byte_offset + bit / 8)
        .Expected(fmt::format("a finite number{} for '{}'",
                              packed_.global_divides ? " that others can be divided by" : "",
                              packed_.codes.name))
        .Actual(fmt::format("{} in element {}", global, bit / BitsOf(packed_.global->number)))
        .Advice(kRepairOrZero);
  }

  const PackedSource& packed_;
  const SourceSet& sources_;
  FieldReader codes_;
  FieldReader scales_;
  std::optional<FieldReader> zeros_;
  std::optional<FieldReader> global_;
  std::optional<FieldReader> groups_;
  std::vector<float> row_values_;
};

Unpacker::Unpacker(const SourceSet& sources, const PackedSource& packed)
    : impl_(std::make_unique<Impl>(sources, packed)) {}
Unpacker::~Unpacker() = default;

Status Unpacker::CheckIntact() const { return impl_->CheckIntact(); }

Result<std::uint64_t> Unpacker::Dequantize(std::uint64_t first, std::span<float> out) {
  std::uint64_t zeroed = 0;
  const auto dequantize = [&](const PackedPosition& at, std::uint64_t count,
                              std::uint64_t done) -> Status {
    SLUICE_ASSIGN(const std::uint64_t more, impl_->DequantizeRun(at, count, out.data() + done));
    zeroed += more;
    return Ok();
  };
  SLUICE_TRY(impl_->ForEachRow(first, out.size(), kPackedTileElements, dequantize));
  return zeroed;
}

Result<std::uint64_t> Unpacker::Repack(std::uint64_t first, std::uint64_t elements,
                                       std::span<std::byte> out) {
  const gguf::TensorTypeInfo& info = gguf::InfoOf(impl_->blocks());
  std::uint64_t zeroed = 0;
  const auto repack = [&](const PackedPosition& at, std::uint64_t count,
                          std::uint64_t done) -> Status {
    std::byte* const blocks = out.data() + done / info.block_elements * info.block_bytes;
    SLUICE_ASSIGN(const std::uint64_t more, impl_->RepackRun(at, count, blocks));
    zeroed += more;
    return Ok();
  };
  SLUICE_TRY(impl_->ForEachRow(first, elements, elements, repack));
  return zeroed;
}

}  // namespace sluice
