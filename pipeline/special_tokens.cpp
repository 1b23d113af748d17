// Special token ids and the flags that say which of them a tokenizer adds by itself.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "pipeline/vocabulary.h"

namespace sluice {
namespace {

struct SpecialRole {
  std::string_view role;  // as tokenizer_config.json has it: bos_token, bos_token_id
  std::string_view key;   // as GGUF has it: tokenizer.ggml.bos_token_id
};

// "seperator" is spelt so in the format.
constexpr std::array kRoles{
    SpecialRole{"bos", "bos"},       SpecialRole{"eos", "eos"},     SpecialRole{"unk", "unknown"},
    SpecialRole{"sep", "seperator"}, SpecialRole{"pad", "padding"}, SpecialRole{"cls", "cls"},
    SpecialRole{"mask", "mask"},
};

std::string_view KeyOf(std::string_view role) {
  for (const SpecialRole& known : kRoles) {
    if (known.role == role) return known.key;
  }
  return role;  // eot, eom
}

std::string IdKey(std::string_view key) { return fmt::format("tokenizer.ggml.{}_token_id", key); }
std::string AddKey(std::string_view key) { return fmt::format("tokenizer.ggml.add_{}_token", key); }

// The text of X_token: a string, or an object with `content`.
std::optional<std::string_view> TextOf(const TokenizerFiles& files, std::string_view role) {
  if (!files.config) return std::nullopt;
  const auto token = json::Find(files.config->root(), fmt::format("{}_token", role));
  if (!token) return std::nullopt;
  const auto text = json::AsString(token);
  return text ? text : json::AsString(json::Find(*token, "content"));
}

std::optional<std::uint32_t> IdOfText(const TokenizerFiles& files, std::string_view text) {
  if (files.bpe) {
    if (const tokenizer::AddedToken* token = files.bpe->FindAdded(text)) return token->id;
  }
  for (std::size_t id = 0; id < files.pieces.size(); ++id) {
    if (files.pieces[id].text == text) return static_cast<std::uint32_t>(id);
  }
  return std::nullopt;
}

std::optional<std::uint32_t> IdOfRole(const TokenizerFiles& files, std::string_view role) {
  const auto text = TextOf(files, role);
  return text ? IdOfText(files, *text) : std::nullopt;
}

std::optional<bool> AddFlag(const TokenizerFiles& files, std::string_view role) {
  if (!files.config) return std::nullopt;
  return json::AsBool(json::Find(files.config->root(), fmt::format("add_{}_token", role)));
}

// ---- Ollama: every role with a known token, its flag, and lists of ids --------------------------

void AddIdList(const ConfigFiles& config, const SpecialRole& role, gguf::Metadata& metadata) {
  if (!config.generation) return;
  const auto list =
      json::AsArray(json::Find(config.generation->root(), fmt::format("{}_token_id", role.role)));
  if (!list) return;
  std::vector<std::int32_t> ids;
  for (const json::Element item : *list) {
    const auto id = json::AsInteger(item);
    if (id && std::in_range<std::int32_t>(*id)) ids.push_back(static_cast<std::int32_t>(*id));
  }
  if (ids.empty()) return;
  metadata.Set(fmt::format("tokenizer.ggml.{}_token_ids", role.key),
               gguf::Array::Of(std::span<const std::int32_t>(ids)));
}

void AddOllamaTokens(const TokenizerFiles& files, const ConfigFiles& config,
                     gguf::Metadata& metadata) {
  for (const SpecialRole& role : kRoles) {
    const auto id = IdOfRole(files, role.role);
    if (!id) continue;
    metadata.Set(IdKey(role.key), *id);
    metadata.Set(AddKey(role.key), AddFlag(files, role.role).value_or(false));
    AddIdList(config, role, metadata);
  }
}

// ---- llama.cpp: in the order in which its converter learns of them ------------------------------

using Ids = std::vector<std::pair<std::string_view, std::uint32_t>>;

bool Knows(const Ids& ids, std::string_view role) {
  return std::any_of(ids.begin(), ids.end(), [&](const auto& id) { return id.first == role; });
}

std::optional<std::uint32_t> IdFromConfig(const ConfigFiles& config, std::string_view role) {
  const std::string field = fmt::format("{}_token_id", role);
  const json::Element root = config.config.root();
  for (const auto& element :
       {json::Find(root, field), json::FindPath(root, "text_config." + field)}) {
    const auto id = json::AsInteger(element);
    if (id && std::in_range<std::uint32_t>(*id)) return static_cast<std::uint32_t>(*id);
  }
  return std::nullopt;
}

Ids LlamaCppIds(const TokenizerFiles& files, const ConfigFiles& config,
                const arch::TokenizerFacts& facts, std::vector<std::string>& warnings) {
  Ids ids;
  for (const SpecialRole& role : kRoles) {
    if (const auto id = IdOfRole(files, role.role)) ids.emplace_back(role.role, *id);
  }
  for (const SpecialRole& role : kRoles) {
    if (Knows(ids, role.role)) continue;
    if (const auto id = IdFromConfig(config, role.role)) ids.emplace_back(role.role, *id);
  }
  for (const arch::SpecialToken& token : facts.special_tokens) {
    if (Knows(ids, token.role)) continue;
    if (const auto id = IdOfText(files, token.text)) {
      ids.emplace_back(token.role, *id);
    } else {
      warnings.push_back(fmt::format("the tokenizer has no token '{}': no {} token is written",
                                     token.text, token.role));
    }
  }
  return ids;
}

using Flags = std::vector<std::pair<std::string_view, bool>>;

void SetFlag(Flags& flags, std::string_view role, bool value) {
  for (auto& [known, held] : flags) {
    if (known == role) {
      held = value;
      return;
    }
  }
  flags.emplace_back(role, value);
}

void SetIfUnset(Flags& flags, std::string_view role, bool value) {
  for (const auto& [known, held] : flags) {
    if (known == role) return;
  }
  flags.emplace_back(role, value);
}

// A template that begins or ends with a special token says whether that is the bos or eos token; a
// pair template whose first sequence is followed by the sep token says that one is added.
void ReadTemplateFlags(const TokenizerFiles& files, const tokenizer::PostStep& step, Flags& flags) {
  const auto is_role = [&](const std::string& text, std::string_view role) {
    return !text.empty() && TextOf(files, role) == text;
  };
  std::string first;
  std::string last;
  if (step.single.size() > 1) {
    first = step.single.front().special;
    last = step.single.back().special;
    if (!first.empty()) SetFlag(flags, "bos", is_role(first, "bos") || is_role(first, "cls"));
    if (!last.empty()) SetFlag(flags, "eos", is_role(last, "eos"));
  }
  std::span<const tokenizer::TemplateItem> pair = step.pair;
  if (!pair.empty() && !first.empty() && pair.front().special == first) pair = pair.subspan(1);
  if (!pair.empty() && !last.empty() && pair.back().special == last) {
    pair = pair.first(pair.size() - 1);
  }
  if (pair.size() > 1) SetFlag(flags, "sep", is_role(pair[1].special, "sep"));
}

Flags LlamaCppFlags(const TokenizerFiles& files) {
  Flags flags;
  if (files.bpe) {
    for (const tokenizer::PostStep& step : files.bpe->post_steps) {
      if (step.type == "ByteLevel") {
        SetIfUnset(flags, "bos", false);
        SetIfUnset(flags, "eos", false);
      } else if (step.type == "RobertaProcessing") {
        for (const std::string_view role : {"bos", "eos", "sep"}) SetFlag(flags, role, true);
      } else if (step.type == "TemplateProcessing") {
        ReadTemplateFlags(files, step, flags);
      }
    }
  }
  for (const std::string_view role : {"bos", "eos", "sep"}) {
    if (const auto flag = AddFlag(files, role)) SetIfUnset(flags, role, *flag);
  }
  return flags;
}

void AddLlamaCppTokens(const TokenizerFiles& files, const ConfigFiles& config,
                       const arch::TokenizerFacts& facts, gguf::Metadata& metadata,
                       std::vector<std::string>& warnings) {
  for (const auto& [role, id] : LlamaCppIds(files, config, facts, warnings)) {
    if (role != "cls") metadata.Set(IdKey(KeyOf(role)), id);
  }
  for (const auto& [role, value] : LlamaCppFlags(files)) {
    // The flag's key has the short name where the id's key has the long one.
    metadata.Set(AddKey(role), value);
  }
}

}  // namespace

void AddSpecialTokens(const TokenizerFiles& files, const ConfigFiles& config, arch::Dialect dialect,
                      const arch::TokenizerFacts& facts, gguf::Metadata& metadata,
                      std::vector<std::string>& warnings) {
  if (dialect == arch::Dialect::kOllama) return AddOllamaTokens(files, config, metadata);
  AddLlamaCppTokens(files, config, facts, metadata, warnings);
}

}  // namespace sluice
