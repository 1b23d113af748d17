// Which experts a token goes to, and with which weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice::runtime {

struct RouterConfig {
  std::uint32_t used_experts = 0;
  std::uint32_t groups = 1;  // of neighbouring experts, equally many each
  std::uint32_t used_groups = 1;
  bool norm_weights = true;
  float scale = 1;
};

struct Choice {
  std::uint32_t expert = 0;
  float weight = 0;
};

// Chooses by sigmoid(logit) + bias: first the groups whose two best experts have the largest sums,
// if there are several, then the best experts of those; of equals the first. The weight of a chosen
// expert is sigmoid(logit), without bias, divided by the sum over the chosen if asked for, times
// the scale. Fills `chosen` in ascending order of experts.
// REQUIRES: logits and bias are equally long, chosen.size() == used_experts.
void Route(const RouterConfig& config, std::span<const float> logits, std::span<const float> bias,
           std::span<Choice> chosen);

}  // namespace sluice::runtime
