// Reads the numbers that one tensor of a packed source holds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "stages/packed.h"

namespace sluice {

// Read at once of each field, where shards are read and not mapped: reads of a few hundred bytes
// are slow.
inline constexpr std::uint64_t kReadAheadBytes = std::uint64_t{64} << 10;

// The place of an element.
struct PackedPosition {
  std::uint64_t matrix;
  std::uint64_t row;
  std::uint64_t column;
};
[[nodiscard]] PackedPosition PositionOf(const PackedSource& packed, std::uint64_t element);
// Where the number of an element begins, from the field's start.
[[nodiscard]] std::uint64_t BitOf(const PackedField& field, const PackedPosition& at);

// Made for one slab by one thread; sources and field must outlive it.
class FieldReader {
 public:
  FieldReader(const SourceSet& sources, const PackedField& field);

  [[nodiscard]] const PackedField& field() const { return field_; }

  // Bytes up to `end` will be asked for, so they may be read with those in front of them.
  void Expect(std::uint64_t end) { expected_ = end; }

  // The field's bytes [begin, end), until the next call. kIo.
  Result<const std::byte*> Bytes(std::uint64_t begin, std::uint64_t end);
  // The bytes of `count` neighbours in a row; `bit` is where in them the first word begins. kIo.
  Result<const std::byte*> Run(const PackedPosition& at, std::uint64_t count, std::uint64_t& bit);
  // The values of `count` neighbours in a row. kIo.
  Status Values(const PackedPosition& at, std::uint64_t count, float* out);

 private:
  template <class Decode>
  void Spread(std::uint64_t column, std::uint64_t count, std::uint64_t word, float* out,
              const Decode& decode) const;

  const SourceSet& sources_;
  const PackedField& field_;
  std::span<const std::byte> mapped_;
  std::array<std::uint8_t, 16> shifts_{};
  std::vector<std::byte> buffer_;  // of a shard that is not mapped: bytes [begin_, end_)
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t expected_ = 0;
};

}  // namespace sluice
