#include "stages/packed_field.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "formats/quant/float_formats.h"
#include "stages/kernels/cast.h"

namespace sluice {
namespace {

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

}  // namespace

PackedPosition PositionOf(const PackedSource& packed, std::uint64_t element) {
  const std::uint64_t row = element / packed.columns;
  return {row / packed.rows, row % packed.rows, element % packed.columns};
}

std::uint64_t BitOf(const PackedField& field, const PackedPosition& at) {
  return field.matrix.Word(at.matrix) + field.row.Word(at.row) + field.row.Shift(at.row) +
         field.column.Word(at.column) + field.column.Shift(at.column);
}

FieldReader::FieldReader(const SourceSet& sources, const PackedField& field)
    : sources_(sources), field_(field), mapped_(sources.Bytes(field.shard)) {
  const PackedAxis& axis = field.column;
  for (std::uint64_t lane = 0; axis.shift_bits > 0 && lane < axis.group; ++lane) {
    shifts_[lane] = static_cast<std::uint8_t>(axis.Shift(lane));
  }
}

Result<const std::byte*> FieldReader::Bytes(std::uint64_t begin, std::uint64_t end) {
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

Result<const std::byte*> FieldReader::Run(const PackedPosition& at, std::uint64_t count,
                                          std::uint64_t& bit) {
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

// Fills `out` for `count` columns from `column` on, with decode(bit) for each number.
template <class Decode>
void FieldReader::Spread(std::uint64_t column, std::uint64_t count, std::uint64_t word, float* out,
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

Status FieldReader::Values(const PackedPosition& at, std::uint64_t count, float* out) {
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

}  // namespace sluice
