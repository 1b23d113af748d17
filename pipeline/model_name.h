// What a model's id says about it: "glm-4.7-flash-30B-instruct" has a basename, a version, a size.
// The rules are those of llama.cpp's converter, so that names agree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

// Parts that an id does not have are empty.
struct ModelId {
  std::string full_name;
  std::string organization;
  std::string basename;
  std::string finetune;
  std::string version;
  std::string size_label;
};

// Takes an id like "org/name-8B-instruct" apart. A number that could be a size counts as one only
// if it is near `total_parameters` (0: always); otherwise it is taken for a context length.
[[nodiscard]] ModelId ParseModelId(std::string_view id, std::uint64_t total_parameters);

// "glm-tiny-v5" -> "Glm Tiny v5": dashes become spaces, lower-case words get capitals.
[[nodiscard]] std::string TitleOf(std::string_view id);

// "8x308K" for a mixture of experts, else "195K": parameters with up to two significant decimals.
// `expert_parameters` are those of one expert over all layers; `experts` 0 means dense.
[[nodiscard]] std::string SizeLabel(std::uint64_t shared_parameters,
                                    std::uint64_t expert_parameters, std::uint64_t experts);

}  // namespace sluice
