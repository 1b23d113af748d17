#include "stages/packed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "formats/quant/float_formats.h"
#include "stages/kernels/cast.h"
#include "stages/tensor_expr.h"

namespace sluice {
namespace {

// Elements dequantised at once: their numbers stay in the first-level cache.
constexpr std::uint64_t kTileElements = 1024;

// Of each field, where shards are read and not mapped: reads of a few hundred bytes are slow.
constexpr std::uint64_t kReadAheadBytes = std::uint64_t{64} << 10;

constexpr std::array<float, 8> kE2M1{0, 0.5F, 1, 1.5F, 2, 3, 4, 6};

// The value of a number of at most 8 bits.
float SmallValue(PackedNumber number, std::uint8_t bits) {
  switch (number) {
    case PackedNumber::kSigned8:
      return static_cast<float>(static_cast<std::int8_t>(bits));
    case PackedNumber::kE2M1:
      return (bits & 8) != 0 ? -kE2M1[bits & 7] : kE2M1[bits & 7];
    case PackedNumber::kE4M3:
      return quant::F8E4M3ToF32(bits);
    case PackedNumber::kE5M2:
      return quant::F8E5M2ToF32(bits);
    case PackedNumber::kE8M0:
      return bits == 0xFF ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0F, bits - 127);
    default:  // unsigned
      return static_cast<float>(bits);
  }
}

using Table = std::array<float, 256>;

// All values of the numbers of at most 8 bits.
const Table& TableOf(PackedNumber number) {
  static const auto tables = [] {
    std::array<Table, static_cast<std::size_t>(PackedNumber::kF16)> made{};
    for (std::size_t i = 0; i < made.size(); ++i) {
      for (std::size_t bits = 0; bits < 256; ++bits) {
        made[i][bits] = SmallValue(static_cast<PackedNumber>(i), static_cast<std::uint8_t>(bits));
      }
    }
    return made;
  }();
  return tables[static_cast<std::size_t>(number)];
}

// The dtype of which the numbers are elements, if there is one that the kernels decode.
std::optional<Dtype> DtypeOf(PackedNumber number) {
  switch (number) {
    case PackedNumber::kE4M3:
      return Dtype::kF8E4M3;
    case PackedNumber::kE5M2:
      return Dtype::kF8E5M2;
    case PackedNumber::kF16:
      return Dtype::kF16;
    case PackedNumber::kBF16:
      return Dtype::kBF16;
    case PackedNumber::kF32:
      return Dtype::kF32;
    default:
      return std::nullopt;
  }
}

// Bits from the start of a word to its end.
std::uint64_t WordBits(const PackedField& field) {
  std::uint64_t bits = BitsOf(field.number);
  for (const PackedAxis* axis : {&field.row, &field.column}) {
    if (axis->shift_bits > 0) bits = std::max(bits, axis->group * axis->shift_bits);
  }
  return bits;
}

struct Position {
  std::uint64_t matrix;
  std::uint64_t row;
  std::uint64_t column;
};
Position PositionOf(const PackedSource& packed, std::uint64_t element) {
  const std::uint64_t row = element / packed.columns;
  return {row / packed.rows, row % packed.rows, element % packed.columns};
}

// Reads the numbers of one field.
class FieldReader {
 public:
  FieldReader(const SourceSet& sources, const PackedField& field)
      : sources_(sources), field_(field), mapped_(sources.Bytes(field.shard)) {
    const PackedAxis& axis = field.column;
    for (std::uint64_t lane = 0; axis.shift_bits > 0 && lane < axis.group; ++lane) {
      shifts_[lane] = static_cast<std::uint8_t>(axis.Shift(lane));
    }
  }

  [[nodiscard]] const PackedField& field() const { return field_; }

  // Bytes up to `end` will be asked for, so they may be read with those in front of them.
  void Expect(std::uint64_t end) { expected_ = end; }

  // The field's bytes [begin, end), until the next call.
  Result<const std::byte*> Bytes(std::uint64_t begin, std::uint64_t end) {
    if (!mapped_.empty()) return mapped_.data() + field_.byte_offset + begin;
    if (begin < begin_ || end > end_) {
      const std::uint64_t ahead = std::max(end, std::min(expected_, begin + kReadAheadBytes));
      buffer_.resize(ahead - begin);
      SLUICE_TRY(sources_.ReadAt(field_.shard, field_.byte_offset + begin, buffer_));
      begin_ = begin;
      end_ = ahead;
    }
    return buffer_.data() + (begin - begin_);
  }

  // The bytes of `count` neighbours in a row; `bit` is where in them the first word begins.
  Result<const std::byte*> Run(const Position& at, std::uint64_t count, std::uint64_t& bit) {
    const std::uint64_t row =
        field_.matrix.Word(at.matrix) + field_.row.Word(at.row) + field_.row.Shift(at.row);
    const std::uint64_t first = row + field_.column.Word(at.column);
    const std::uint64_t word = field_.column.shift_bits > 0
                                   ? field_.column.group * field_.column.shift_bits
                                   : BitsOf(field_.number);
    const std::uint64_t end = row + field_.column.Word(at.column + count - 1) + word;
    bit = first % 8;
    return Bytes(first / 8, (end + 7) / 8);
  }

  // The values of `count` neighbours in a row.
  Status Values(const Position& at, std::uint64_t count, float* out) {
    std::uint64_t bit = 0;
    SLUICE_ASSIGN(const std::byte* const bytes, Run(at, count, bit));
    const PackedNumber number = field_.number;
    const std::optional<Dtype> dtype = DtypeOf(number);
    if (dtype && field_.column.group == 1) {
      kernels::DecodeToF32(*dtype, bytes, {out, count});
      return Ok();
    }
    if (BitsOf(number) > 8) {
      Spread(at.column, count, bit, out, [&](std::uint64_t from) {
        float value = 0;
        kernels::DecodeToF32(*dtype, bytes + from / 8, {&value, 1});
        return value;
      });
      return Ok();
    }
    const Table& table = TableOf(number);
    const std::uint32_t mask = (1U << BitsOf(number)) - 1;
    Spread(at.column, count, bit, out, [&](std::uint64_t from) {
      return table[std::to_integer<std::uint32_t>(bytes[from / 8]) >> from % 8 & mask];
    });
    return Ok();
  }

 private:
  // Fills `out` for `count` columns from `column` on, with decode(bit) for each number.
  template <class Decode>
  void Spread(std::uint64_t column, std::uint64_t count, std::uint64_t word, float* out,
              const Decode& decode) const {
    const PackedAxis& axis = field_.column;
    std::uint64_t lane = column % axis.group;
    if (axis.group == 1) {
      for (std::uint64_t k = 0; k < count; ++k, word += axis.stride_bits) out[k] = decode(word);
    } else if (axis.shift_bits > 0) {
      for (std::uint64_t k = 0; k < count; ++k) {
        out[k] = decode(word + shifts_[lane]);
        if (++lane < axis.group) continue;
        lane = 0;
        word += axis.stride_bits;
      }
    } else {
      for (std::uint64_t k = 0; k < count; lane = 0, word += axis.stride_bits) {
        const std::uint64_t shared = std::min(count - k, axis.group - lane);
        std::fill_n(out + k, shared, decode(word));
        k += shared;
      }
    }
  }

  const SourceSet& sources_;
  const PackedField& field_;
  std::span<const std::byte> mapped_;
  std::array<std::uint8_t, 16> shifts_{};
  std::vector<std::byte> buffer_;  // of a shard that is not mapped: bytes [begin_, end_)
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t expected_ = 0;
};

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
  const Position at = PositionOf(packed, element);
  std::uint64_t bit = field.matrix.Word(at.matrix) + field.row.Word(at.row);
  // Rows that share a group come back to its first column.
  if (field.row.group == 1) bit += field.column.Word(at.column);
  return bit / 8;
}

std::uint64_t PastByte(const PackedSource& packed, const PackedField& field,
                       std::uint64_t element) {
  if (element == 0) return 0;
  if (element == packed.elements()) return field.bytes;
  Position at = PositionOf(packed, element - 1);
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
      const Position at = PositionOf(packed_, first + done);
      const std::uint64_t part = std::min({most, count - done, packed_.columns - at.column});
      SLUICE_TRY(visit(at, part, done));
      done += part;
    }
    return Ok();
  }

  Status DequantizeRun(const Position& at, std::uint64_t count, float* out) {
    std::array<float, kTileElements> scales;
    SLUICE_TRY(codes_.Values(at, count, out));
    SLUICE_TRY(GroupValues(scales_, at, count, scales.data()));
    if (global_) SLUICE_TRY(ApplyGlobal(at.matrix, count, scales.data()));
    if (zeros_) {
      std::array<float, kTileElements> zeros;
      SLUICE_TRY(GroupValues(*zeros_, at, count, zeros.data()));
      for (std::uint64_t k = 0; k < count; ++k) out[k] -= zeros[k] + packed_.zero_shift;
    } else if (packed_.zero_shift != 0) {
      for (std::uint64_t k = 0; k < count; ++k) out[k] -= packed_.zero_shift;
    }
    for (std::uint64_t k = 0; k < count; ++k) out[k] *= scales[k];
    return Ok();
  }

  Status RepackRun(const Position& at, std::uint64_t count, std::byte* out) {
    const bool is_mx = *packed_.blocks == gguf::TensorType::kMXFP4;
    const std::size_t group = is_mx ? 32 : 16;     // elements of one scale
    const std::size_t num_scales = is_mx ? 1 : 4;  // of one block
    std::uint64_t bit = 0;
    SLUICE_ASSIGN(const std::byte* codes, codes_.Run(at, count, bit));
    SLUICE_ASSIGN(const std::byte* scales, scales_.Run(at, count, bit));
    const std::uint32_t largest = is_mx ? 0xFE : 0x7E;
    for (std::uint64_t done = 0; done < count; done += group * num_scales) {
      for (std::size_t s = 0; s < num_scales; ++s, ++scales) {
        if (std::to_integer<std::uint32_t>(*scales) > largest) return BadScale(*scales);
        *out++ = *scales;
      }
      for (std::size_t s = 0; s < num_scales; ++s, codes += group / 2, out += group / 2) {
        InterleaveHalves(codes, group / 2, out);
      }
    }
    return Ok();
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
  Status GroupValues(FieldReader& reader, const Position& at, std::uint64_t count, float* out) {
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

  Status ApplyGlobal(std::uint64_t matrix, std::uint64_t count, float* scales) {
    float global = 0;
    SLUICE_TRY(global_->Values({matrix, 0, 0}, 1, &global));
    for (std::uint64_t k = 0; k < count; ++k) {
      scales[k] = packed_.global_divides ? scales[k] / global : scales[k] * global;
    }
    return Ok();
  }

  Status BadScale(std::byte scale) const {
    return MakeError(ErrorCode::kCorrupt, "a scale that is no number or negative")
        .At(packed_.scales.name)
        .Expected(fmt::format("positive scales for '{}'", packed_.codes.name))
        .Actual(fmt::format("byte {:#04x}", std::to_integer<unsigned>(scale)));
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

Status Unpacker::Dequantize(std::uint64_t first, std::span<float> out) {
  return impl_->ForEachRow(first, out.size(), kTileElements,
                           [&](const Position& at, std::uint64_t count, std::uint64_t done) {
                             return impl_->DequantizeRun(at, count, out.data() + done);
                           });
}

Status Unpacker::Repack(std::uint64_t first, std::uint64_t elements, std::span<std::byte> out) {
  const gguf::TensorTypeInfo& info = gguf::InfoOf(impl_->blocks());
  return impl_->ForEachRow(
      first, elements, elements, [&](const Position& at, std::uint64_t count, std::uint64_t done) {
        return impl_->RepackRun(at, count,
                                out.data() + done / info.block_elements * info.block_bytes);
      });
}

}  // namespace sluice
