#include "formats/model_card.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <initializer_list>

#include "core/utf8.h"

namespace sluice {
namespace {

constexpr std::string_view kFence = "---";

// The text between the fences; empty when the file does not begin with one.
std::string_view FrontMatter(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // byte order mark
  const std::size_t first = text.find('\n');
  if (!text.starts_with(kFence) || first == std::string_view::npos) return {};
  const std::string_view body = text.substr(first + 1);
  for (std::size_t line = 0; line < body.size();) {
    if (body.substr(line).starts_with(kFence)) return body.substr(0, line);
    const std::size_t end = body.find('\n', line);
    if (end == std::string_view::npos) break;
    line = end + 1;
  }
  return {};
}

std::string Scalar(const YAML::Node& card, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const YAML::Node node = card[key];
    if (node && node.IsScalar()) return node.Scalar();
  }
  return {};
}

// Appends a scalar or the scalars of a sequence.
void AppendList(const YAML::Node& card, std::initializer_list<const char*> keys,
                std::vector<std::string>& out) {
  for (const char* key : keys) {
    const YAML::Node node = card[key];
    if (node && node.IsScalar()) out.push_back(node.Scalar());
    if (!node || !node.IsSequence()) continue;
    for (const YAML::Node& item : node) {
      if (item.IsScalar()) out.push_back(item.Scalar());
    }
  }
}

// The fields of a mapping that are scalars.
std::map<std::string, std::string> FieldsOf(const YAML::Node& mapping) {
  std::map<std::string, std::string> fields;
  for (const auto& item : mapping) {
    if (item.first.IsScalar() && item.second.IsScalar()) {
      fields.emplace(item.first.Scalar(), item.second.Scalar());
    }
  }
  return fields;
}

// What the first key refers to that the card has: an id, or a list of ids and mappings.
std::optional<std::vector<CardReference>> References(const YAML::Node& card,
                                                     std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const YAML::Node node = card[key];
    if (!node) continue;
    std::vector<CardReference> references;
    if (node.IsScalar()) references.push_back({node.Scalar(), {}});
    if (!node.IsSequence()) return references;
    for (const YAML::Node& item : node) {
      if (item.IsScalar()) references.push_back({item.Scalar(), {}});
      if (item.IsMap()) references.push_back({"", FieldsOf(item)});
    }
    return references;
  }
  return std::nullopt;
}

ModelCard ReadCard(const YAML::Node& yaml) {
  ModelCard card;
  card.name = Scalar(yaml, {"name", "model_name"});
  card.author = Scalar(yaml, {"author", "model_author", "model_creator"});
  card.version = Scalar(yaml, {"version", "model_version"});
  card.organization = Scalar(yaml, {"organization", "model_organization"});
  card.finetune = Scalar(yaml, {"finetune", "model_finetune"});
  card.basename = Scalar(yaml, {"basename", "model_basename", "model_type"});
  card.description = Scalar(yaml, {"description", "model_description"});
  card.size_label = Scalar(yaml, {"size_label", "model_size_label"});
  std::vector<std::string> licenses;
  AppendList(yaml, {"license"}, licenses);
  card.license = fmt::format("{}", fmt::join(licenses, ","));
  card.license_name = Scalar(yaml, {"license_name"});
  card.license_link = Scalar(yaml, {"license_link"});
  card.url = Scalar(yaml, {"url", "model_url"});
  card.doi = Scalar(yaml, {"doi", "model_doi"});
  card.uuid = Scalar(yaml, {"uuid", "model_uuid"});
  card.repo_url = Scalar(yaml, {"repo_url", "model_repo_url"});
  card.base_models = References(yaml, {"base_model", "base_models", "base_model_sources"});
  card.datasets = References(yaml, {"datasets", "dataset", "dataset_sources"});
  AppendList(yaml, {"tags", "pipeline_tag"}, card.tags);
  AppendList(yaml, {"languages", "language"}, card.languages);
  return card;
}

}  // namespace

Result<ModelCard> ParseModelCard(std::string_view text) {
  const std::string_view front = FrontMatter(text);
  if (front.empty()) return ModelCard();
  if (!IsUtf8(front)) {
    return MakeError(ErrorCode::kCorrupt, "the front matter is not UTF-8");
  }
  // yaml-cpp reports by exceptions; none of them leaves this function.
  try {
    // Published cards indent with tabs here and there, which YAML does not know.
    std::string spaced;
    for (const char c : front) spaced += c == '\t' ? "  " : std::string(1, c);
    const YAML::Node yaml = YAML::Load(spaced);
    if (yaml.IsMap()) return ReadCard(yaml);
    return MakeError(ErrorCode::kCorrupt, "the front matter is no YAML mapping");
  } catch (const YAML::Exception& exception) {
    return MakeError(ErrorCode::kCorrupt, "the front matter is not valid YAML")
        .Actual(exception.what());
  }
}

}  // namespace sluice
