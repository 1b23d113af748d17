// tokenizer.json of the Hugging Face tokenizers library, and vocab.json with merges.txt: the BPE
// vocabulary of a checkpoint as typed records.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"

namespace sluice::tokenizer {

struct AddedToken {
  std::uint32_t id = 0;
  std::string text;
  bool special = false;
  // Matches wherever its text stands; false for one that wants to be a word of its own or takes the
  // white space beside it along.
  bool plain = true;
};

// One element of a TemplateProcessing template: a special token, or a sequence ("A" or "B").
struct TemplateItem {
  std::string special;
  std::string sequence;
};

// One step of the post-processor; the templates are empty for other types.
struct PostStep {
  std::string type;  // "ByteLevel", "TemplateProcessing", ...
  std::vector<TemplateItem> single;
  std::vector<TemplateItem> pair;
};

// Ids may leave out this many numbers; a file that leaves out more is taken for a broken one.
inline constexpr std::uint64_t kMaxGapIds = std::uint64_t{1} << 20;

struct BpeVocabulary {
  gguf::Array tokens{gguf::ValueType::kString};  // by id, added tokens included
  std::vector<std::uint32_t> gaps;               // ids between them without a token: "" above
  gguf::Array merges{gguf::ValueType::kString};  // "left right", a space inside a part as U+0120
  std::vector<AddedToken> added;                 // by id
  bool byte_fallback = false;                    // unknown characters become tokens like <0x0A>
  bool ignore_merges = false;  // a piece that is a token is not merged from its bytes
  std::string pre_tokenizer;   // canonical text of the definition, see pre_tokenizers.h
  std::string normalizer;      // JSON of what changes text before it is cut; empty: nothing does
  std::vector<PostStep> post_steps;

  [[nodiscard]] const AddedToken* FindAdded(std::string_view text) const;
};

// A part of a merge as it stands in `merges`, whose only space is the separator.
[[nodiscard]] std::string EncodeSpaces(std::string_view part);

// Reads tokenizer.json. kCorrupt: not JSON, a section missing or of another type, two tokens with
// one id, more than kMaxGapIds gaps, malformed merges. kUnsupported: a model other than BPE.
Result<BpeVocabulary> ReadTokenizerJson(const std::string& path);

// Reads vocab.json and merges.txt, the files of older byte-level BPE tokenizers; `added` are the
// tokens that other files add to them.
Result<BpeVocabulary> ReadVocabAndMerges(const std::string& vocab_path,
                                         const std::string& merges_path,
                                         std::vector<AddedToken> added = {});

}  // namespace sluice::tokenizer
