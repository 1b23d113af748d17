#include "runtime/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::runtime {
namespace {

// How much longer contexts sharpen attention, as YaRN puts it.
double Mscale(double factor, double weight) {
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

double AttentionMultiplier(const RopeConfig& config) {
  if (config.attention) return *config.attention;
  if (config.mscale != 0 && config.mscale_all_dim != 0) {
    return Mscale(config.factor, config.mscale) / Mscale(config.factor, config.mscale_all_dim);
  }
  return Mscale(config.factor, 1.0);
}

// The dimension whose pair makes `turns` turns over the original context.
double DimensionOf(const RopeConfig& config, double width, double turns) {
  return width * std::log(config.original_context / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(config.theta));
}

// Between the edges, frequencies go from unscaled to divided by the factor.
void ScaleYarn(const RopeConfig& config, std::vector<float>& frequencies) {
  const double width = 2.0 * static_cast<double>(frequencies.size());
  double low = DimensionOf(config, width, config.beta_fast);
  double high = DimensionOf(config, width, config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, width - 1);
  if (low == high) high += 0.001;
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    const double at = (static_cast<double>(j) - low) / (high - low);
    const auto ramp = static_cast<float>(std::clamp(at, 0.0, 1.0));
    const float scaled = frequencies[j] / static_cast<float>(config.factor);
    frequencies[j] = frequencies[j] * (1 - ramp) + scaled * ramp;
  }
}

// A number of an object, or the default when it is absent.
double RealOr(json::Element object, std::string_view key, double otherwise) {
  const std::optional<json::Element> element = json::Find(object, key);
  double value = otherwise;
  if (element && element->get(value) != simdjson::SUCCESS) return otherwise;
  return value;
}

}  // namespace

double RopeConfig::score_factor() const {
  if (scaling == RopeScaling::kNone || mscale_all_dim == 0) return 1.0;
  const double m = Mscale(factor, mscale_all_dim);
  return m * m;
}

Result<RopeScaling> ParseRopeScaling(std::string_view type) {
  if (type == "default" || type == "none") return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "yarn") return RopeScaling::kYarn;
  return MakeError(ErrorCode::kUnsupported, "RoPE scaling")
      .Expected("default, linear or yarn")
      .Actual(type);
}

Result<RopeConfig> RopeFromConfig(const json::Document& config, double theta, double context) {
  RopeConfig rope;
  rope.theta = theta;
  auto found = json::Find(config.root(), "rope_parameters");
  if (!found) found = json::Find(config.root(), "rope_scaling");
  if (!found) return rope;
  auto type = json::AsString(json::Find(*found, "rope_type"));
  if (!type) type = json::AsString(json::Find(*found, "type"));
  Result<RopeScaling> scaling = ParseRopeScaling(type.value_or("default"));
  if (!scaling) return std::move(scaling).error().In(config.path());
  rope.scaling = *scaling;
  if (rope.scaling == RopeScaling::kNone) return rope;
  rope.factor = RealOr(*found, "factor", 0);
  if (!(rope.factor > 0)) {
    return MakeError(ErrorCode::kCorrupt, "RoPE scaling without a factor above 0")
        .In(config.path());
  }
  rope.original_context = RealOr(*found, "original_max_position_embeddings", context);
  rope.beta_fast = RealOr(*found, "beta_fast", rope.beta_fast);
  rope.beta_slow = RealOr(*found, "beta_slow", rope.beta_slow);
  rope.truncate = json::AsBool(json::Find(*found, "truncate")).value_or(true);
  rope.mscale = RealOr(*found, "mscale", 0);
  rope.mscale_all_dim = RealOr(*found, "mscale_all_dim", 0);
  if (json::Find(*found, "attention_factor")) {
    rope.attention = RealOr(*found, "attention_factor", 1);
  }
  return rope;
}

Rope::Rope(const RopeConfig& config, std::uint32_t width) : frequencies_(width / 2) {
  for (std::size_t j = 0; j < frequencies_.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(width);
    frequencies_[j] = 1.0F / std::pow(static_cast<float>(config.theta), exponent);
  }
  if (config.scaling == RopeScaling::kLinear) {
    for (float& frequency : frequencies_) frequency /= static_cast<float>(config.factor);
  }
  if (config.scaling == RopeScaling::kYarn) {
    ScaleYarn(config, frequencies_);
    multiplier_ = static_cast<float>(AttentionMultiplier(config));
  }
}

void Rope::Angles(std::uint32_t position, std::span<float> angles) const {
  const std::size_t pairs = frequencies_.size();
  for (std::size_t j = 0; j < pairs; ++j) {
    // In binary32, as transformers does: far positions would differ visibly otherwise.
    const float angle = static_cast<float>(position) * frequencies_[j];
    angles[j] = std::cos(angle) * multiplier_;
    angles[pairs + j] = std::sin(angle) * multiplier_;
  }
}

void RotatePairs(std::span<const float> angles, std::span<float> x) {
  const std::size_t pairs = x.size() / 2;
  for (std::size_t j = 0; j < pairs; ++j) {
    const float a = x[2 * j];
    const float b = x[2 * j + 1];
    x[2 * j] = a * angles[j] - b * angles[pairs + j];
    x[2 * j + 1] = b * angles[j] + a * angles[pairs + j];
  }
}

}  // namespace sluice::runtime
