#include "pipeline/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "formats/tokenizer/pre_tokenizers.h"

namespace sluice {
namespace {

using tokenizer::TokenType;

constexpr std::string_view kLowLine = "\u2581";  // SentencePiece's mark for a space

// Scores of entries that are no pieces of the model, as the two converters write them.
constexpr float kAddedScore = -1000.0F;
constexpr float kLlamaCppPaddingScore = -10000.0F;
constexpr float kOllamaPaddingScore = -1.0F;

// Definitions of tokenizer.json's normalizer.
constexpr std::string_view kNoNormalizers = R"({"type":"Sequence","normalizers":[]})";
constexpr std::array<std::string_view, 2> kSpaceNormalizers{
    R"({"type":"Replace","pattern":{"String":" "},"content":"▁"})",
    R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]})",
};

bool IsLlamaCpp(arch::Dialect dialect) { return dialect == arch::Dialect::kLlamaCpp; }

// Texts that llama.cpp's converter takes for control tokens although they are not marked so.
bool LooksSpecial(std::string_view text) {
  const auto wrapped = [&](std::string_view open, std::string_view close) {
    return text.size() >= open.size() + close.size() && text.starts_with(open) &&
           text.ends_with(close);
  };
  return text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]" ||
         wrapped("<|", "|>") || wrapped("<\uFF5C", "\uFF5C>") || wrapped("<unused", ">");
}

std::string WithSpaces(std::string_view text) {
  std::string replaced(text);
  for (std::size_t at = replaced.find(kLowLine); at != std::string::npos;
       at = replaced.find(kLowLine, at + 1)) {
    replaced.replace(at, kLowLine.size(), " ");
  }
  return replaced;
}

struct Entry {
  std::string text;
  float score = 0;
  TokenType type = TokenType::kNormal;
};

Entry AddedEntry(std::string_view text, bool special, arch::Dialect dialect) {
  if (special || (IsLlamaCpp(dialect) && LooksSpecial(text))) {
    return {std::string(text), kAddedScore, TokenType::kControl};
  }
  return {IsLlamaCpp(dialect) ? WithSpaces(text) : std::string(text), kAddedScore,
          TokenType::kUserDefined};
}

void Append(TokenTable& table, const Entry& entry) {
  table.tokens.Append(entry.text);
  table.scores.push_back(entry.score);
  table.types.push_back(static_cast<std::int32_t>(entry.type));
}

// What llama.cpp's converter has for an id without a token.
Entry UnusedEntry(std::size_t id) {
  return {fmt::format("[PAD{}]", id), kLlamaCppPaddingScore, TokenType::kUnused};
}

void Pad(TokenTable& table, arch::Dialect dialect, std::uint64_t vocab_size) {
  for (std::uint64_t i = 0; table.tokens.size() < vocab_size; ++i) {
    if (IsLlamaCpp(dialect)) {
      Append(table, UnusedEntry(table.tokens.size()));
    } else {
      Append(table, {fmt::format("[PAD{}]", i), kOllamaPaddingScore, TokenType::kUserDefined});
    }
  }
}

Error TooManyTokens(std::uint64_t vocab_size, std::string_view actual) {
  return MakeError(ErrorCode::kMismatch, "the tokenizer has more tokens than the model")
      .Expected(fmt::format("at most vocab_size = {}", vocab_size))
      .Actual(actual);
}

// Ollama's converter would shift the tokens behind a gap.
Status CheckGaps(const tokenizer::BpeVocabulary& bpe, arch::Dialect dialect) {
  if (bpe.gaps.empty() || IsLlamaCpp(dialect)) return Ok();
  return MakeError(ErrorCode::kCorrupt, "token ids are not contiguous")
      .Expected(fmt::format("a token with id {}", bpe.gaps.front()))
      .Actual("none")
      .Advice("--dialect llama.cpp fills such gaps");
}

// Loaders need the parts of a merge and what it gives to be tokens.
Status CheckMerges(const tokenizer::BpeVocabulary& bpe) {
  std::unordered_set<std::string> tokens;  // as merges write them: without spaces
  tokens.reserve(bpe.tokens.size());
  for (std::size_t id = 0; id < bpe.tokens.size(); ++id) {
    tokens.insert(tokenizer::EncodeSpaces(bpe.tokens.StringAt(id)));
  }
  for (std::size_t rank = 0; rank < bpe.merges.size(); ++rank) {
    const std::string_view merge = bpe.merges.StringAt(rank);
    const std::string left(merge.substr(0, merge.find(' ')));
    const std::string right(merge.substr(left.size() + 1));
    for (const std::string& text : {left, right, left + right}) {
      if (tokens.contains(text)) continue;
      return MakeError(ErrorCode::kCorrupt, fmt::format("merge {} is not of tokens", rank))
          .Expected(fmt::format("'{}' in the vocabulary", text))
          .Actual(merge);
    }
  }
  return Ok();
}

// Normalizers that need no warning: those that change no text, that of the published Qwen2 files,
// which readers of "qwen2" are made for, and those of SentencePiece, whose readers mark spaces
// themselves.
bool IsUsualNormalizer(const tokenizer::BpeVocabulary& bpe) {
  const std::string& normalizer = bpe.normalizer;
  if (normalizer.empty() || normalizer == kNoNormalizers) return true;
  if (bpe.byte_fallback) return std::ranges::count(kSpaceNormalizers, normalizer) > 0;
  return normalizer == R"({"type":"NFC"})" &&
         tokenizer::RecognisePreTokenizer(bpe.pre_tokenizer) == "qwen2";
}

// What the file cannot say as the tokenizer does.
void WarnOfLosses(const tokenizer::BpeVocabulary& bpe, arch::Dialect dialect,
                  std::vector<std::string>& warnings) {
  if (!bpe.gaps.empty() && IsLlamaCpp(dialect)) {
    warnings.push_back(fmt::format(
        "the tokenizer has no tokens for {} ids, the first of them {}: unused tokens [PADn] are "
        "written for them",
        bpe.gaps.size(), bpe.gaps.front()));
  }
  if (!IsUsualNormalizer(bpe)) {
    warnings.push_back(fmt::format(
        "readers of GGUF files do not apply the normalizer of the tokenizer: {}", bpe.normalizer));
  }
}

Result<std::string> PreTokenizerOf(const tokenizer::BpeVocabulary& bpe,
                                   const arch::TokenizerFacts& facts, const std::string& pre) {
  if (!pre.empty()) return pre;
  const auto name = tokenizer::RecognisePreTokenizer(bpe.pre_tokenizer);
  if (!name) {
    return MakeError(ErrorCode::kUnsupported, "unknown pre-tokenizer")
        .Actual(bpe.pre_tokenizer)
        .Advice("name it with --pre NAME; a wrong name makes a model that reads text wrongly");
  }
  return std::string(*name == facts.published_pre ? facts.family_pre : *name);
}

// Byte-level BPE: token types from the added tokens.
TokenTable ByteLevelTable(const tokenizer::BpeVocabulary& bpe, arch::Dialect dialect) {
  TokenTable table;
  table.model = "gpt2";
  table.merges = bpe.merges;
  auto added = bpe.added.begin();
  auto gap = bpe.gaps.begin();
  for (std::uint32_t id = 0; id < bpe.tokens.size(); ++id) {
    if (gap != bpe.gaps.end() && *gap == id) {
      Append(table, UnusedEntry(id));
      ++gap;
      continue;
    }
    Entry entry{std::string(bpe.tokens.StringAt(id)), static_cast<float>(id), TokenType::kNormal};
    while (added != bpe.added.end() && added->id < id) ++added;
    if (added != bpe.added.end() && added->id == id) {
      entry = AddedEntry(added->text, added->special, dialect);
      entry.score = static_cast<float>(id);
    }
    Append(table, entry);
  }
  return table;
}

bool IsByteToken(std::string_view text) {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
}

// A SentencePiece BPE model that was saved as tokenizer.json: its merges in order are its pieces by
// falling score.
TokenTable ByteFallbackTable(const tokenizer::BpeVocabulary& bpe, arch::Dialect dialect) {
  std::unordered_map<std::string, float> scores;
  for (std::size_t rank = 0; rank < bpe.merges.size(); ++rank) {
    std::string merged(bpe.merges.StringAt(rank));
    merged.erase(merged.find(' '), 1);
    scores.emplace(std::move(merged), -static_cast<float>(rank));
  }
  TokenTable table = ByteLevelTable(bpe, dialect);
  table.model = "llama";
  table.pre = "default";
  table.merges = gguf::Array(gguf::ValueType::kString);
  for (std::size_t id = 0; id < table.tokens.size(); ++id) {
    if (table.types[id] == static_cast<std::int32_t>(TokenType::kUnused)) continue;
    const std::string text(table.tokens.StringAt(id));
    const auto found = scores.find(text);
    table.scores[id] = found == scores.end() ? 0.0F : found->second;
    if (IsByteToken(text)) table.types[id] = static_cast<std::int32_t>(TokenType::kByte);
    if (text == "<unk>") table.types[id] = static_cast<std::int32_t>(TokenType::kUnknown);
  }
  return table;
}

// Added tokens of added_tokens.json and of tokenizer_config.json's added_tokens_decoder, by id.
std::vector<std::pair<std::uint64_t, Entry>> ExtraEntries(const TokenizerFiles& files,
                                                          arch::Dialect dialect) {
  std::vector<std::pair<std::uint64_t, Entry>> extra;
  if (files.added_tokens) {
    if (const auto object = json::AsObject(files.added_tokens->root())) {
      for (const auto [text, id] : *object) {
        std::uint64_t number = 0;
        if (id.get(number) != simdjson::SUCCESS) continue;
        extra.emplace_back(number, Entry{std::string(text), kAddedScore, TokenType::kUserDefined});
      }
    }
  }
  const auto decoder =
      files.config && IsLlamaCpp(dialect)
          ? json::AsObject(json::Find(files.config->root(), "added_tokens_decoder"))
          : std::nullopt;
  if (decoder) {
    for (const auto [id, token] : *decoder) {
      const auto text = json::AsString(json::Find(token, "content"));
      if (!text || id.empty() || id.find_first_not_of("0123456789") != std::string_view::npos) {
        continue;
      }
      const bool special = json::AsBool(json::Find(token, "special")).value_or(false);
      extra.emplace_back(std::stoull(std::string(id.substr(0, 18))),
                         AddedEntry(*text, special, dialect));
    }
  }
  return extra;
}

// Texts of special_tokens_map.json that make a SentencePiece piece a control token in Ollama.
std::vector<std::string> ControlTexts(const TokenizerFiles& files) {
  std::vector<std::string> texts;
  if (!files.special_map) return texts;
  const auto list =
      json::AsArray(json::Find(files.special_map->root(), "additional_special_tokens"));
  if (!list) return texts;
  for (const json::Element item : *list) {
    auto text = json::AsString(item);
    if (!text) text = json::AsString(json::Find(item, "content"));
    if (text) texts.emplace_back(*text);
  }
  return texts;
}

// Puts the added tokens behind the pieces, or in their place.
Status PlaceExtraEntries(const TokenizerFiles& files, arch::Dialect dialect,
                         std::uint64_t vocab_size, std::vector<Entry>& entries) {
  auto extra = ExtraEntries(files, dialect);
  std::stable_sort(extra.begin(), extra.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [id, entry] : extra) {
    if (IsLlamaCpp(dialect)) {
      if (id >= vocab_size && id >= entries.size()) {
        return TooManyTokens(vocab_size, fmt::format("'{}' with id {}", entry.text, id));
      }
      while (entries.size() <= id) entries.push_back(UnusedEntry(entries.size()));
      entries[id] = std::move(entry);
    } else if (id > entries.size()) {
      return MakeError(ErrorCode::kCorrupt, "added token ids are not contiguous")
          .Expected(fmt::format("an added token with id {}", entries.size()))
          .Actual(fmt::format("'{}' with id {}", entry.text, id))
          .Advice("--dialect llama.cpp fills such gaps");
    } else if (id == entries.size()) {
      entries.push_back(std::move(entry));
    }
  }
  return Ok();
}

Result<TokenTable> SentencePieceTable(const TokenizerFiles& files, arch::Dialect dialect,
                                      std::uint64_t vocab_size) {
  std::vector<Entry> entries;
  entries.reserve(files.pieces.size());
  for (const tokenizer::Piece& piece : files.pieces) {
    entries.push_back({piece.text, piece.score, piece.type});
  }
  if (!IsLlamaCpp(dialect)) {
    for (const std::string& text : ControlTexts(files)) {
      for (Entry& entry : entries) {
        if (entry.text == text) entry.type = TokenType::kControl;
      }
    }
  }
  SLUICE_TRY(PlaceExtraEntries(files, dialect, vocab_size, entries));
  TokenTable table;
  table.model = "llama";
  table.pre = "default";
  for (const Entry& entry : entries) Append(table, entry);
  if (!IsLlamaCpp(dialect) && files.bpe) table.merges = files.bpe->merges;
  return table;
}

template <typename T>
gguf::Array ArrayOf(const std::vector<T>& values) {
  return gguf::Array::Of(std::span<const T>(values));
}

}  // namespace

Result<TokenTable> BuildTokenTable(const TokenizerFiles& files, arch::Dialect dialect,
                                   const arch::TokenizerFacts& facts, const std::string& pre,
                                   std::uint64_t vocab_size) {
  TokenTable table;
  if (!files.pieces.empty()) {
    SLUICE_ASSIGN(table, SentencePieceTable(files, dialect, vocab_size));
  } else if (files.bpe->byte_fallback) {
    SLUICE_TRY(CheckGaps(*files.bpe, dialect));
    table = ByteFallbackTable(*files.bpe, dialect);
  } else {
    SLUICE_TRY(CheckGaps(*files.bpe, dialect));
    SLUICE_ASSIGN(const std::string name, PreTokenizerOf(*files.bpe, facts, pre));
    table = ByteLevelTable(*files.bpe, dialect);
    table.pre = name;
    if (table.merges.size() == 0) {
      return MakeError(ErrorCode::kCorrupt, "the BPE tokenizer has no merges");
    }
  }
  if (files.pieces.empty()) SLUICE_TRY(CheckMerges(*files.bpe));
  if (!pre.empty()) table.pre = pre;
  if (table.tokens.size() > vocab_size && IsLlamaCpp(dialect)) {
    return TooManyTokens(vocab_size, std::to_string(table.tokens.size()));
  }
  Pad(table, dialect, vocab_size);
  if (table.model == "gpt2" && IsLlamaCpp(dialect)) table.scores.clear();
  return table;
}

Status AddTokenizer(const std::string& folder, const TokenizerFiles& files,
                    const ConfigFiles& config, arch::Dialect dialect,
                    const arch::TokenizerFacts& facts, const VocabularyOptions& options,
                    std::uint64_t vocab_size, gguf::Metadata& metadata,
                    std::vector<std::string>& warnings) {
  Result<TokenTable> table = BuildTokenTable(files, dialect, facts, options.pre, vocab_size);
  if (!table) return std::move(table).error().In(files.tokens_path);
  if (facts.writes_space_prefix && files.config) {
    const auto prefix = json::AsBool(json::Find(files.config->root(), "add_prefix_space"));
    if (prefix) metadata.Set("tokenizer.ggml.add_space_prefix", *prefix);
  }
  metadata.Set("tokenizer.ggml.model", table->model);
  metadata.Set("tokenizer.ggml.pre", table->pre);
  metadata.Set("tokenizer.ggml.tokens", std::move(table->tokens));
  if (!table->scores.empty()) metadata.Set("tokenizer.ggml.scores", ArrayOf(table->scores));
  metadata.Set("tokenizer.ggml.token_type", ArrayOf(table->types));
  if (table->merges.size() > 0) metadata.Set("tokenizer.ggml.merges", std::move(table->merges));
  AddSpecialTokens(files, config, dialect, facts, metadata, warnings);
  if (files.pieces.empty()) WarnOfLosses(*files.bpe, dialect, warnings);
  return AddChatTemplates(folder, files, dialect, options.chat_template_file, metadata, warnings);
}

}  // namespace sluice
