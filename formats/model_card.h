// Model cards: the YAML front matter of a checkpoint's README.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice {

// Fields that are absent are empty.
struct ModelCard {
  std::string name;
  std::string author;
  std::string version;
  std::string organization;
  std::string description;
  std::string license;
  std::string license_name;
  std::string license_link;
  std::vector<std::string> base_models;  // ids like "org/model", or URLs
  std::vector<std::string> datasets;
  std::vector<std::string> tags;  // the pipeline tag last
  std::vector<std::string> languages;
};

// Reads the front matter between the two "---" lines that begin `text`; an empty card when there is
// none. kCorrupt when it is no YAML mapping.
Result<ModelCard> ParseModelCard(std::string_view text);

}  // namespace sluice
