// Times a model: how fast it takes a prompt in, and how fast it generates after it. The workloads
// are those of llama-bench: the logits of the last of N prompt tokens, and N tokens one by one from
// an empty sequence on. Prints JSON for bench_run.py.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "core/machine.h"
#include "runtime/model/load.h"

namespace {

using namespace sluice;
using namespace sluice::runtime;

struct Flags {
  std::string model;
  int threads = 0;
  std::uint32_t prompt = 128;
  std::uint32_t generate = 64;
  int repeat = 5;
  std::string cache = "f16";
};

// Feeds the tokens in calls of `chunk` tokens; gives tokens per second.
Result<double> Time(Glm& model, std::span<const TokenId> tokens, std::size_t chunk) {
  std::vector<float> logits(model.vocab_size());
  SLUICE_ASSIGN(const SequenceId sequence, model.CreateSequence());
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t at = 0; at < tokens.size(); at += chunk) {
    const std::size_t count = std::min(chunk, tokens.size() - at);
    const SequenceInput input{sequence, tokens.subspan(at, count), logits};
    SLUICE_TRY(model.Forward({&input, 1}));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  model.ReleaseSequence(sequence);
  return static_cast<double>(tokens.size()) / seconds.count();
}

// Tokens per second: the median of some runs after one that is not timed; 0 without tokens.
Result<double> Speed(Glm& model, std::uint32_t count, std::size_t chunk, int repeat) {
  if (count == 0) return 0.0;
  std::minstd_rand random(1);
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % model.vocab_size());
  std::vector<double> speeds;
  for (int run = 0; run <= repeat; ++run) {
    SLUICE_ASSIGN(const double speed, Time(model, tokens, chunk));
    if (run > 0 || repeat == 0) speeds.push_back(speed);
  }
  std::sort(speeds.begin(), speeds.end());
  return speeds[speeds.size() / 2];
}

Status Run(const Flags& flags) {
  LoadOptions options;
  options.model.threads = flags.threads > 0 ? flags.threads : AllowedCores();
  options.model.cache_type = flags.cache == "f32"    ? gguf::TensorType::kF32
                             : flags.cache == "bf16" ? gguf::TensorType::kBF16
                                                     : gguf::TensorType::kF16;
  SLUICE_ASSIGN(const LoadedModel loaded, LoadModel(flags.model, options));
  Glm& model = *loaded.model;
  SLUICE_ASSIGN(const double prefill, Speed(model, flags.prompt, flags.prompt, flags.repeat));
  SLUICE_ASSIGN(const double decode, Speed(model, flags.generate, 1, flags.repeat));
  const std::uint64_t cache =
      model.cache_bytes_per_token() * std::max(flags.prompt, flags.generate);
  const MemoryUse memory = CurrentMemoryUse();
  fmt::print(
      "{{\"prefill\": {:.3f}, \"decode\": {:.3f}, \"cache_bytes\": {}, \"anonymous_bytes\": {}, "
      "\"peak_resident_bytes\": {}}}\n",
      prefill, decode, cache, memory.anonymous_bytes, memory.peak_resident_bytes);
  return Ok();
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Times GLM-4 MoE Lite on prompts and on generation, in tokens per second");
  app.add_option("MODEL", flags.model, "A GGUF file or a checkpoint folder")->required();
  app.add_option("--threads", flags.threads, "Default: the cores at hand");
  app.add_option("--prompt", flags.prompt, "Tokens of the prompt; 0: none");
  app.add_option("--generate", flags.generate, "Tokens to generate; 0: none");
  app.add_option("--repeat", flags.repeat, "Timed runs of each after the first; 0: the first alone")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--cache", flags.cache, "Type of the cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  CLI11_PARSE(app, argc, argv);
  const Status status = Run(flags);
  if (status) return 0;
  fmt::print(stderr, "error: {}\n", status.error().Format());
  return 1;
}
