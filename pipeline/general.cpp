// general.*: who made the model, what it is called, under which licence it may be used.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "core/file.h"
#include "core/path.h"
#include "core/utf8.h"
#include "formats/model_card.h"
#include "pipeline/key_values.h"
#include "pipeline/model_name.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxReadmeBytes = 16 << 20;

// What can be said of a base model or data set, in the order in which it is written.
constexpr std::array<std::string_view, 9> kReferenceFields{
    "name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"};
constexpr std::array<std::string_view, 3> kAddressStarts{"http://", "https://", "ssh://"};

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
    SamplingRule{"penalty_repeat", "penalty_repeat", ValueKind::kReal},  // wins over the other name
    SamplingRule{"mirostat", "mirostat", ValueKind::kInteger},
    SamplingRule{"mirostat_tau", "mirostat_tau", ValueKind::kReal},
    SamplingRule{"mirostat_eta", "mirostat_eta", ValueKind::kReal},
};

// nullopt for a value of another kind and for a number that does not fit.
std::optional<gguf::Value> SamplingValue(ValueKind kind, json::Element value) {
  if (kind == ValueKind::kText) {
    const auto text = json::AsString(value);
    return text ? std::optional<gguf::Value>(std::string(*text)) : std::nullopt;
  }
  if (kind == ValueKind::kInteger) {
    const auto integer = json::AsInteger(value);
    if (!integer || !std::in_range<std::int32_t>(*integer)) return std::nullopt;
    return static_cast<std::int32_t>(*integer);
  }
  double number = 0;
  if (!value.is_number() || value.get(number) != simdjson::SUCCESS) return std::nullopt;
  if (std::abs(number) > std::numeric_limits<float>::max()) return std::nullopt;
  return static_cast<float>(number);
}

void AddSampling(const ConfigFiles& config, gguf::Metadata& metadata,
                 std::vector<std::string>& warnings) {
  if (!config.generation) return;
  for (const SamplingRule& rule : kSampling) {
    const auto element = json::Find(config.generation->root(), rule.field);
    if (!element) continue;
    if (auto value = SamplingValue(rule.kind, *element)) {
      metadata.Set(fmt::format("general.sampling.{}", rule.key), *std::move(value));
    } else {
      warnings.push_back(fmt::format("generation_config.json: '{}' is unusable and left out: {}",
                                     rule.field, simdjson::minify(*element)));
    }
  }
}

ModelCard ReadCard(const std::string& folder, std::vector<std::string>& warnings) {
  const std::string path = (fs::path(folder) / "README.md").string();
  if (!IsPresent(path)) return {};
  const Result<std::string> text = ReadWholeFile(path, kMaxReadmeBytes);
  Result<ModelCard> card = text ? ParseModelCard(*text) : text.error();
  if (card) return *std::move(card);
  warnings.push_back(std::move(card).error().In(path).Format());
  return {};
}

// Ids of the model from its configuration and its folder, the better source first.
std::vector<ModelId> ModelIds(const std::string& folder, const ConfigFiles& config,
                              std::uint64_t total_parameters, std::vector<std::string>& warnings) {
  std::vector<ModelId> ids;
  const auto name = json::AsString(json::Find(config.config.root(), "_name_or_path"));
  if (name && !name->empty() && std::count(name->begin(), name->end(), '/') <= 1) {
    ids.push_back(ParseModelId(*name, total_parameters));
  }
  std::error_code error;
  fs::path resolved = fs::weakly_canonical(folder, error);
  if (!resolved.has_filename()) resolved = resolved.parent_path();
  const std::string last = resolved.filename().string();
  if (IsUtf8(last)) {
    ids.push_back(ParseModelId(last, total_parameters));
  } else {
    warnings.emplace_back(
        "the folder's name is not UTF-8 and names no model: --model-name sets general.name");
  }
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

// The id of a repository on the Hugging Face hub from its address; empty for any other address.
std::string_view IdOfHubAddress(std::string_view address) {
  for (const std::string_view hub : {"https://huggingface.co/", "http://huggingface.co/"}) {
    if (!address.starts_with(hub)) continue;
    const std::string_view id = address.substr(hub.size());
    const std::size_t slash = id.find('/');
    const bool two_parts = slash != id.npos && slash > 0 && slash + 1 < id.size() &&
                           id.find('/', slash + 1) == id.npos;
    if (two_parts) return id;
  }
  return {};
}

// What an id or an address says, by the names of the GGUF keys.
std::map<std::string, std::string> FieldsOfReference(const std::string& reference) {
  std::map<std::string, std::string> fields;
  const bool is_address =
      std::any_of(kAddressStarts.begin(), kAddressStarts.end(),
                  [&](std::string_view start) { return reference.starts_with(start); });
  const ModelId id = ParseModelId(is_address ? IdOfHubAddress(reference) : reference, 0);
  fields["name"] = TitleOf(id.full_name);
  fields["version"] = id.version;
  fields["organization"] = TitleOf(id.organization);
  if (is_address) {
    fields["repo_url"] = reference;
  } else if (!id.organization.empty()) {
    fields["repo_url"] = fmt::format("https://huggingface.co/{}/{}", id.organization, id.full_name);
  }
  return fields;
}

// general.base_model.* and general.dataset.*: one group of keys for each reference.
void AddReferences(const std::optional<std::vector<CardReference>>& references,
                   std::string_view kind, gguf::Metadata& metadata) {
  if (!references) return;
  metadata.Set(fmt::format("general.{}.count", kind),
               static_cast<std::uint32_t>(references->size()));
  for (std::size_t i = 0; i < references->size(); ++i) {
    const CardReference& reference = (*references)[i];
    const auto fields = reference.id.empty() ? reference.fields : FieldsOfReference(reference.id);
    for (const std::string_view field : kReferenceFields) {
      const auto found = fields.find(std::string(field));
      if (found == fields.end()) continue;
      SetText(metadata, fmt::format("{}.{}.{}", kind, i, field), found->second);
    }
  }
}

}  // namespace

void AddGeneral(const std::string& folder, const ConfigFiles& config, arch::Role role,
                const std::string& model_name, const ParameterCounts& parameters,
                gguf::Metadata& metadata, std::vector<std::string>& warnings) {
  const ModelCard card = ReadCard(folder, warnings);
  const std::vector<ModelId> ids = ModelIds(folder, config, parameters.total, warnings);
  SetText(metadata, "type", role == arch::Role::kModel ? "model" : "mmproj");
  AddSampling(config, metadata, warnings);
  const std::string title = TitleOf(FirstOf({}, ids, &ModelId::full_name));
  const std::string& name = model_name.empty() ? card.name : model_name;
  SetText(metadata, "name", name.empty() ? title : name);
  SetText(metadata, "author", card.author);
  SetText(metadata, "version", FirstOf(card.version, ids, &ModelId::version));
  SetText(metadata, "organization",
          card.organization.empty() ? TitleOf(FirstOf({}, ids, &ModelId::organization))
                                    : card.organization);
  SetText(metadata, "finetune", FirstOf(card.finetune, ids, &ModelId::finetune));
  SetText(metadata, "basename", FirstOf(card.basename, ids, &ModelId::basename));
  SetText(metadata, "description", card.description);
  std::string size = FirstOf(card.size_label, ids, &ModelId::size_label);
  if (size.empty()) {
    size = parameters.experts > 0
               ? SizeLabel(parameters.shared, parameters.one_expert, parameters.experts)
               : SizeLabel(parameters.total, 0, 0);
  }
  SetText(metadata, "size_label", size);
  SetText(metadata, "license", card.license);
  SetText(metadata, "license.name", card.license_name);
  SetText(metadata, "license.link", card.license_link);
  SetText(metadata, "source.url", card.url);
  SetText(metadata, "source.doi", card.doi);
  SetText(metadata, "source.uuid", card.uuid);
  SetText(metadata, "source.repo_url", card.repo_url);
  AddReferences(card.base_models, "base_model", metadata);
  AddReferences(card.datasets, "dataset", metadata);
  SetTexts(metadata, "tags", card.tags);
  SetTexts(metadata, "languages", card.languages);
}

}  // namespace sluice
