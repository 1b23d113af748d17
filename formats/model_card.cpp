#include "formats/model_card.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <initializer_list>

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

ModelCard ReadCard(const YAML::Node& yaml) {
  ModelCard card;
  card.name = Scalar(yaml, {"name", "model_name"});
  card.author = Scalar(yaml, {"author", "model_author", "model_creator"});
  card.version = Scalar(yaml, {"version", "model_version"});
  card.organization = Scalar(yaml, {"organization", "model_organization"});
  card.description = Scalar(yaml, {"description", "model_description"});
  std::vector<std::string> licenses;
  AppendList(yaml, {"license"}, licenses);
  card.license = fmt::format("{}", fmt::join(licenses, ","));
  card.license_name = Scalar(yaml, {"license_name"});
  card.license_link = Scalar(yaml, {"license_link"});
  AppendList(yaml, {"base_model", "base_models"}, card.base_models);
  AppendList(yaml, {"datasets", "dataset"}, card.datasets);
  AppendList(yaml, {"tags", "pipeline_tag"}, card.tags);
  AppendList(yaml, {"languages", "language"}, card.languages);
  return card;
}

}  // namespace

Result<ModelCard> ParseModelCard(std::string_view text) {
  const std::string_view front = FrontMatter(text);
  if (front.empty()) return ModelCard();
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
