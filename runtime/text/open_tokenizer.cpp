#include "runtime/text/open_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "core/file.h"
#include "core/mapped_file.h"
#include "formats/gguf/reader.h"
#include "formats/tokenizer/pre_tokenizers.h"
#include "formats/tokenizer/sentencepiece.h"
#include "pipeline/vocabulary.h"
#include "runtime/text/bpe.h"
#include "runtime/text/end_tokens.h"
#include "runtime/text/sentencepiece_encoder.h"
#include "runtime/text/split_pattern.h"

namespace sluice::runtime {
namespace {

namespace fs = std::filesystem;
using tokenizer::TokenType;

constexpr std::uint64_t kMaxModelBytes = std::uint64_t{1} << 30;
constexpr std::string_view kLowLine = "\u2581";  // SentencePiece's mark for a space

// ---- Byte-level BPE -----------------------------------------------------------------------------

class ByteLevelEncoder : public SectionEncoder {
 public:
  ByteLevelEncoder(std::vector<SplitPattern> patterns, BytePairEncoder pairs)
      : patterns_(std::move(patterns)), pairs_(std::move(pairs)) {}

  Status Encode(std::string_view section, std::vector<TokenId>& ids) const override {
    std::vector<std::string_view> pieces{section};
    for (const SplitPattern& pattern : patterns_) {
      std::vector<std::string_view> finer;
      for (const std::string_view piece : pieces) SLUICE_TRY(pattern.Split(piece, finer));
      pieces = std::move(finer);
    }
    for (const std::string_view piece : pieces) SLUICE_TRY(pairs_.Encode(piece, ids));
    return Ok();
  }

 private:
  std::vector<SplitPattern> patterns_;
  BytePairEncoder pairs_;
};

Result<std::unique_ptr<SectionEncoder>> MakeByteLevel(std::string_view pre_tokenizer,
                                                      BytePairEncoder pairs) {
  const auto texts = tokenizer::SplitPatterns(pre_tokenizer);
  if (!texts) {
    return MakeError(ErrorCode::kUnsupported, "unsupported pre-tokenizer").Actual(pre_tokenizer);
  }
  std::vector<SplitPattern> patterns;
  for (const std::string& text : *texts) {
    SLUICE_ASSIGN(SplitPattern pattern, SplitPattern::Compile(text));
    patterns.push_back(std::move(pattern));
  }
  return std::unique_ptr<SectionEncoder>(
      std::make_unique<ByteLevelEncoder>(std::move(patterns), std::move(pairs)));
}

// ---- SentencePiece ------------------------------------------------------------------------------

class PieceEncoder : public SectionEncoder {
 public:
  explicit PieceEncoder(SentencePieceEncoder model) : model_(std::move(model)) {}
  Status Encode(std::string_view section, std::vector<TokenId>& ids) const override {
    return model_.Encode(section, ids);
  }

 private:
  SentencePieceEncoder model_;
};

// "<0x0A>" as the byte it names.
std::optional<char> NamedByte(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (text.size() != 6 || !text.starts_with("<0x") || !text.ends_with('>')) return std::nullopt;
  const std::size_t high = kDigits.find(text[3]);
  const std::size_t low = kDigits.find(text[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

std::string BytesOfPiece(const tokenizer::Piece& piece) {
  if (piece.type == TokenType::kControl || piece.type == TokenType::kUnknown) return piece.text;
  const auto byte = piece.type == TokenType::kByte ? NamedByte(piece.text) : std::nullopt;
  if (byte) return {*byte};
  std::string text = piece.text;
  for (std::size_t at = text.find(kLowLine); at != std::string::npos; at = text.find(kLowLine)) {
    text.replace(at, kLowLine.size(), " ");
  }
  return text;
}

// Only control tokens are matched before the text is encoded: SentencePiece itself finds the pieces
// that users have defined.
TokenizerParts PartsOfPieces(std::span<const tokenizer::Piece> pieces, SentencePieceEncoder model) {
  TokenizerParts parts;
  parts.encoder = std::make_unique<PieceEncoder>(std::move(model));
  for (TokenId id = 0; id < pieces.size(); ++id) {
    parts.bytes.Append(BytesOfPiece(pieces[id]));
    if (pieces[id].type == TokenType::kControl) parts.added.push_back(id);
  }
  return parts;
}

// ---- GGUF ---------------------------------------------------------------------------------------

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";

Error Corrupt(std::string_view what) { return MakeError(ErrorCode::kCorrupt, what); }

// An array of the key's, of the type and length that the tokens ask for; nullptr when absent.
Result<const gguf::Array*> FindArray(const gguf::Metadata& metadata, std::string_view key,
                                     gguf::ValueType type, std::size_t size) {
  const gguf::Value* value = metadata.Find(key);
  if (value == nullptr) return nullptr;
  const auto* array = std::get_if<gguf::Array>(value);
  if (array == nullptr || array->element_type() != type) {
    return Corrupt(fmt::format("{} is of the wrong type", key))
        .Expected(fmt::format("an array of {}", gguf::ValueTypeName(type)));
  }
  if (size != 0 && array->size() != size) {
    return Corrupt(fmt::format("{} does not fit the tokens", key))
        .Expected(fmt::format("{} entries", size))
        .Actual(fmt::format("{}", array->size()));
  }
  return array;
}

// "[PAD17]": rows without a token. Ollama's converter marks them as defined by the user.
bool IsPadding(std::string_view text) {
  return text.starts_with("[PAD") && text.ends_with(']') && text.size() > 5 &&
         text.substr(4, text.size() - 5).find_first_not_of("0123456789") == std::string_view::npos;
}

// Tokens, scores and types by id, without the padding at their end.
Result<std::vector<tokenizer::Piece>> ReadPieces(const gguf::Metadata& metadata) {
  SLUICE_ASSIGN(const gguf::Array* tokens,
                FindArray(metadata, kTokensKey, gguf::ValueType::kString, 0));
  if (tokens == nullptr || tokens->size() == 0) {
    return MakeError(ErrorCode::kMissing, "the file has no tokenizer").Expected(kTokensKey);
  }
  const std::size_t size = tokens->size();
  SLUICE_ASSIGN(const gguf::Array* types,
                FindArray(metadata, "tokenizer.ggml.token_type", gguf::ValueType::kI32, size));
  SLUICE_ASSIGN(const gguf::Array* scores,
                FindArray(metadata, "tokenizer.ggml.scores", gguf::ValueType::kF32, size));
  std::vector<tokenizer::Piece> pieces(size);
  for (std::size_t id = 0; id < size; ++id) {
    pieces[id].text = tokens->StringAt(id);
    if (scores != nullptr) pieces[id].score = scores->At<float>(id);
    const std::int32_t type = types == nullptr ? 1 : types->At<std::int32_t>(id);
    if (type < 1 || type > static_cast<std::int32_t>(TokenType::kByte)) {
      return Corrupt(fmt::format("token {} has an unknown type", id))
          .Expected("1 to 6")
          .Actual(fmt::format("{}", type));
    }
    pieces[id].type = static_cast<TokenType>(type);
  }
  while (!pieces.empty() && IsPadding(pieces.back().text) &&
         pieces.back().type != TokenType::kNormal) {
    pieces.pop_back();
  }
  return pieces;
}

Result<TokenizerParts> ByteLevelFromMetadata(const gguf::Metadata& metadata,
                                             std::span<const tokenizer::Piece> pieces) {
  const auto* name = metadata.Get<std::string>("tokenizer.ggml.pre");
  const auto pre = name == nullptr ? std::nullopt : tokenizer::FindPreTokenizer(*name);
  if (!pre) {
    return MakeError(ErrorCode::kUnsupported, "unknown pre-tokenizer")
        .Actual(name == nullptr ? "a file that does not name one" : *name);
  }
  SLUICE_ASSIGN(const gguf::Array* merges,
                FindArray(metadata, "tokenizer.ggml.merges", gguf::ValueType::kString, 0));
  if (merges == nullptr) {
    return MakeError(ErrorCode::kMissing, "the file has no merges")
        .Expected("tokenizer.ggml.merges");
  }
  TokenizerParts parts;
  gguf::Array tokens(gguf::ValueType::kString);
  std::vector<bool> matched_by_bytes;
  for (TokenId id = 0; id < pieces.size(); ++id) {
    const tokenizer::Piece& piece = pieces[id];
    const bool added = piece.type == TokenType::kControl || piece.type == TokenType::kUserDefined;
    tokens.Append(piece.text);
    matched_by_bytes.push_back(piece.type == TokenType::kNormal);
    parts.bytes.Append(added ? piece.text : BytesOfToken(piece.text));
    if (added) parts.added.push_back(id);
  }
  SLUICE_ASSIGN(BytePairEncoder pairs,
                BytePairEncoder::Make(tokens, matched_by_bytes, *merges, pre->ignore_merges));
  SLUICE_ASSIGN(parts.encoder, MakeByteLevel(pre->canonical, std::move(pairs)));
  return parts;
}

// ---- Checkpoints --------------------------------------------------------------------------------

Result<TokenizerParts> ByteLevelFromJson(const tokenizer::BpeVocabulary& bpe) {
  if (!bpe.normalizer.empty()) {
    return MakeError(ErrorCode::kUnsupported, "the tokenizer normalises text before it is cut");
  }
  TokenizerParts parts;
  std::vector<bool> matched_by_bytes(bpe.tokens.size(), true);
  for (const tokenizer::AddedToken& token : bpe.added) {
    if (!token.plain) {
      return MakeError(
                 ErrorCode::kUnsupported,
                 fmt::format("added token '{}' takes its surroundings into account", token.text))
          .Expected("single_word, lstrip and rstrip to be false");
    }
    parts.added.push_back(token.id);
    matched_by_bytes[token.id] = false;
  }
  for (const std::uint32_t gap : bpe.gaps) matched_by_bytes[gap] = false;
  for (TokenId id = 0; id < bpe.tokens.size(); ++id) {
    const std::string_view token = bpe.tokens.StringAt(id);
    parts.bytes.Append(matched_by_bytes[id] ? BytesOfToken(token) : std::string(token));
  }
  SLUICE_ASSIGN(BytePairEncoder pairs,
                BytePairEncoder::Make(bpe.tokens, matched_by_bytes, bpe.merges, bpe.ignore_merges));
  SLUICE_ASSIGN(parts.encoder, MakeByteLevel(bpe.pre_tokenizer, std::move(pairs)));
  return parts;
}

// A SentencePiece model that was saved as tokenizer.json, by way of the pieces and scores that a
// GGUF file of it gets.
Result<TokenizerParts> PiecesFromJson(const TokenizerFiles& files) {
  SLUICE_ASSIGN(const TokenTable table,
                BuildTokenTable(files, arch::Dialect::kLlamaCpp, {}, "", files.bpe->tokens.size()));
  std::vector<tokenizer::Piece> pieces;
  for (std::size_t id = 0; id < table.tokens.size(); ++id) {
    pieces.push_back({std::string(table.tokens.StringAt(id)), table.scores[id],
                      static_cast<TokenType>(table.types[id])});
  }
  SLUICE_ASSIGN(SentencePieceEncoder model, SentencePieceEncoder::FromPieces(pieces, true));
  return PartsOfPieces(pieces, std::move(model));
}

// Tokens beside a SentencePiece model: added_tokens.json, by id. They follow its pieces.
Status AddTokensBesideModel(const TokenizerFiles& files, TokenizerParts& parts) {
  std::map<std::uint64_t, std::string_view> texts;
  const auto list = files.added_tokens ? json::AsObject(files.added_tokens->root()) : std::nullopt;
  if (!list) return Ok();
  for (const auto [text, value] : *list) {
    const auto id = json::AsInteger(value);
    if (id && *id >= 0) texts.emplace(*id, text);
  }
  for (const auto& [id, text] : texts) {
    if (id < files.pieces.size()) continue;
    if (id - files.pieces.size() > tokenizer::kMaxGapIds) {
      return Corrupt("added token ids are not contiguous")
          .Expected(fmt::format("an added token with id {}", parts.bytes.size()))
          .Actual(fmt::format("'{}' with id {}", text, id));
    }
    while (parts.bytes.size() < id) parts.bytes.Append("");
    parts.added.push_back(static_cast<TokenId>(id));
    parts.bytes.Append(text);
  }
  return Ok();
}

Result<TokenizerParts> PiecesFromModel(const std::string& path, const TokenizerFiles& files) {
  SLUICE_ASSIGN(const std::string bytes, ReadWholeFile(path, kMaxModelBytes));
  SLUICE_ASSIGN(SentencePieceEncoder model, SentencePieceEncoder::FromModel(bytes));
  TokenizerParts parts = PartsOfPieces(files.pieces, std::move(model));
  SLUICE_TRY(AddTokensBesideModel(files, parts));
  return parts;
}

Result<TokenizerParts> PartsOfFiles(const std::string& folder, const TokenizerFiles& files) {
  if (!files.pieces.empty()) {
    return PiecesFromModel((fs::path(folder) / "tokenizer.model").string(), files);
  }
  return files.bpe->byte_fallback ? PiecesFromJson(files) : ByteLevelFromJson(*files.bpe);
}

std::optional<TokenId> FindByBytes(const TokenizerParts& parts, std::string_view text) {
  for (TokenId id = 0; id < parts.bytes.size(); ++id) {
    if (parts.bytes.StringAt(id) == text) return id;
  }
  return std::nullopt;
}

}  // namespace

Result<Tokenizer> TokenizerFromMetadata(const gguf::Metadata& metadata) {
  SLUICE_ASSIGN(const std::vector<tokenizer::Piece> pieces, ReadPieces(metadata));
  const auto* model = metadata.Get<std::string>("tokenizer.ggml.model");
  TokenizerParts parts;
  if (model != nullptr && *model == "gpt2") {
    SLUICE_ASSIGN(parts, ByteLevelFromMetadata(metadata, pieces));
  } else if (model != nullptr && *model == "llama") {
    const bool* prefix = metadata.Get<bool>("tokenizer.ggml.add_space_prefix");
    SLUICE_ASSIGN(SentencePieceEncoder encoder,
                  SentencePieceEncoder::FromPieces(pieces, prefix == nullptr || *prefix));
    parts = PartsOfPieces(pieces, std::move(encoder));
  } else {
    return MakeError(ErrorCode::kUnsupported, "unsupported tokenizer model")
        .Expected("gpt2 or llama")
        .Actual(model == nullptr ? "none" : *model);
  }
  parts.end_tokens = EndTokensOf(metadata);
  return Tokenizer(std::move(parts));
}

Result<Tokenizer> TokenizerFromCheckpoint(const std::string& folder,
                                          std::vector<std::string>& warnings) {
  SLUICE_ASSIGN(const TokenizerFiles files, LoadTokenizer(folder, warnings));
  Result<TokenizerParts> parts = PartsOfFiles(folder, files);
  if (!parts) return std::move(parts).error().In(folder);
  SLUICE_ASSIGN(parts->end_tokens, EndTokensOf(folder, [&](std::string_view text) {
                  return FindByBytes(*parts, text);
                }));
  return Tokenizer(*std::move(parts));
}

Result<Tokenizer> OpenTokenizer(const std::string& path, std::vector<std::string>& warnings) {
  std::error_code error;
  if (fs::is_directory(path, error)) return TokenizerFromCheckpoint(path, warnings);
  SLUICE_ASSIGN(const MappedFile file, MappedFile::Open(path));
  SLUICE_ASSIGN(const gguf::Head head, gguf::ReadHead(file));
  Result<Tokenizer> tokenizer = TokenizerFromMetadata(head.metadata);
  if (!tokenizer) return std::move(tokenizer).error().In(path);
  return tokenizer;
}

}  // namespace sluice::runtime
