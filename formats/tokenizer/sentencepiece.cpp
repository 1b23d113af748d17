#include "formats/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include "core/file.h"
#include "formats/lfs_pointer.h"

namespace sluice::tokenizer {
namespace {

constexpr std::uint64_t kMaxModelBytes = std::uint64_t{1} << 30;

TokenType TypeOf(const sentencepiece::SentencePieceProcessor& model, int id) {
  if (model.IsUnknown(id)) return TokenType::kUnknown;
  if (model.IsControl(id)) return TokenType::kControl;
  if (model.IsUnused(id)) return TokenType::kUnused;
  if (model.IsByte(id)) return TokenType::kByte;
  return TokenType::kNormal;
}

}  // namespace

Result<std::vector<Piece>> ReadSentencePiece(const std::string& path) {
  SLUICE_ASSIGN(const std::string bytes, ReadWholeFile(path, kMaxModelBytes));
  if (IsLfsPointer(bytes)) return LfsPointerError(path);
  sentencepiece::SentencePieceProcessor model;
  const auto status = model.LoadFromSerializedProto(bytes);
  if (!status.ok()) {
    return MakeError(ErrorCode::kCorrupt, "not a SentencePiece model")
        .In(path)
        .Actual(status.message());
  }
  std::vector<Piece> pieces;
  pieces.reserve(static_cast<std::size_t>(model.GetPieceSize()));
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    pieces.push_back({model.IdToPiece(id), model.GetScore(id), TypeOf(model, id)});
  }
  return pieces;
}

}  // namespace sluice::tokenizer
