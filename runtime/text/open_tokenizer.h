// Reads the tokenizer of a GGUF file or of a checkpoint folder.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/text/tokenizer.h"

namespace sluice::runtime {

// From the key-values tokenizer.ggml.* of a GGUF file: byte-level BPE ("gpt2") with the
// pre-tokenizer of that name, or SentencePiece BPE ("llama") by its scores.
// kMissing, kCorrupt, and kUnsupported for what would not give the ids of the original tokenizer.
Result<Tokenizer> TokenizerFromMetadata(const gguf::Metadata& metadata);

// From tokenizer.json, tokenizer.model, or vocab.json with merges.txt. The same codes.
Result<Tokenizer> TokenizerFromCheckpoint(const std::string& folder,
                                          std::vector<std::string>& warnings);

// From a GGUF file or a checkpoint folder.
Result<Tokenizer> OpenTokenizer(const std::string& path, std::vector<std::string>& warnings);

}  // namespace sluice::runtime
