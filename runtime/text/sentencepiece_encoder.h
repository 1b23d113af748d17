// SentencePiece encoding, run by libsentencepiece.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/tokenizer/sentencepiece.h"
#include "runtime/language_model.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace sluice::runtime {

// May be used by several threads at once.
class SentencePieceEncoder {
 public:
  // `model` is the content of a tokenizer.model file. kCorrupt when it is none.
  static Result<SentencePieceEncoder> FromModel(const std::string& model);

  // A BPE model of these pieces by id, as a GGUF file of the "llama" tokenizer has them: text is
  // not normalised; with `add_space_prefix` it gets a space in front.
  static Result<SentencePieceEncoder> FromPieces(std::span<const tokenizer::Piece> pieces,
                                                 bool add_space_prefix);

  // Appends the ids of a stretch of text.
  Status Encode(std::string_view text, std::vector<TokenId>& ids) const;

 private:
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> model_;
};

}  // namespace sluice::runtime
