// Which files of a folder hold its tokenizer, and what they say together.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <limits>
#include <map>
#include <string_view>

#include "core/path.h"
#include "formats/lfs_pointer.h"
#include "formats/tokenizer/pre_tokenizers.h"
#include "pipeline/vocabulary.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using tokenizer::AddedToken;

constexpr std::uint64_t kMaxJsonBytes = std::uint64_t{256} << 20;

Result<std::optional<json::Document>> LoadObject(const fs::path& path) {
  SLUICE_ASSIGN(std::optional<json::Document> document,
                json::Document::LoadIfPresent(path.string(), kMaxJsonBytes));
  if (!document || json::AsObject(document->root())) return document;
  return MakeError(ErrorCode::kCorrupt, "the file holds no JSON object")
      .In(path.string())
      .Expected("an object")
      .Actual(json::TypeName(document->root()));
}

// The tokens of tokenizer_config.json's added_tokens_decoder, by text.
std::map<std::string_view, AddedToken> DecoderTokens(const TokenizerFiles& files) {
  std::map<std::string_view, AddedToken> tokens;
  const auto entries =
      files.config ? json::AsObject(json::Find(files.config->root(), "added_tokens_decoder"))
                   : std::nullopt;
  if (!entries) return tokens;
  for (const auto [key, token] : *entries) {
    const auto text = json::AsString(json::Find(token, "content"));
    std::uint32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (!text || error != std::errc() || end != key.data() + key.size()) continue;
    const auto flag = [&, entry = token](std::string_view name) {
      return json::AsBool(json::Find(entry, name)).value_or(false);
    };
    const bool plain = !flag("single_word") && !flag("lstrip") && !flag("rstrip");
    tokens.emplace(*text, AddedToken{id, std::string(*text), flag("special"), plain});
  }
  return tokens;
}

// What stands beside vocab.json: tokenizer_config.json has tokens with ids and flags,
// added_tokens.json (which wins) ids alone.
std::vector<AddedToken> AddedBesideVocab(const TokenizerFiles& files) {
  std::map<std::string_view, AddedToken> tokens = DecoderTokens(files);
  const auto list = files.added_tokens ? json::AsObject(files.added_tokens->root()) : std::nullopt;
  if (list) {
    for (const auto [text, id] : *list) {
      std::uint64_t number = 0;
      if (id.get(number) != simdjson::SUCCESS ||
          number > std::numeric_limits<std::uint32_t>::max()) {
        continue;
      }
      AddedToken& token = tokens[text];
      token.id = static_cast<std::uint32_t>(number);
      token.text = text;
    }
  }
  std::vector<AddedToken> added;
  for (auto& [text, token] : tokens) added.push_back(std::move(token));
  return added;
}

// vocab.json and merges.txt do not say how text is cut: the class that reads them does. These are
// the classes of the transformers library whose cut is known.
struct ClassCut {
  std::string_view name;
  std::string_view pre;
};
constexpr std::array kClassCuts{
    ClassCut{"GPT2Tokenizer", "gpt-2"},
    ClassCut{"CodeGenTokenizer", "gpt-2"},
    ClassCut{"Qwen2Tokenizer", "qwen2"},
};

// The canonical definition of the cut; for an unknown class a text that names it, and that no
// definition equals.
std::string DefinitionOfClass(const TokenizerFiles& files) {
  const auto element =
      files.config ? json::Find(files.config->root(), "tokenizer_class") : std::nullopt;
  if (!element) return std::string(tokenizer::kGpt2Definition);
  const std::string_view full = json::AsString(element).value_or("");
  std::string_view name = full;
  if (name.ends_with("Fast")) name.remove_suffix(4);
  for (const ClassCut& known : kClassCuts) {
    if (known.name == name) {
      return std::string(tokenizer::FindPreTokenizer(known.pre)->canonical);
    }
  }
  return fmt::format("that of tokenizer_class '{}' in tokenizer_config.json", full);
}

}  // namespace

Result<TokenizerFiles> LoadTokenizer(const std::string& folder,
                                     std::vector<std::string>& warnings) {
  const fs::path root(folder);
  const auto path = [&](std::string_view name) { return (root / name).string(); };
  const auto exists = [&](std::string_view name) { return IsPresent(path(name)); };
  TokenizerFiles files;
  SLUICE_ASSIGN(files.config, LoadObject(root / "tokenizer_config.json"));
  SLUICE_ASSIGN(files.added_tokens, LoadObject(root / "added_tokens.json"));
  SLUICE_ASSIGN(files.special_map, LoadObject(root / "special_tokens_map.json"));
  if (exists("tokenizer.json")) {
    Result<tokenizer::BpeVocabulary> bpe = tokenizer::ReadTokenizerJson(path("tokenizer.json"));
    // Beside a SentencePiece model it may be of a type that is no BPE; the model then says it all.
    if (bpe) {
      files.bpe = *std::move(bpe);
    } else if (!exists("tokenizer.model") || bpe.error().code != ErrorCode::kUnsupported) {
      return std::move(bpe).error();
    }
  }
  if (exists("tokenizer.model")) {
    Result<std::vector<tokenizer::Piece>> pieces =
        tokenizer::ReadSentencePiece(path("tokenizer.model"));
    if (pieces) {
      files.pieces = *std::move(pieces);
    } else if (files.bpe && !IsLfsPointerError(pieces.error())) {
      warnings.emplace_back("tokenizer.model is not SentencePiece: using tokenizer.json");
    } else {
      return std::move(pieces).error();
    }
    files.tokens_path = path(files.pieces.empty() ? "tokenizer.json" : "tokenizer.model");
    return files;
  }
  files.tokens_path = path(files.bpe ? "tokenizer.json" : "vocab.json");
  if (files.bpe) return files;
  if (exists("vocab.json") && exists("merges.txt")) {
    SLUICE_ASSIGN(files.bpe, tokenizer::ReadVocabAndMerges(path("vocab.json"), path("merges.txt"),
                                                           AddedBesideVocab(files)));
    files.bpe->pre_tokenizer = DefinitionOfClass(files);
    return files;
  }
  return MakeError(ErrorCode::kMissing, "no tokenizer")
      .In(folder)
      .Expected("tokenizer.json, tokenizer.model, or vocab.json with merges.txt");
}

}  // namespace sluice
