#include "runtime/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <unordered_map>

namespace sluice::runtime {
namespace {

// SplitMix64's step and finaliser.
constexpr std::uint64_t kGoldenGamma = 0x9E3779B97F4A7C15;
std::uint64_t SplitMix64(std::uint64_t state) {
  state = (state ^ (state >> 30U)) * 0xBF58476D1CE4E5B9;
  state = (state ^ (state >> 27U)) * 0x94D049BB133111EB;
  return state ^ (state >> 31U);
}

struct Bounds {
  double least = 0;
  double most = 0;

  [[nodiscard]] bool Hold(double value) const { return value >= least && value <= most; }
};
constexpr Bounds kTemperature{0, 100};
constexpr Bounds kShare{0, 1};

Status InRange(std::string_view name, double value, const Bounds& bounds) {
  if (bounds.Hold(value)) return Ok();
  return MakeError(ErrorCode::kUsage, fmt::format("{} is out of range", name))
      .Expected(fmt::format("{} to {}", bounds.least, bounds.most))
      .Actual(fmt::format("{}", value));
}

}  // namespace

Status CheckSampling(const SamplingOptions& options) {
  SLUICE_TRY(InRange("temperature", options.temperature, kTemperature));
  SLUICE_TRY(InRange("top_p", options.top_p, kShare));
  SLUICE_TRY(InRange("min_p", options.min_p, kShare));
  SLUICE_TRY(InRange("repeat_penalty", options.repeat_penalty, {0.01, 100}));
  SLUICE_TRY(InRange("presence_penalty", options.presence_penalty, {-100, 100}));
  SLUICE_TRY(InRange("frequency_penalty", options.frequency_penalty, {-100, 100}));
  return InRange("repeat_last_n", static_cast<double>(options.repeat_last_n),
                 {-1, std::numeric_limits<std::int32_t>::max()});
}

SamplingOptions RecommendedSampling(const gguf::Metadata& metadata) {
  SamplingOptions options;
  const auto read = [&](std::string_view key, float& value, const Bounds& bounds) {
    const auto* found = metadata.Get<float>(fmt::format("general.sampling.{}", key));
    if (found != nullptr && bounds.Hold(*found)) value = *found;
  };
  read("temp", options.temperature, kTemperature);
  read("top_p", options.top_p, kShare);
  read("min_p", options.min_p, kShare);
  const auto* top_k = metadata.Get<std::int32_t>("general.sampling.top_k");
  if (top_k != nullptr && *top_k > 0) options.top_k = static_cast<std::uint32_t>(*top_k);
  return options;
}

bool Sampler::Less(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit < b.logit : a.id > b.id;
}

double Sampler::NextRandom() {
  constexpr double kUnit = 1.0 / (std::uint64_t{1} << 53U);
  const std::uint64_t bits = SplitMix64(seed_ + kGoldenGamma * ++draws_);
  return static_cast<double>(bits >> 11U) * kUnit;
}

void Sampler::Penalize(std::span<const TokenId> before) {
  const bool off = options_.repeat_penalty == 1 && options_.presence_penalty == 0 &&
                   options_.frequency_penalty == 0;
  if (off) return;
  const auto last = options_.repeat_last_n < 0
                        ? before.size()
                        : std::min<std::size_t>(before.size(), options_.repeat_last_n);
  std::unordered_map<TokenId, std::uint32_t> counts;
  for (const TokenId id : before.last(last)) ++counts[id];
  for (const auto& [id, count] : counts) {
    if (id >= candidates_.size()) continue;
    float& logit = candidates_[id].logit;
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    logit -= options_.presence_penalty + options_.frequency_penalty * static_cast<float>(count);
  }
}

const Sampler::Candidate& Sampler::Pop(std::size_t taken) {
  const auto end = candidates_.end() - static_cast<std::ptrdiff_t>(taken);
  std::pop_heap(candidates_.begin(), end, Less);
  return *(end - 1);
}

// The most likely candidates are taken off a heap, as many as the cuts keep.
TokenId Sampler::Draw() {
  const std::size_t size = candidates_.size();
  std::make_heap(candidates_.begin(), candidates_.end(), Less);
  std::size_t kept = size;
  if (options_.top_k > 0 && options_.top_k < size) {
    kept = options_.top_k;
    for (std::size_t taken = 0; taken < kept; ++taken) Pop(taken);
    // The best lie at the end, in rising order, which reversed is a heap again.
    candidates_.erase(candidates_.begin(), candidates_.end() - static_cast<std::ptrdiff_t>(kept));
    std::reverse(candidates_.begin(), candidates_.end());
  }
  const float largest = candidates_.front().logit;
  double total = 0;
  for (Candidate& candidate : candidates_) {
    candidate.weight =
        std::exp(static_cast<double>(candidate.logit - largest) / options_.temperature);
    total += candidate.weight;
  }
  // With top-p or min-p what is drawn from must be known before the draw.
  const bool cut = options_.top_p < 1 || options_.min_p > 0;
  std::size_t popped = 0;
  if (cut) {
    const double sum_limit = options_.top_p * total;
    double sum = 0;
    while (popped < kept) {
      const double weight = Pop(popped).weight;
      if (popped > 0 && (sum >= sum_limit || weight < options_.min_p)) break;
      sum += weight;
      ++popped;
    }
    kept = popped;
    total = sum;
  }
  double left = NextRandom() * total;
  for (std::size_t rank = 0; rank < kept; ++rank) {
    const Candidate& candidate = cut ? candidates_[candidates_.size() - 1 - rank] : Pop(rank);
    left -= candidate.weight;
    if (left < 0) return candidate.id;
  }
  // Only rounding leads here.
  return candidates_[candidates_.size() - kept].id;
}

TokenId Sampler::Sample(std::span<const float> logits, std::span<const TokenId> before) {
  candidates_.resize(logits.size());
  for (TokenId id = 0; id < logits.size(); ++id) {
    const float logit =
        std::isnan(logits[id]) ? -std::numeric_limits<float>::infinity() : logits[id];
    candidates_[id] = {id, logit, 0};
  }
  Penalize(before);
  if (options_.temperature == 0) {
    return std::max_element(candidates_.begin(), candidates_.end(), Less)->id;
  }
  return Draw();
}

std::uint64_t RandomSeed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32U) | device();
}

}  // namespace sluice::runtime
