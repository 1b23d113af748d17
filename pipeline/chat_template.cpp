// Chat templates: tokenizer_config.json, chat_template.jinja, chat_template.json, or a file that
// the user names.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/path.h"
#include "core/utf8.h"
#include "formats/lfs_pointer.h"
#include "pipeline/vocabulary.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxTemplateBytes = 16 << 20;
constexpr std::string_view kTemplateKey = "tokenizer.chat_template";
constexpr std::string_view kDefaultName = "default";

struct NamedTemplate {
  std::string name;
  std::string text;
};

Result<std::vector<NamedTemplate>> FromElement(json::Element element, const std::string& path) {
  std::vector<NamedTemplate> templates;
  if (const auto text = json::AsString(element)) {
    templates.push_back({std::string(kDefaultName), std::string(*text)});
    return templates;
  }
  const auto list = json::AsArray(element);
  if (!list) {
    return MakeError(ErrorCode::kCorrupt, "chat_template is neither a string nor a list")
        .In(path)
        .Actual(json::TypeName(element));
  }
  for (const json::Element item : *list) {
    const auto name = json::AsString(json::Find(item, "name"));
    const auto text = json::AsString(json::Find(item, "template"));
    if (name && text) templates.push_back({std::string(*name), std::string(*text)});
  }
  return templates;
}

Result<std::string> ReadTemplateFile(const fs::path& path) {
  SLUICE_ASSIGN(std::string text, ReadWholeFile(path.string(), kMaxTemplateBytes));
  if (IsLfsPointer(text)) return LfsPointerError(path.string());
  const std::size_t valid = ValidUtf8Prefix(text);
  if (valid == text.size()) return text;
  return MakeError(ErrorCode::kCorrupt, "the chat template is not UTF-8")
      .In(path.string())
      .AtOffset(valid);
}

// chat_template.jinja, and additional_chat_templates/NAME.jinja in name order.
Result<std::vector<NamedTemplate>> FromJinjaFiles(const fs::path& root) {
  std::vector<NamedTemplate> templates;
  SLUICE_ASSIGN(std::string text, ReadTemplateFile(root / "chat_template.jinja"));
  templates.push_back({std::string(kDefaultName), std::move(text)});
  std::error_code error;
  std::set<fs::path> additional;
  for (auto entry = fs::directory_iterator(root / "additional_chat_templates", error);
       !error && entry != fs::end(entry); entry.increment(error)) {
    if (entry->path().extension() == ".jinja") additional.insert(entry->path());
  }
  for (const fs::path& path : additional) {
    SLUICE_ASSIGN(text, ReadTemplateFile(path));
    templates.push_back({path.stem().string(), std::move(text)});
  }
  return templates;
}

Result<std::vector<NamedTemplate>> FindTemplates(const std::string& folder,
                                                 const TokenizerFiles& files) {
  const fs::path root(folder);
  if (files.config) {
    if (const auto element = json::Find(files.config->root(), "chat_template")) {
      return FromElement(*element, files.config->path());
    }
  }
  if (IsPresent((root / "chat_template.jinja").string())) return FromJinjaFiles(root);
  const std::string json_path = (root / "chat_template.json").string();
  SLUICE_ASSIGN(const std::optional<json::Document> document,
                json::Document::LoadIfPresent(json_path, kMaxTemplateBytes));
  const auto element =
      document ? json::Find(document->root(), "chat_template") : std::optional<json::Element>();
  return element ? FromElement(*element, json_path) : std::vector<NamedTemplate>();
}

std::string KeyName(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

// Keys hold letters and digits alone, so two names may become one key: the later template stays.
void AddNamedTemplates(const std::vector<NamedTemplate>& templates, gguf::Metadata& metadata,
                       std::vector<std::string>& warnings) {
  std::vector<std::string> names;
  std::map<std::string, std::string> originals;  // by the name in the key
  for (const NamedTemplate& named : templates) {
    if (named.name == kDefaultName || named.name.empty()) continue;
    const std::string name = KeyName(named.name);
    const auto [held, is_new] = originals.emplace(name, named.name);
    if (is_new) {
      names.push_back(name);
    } else {
      warnings.push_back(
          fmt::format("the chat templates '{}' and '{}' get the same name '{}': only that of '{}' "
                      "is written",
                      held->second, named.name, name, named.name));
      held->second = named.name;
    }
    metadata.Set(fmt::format("{}.{}", kTemplateKey, name), named.text);
  }
  if (!names.empty()) metadata.Set("tokenizer.chat_templates", gguf::Array::OfStrings(names));
}

}  // namespace

Status AddChatTemplates(const std::string& folder, const TokenizerFiles& files,
                        arch::Dialect dialect, const std::string& override_file,
                        gguf::Metadata& metadata, std::vector<std::string>& warnings) {
  if (!override_file.empty()) {
    SLUICE_ASSIGN(std::string text, ReadTemplateFile(override_file));
    metadata.Set(kTemplateKey, std::move(text));
    return Ok();
  }
  SLUICE_ASSIGN(const std::vector<NamedTemplate> templates, FindTemplates(folder, files));
  if (dialect == arch::Dialect::kLlamaCpp) AddNamedTemplates(templates, metadata, warnings);
  for (const NamedTemplate& named : templates) {
    if (named.name == kDefaultName && !named.text.empty()) metadata.Set(kTemplateKey, named.text);
  }
  return Ok();
}

}  // namespace sluice
