#include "arch/blocks.h"

#include <cmath>
#include <numbers>

namespace sluice::arch {
namespace {

constexpr double kDefaultLlama3Factor = 8.0;
constexpr std::uint64_t kDefaultLlama3Context = 8192;

struct Llama3Scaling {
  float factor;
  float low;
  float high;
  float original_context;
};

Llama3Scaling ScalingOf(const HParams& hparams) {
  const double factor = hparams.Has(kRopeFactor) ? hparams.Real(kRopeFactor) : kDefaultLlama3Factor;
  const std::uint64_t context = hparams.Has(kRopeOriginalContext)
                                    ? hparams.Count(kRopeOriginalContext)
                                    : kDefaultLlama3Context;
  return {static_cast<float>(factor), static_cast<float>(hparams.Real(kRopeLowFreqFactor)),
          static_cast<float>(hparams.Real(kRopeHighFreqFactor)), static_cast<float>(context)};
}

// The divisor for a frequency of this wavelength (tokens for a full turn). The boundaries compare
// in the precision of `wavelength`.
template <typename T>
float FactorFor(T wavelength, const Llama3Scaling& scaling) {
  if (wavelength < static_cast<T>(scaling.original_context / scaling.high)) return 1.0F;
  if (wavelength > static_cast<T>(scaling.original_context / scaling.low)) return scaling.factor;
  if (scaling.high == scaling.low) return scaling.factor;  // both boundaries at this wavelength
  const float smooth = (scaling.original_context / static_cast<float>(wavelength) - scaling.low) /
                       (scaling.high - scaling.low);
  return 1.0F / ((1.0F - smooth) / scaling.factor + smooth);
}

bool IsLlama3(const HParams& hparams) { return hparams.Text(kRopeType) == "llama3"; }

std::uint64_t PerHead(const HParams& hparams) {
  return hparams.Count(kHidden) / hparams.Count(kHeads);
}

}  // namespace

HpValue HiddenPerHead(const HParams& hparams) { return PerHead(hparams); }
HpValue SameAsHeads(const HParams& hparams) { return hparams.Count(kHeads); }
HpValue RopeTypeIsDefault(const HParams&) { return std::string("default"); }

HpValue RopeScalingType(const HParams& hparams) {
  const std::string& type = hparams.Text(kRopeType);
  if (type == "linear" || type == "yarn") return type;
  return {};
}

HpValue RopeScalingFactor(const HParams& hparams) {
  if (RopeScalingType(hparams).index() == 0) return {};
  return hparams.Get(kRopeFactor);
}

HpValue YarnOriginalContext(const HParams& hparams) {
  if (hparams.Text(kRopeType) != "yarn") return {};
  return hparams.Get(kRopeOriginalContext);
}

std::vector<float> RopeFactorsLlamaCpp(const HParams& hparams) {
  std::vector<float> factors;
  if (!IsLlama3(hparams)) return factors;
  const Llama3Scaling scaling = ScalingOf(hparams);
  const auto theta = static_cast<float>(hparams.Real(kRopeTheta));
  const std::uint64_t values = hparams.Count(kHeadDim);
  for (std::uint64_t i = 0; i < values; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(values);
    const float frequency = 1.0F / std::pow(theta, exponent);
    factors.push_back(FactorFor(2.0F * std::numbers::pi_v<float> / frequency, scaling));
  }
  return factors;
}

std::vector<float> RopeFactorsOllama(const HParams& hparams) {
  std::vector<float> factors;
  if (!IsLlama3(hparams)) return factors;
  const Llama3Scaling scaling = ScalingOf(hparams);
  const std::uint64_t values = PerHead(hparams);
  for (std::uint64_t i = 0; i < values; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(values);
    factors.push_back(
        FactorFor(2.0 * std::numbers::pi * std::pow(hparams.Real(kRopeTheta), exponent), scaling));
  }
  return factors;
}

std::optional<Finding> ActivationIsSilu(const HParams& hparams) {
  if (!hparams.Has(kHiddenAct) || hparams.Text(kHiddenAct) == "silu") return std::nullopt;
  return Finding{FindingKind::kUnsupported, "hidden_act is '" + hparams.Text(kHiddenAct) +
                                                "'; readers of this architecture assume 'silu'"};
}

std::optional<Finding> RopeIsWhole(const HParams& hparams) {
  if (hparams.Real(kPartialRotary) == 1.0) return std::nullopt;
  return Finding{FindingKind::kUnsupported,
                 "partial_rotary_factor other than 1 cannot be expressed for this architecture"};
}

std::optional<Finding> ProjectionsHaveNoBias(const HParams& hparams) {
  if (!hparams.Flag(kAttentionBias)) return std::nullopt;
  return Finding{FindingKind::kUnsupported,
                 "attention_bias true: readers of this architecture look for no biases"};
}

std::optional<Finding> RopeScalingIsKnown(const HParams& hparams) {
  const std::string& type = hparams.Text(kRopeType);
  if (type == "default" || type == "llama3") return std::nullopt;
  if (type == "linear" || type == "yarn") {
    if (hparams.Has(kRopeFactor)) return std::nullopt;
    return Finding{FindingKind::kInvalid, "rope scaling of type '" + type + "' without a factor"};
  }
  if (type == "dynamic") {
    return Finding{FindingKind::kWarning,
                   "rope scaling 'dynamic' is not written: beyond the original context the result "
                   "will differ"};
  }
  return Finding{FindingKind::kUnsupported, "rope scaling of type '" + type + "'"};
}

std::optional<Finding> RopeScalingHasKeys(const HParams& hparams) {
  if (!IsLlama3(hparams)) return RopeScalingIsKnown(hparams);
  return Finding{FindingKind::kUnsupported,
                 "rope scaling of type 'llama3', whose factors no reader of this family looks for"};
}

std::optional<Finding> RopeIsUnscaled(const HParams& hparams) {
  const std::string& type = hparams.Text(kRopeType);
  if (type == "default") return std::nullopt;
  return Finding{FindingKind::kUnsupported,
                 "rope scaling of type '" + type + "' in this dialect, which has no keys for it"};
}

std::optional<Finding> OllamaRopeScalingIsKnown(const HParams& hparams) {
  const std::string& type = hparams.Text(kRopeType);
  if (type != "yarn") return RopeScalingIsKnown(hparams);
  return Finding{FindingKind::kUnsupported,
                 "rope scaling of type 'yarn' in the ollama dialect, which has no keys for it"};
}

bool IsTied(const HParams& hparams, std::uint64_t) { return hparams.Flag(kTied); }
bool IsUntied(const HParams& hparams, std::uint64_t) { return !hparams.Flag(kTied); }

}  // namespace sluice::arch
