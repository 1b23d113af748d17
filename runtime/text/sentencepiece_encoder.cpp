#include "runtime/text/sentencepiece_encoder.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <bit>
#include <cstdint>

namespace sluice::runtime {
namespace {

// A message in protocol buffers' encoding, as far as sentencepiece_model.proto needs it.
class Message {
 public:
  Message& Number(std::uint32_t field, std::uint64_t value) {
    Tag(field, 0);
    Varint(value);
    return *this;
  }
  Message& Bytes(std::uint32_t field, std::string_view value) {
    Tag(field, 2);
    Varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& Float(std::uint32_t field, float value) {
    Tag(field, 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (unsigned shift = 0; shift < 32; shift += 8) {
      bytes_ += static_cast<char>((bits >> shift) & 0xFFU);
    }
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  void Tag(std::uint32_t field, std::uint32_t wire_type) { Varint((field << 3U) | wire_type); }
  void Varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) bytes_ += static_cast<char>((value & 0x7FU) | 0x80U);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// Field numbers of sentencepiece_model.proto.
enum ModelField : std::uint32_t { kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3 };
enum PieceField : std::uint32_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerField : std::uint32_t { kModelType = 3, kByteFallback = 35 };
enum NormalizerField : std::uint32_t {
  kName = 1,
  kAddDummyPrefix = 3,
  kRemoveExtraWhitespaces = 4,
  kEscapeWhitespaces = 5,
};
constexpr std::uint64_t kBpeModel = 2;

std::string ModelOf(std::span<const tokenizer::Piece> pieces, bool add_space_prefix) {
  Message model;
  for (const tokenizer::Piece& piece : pieces) {
    model.Bytes(kPieces, Message()
                             .Bytes(kText, piece.text)
                             .Float(kScore, piece.score)
                             .Number(kType, static_cast<std::uint64_t>(piece.type))
                             .bytes());
  }
  const bool has_bytes = std::any_of(pieces.begin(), pieces.end(), [](const auto& piece) {
    return piece.type == tokenizer::TokenType::kByte;
  });
  model.Bytes(kTrainerSpec,
              Message().Number(kModelType, kBpeModel).Number(kByteFallback, has_bytes).bytes());
  model.Bytes(kNormalizerSpec, Message()
                                   .Bytes(kName, "identity")
                                   .Number(kAddDummyPrefix, add_space_prefix)
                                   .Number(kRemoveExtraWhitespaces, 0)
                                   .Number(kEscapeWhitespaces, 1)
                                   .bytes());
  return model.bytes();
}

}  // namespace

Result<SentencePieceEncoder> SentencePieceEncoder::FromModel(const std::string& model) {
  auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto(model);
  if (!status.ok()) {
    return MakeError(ErrorCode::kCorrupt, "not a usable SentencePiece model")
        .Actual(status.message());
  }
  SentencePieceEncoder encoder;
  encoder.model_ = std::move(processor);
  return encoder;
}

Result<SentencePieceEncoder> SentencePieceEncoder::FromPieces(
    std::span<const tokenizer::Piece> pieces, bool add_space_prefix) {
  return FromModel(ModelOf(pieces, add_space_prefix));
}

Status SentencePieceEncoder::Encode(std::string_view text, std::vector<TokenId>& ids) const {
  std::vector<int> encoded;
  const auto status = model_->Encode(text, &encoded);
  if (!status.ok()) {
    return MakeError(ErrorCode::kBug, "SentencePiece refuses the text").Actual(status.message());
  }
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  return Ok();
}

}  // namespace sluice::runtime
