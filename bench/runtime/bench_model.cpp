// Times a model: how fast it takes a prompt in, and how fast it generates after it. The workloads
// are those of llama-bench: pp N is a prompt of N tokens with the logits of its last, tg N is N
// tokens one by one from an empty sequence on.
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
    const SequenceInput input{sequence, tokens.subspan(at, chunk), logits};
    SLUICE_TRY(model.Forward({&input, 1}));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  model.ReleaseSequence(sequence);
  return static_cast<double>(tokens.size()) / seconds.count();
}

// One warm-up run, then the median and the best of the others.
Status Report(Glm& model, const char* name, std::uint32_t count, std::size_t chunk, int repeat) {
  std::minstd_rand random(1);
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % model.vocab_size());
  std::vector<double> speeds;
  for (int run = 0; run <= repeat; ++run) {
    SLUICE_ASSIGN(const double speed, Time(model, tokens, chunk));
    if (run > 0) speeds.push_back(speed);
  }
  std::sort(speeds.begin(), speeds.end());
  fmt::print("{} {:4}: median {:8.2f} best {:8.2f} tokens/s\n", name, count,
             speeds[speeds.size() / 2], speeds.back());
  return Ok();
}

Status Run(const Flags& flags) {
  LoadOptions options;
  options.model.threads = flags.threads > 0 ? flags.threads : AllowedCores();
  options.model.cache_type = flags.cache == "f32"    ? gguf::TensorType::kF32
                             : flags.cache == "bf16" ? gguf::TensorType::kBF16
                                                     : gguf::TensorType::kF16;
  SLUICE_ASSIGN(const LoadedModel loaded, LoadModel(flags.model, options));
  if (flags.prompt > 0) {
    SLUICE_TRY(Report(*loaded.model, "pp", flags.prompt, flags.prompt, flags.repeat));
  }
  if (flags.generate > 0) SLUICE_TRY(Report(*loaded.model, "tg", flags.generate, 1, flags.repeat));
  return Ok();
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Times GLM-4 MoE Lite on prompts and on generation");
  app.add_option("MODEL", flags.model, "A GGUF file or a checkpoint folder")->required();
  app.add_option("--threads", flags.threads, "Default: the cores at hand");
  app.add_option("--prompt", flags.prompt, "Tokens of the prompt; 0: none");
  app.add_option("--generate", flags.generate, "Tokens to generate; 0: none");
  app.add_option("--repeat", flags.repeat, "Timed runs of each");
  app.add_option("--cache", flags.cache, "Type of the cache")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  CLI11_PARSE(app, argc, argv);
  const Status status = Run(flags);
  if (status) return 0;
  fmt::print(stderr, "error: {}\n", status.error().Format());
  return 1;
}
