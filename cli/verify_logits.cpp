#include "cli/verify_logits.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/command.h"
#include "cli/metadata_text.h"
#include "core/file.h"
#include "runtime/logit_difference.h"
#include "runtime/model/load.h"

namespace sluice::cli {
namespace {

using runtime::LogitDifference;
using runtime::TokenId;

constexpr std::uint64_t kMaxPassageBytes = std::uint64_t{256} << 20;
constexpr std::uint32_t kDefaultTokens = 64;

// Ids that lie evenly in the vocabulary, in no order: Fibonacci hashing of their positions.
std::vector<TokenId> DefaultTokens(const runtime::Glm& model) {
  constexpr std::uint32_t kGolden = 0x9e3779b9;  // 2^32 over the golden ratio
  std::vector<TokenId> tokens;
  for (std::uint32_t i = 1; i <= std::min(kDefaultTokens, model.context_length()); ++i) {
    tokens.push_back(static_cast<TokenId>(std::uint64_t{i * kGolden} * model.vocab_size() >> 32));
  }
  return tokens;
}

Result<std::vector<TokenId>> ReadTokens(const VerifyLogitsFlags& flags,
                                        const VerifiedModels& models,
                                        runtime::LoadedModel& reference) {
  if (!flags.tokens.empty()) return flags.tokens;
  if (flags.text.empty()) return DefaultTokens(*reference.model);
  SLUICE_ASSIGN(const std::string text, ReadWholeFile(flags.text, kMaxPassageBytes));
  SLUICE_ASSIGN(const runtime::Tokenizer tokenizer,
                runtime::TokenizerOf(models.reference, reference));
  Result<std::vector<TokenId>> tokens = tokenizer.Encode(text);
  if (!tokens) return std::move(tokens).error().In(flags.text);
  if (tokens->empty()) return MakeError(ErrorCode::kUsage, "a text without tokens").In(flags.text);
  const std::uint32_t most = std::min(flags.context, reference.model->context_length());
  tokens->resize(std::min<std::size_t>(tokens->size(), most));
  return tokens;
}

nlohmann::ordered_json ToJson(const LogitDifference& difference) {
  return {{"largest_difference", difference.largest},
          {"mean_difference", difference.mean},
          {"kl_divergence", difference.divergence},
          {"agreement", difference.agreement}};
}

void PrintJson(std::span<const TokenId> tokens, std::span<const LogitDifference> differences,
               const LogitDifference& all) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    nlohmann::ordered_json entry{{"id", tokens[i]}};
    entry.update(ToJson(differences[i]));
    list.push_back(std::move(entry));
  }
  nlohmann::ordered_json json{{"format", 1}};
  json.update(ToJson(all));
  json["tokens"] = std::move(list);
  fmt::print("{}\n", DumpJson(json));
}

void Print(std::span<const TokenId> tokens, std::span<const LogitDifference> differences,
           const LogitDifference& all) {
  fmt::print("{:>8} {:>8} {:>12} {:>12} {:>12}  same top\n", "position", "token", "largest", "mean",
             "divergence");
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const LogitDifference& of = differences[i];
    fmt::print("{:>8} {:>8} {:>12.3e} {:>12.3e} {:>12.3e}  {}\n", i, tokens[i], of.largest, of.mean,
               of.divergence, of.agreement > 0 ? "yes" : "no");
  }
  fmt::print(
      "{} tokens: largest difference {:.3e}, mean {:.3e}, KL divergence {:.3e}, same top token "
      "{:.2f} %\n",
      tokens.size(), all.largest, all.mean, all.divergence, 100 * all.agreement);
}

}  // namespace

void AddVerifyLogitsFlags(CLI::App& command, VerifyLogitsFlags& flags) {
  CLI::Option* const enabled = command.add_flag(
      "--logits", flags.enabled,
      "Run both models on the same tokens and compare their logits instead; CHECKPOINT and OUT may "
      "be any two models of GLM-4 MoE Lite; default: compare bytes");
  const auto add = [&](const char* name, auto& value, const char* type, const char* help) {
    return command.add_option(name, value, help)->type_name(type)->needs(enabled);
  };
  CLI::Option* const tokens =
      RefuseEmpty(add("--tokens", flags.tokens, "ID,ID,...",
                      "Token ids, separated by commas; default: 64 ids from all over the "
                      "vocabulary"))
          ->delimiter(',');
  add("--text", flags.text, "FILE", "A text to run instead; default: the ids of --tokens")
      ->excludes(tokens);
  add("--context", flags.context, "NUMBER", "How many of the text's tokens are run; default 512")
      ->check(CLI::PositiveNumber.description(""));
  add("--max-diff", flags.max_difference, "NUMBER",
      "Exit with 1 when logits differ by more; default: any difference will do")
      ->check(CLI::NonNegativeNumber.description(""));
  add("--max-kl", flags.max_divergence, "NUMBER",
      "Exit with 1 when the mean KL divergence is larger; default: any will do")
      ->check(CLI::NonNegativeNumber.description(""));
  add("--min-agreement", flags.min_agreement, "SHARE",
      "Exit with 1 when the top token is the same for a smaller share of the tokens, 0 to 1; "
      "default: any will do")
      ->check(CLI::Range(0.0, 1.0).description(""));
}

Result<bool> VerifyLogits(const VerifyLogitsFlags& flags, const VerifiedModels& models) {
  runtime::LoadOptions options;
  options.model.threads = models.threads;
  SLUICE_ASSIGN(runtime::LoadedModel reference, runtime::LoadModel(models.reference, options));
  SLUICE_ASSIGN(const runtime::LoadedModel tested, runtime::LoadModel(models.tested, options));
  SLUICE_ASSIGN(const std::vector<TokenId> tokens, ReadTokens(flags, models, reference));
  if (!models.quiet) {
    PrintWarnings(reference.warnings);
    PrintWarnings(tested.warnings);
  }
  const auto differences = runtime::CompareLogits(*reference.model, *tested.model, tokens);
  if (!differences) return differences.error();
  const LogitDifference all = runtime::Summarize(*differences);
  models.json ? PrintJson(tokens, *differences, all) : Print(tokens, *differences, all);
  return all.largest <= flags.max_difference.value_or(all.largest) &&
         all.divergence <= flags.max_divergence.value_or(all.divergence) &&
         all.agreement >= flags.min_agreement.value_or(0);
}

}  // namespace sluice::cli
