// The mixtures of llama-quantize as tables: which tensors of a file type get another type than its
// default one (llama.cpp: llama-quant.cpp, the choice of a tensor's type).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "formats/gguf/types.h"
#include "pipeline/quantize/file_type.h"
#include "pipeline/quantize/tensor_class.h"

namespace sluice {

// What a rule may ask of a model and of a tensor in it. A rule asks for several at once.
enum Fact : std::uint32_t {
  kAlways = 0,
  // Of the model
  kFalcon = 1 << 0,
  kNotFalcon = 1 << 1,
  kGroupedBy4 = 1 << 2,  // at least 4 query heads for each KV head
  kExperts4 = 1 << 3,    // at least 4 experts
  kExperts8 = 1 << 4,    // exactly 8 experts: Mixtral, whose attention is small beside them
  kWithImportance = 1 << 5,
  kWithoutImportance = 1 << 6,
  // Of the tensor's position among its kind: values are counted, blocks numbered
  kFirst2 = 1 << 7,
  kFirst4 = 1 << 8,
  kFirstEighth = 1 << 9,
  kFirstSixteenth = 1 << 10,
  kMoreBits = 1 << 11,  // first eighth, last eighth, every third in between
  kMiddle = 1 << 12,    // neither first nor last eighth
  // Of the tensor itself
  kStack = 1 << 13,         // of matrices
  kPartialBlock = 1 << 14,  // rows that are no whole number of blocks of the default type
  kGlm5Factor = 1 << 15,    // the low-rank queries of glm5-next
};
using Facts = std::uint32_t;  // Fact, or-ed

// File types as bits at their numbers.
using FileTypeSet = std::uint64_t;

struct MixtureRule {
  FileTypeSet file_types;
  Facts when;                            // all of these must hold
  std::optional<gguf::TensorType> type;  // nullopt: the default type, whatever further rules say
};

// The first rule that applies, or nullptr: the default type. Embeddings that also are the output
// matrix count as kOutput.
[[nodiscard]] const MixtureRule* FindMixtureRule(TensorClass tensor_class, FileType file_type,
                                                 Facts facts);

// Whether `i` of `n` is a position that mixtures give more bits: in the first or the last eighth,
// or every third in between.
[[nodiscard]] constexpr bool IsMoreBitsPosition(std::uint64_t i, std::uint64_t n) {
  return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

// Below 3 bits: these file types have rules of their own for values, feed-forward and attention
// output.
[[nodiscard]] bool IsLowBit(FileType file_type);

// "more bits, 8 experts" for messages; empty for kAlways.
[[nodiscard]] std::string DescribeFacts(Facts facts);

}  // namespace sluice
