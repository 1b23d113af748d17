// tokenizer.model: a SentencePiece vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace sluice::tokenizer {

// Numbers as GGUF's tokenizer.ggml.token_type has them (llama.cpp: llama_token_type).
enum class TokenType : std::int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct Piece {
  std::string text;
  float score = 0;
  TokenType type = TokenType::kNormal;  // user-defined pieces count as normal
};

// The pieces by id. kCorrupt when the file is no SentencePiece model, kMissing, kIo.
Result<std::vector<Piece>> ReadSentencePiece(const std::string& path);

}  // namespace sluice::tokenizer
