// Pre-tokenizers: how text is cut before byte-pair encoding. GGUF files name them, tokenizer.json
// defines them; this table leads from the definition to the name and back.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json/json.h"

namespace sluice::tokenizer {

// A definition as one line of text that leaves out what has no influence on the split: the steps in
// order with their parameters, separated by " | ". "none" for a tokenizer without one.
[[nodiscard]] std::string CanonicalPreTokenizer(std::optional<json::Element> definition);

// GPT-2's: the byte-level step with its own built-in pattern.
inline constexpr std::string_view kGpt2Definition = "ByteLevel(prefix_space=0,regex=1)";

// The name that llama.cpp and Ollama give a canonical definition; nullopt for an unknown one.
[[nodiscard]] std::optional<std::string_view> RecognisePreTokenizer(std::string_view canonical);

// Every name that llama.cpp 0c1e570 accepts in a GGUF file. Ollama's converter writes no other.
[[nodiscard]] std::span<const std::string_view> PreTokenizerNames();

// What a GGUF file means by the name of a pre-tokenizer.
struct NamedPreTokenizer {
  std::string_view canonical;
  bool ignore_merges = false;  // as in BpeVocabulary; a GGUF file does not say it otherwise
};
// By one of the names above or another name for the same definition. nullopt for an unknown one.
[[nodiscard]] std::optional<NamedPreTokenizer> FindPreTokenizer(std::string_view name);

// The regular expressions of a canonical definition, in order: each cuts the pieces that the one
// before left into its matches and what stands between them. nullopt for a definition with steps
// that are not such a cut, or that put a space in front of the text.
[[nodiscard]] std::optional<std::vector<std::string>> SplitPatterns(std::string_view canonical);

}  // namespace sluice::tokenizer
