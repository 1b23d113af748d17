// general.*: who made the model, what it is called, under which licence it may be used.
#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <optional>
#include <string_view>

#include "core/file.h"
#include "formats/model_card.h"
#include "pipeline/key_values.h"
#include "pipeline/model_name.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxReadmeBytes = 16 << 20;

enum class ValueKind : std::uint8_t { kInteger, kReal, kText };

// generation_config.json field -> general.sampling.* key, in the order in which they are written.
struct SamplingRule {
  std::string_view field;
  std::string_view key;
  ValueKind kind;
};
constexpr std::array kSampling{
    SamplingRule{"sequence", "sequence", ValueKind::kText},
    SamplingRule{"top_k", "top_k", ValueKind::kInteger},
    SamplingRule{"top_p", "top_p", ValueKind::kReal},
    SamplingRule{"min_p", "min_p", ValueKind::kReal},
    SamplingRule{"xtc_probability", "xtc_probability", ValueKind::kReal},
    SamplingRule{"xtc_threshold", "xtc_threshold", ValueKind::kReal},
    SamplingRule{"temperature", "temp", ValueKind::kReal},
    SamplingRule{"penalty_last_n", "penalty_last_n", ValueKind::kInteger},
    SamplingRule{"repetition_penalty", "penalty_repeat", ValueKind::kReal},
    SamplingRule{"mirostat", "mirostat", ValueKind::kInteger},
    SamplingRule{"mirostat_tau", "mirostat_tau", ValueKind::kReal},
    SamplingRule{"mirostat_eta", "mirostat_eta", ValueKind::kReal},
};

void AddSampling(const ConfigFiles& config, gguf::Metadata& metadata) {
  if (!config.generation) return;
  for (const SamplingRule& rule : kSampling) {
    const auto value = json::Find(config.generation->root(), rule.field);
    const std::string key = fmt::format("general.sampling.{}", rule.key);
    if (rule.kind == ValueKind::kText) {
      if (const auto text = json::AsString(value)) metadata.Set(key, std::string(*text));
      continue;
    }
    double number = 0;
    if (!value || !value->is_number() || value->get(number) != simdjson::SUCCESS) continue;
    if (rule.kind == ValueKind::kReal) {
      metadata.Set(key, static_cast<float>(number));
    } else if (const auto integer = json::AsInteger(value)) {
      metadata.Set(key, static_cast<std::int32_t>(*integer));
    }
  }
}

ModelCard ReadCard(const std::string& folder, std::vector<std::string>& warnings) {
  const std::string path = (fs::path(folder) / "README.md").string();
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  const Result<std::string> text = ReadWholeFile(path, kMaxReadmeBytes);
  if (!text) return {};
  Result<ModelCard> card = ParseModelCard(*text);
  if (card) return *std::move(card);
  warnings.push_back(std::move(card).error().In(path).Format());
  return {};
}

// Ids of the model from its configuration and its folder, the better source first.
std::vector<ModelId> ModelIds(const std::string& folder, const ConfigFiles& config,
                              std::uint64_t total_parameters) {
  std::vector<ModelId> ids;
  const auto name = json::AsString(json::Find(config.config.root(), "_name_or_path"));
  if (name && !name->empty() && std::count(name->begin(), name->end(), '/') <= 1) {
    ids.push_back(ParseModelId(*name, total_parameters));
  }
  std::error_code error;
  fs::path resolved = fs::weakly_canonical(folder, error);
  if (!resolved.has_filename()) resolved = resolved.parent_path();
  ids.push_back(ParseModelId(resolved.filename().string(), total_parameters));
  return ids;
}

// The card's value if it has one, else that of the first id which does.
std::string FirstOf(const std::string& from_card, const std::vector<ModelId>& ids,
                    std::string ModelId::*field) {
  if (!from_card.empty()) return from_card;
  for (const ModelId& id : ids) {
    if (!(id.*field).empty()) return id.*field;
  }
  return {};
}

void SetText(gguf::Metadata& metadata, std::string_view key, const std::string& text) {
  if (!text.empty()) metadata.Set(fmt::format("general.{}", key), text);
}

void SetTexts(gguf::Metadata& metadata, std::string_view key,
              const std::vector<std::string>& texts) {
  if (!texts.empty()) {
    metadata.Set(fmt::format("general.{}", key), gguf::Array::OfStrings(texts));
  }
}

// general.base_model.* and general.dataset.*: one group of keys for each id.
void AddReferences(const std::vector<std::string>& ids, std::string_view kind,
                   gguf::Metadata& metadata) {
  if (ids.empty()) return;
  metadata.Set(fmt::format("general.{}.count", kind), static_cast<std::uint32_t>(ids.size()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool is_url = ids[i].find("://") != std::string::npos;
    const ModelId id = is_url ? ModelId{} : ParseModelId(ids[i], 0);
    const auto key = [&](std::string_view field) {
      return fmt::format("{}.{}.{}", kind, i, field);
    };
    SetText(metadata, key("name"), TitleOf(id.full_name));
    SetText(metadata, key("version"), id.version);
    SetText(metadata, key("organization"), TitleOf(id.organization));
    if (is_url) {
      SetText(metadata, key("repo_url"), ids[i]);
    } else if (!id.organization.empty()) {
      SetText(metadata, key("repo_url"), "https://huggingface.co/" + ids[i]);
    }
  }
}

}  // namespace

void AddGeneral(const std::string& folder, const ConfigFiles& config, arch::Role role,
                const std::string& model_name, const ParameterCounts& parameters,
                gguf::Metadata& metadata, std::vector<std::string>& warnings) {
  const ModelCard card = ReadCard(folder, warnings);
  const std::vector<ModelId> ids = ModelIds(folder, config, parameters.total);
  SetText(metadata, "type", role == arch::Role::kModel ? "model" : "mmproj");
  AddSampling(config, metadata);
  const std::string title = TitleOf(FirstOf({}, ids, &ModelId::full_name));
  const std::string& name = model_name.empty() ? card.name : model_name;
  SetText(metadata, "name", name.empty() ? title : name);
  SetText(metadata, "author", card.author);
  SetText(metadata, "version", FirstOf(card.version, ids, &ModelId::version));
  SetText(metadata, "organization",
          card.organization.empty() ? TitleOf(FirstOf({}, ids, &ModelId::organization))
                                    : card.organization);
  SetText(metadata, "finetune", FirstOf({}, ids, &ModelId::finetune));
  SetText(metadata, "basename", FirstOf({}, ids, &ModelId::basename));
  SetText(metadata, "description", card.description);
  std::string size = FirstOf({}, ids, &ModelId::size_label);
  if (size.empty()) {
    size = parameters.experts > 0
               ? SizeLabel(parameters.shared, parameters.one_expert, parameters.experts)
               : SizeLabel(parameters.total, 0, 0);
  }
  SetText(metadata, "size_label", size);
  SetText(metadata, "license", card.license);
  SetText(metadata, "license.name", card.license_name);
  SetText(metadata, "license.link", card.license_link);
  AddReferences(card.base_models, "base_model", metadata);
  AddReferences(card.datasets, "dataset", metadata);
  SetTexts(metadata, "tags", card.tags);
  SetTexts(metadata, "languages", card.languages);
}

}  // namespace sluice
