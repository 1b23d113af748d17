// Random tensor expressions over real shard files, and the bytes they must become, computed one
// element at a time.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "formats/quant/float_formats.h"
#include "stages/encode.h"
#include "stages/read.h"
#include "stages/transform.h"
#include "test_files.h"
#include "tests/stages/view_reference.h"

namespace sluice::testing {

// How the stages come by the source bytes.
enum class Sources { kMapped, kRead, kGenerated };

inline std::string NameOf(const ::testing::TestParamInfo<Sources>& info) {
  const char* const names[] = {"Mapped", "Read", "Generated"};
  return names[static_cast<std::size_t>(info.param)];
}

// Shards of random bytes, in memory and as files.
class RandomShards {
 public:
  RandomShards(Random& random, std::size_t count, std::size_t bytes) {
    for (std::size_t i = 0; i < count; ++i) {
      contents_.push_back(random.Bytes(bytes));
      paths_.push_back(folder_.Path("shard-" + std::to_string(i)));
      std::ofstream(paths_.back(), std::ios::binary)
          .write(reinterpret_cast<const char*>(contents_.back().data()),
                 static_cast<std::streamsize>(bytes));
    }
  }

  [[nodiscard]] SourceSet Open(Sources sources) const {
    std::vector<ShardFile> shards;
    std::vector<std::vector<std::byte>> generated;
    if (sources == Sources::kGenerated) {
      generated = contents_;
    } else {
      for (const std::string& path : paths_) shards.push_back(*StatShard(path));
    }
    const IoMode mode = sources == Sources::kRead ? IoMode::kRead : IoMode::kMmap;
    return *SourceSet::Open(shards, mode, std::move(generated));
  }

  [[nodiscard]] const std::vector<std::vector<std::byte>>& contents() const { return contents_; }
  [[nodiscard]] const std::string& path(std::size_t shard) const { return paths_[shard]; }

 private:
  TempFolder folder_;
  std::vector<std::vector<std::byte>> contents_;
  std::vector<std::string> paths_;
};

// An expression and what it means.
struct KnownExpr {
  TensorExpr expr;
  std::vector<std::vector<std::uint64_t>> elements;  // of each segment, by ReferenceArray
  std::string bytes;                                 // the whole target
};

template <typename T>
T LoadAs(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline float ReferenceDecode(Dtype dtype, const std::byte* from) {
  switch (dtype) {
    case Dtype::kF64:
      return static_cast<float>(LoadAs<double>(from));
    case Dtype::kF32:
      return LoadAs<float>(from);
    case Dtype::kF16:
      return quant::F16ToF32(LoadAs<std::uint16_t>(from));
    case Dtype::kBF16:
      return quant::Bf16ToF32(LoadAs<std::uint16_t>(from));
    case Dtype::kF8E4M3:
      return quant::F8E4M3ToF32(LoadAs<std::uint8_t>(from));
    default:
      return quant::F8E5M2ToF32(LoadAs<std::uint8_t>(from));
  }
}

template <typename T>
void AppendValue(T value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

inline void ReferenceEncode(gguf::TensorType type, float value, std::string& bytes) {
  switch (type) {
    case gguf::TensorType::kF16:
      return AppendValue(quant::F32ToF16(value), bytes);
    case gguf::TensorType::kBF16:
      return AppendValue(quant::F32ToBf16(value), bytes);
    default:
      return AppendValue(value, bytes);
  }
}

inline void AppendReference(const TensorExpr& expr, Dtype dtype, const std::byte* from,
                            std::string& bytes) {
  if (expr.steps.empty() && IsSameEncoding(dtype, expr.type)) {
    bytes.append(reinterpret_cast<const char*>(from), DtypeBytes(dtype));
    return;
  }
  float value = ReferenceDecode(dtype, from);
  for (const PointwiseStep step : expr.steps) {
    value = step == PointwiseStep::kTanh ? std::tanh(value) : 1.0F - value;
  }
  ReferenceEncode(expr.type, value, bytes);
}

// What an expression means, from the views themselves: for expressions that a test writes out.
inline std::string ReferenceBytes(const TensorExpr& expr, const RandomShards& shards) {
  std::string bytes;
  for (const Segment& segment : expr.segments) {
    const std::byte* const base = shards.contents()[segment.shard].data() + segment.byte_offset;
    for (const std::uint64_t element : ElementsOf(segment.view)) {
      AppendReference(expr, segment.dtype, base + element * DtypeBytes(segment.dtype), bytes);
    }
  }
  return bytes;
}

// Makes expressions whose sources lie anywhere in the shards, at any alignment.
class ExprMaker {
 public:
  ExprMaker(Random& random, const RandomShards& shards) : random_(random), shards_(shards) {}

  KnownExpr Make() {
    KnownExpr known;
    known.expr.type =
        Pick({gguf::TensorType::kF32, gguf::TensorType::kF16, gguf::TensorType::kBF16});
    switch (random_.Between(0, 5)) {
      case 0:
        known.expr.steps = {PointwiseStep::kTanh};
        break;
      case 1:
        known.expr.steps = {PointwiseStep::kTanh, PointwiseStep::kOneMinus};
        break;
      default:
        break;
    }
    const std::size_t segments = random_.OneIn(2) ? 1 : random_.Between(2, 6);
    for (std::size_t i = 0; i < segments; ++i) AddSegment(known);
    std::uint64_t row = 0;
    for (const auto& elements : known.elements) row = std::gcd(row, elements.size());
    while (row % 2 == 0 && random_.OneIn(2)) row /= 2;
    known.expr.row_elements = row;
    return known;
  }

 private:
  template <typename T>
  T Pick(std::initializer_list<T> choices) {
    return *(choices.begin() + random_.Between(0, choices.size() - 1));
  }

  void AddSegment(KnownExpr& known) {
    const ViewAndReference both = RandomView(random_, 4, 9, 6);
    Segment segment;
    // Often the target's own encoding, so that pieces which pass through stand beside others.
    segment.dtype =
        Pick({Dtype::kF32, Dtype::kF16, Dtype::kBF16, Dtype::kF8E4M3, Dtype::kF8E5M2, Dtype::kF64});
    if (random_.OneIn(2)) segment.dtype = SameDtype(known.expr.type);
    segment.shard = static_cast<std::uint32_t>(random_.Between(0, shards_.contents().size() - 1));
    segment.view = both.view.Coalesced();
    const std::vector<std::uint64_t>& elements = both.reference.values();
    const std::uint64_t end = *std::max_element(elements.begin(), elements.end()) + 1;
    const std::vector<std::byte>& shard = shards_.contents()[segment.shard];
    const std::uint64_t width = DtypeBytes(segment.dtype);
    segment.byte_offset = random_.Between(0, shard.size() - end * width);
    known.expr.elements += elements.size();
    segment.end = known.expr.elements;
    for (const std::uint64_t element : elements) {
      AppendReference(known.expr, segment.dtype,
                      shard.data() + segment.byte_offset + element * width, known.bytes);
    }
    known.expr.segments.push_back(segment);
    known.elements.push_back(elements);
  }

  static Dtype SameDtype(gguf::TensorType type) {
    return type == gguf::TensorType::kF32   ? Dtype::kF32
           : type == gguf::TensorType::kF16 ? Dtype::kF16
                                            : Dtype::kBF16;
  }

  Random& random_;
  const RandomShards& shards_;
};

inline Slab MakeSlab(const TensorExpr& expr, std::uint64_t first, std::uint64_t count,
                     SlabBuffers& buffers) {
  Slab slab;
  slab.expr = &expr;
  slab.first = first;
  slab.count = count;
  constexpr SlabCost kAny{8, 8, true};
  slab.buffer_bytes = SlabBytes(expr, kAny, count);
  slab.buffers = &buffers;
  return slab;
}

inline Status RunStages(const SourceSet& sources, Slab& slab) {
  SLUICE_TRY(Read(sources, slab));
  SLUICE_TRY(Transform(sources, slab));
  return Encode(sources, slab);
}

inline std::string PayloadOf(const Slab& slab) {
  std::string bytes;
  for (const auto span : slab.payload) {
    bytes.append(reinterpret_cast<const char*>(span.data()), span.size());
  }
  return bytes;
}

}  // namespace sluice::testing
