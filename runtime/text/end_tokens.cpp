#include "runtime/text/end_tokens.h"

#include <filesystem>
#include <limits>

#include "formats/json/json.h"

namespace sluice::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxJsonBytes = std::uint64_t{256} << 20;

void AddId(std::int64_t id, std::vector<TokenId>& ids) {
  if (id >= 0 && id <= std::numeric_limits<TokenId>::max()) ids.push_back(static_cast<TokenId>(id));
}

std::vector<TokenId> IdsOf(json::Element config) {
  std::vector<TokenId> ids;
  const auto value = json::Find(config, "eos_token_id");
  if (const auto list = json::AsArray(value)) {
    for (const json::Element item : *list) {
      if (const auto id = json::AsInteger(item)) AddId(*id, ids);
    }
  } else if (const auto id = json::AsInteger(value)) {
    AddId(*id, ids);
  }
  return ids;
}

std::optional<std::string_view> TextOf(json::Element config) {
  const auto token = json::Find(config, "eos_token");
  if (!token) return std::nullopt;
  const auto text = json::AsString(token);
  return text ? text : json::AsString(json::Find(*token, "content"));
}

}  // namespace

std::vector<TokenId> EndTokensOf(const gguf::Metadata& metadata) {
  std::vector<TokenId> ids;
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    if (const auto* id = metadata.Get<std::uint32_t>(key)) ids.push_back(*id);
  }
  if (const auto* list = metadata.Get<gguf::Array>("tokenizer.ggml.eos_token_ids")) {
    if (list->element_type() == gguf::ValueType::kI32) {
      for (std::size_t i = 0; i < list->size(); ++i) AddId(list->At<std::int32_t>(i), ids);
    }
  }
  return ids;
}

Result<std::vector<TokenId>> EndTokensOf(
    const std::string& folder,
    const std::function<std::optional<TokenId>(std::string_view)>& find) {
  const auto load = [&](std::string_view name) {
    return json::Document::LoadIfPresent((fs::path(folder) / name).string(), kMaxJsonBytes);
  };
  for (const std::string_view name : {"generation_config.json", "config.json"}) {
    SLUICE_ASSIGN(const auto document, load(name));
    if (!document) continue;
    const std::vector<TokenId> ids = IdsOf(document->root());
    if (!ids.empty()) return ids;
  }
  for (const std::string_view name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    SLUICE_ASSIGN(const auto document, load(name));
    const auto text = document ? TextOf(document->root()) : std::nullopt;
    const auto id = text ? find(*text) : std::nullopt;
    if (id) return std::vector<TokenId>{*id};
  }
  return std::vector<TokenId>();
}

}  // namespace sluice::runtime
