#include "formats/tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "core/file.h"
#include "formats/json/json.h"
#include "formats/lfs_pointer.h"
#include "formats/tokenizer/pre_tokenizers.h"

namespace sluice::tokenizer {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 30;
constexpr std::string_view kSpaceInMerge = "\u0120";

// (id, text); the texts point into a document.
using IdText = std::pair<std::uint64_t, std::string_view>;

Error Corrupt(std::string_view what) { return MakeError(ErrorCode::kCorrupt, what); }

Result<std::uint64_t> ReadId(json::Element value, std::string_view token) {
  std::uint64_t id = 0;
  if (value.get(id) == simdjson::SUCCESS && id <= std::numeric_limits<std::uint32_t>::max()) {
    return id;
  }
  return Corrupt(fmt::format("token '{}' has no usable id", token))
      .Expected("an integer from 0 to 2^32 - 1")
      .Actual(simdjson::minify(value));
}

Result<std::vector<IdText>> ReadVocab(json::Element vocab) {
  const auto object = json::AsObject(vocab);
  if (!object) return Corrupt("the vocabulary is no object").Actual(json::TypeName(vocab));
  std::vector<IdText> tokens;
  if (object->size() == 0) return Corrupt("the vocabulary is empty");
  tokens.reserve(object->size());
  for (const auto [text, value] : *object) {
    SLUICE_ASSIGN(const std::uint64_t id, ReadId(value, text));
    tokens.emplace_back(id, text);
  }
  return tokens;
}

Result<std::vector<AddedToken>> ReadAdded(json::Element root) {
  std::vector<AddedToken> added;
  const auto element = json::Find(root, "added_tokens");
  if (!element) return added;
  const auto list = json::AsArray(*element);
  if (!list) return Corrupt("added_tokens is no list").Actual(json::TypeName(*element));
  for (const json::Element item : *list) {
    const auto text = json::AsString(json::Find(item, "content"));
    const auto id = json::Find(item, "id");
    if (!text || !id) return Corrupt("an added token lacks content or id");
    SLUICE_ASSIGN(const std::uint64_t number, ReadId(*id, *text));
    const auto flag = [&](std::string_view key) {
      return json::AsBool(json::Find(item, key)).value_or(false);
    };
    const bool plain = !flag("single_word") && !flag("lstrip") && !flag("rstrip");
    added.push_back(
        {static_cast<std::uint32_t>(number), std::string(*text), flag("special"), plain});
  }
  return added;
}

// Loaders look tokens up by their text.
Status CheckTextsAreUnique(const std::vector<IdText>& tokens) {
  std::unordered_map<std::string_view, std::size_t> ids;
  ids.reserve(tokens.size());
  for (const auto& [id, text] : tokens) {
    const auto [first, is_new] = ids.emplace(text, id);
    if (is_new) continue;
    return Corrupt("two tokens have the same text")
        .Actual(fmt::format("'{}' with id {} and with id {}", text, first->second, id));
  }
  return Ok();
}

// Puts vocabulary and added tokens into one list by id. A token may stand in both.
Status OrderById(std::vector<IdText> tokens, BpeVocabulary& vocabulary) {
  std::sort(vocabulary.added.begin(), vocabulary.added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (const AddedToken& token : vocabulary.added) tokens.emplace_back(token.id, token.text);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  gguf::Array& ordered = vocabulary.tokens;
  for (const auto& [id, text] : tokens) {
    const std::uint64_t next = ordered.size();
    const bool twice = id < next;
    if (twice || id - next > kMaxGapIds - vocabulary.gaps.size()) {
      return Corrupt(twice ? "two tokens share an id" : "token ids are not contiguous")
          .Expected(fmt::format("a token with id {}", next))
          .Actual(fmt::format("'{}' with id {}", text, id));
    }
    for (std::uint64_t gap = next; gap < id; ++gap) {
      ordered.Append("");
      vocabulary.gaps.push_back(static_cast<std::uint32_t>(gap));
    }
    ordered.Append(text);
  }
  return CheckTextsAreUnique(tokens);
}

// Readers of the GGUF file cut a merge at its one space.
bool IsMerge(std::string_view text) {
  const std::size_t space = text.find(' ');
  return space != 0 && space != text.npos && space + 1 < text.size() &&
         text.find(' ', space + 1) == text.npos;
}

// The two parts of a merge that is a list; anything else gives fewer or more.
std::vector<std::string_view> PartsOf(json::Element item) {
  std::vector<std::string_view> parts;
  const auto list = json::AsArray(item);
  if (!list) return parts;
  for (const json::Element part : *list) {
    const auto text = json::AsString(part);
    if (!text || text->empty()) return {};
    parts.push_back(*text);
  }
  return parts;
}

Result<gguf::Array> ReadMerges(json::Element model) {
  gguf::Array merges(gguf::ValueType::kString);
  const auto list = json::AsArray(json::Find(model, "merges"));
  if (!list) return merges;
  for (const json::Element item : *list) {
    if (const auto text = json::AsString(item)) {
      if (!IsMerge(*text)) {
        return Corrupt("a merge is no pair of tokens with one space between them")
            .Actual(simdjson::minify(item));
      }
      merges.Append(*text);
      continue;
    }
    const std::vector<std::string_view> parts = PartsOf(item);
    if (parts.size() != 2) {
      return Corrupt("a merge is neither a string nor a pair of strings")
          .Actual(simdjson::minify(item));
    }
    merges.Append(EncodeSpaces(parts[0]) + " " + EncodeSpaces(parts[1]));
  }
  return merges;
}

std::vector<TemplateItem> ReadTemplate(json::Element step, std::string_view key) {
  std::vector<TemplateItem> items;
  const auto list = json::AsArray(json::Find(step, key));
  if (!list) return items;
  const auto text = [](json::Element item, std::string_view path) {
    return std::string(json::AsString(json::FindPath(item, path)).value_or(""));
  };
  for (const json::Element item : *list) {
    items.push_back({text(item, "SpecialToken.id"), text(item, "Sequence.id")});
  }
  return items;
}

std::vector<PostStep> ReadPostProcessor(json::Element root) {
  std::vector<PostStep> steps;
  const auto processor = json::Find(root, "post_processor");
  if (!processor) return steps;
  const auto add = [&](json::Element step) {
    const auto type = json::AsString(json::Find(step, "type"));
    steps.push_back(
        {std::string(type.value_or("")), ReadTemplate(step, "single"), ReadTemplate(step, "pair")});
  };
  if (const auto list = json::AsArray(json::Find(*processor, "processors"))) {
    for (const json::Element step : *list) add(step);
  } else {
    add(*processor);
  }
  return steps;
}

Result<BpeVocabulary> ReadRoot(json::Element root) {
  const auto model = json::Find(root, "model");
  const auto vocab = model ? json::Find(*model, "vocab") : std::nullopt;
  if (!vocab) return Corrupt("model.vocab is missing");
  // Files older than the `type` field hold BPE.
  const auto type = json::AsString(json::Find(*model, "type")).value_or("BPE");
  if (type != "BPE") {
    return MakeError(ErrorCode::kUnsupported, "tokenizer model of an unsupported type")
        .Expected("BPE, or a SentencePiece tokenizer.model beside it")
        .Actual(type);
  }
  BpeVocabulary vocabulary;
  SLUICE_ASSIGN(vocabulary.added, ReadAdded(root));
  SLUICE_ASSIGN(std::vector<IdText> tokens, ReadVocab(*vocab));
  SLUICE_TRY(OrderById(std::move(tokens), vocabulary));
  SLUICE_ASSIGN(vocabulary.merges, ReadMerges(*model));
  vocabulary.byte_fallback = json::AsBool(json::Find(*model, "byte_fallback")).value_or(false);
  vocabulary.ignore_merges = json::AsBool(json::Find(*model, "ignore_merges")).value_or(false);
  vocabulary.pre_tokenizer = CanonicalPreTokenizer(json::Find(root, "pre_tokenizer"));
  if (const auto normalizer = json::Find(root, "normalizer")) {
    vocabulary.normalizer = simdjson::minify(*normalizer);
  }
  vocabulary.post_steps = ReadPostProcessor(root);
  return vocabulary;
}

}  // namespace

std::string EncodeSpaces(std::string_view part) {
  std::string encoded;
  for (const char c : part) {
    if (c == ' ') {
      encoded += kSpaceInMerge;
    } else {
      encoded += c;
    }
  }
  return encoded;
}

const AddedToken* BpeVocabulary::FindAdded(std::string_view text) const {
  const auto found = std::find_if(added.begin(), added.end(),
                                  [&](const AddedToken& token) { return token.text == text; });
  return found == added.end() ? nullptr : &*found;
}

Result<BpeVocabulary> ReadTokenizerJson(const std::string& path) {
  SLUICE_ASSIGN(const json::Document document, json::Document::Load(path, kMaxFileBytes));
  Result<BpeVocabulary> vocabulary = ReadRoot(document.root());
  if (!vocabulary) return std::move(vocabulary).error().In(path);
  return vocabulary;
}

Result<BpeVocabulary> ReadVocabAndMerges(const std::string& vocab_path,
                                         const std::string& merges_path,
                                         std::vector<AddedToken> added) {
  SLUICE_ASSIGN(const json::Document document, json::Document::Load(vocab_path, kMaxFileBytes));
  Result<std::vector<IdText>> tokens = ReadVocab(document.root());
  if (!tokens) return std::move(tokens).error().In(vocab_path);
  BpeVocabulary vocabulary;
  vocabulary.added = std::move(added);
  Status ordered = OrderById(*std::move(tokens), vocabulary);
  if (!ordered) return std::move(ordered).error().In(vocab_path);
  // The files do not say how text is cut. The format is GPT-2's; a caller may know better.
  vocabulary.pre_tokenizer = kGpt2Definition;
  SLUICE_ASSIGN(const std::string text, ReadWholeFile(merges_path, kMaxFileBytes));
  if (IsLfsPointer(text)) return LfsPointerError(merges_path);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !(begin == 0 && line.starts_with("#version"))) {
      if (!IsMerge(line)) {
        return Corrupt("a merge is no pair of tokens with one space between them")
            .In(merges_path)
            .AtOffset(begin)
            .Actual(std::string(line));
      }
      vocabulary.merges.Append(line);
    }
    begin = end + 1;
  }
  return vocabulary;
}

}  // namespace sluice::tokenizer
