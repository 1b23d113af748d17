// sluice verify --logits: runs two models on the same tokens and compares what they answer.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "runtime/language_model.h"

namespace sluice::cli {

struct VerifyLogitsFlags {
  bool enabled = false;
  std::vector<runtime::TokenId> tokens;
  std::string text;
  std::uint32_t context = 512;
  std::optional<double> max_difference;
  std::optional<double> max_divergence;
  std::optional<double> min_agreement;
};
// --logits and the flags that only make sense with it.
void AddVerifyLogitsFlags(CLI::App& command, VerifyLogitsFlags& flags);

struct VerifiedModels {
  std::string reference;  // a checkpoint folder or a GGUF file, as is `tested`
  std::string tested;
  int threads = 0;  // 0: all allowed cores
  bool json = false;
  bool quiet = false;
};
// Prints how far the logits are apart, for each token and for all. Gives whether that is within the
// limits of the flags. Errors of LoadModel and CompareLogits, and of reading the text.
Result<bool> VerifyLogits(const VerifyLogitsFlags& flags, const VerifiedModels& models);

}  // namespace sluice::cli
