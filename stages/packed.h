// Weights that a checkpoint stores as codes and scales, value = (code - zero) * scale, each number
// found by index arithmetic in a tensor of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/gguf/types.h"
#include "stages/source_set.h"

namespace sluice {

// What the bits of one number mean. Codes and packed zeros have at most 8 bits.
enum class PackedNumber : std::uint8_t {
  kUnsigned2,
  kUnsigned4,
  kUnsigned8,
  kSigned8,
  kE2M1,
  kE4M3,
  kE5M2,
  kE8M0,  // 2^(byte - 127), 255 is NaN
  kF16,
  kBF16,
  kF32,
};
[[nodiscard]] std::uint32_t BitsOf(PackedNumber number);

// How the position on one axis moves the address of a number.
struct PackedAxis {
  std::uint64_t group = 1;        // neighbours that share one number, or one word of packed numbers
  std::uint64_t stride_bits = 0;  // from group to group
  std::uint32_t shift_bits = 0;   // from neighbour to neighbour in a word; 0: they share a number
  bool interleaved = false;       // a word of 8 holds its neighbours in the order 0 2 4 6 1 3 5 7

  // Bits from the axis's origin to the word of a position, and from there to its number.
  [[nodiscard]] std::uint64_t Word(std::uint64_t position) const {
    return position / group * stride_bits;
  }
  [[nodiscard]] std::uint64_t Shift(std::uint64_t position) const {
    if (shift_bits == 0) return 0;
    const std::uint64_t lane = position % group;
    return (interleaved ? lane / 2 + lane % 2 * 4 : lane) * shift_bits;
  }
  bool operator==(const PackedAxis&) const = default;
};

// The tensor that holds one kind of number for every element of a packed one.
struct PackedField {
  std::string name;
  std::uint32_t shard = 0;
  std::uint64_t byte_offset = 0;  // from the shard's start
  std::uint64_t bytes = 0;
  PackedNumber number = PackedNumber::kF32;
  PackedAxis matrix{};
  PackedAxis row{};
  PackedAxis column{};
  bool operator==(const PackedField&) const = default;
};

// Groups of scales that a list assigns (activation order) and not the neighbourhood.
struct GroupList {
  PackedField field{};  // I32, one for each row or column of the storage
  bool of_rows = false;
  std::uint64_t num_groups = 0;
  bool operator==(const GroupList&) const = default;
};

// A stack of matrices in the order in which their codes are stored, which may be that of the
// transposed weight: a view puts it right.
struct PackedSource {
  std::uint64_t matrices = 1;
  std::uint64_t rows = 1;
  std::uint64_t columns = 1;
  PackedField codes{};
  PackedField scales{};
  std::optional<PackedField> zeros{};
  float zero_shift = 0;  // what is subtracted from a code besides its zero
  // A scale of the scales, for each matrix: multiplied with them, or they are divided by it.
  std::optional<PackedField> global{};
  bool global_divides = false;
  std::optional<GroupList> groups{};
  std::string words{};  // for people: "dequantise FP8 with a scale for each 128 x 128"
  // The type whose blocks hold the same codes and scales, all but the global one.
  std::optional<gguf::TensorType> blocks{};
  // Values whose scale is no finite number become 0, else they are an error.
  bool zero_non_finite = false;

  [[nodiscard]] std::uint64_t elements() const { return matrices * rows * columns; }
  bool operator==(const PackedSource&) const = default;
};

// Which bytes of `field` elements in storage order need: the lowest byte of `element` and all that
// follow it, and one past the highest byte of all that stand before it. Both grow with `element`;
// at elements() both are the end of the field. REQUIRES: element <= packed.elements().
[[nodiscard]] std::uint64_t LowestByte(const PackedSource& packed, const PackedField& field,
                                       std::uint64_t element);
[[nodiscard]] std::uint64_t PastByte(const PackedSource& packed, const PackedField& field,
                                     std::uint64_t element);
// The fields that a reader walks through from the first element to the last: all but the global
// scales and those that a list of groups scatters.
[[nodiscard]] std::vector<const PackedField*> WalkedFields(const PackedSource& packed);

// The memory of an Unpacker, unless single rows of codes are larger.
[[nodiscard]] std::uint64_t UnpackerBytes(const SourceSet& sources, const PackedSource& packed);

// Reads a packed source. Made for one slab by one thread; the sources must outlive it.
class Unpacker {
 public:
  Unpacker(const SourceSet& sources, const PackedSource& packed);
  ~Unpacker();
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  // The values of elements [first, first + out.size()) in storage order: in F32, the scale times
  // or over the global one rounded first, then (code - zero) * scale. Gives how many values became
  // 0. kCorrupt for a group number out of range, and for a scale or global scale that is not
  // finite, unless such values become 0; kIo.
  Result<std::uint64_t> Dequantize(std::uint64_t first, std::span<float> out);
  // The same elements as blocks of packed.blocks, without the global scale, bit by bit. Gives how
  // many values became 0. kCorrupt for a scale that such a block cannot hold, and for a global
  // scale that is not finite, unless such values become 0. REQUIRES: whole blocks.
  Result<std::uint64_t> Repack(std::uint64_t first, std::uint64_t elements,
                               std::span<std::byte> out);
  // kCorrupt when one of the shards has shrunk: what was read before may be zeros.
  [[nodiscard]] Status CheckIntact() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
