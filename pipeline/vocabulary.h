// The tokenizer of a checkpoint as GGUF key-values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/spec.h"
#include "core/result.h"
#include "formats/gguf/value.h"
#include "formats/tokenizer/sentencepiece.h"
#include "formats/tokenizer/tokenizer_json.h"
#include "pipeline/hparams.h"

namespace sluice {

struct VocabularyOptions {
  std::string pre;                 // --pre: overrides recognition; empty: recognise
  std::string chat_template_file;  // --chat-template; empty: the checkpoint's own
};

// What the tokenizer files of a folder say. Exactly one of `bpe` and `pieces` holds the tokens; a
// SentencePiece checkpoint may have a tokenizer.json beside it, of which merges and added tokens
// count.
struct TokenizerFiles {
  std::string tokens_path;  // the file that holds the tokens: for messages
  std::optional<tokenizer::BpeVocabulary> bpe;
  std::vector<tokenizer::Piece> pieces;
  std::optional<json::Document> config;        // tokenizer_config.json
  std::optional<json::Document> added_tokens;  // added_tokens.json
  std::optional<json::Document> special_map;   // special_tokens_map.json
};

// tokenizer.model, else tokenizer.json, else vocab.json with merges.txt, whose pre-tokenizer is
// that of the `tokenizer_class` (GPT-2's where none is named). kMissing when there is none of them,
// kCorrupt for a file beside them that holds no JSON object.
Result<TokenizerFiles> LoadTokenizer(const std::string& folder, std::vector<std::string>& warnings);

// The tokens of one file.
struct TokenTable {
  std::string model;  // "gpt2" (byte-level BPE) or "llama" (SentencePiece)
  std::string pre;
  gguf::Array tokens{gguf::ValueType::kString};
  std::vector<float> scores;  // empty: not written
  std::vector<std::int32_t> types;
  gguf::Array merges{gguf::ValueType::kString};
};

// Builds the table as the dialect has it, padded to `vocab_size` entries. kUnsupported for a
// pre-tokenizer that is not in the table, kMismatch for more tokens than the model has rows (in the
// llama.cpp dialect, whose loader refuses that), kCorrupt for ids with gaps (in the Ollama dialect;
// the llama.cpp dialect fills them) and for merges of texts that are no tokens.
Result<TokenTable> BuildTokenTable(const TokenizerFiles& files, arch::Dialect dialect,
                                   const arch::TokenizerFacts& facts, const std::string& pre,
                                   std::uint64_t vocab_size);

// Appends all tokenizer.* key-values of a file to `metadata`.
Status AddTokenizer(const std::string& folder, const TokenizerFiles& files,
                    const ConfigFiles& config, arch::Dialect dialect,
                    const arch::TokenizerFacts& facts, const VocabularyOptions& options,
                    std::uint64_t vocab_size, gguf::Metadata& metadata,
                    std::vector<std::string>& warnings);

// Parts of AddTokenizer, in pipeline/special_tokens.cpp and pipeline/chat_template.cpp.
void AddSpecialTokens(const TokenizerFiles& files, const ConfigFiles& config, arch::Dialect dialect,
                      const arch::TokenizerFacts& facts, gguf::Metadata& metadata,
                      std::vector<std::string>& warnings);
Status AddChatTemplates(const std::string& folder, const TokenizerFiles& files,
                        arch::Dialect dialect, const std::string& override_file,
                        gguf::Metadata& metadata, std::vector<std::string>& warnings);

}  // namespace sluice
