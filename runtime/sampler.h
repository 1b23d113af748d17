// Chooses the next token from a row of logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "runtime/language_model.h"

namespace sluice::runtime {

// What GLM-4.7's authors publish for general use is the default.
struct SamplingOptions {
  float temperature = 1.0F;         // 0: always the most likely token
  std::uint32_t top_k = 0;          // keep this many of the most likely; 0: all
  float top_p = 0.95F;              // keep the most likely until they add up to this; 1: all
  float min_p = 0.0F;               // drop what is less likely than this share of the most likely
  float repeat_penalty = 1.0F;      // divides positive and multiplies negative logits; 1: off
  float presence_penalty = 0.0F;    // taken off the logit of a token that occurs
  float frequency_penalty = 0.0F;   // taken off once for each occurrence
  std::int64_t repeat_last_n = 64;  // tokens the penalties look at; 0: none, -1: all
};

// kUsage, naming the option, for values that make no sense.
Status CheckSampling(const SamplingOptions& options);

// Defaults with what a model's file recommends (general.sampling.*) in their place.
[[nodiscard]] SamplingOptions RecommendedSampling(const gguf::Metadata& metadata);

// Equal seeds, options, logits and tokens give equal choices, on every machine whose exp() rounds
// alike: the random numbers are SplitMix64's (Steele, Lea and Flood 2014).
class Sampler {
 public:
  // REQUIRES: CheckSampling(options).
  Sampler(const SamplingOptions& options, std::uint64_t seed) : options_(options), seed_(seed) {}

  // Penalties, then top-k, softmax of logits / temperature, top-p, min-p, a draw. Of tokens that
  // are equally likely the lower id comes first; NaN counts as impossible.
  // `before`: all tokens so far, prompt included. REQUIRES: `logits` is not empty.
  TokenId Sample(std::span<const float> logits, std::span<const TokenId> before);

 private:
  struct Candidate {
    TokenId id = 0;
    float logit = 0;
    double weight = 0;  // exp((logit - largest) / temperature)
  };
  static bool Less(const Candidate& a, const Candidate& b);

  void Penalize(std::span<const TokenId> before);
  TokenId Draw();
  // Moves the next most likely candidate behind the heap's end.
  const Candidate& Pop(std::size_t taken);
  // A number in [0, 1), another one each time.
  double NextRandom();

  SamplingOptions options_;
  std::uint64_t seed_;
  std::uint64_t draws_ = 0;
  std::vector<Candidate> candidates_;  // by id until Draw makes a heap of them
};

// A seed that nothing predicts.
[[nodiscard]] std::uint64_t RandomSeed();

}  // namespace sluice::runtime
