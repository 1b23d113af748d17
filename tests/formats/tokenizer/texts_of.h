#pragma once

#include <string>
#include <vector>

#include "formats/gguf/value.h"

namespace sluice::testing {

inline std::vector<std::string> TextsOf(const gguf::Array& array) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < array.size(); ++i) texts.emplace_back(array.StringAt(i));
  return texts;
}

}  // namespace sluice::testing
