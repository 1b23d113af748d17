// Model cards: the YAML front matter of a checkpoint's README.md.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice {

// A base model or data set: an id like "org/model" or an address, or else fields that describe it.
struct CardReference {
  std::string id;  // empty when fields describe it
  std::map<std::string, std::string> fields;
};

// Fields that are absent are empty.
struct ModelCard {
  std::string name;
  std::string author;
  std::string version;
  std::string organization;
  std::string finetune;
  std::string basename;
  std::string description;
  std::string size_label;
  std::string license;
  std::string license_name;
  std::string license_link;
  std::string url;  // where the model is from
  std::string doi;
  std::string uuid;
  std::string repo_url;
  std::optional<std::vector<CardReference>> base_models;  // nullopt: the card has no such key
  std::optional<std::vector<CardReference>> datasets;
  std::vector<std::string> tags;  // the pipeline tag last
  std::vector<std::string> languages;
};

// Reads the front matter between the two "---" lines that begin `text`; an empty card when there is
// none. kCorrupt when it is not UTF-8 or no YAML mapping.
Result<ModelCard> ParseModelCard(std::string_view text);

}  // namespace sluice
