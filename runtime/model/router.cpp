#include "runtime/model/router.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace sluice::runtime {
namespace {

// The positions of the `count` largest values, the first of equals first. NaN counts as smallest.
std::vector<std::uint32_t> Best(std::span<const float> values, std::uint32_t count) {
  std::vector<std::uint32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto key = [&](std::uint32_t i) {
    return std::isnan(values[i]) ? -std::numeric_limits<float>::infinity() : values[i];
  };
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](std::uint32_t a, std::uint32_t b) {
                      return key(a) > key(b) || (key(a) == key(b) && a < b);
                    });
  order.resize(count);
  return order;
}

float SumOfBestTwo(std::span<const float> values) {
  float best = -std::numeric_limits<float>::infinity();
  float second = best;
  for (const float value : values) {
    if (value > best) {
      second = best;
      best = value;
    } else {
      second = std::max(second, value);
    }
  }
  return best + second;
}

// Takes the experts of all but the best groups out of the choice.
void KeepBestGroups(const RouterConfig& config, std::span<float> preference) {
  const std::size_t size = preference.size() / config.groups;
  std::vector<float> scores(config.groups);
  for (std::size_t g = 0; g < config.groups; ++g) {
    scores[g] = SumOfBestTwo(preference.subspan(g * size, size));
  }
  std::vector<bool> kept(config.groups);
  for (const std::uint32_t g : Best(scores, config.used_groups)) kept[g] = true;
  for (std::size_t g = 0; g < config.groups; ++g) {
    if (kept[g]) continue;
    // Not 0: a kept expert may have less than that.
    std::ranges::fill(preference.subspan(g * size, size), -std::numeric_limits<float>::infinity());
  }
}

}  // namespace

void Route(const RouterConfig& config, std::span<const float> logits, std::span<const float> bias,
           std::span<Choice> chosen) {
  std::vector<float> scores(logits.size());
  std::vector<float> preference(logits.size());
  for (std::size_t e = 0; e < logits.size(); ++e) {
    scores[e] = 1.0F / (1.0F + std::exp(-logits[e]));
    preference[e] = scores[e] + bias[e];
  }
  const bool has_nan = std::ranges::any_of(preference, [](float v) { return std::isnan(v); });
  if (config.groups > 1) KeepBestGroups(config, preference);
  std::vector<std::uint32_t> experts = Best(preference, config.used_experts);
  std::ranges::sort(experts);
  float sum = 0;
  for (std::size_t i = 0; i < experts.size(); ++i) {
    chosen[i] = {experts[i], scores[experts[i]]};
    sum += chosen[i].weight;
  }
  for (Choice& choice : chosen) {
    if (config.norm_weights) choice.weight /= sum + 1e-20F;
    choice.weight *= config.scale;
    // An expert that is never chosen would hide it.
    if (has_nan) choice.weight = std::numeric_limits<float>::quiet_NaN();
  }
}

}  // namespace sluice::runtime
