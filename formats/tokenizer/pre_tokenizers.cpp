#include "formats/tokenizer/pre_tokenizers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace sluice::tokenizer {
namespace {

struct KnownPreTokenizer {
  std::string_view name;
  std::string_view canonical;
  bool ignore_merges = false;
};

// The patterns are those of the published tokenizer.json files: Llama 3 (also LFM2 and GLM-4.7),
// Llama 4, Qwen2, Mistral Nemo ("tekken"), SmolLM and GPT-2. Those that look a whole piece up
// before they merge come from tiktoken, which does so.
constexpr std::array kKnown{
    KnownPreTokenizer{
        "llama-bpe",
        R"re(Split(Regex,Isolated,(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re",
        true},
    KnownPreTokenizer{
        "llama4",
        R"re(Split(Regex,Isolated,[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re",
        true},
    KnownPreTokenizer{
        "qwen2",
        R"re(Split(Regex,Isolated,(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re"},
    KnownPreTokenizer{
        "tekken",
        R"re(Split(Regex,Isolated,[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re",
        true},
    KnownPreTokenizer{"smollm", "Digits(individual=1) | ByteLevel(prefix_space=0,regex=1)"},
    KnownPreTokenizer{"gpt-2", kGpt2Definition},
};

// Names that families have given to a definition of the table.
struct Alias {
  std::string_view name;
  std::string_view of;
};
constexpr std::array kAliases{
    Alias{"glm4", "llama-bpe"},   Alias{"chatglm-bpe", "llama-bpe"}, Alias{"lfm2", "llama-bpe"},
    Alias{"llama3", "llama-bpe"}, Alias{"llama-v3", "llama-bpe"},
};

// Of the vocabulary loader of llama.cpp 0c1e570, sorted.
constexpr auto kNames = std::to_array<std::string_view>({
    "a.x-4.0",
    "afmoe",
    "bailingmoe",
    "bailingmoe2",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "exaone",
    "exaone-moe",
    "exaone4",
    "f2llmv2",
    "falcon",
    "falcon-h1",
    "falcon3",
    "gemma4",
    "gigachat",
    "glm4",
    "glm5",
    "gpt-2",
    "gpt-4o",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-311m",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-de",
    "jina-es",
    "jina-v1-en",
    "jina-v2-code",
    "jina-v2-de",
    "jina-v2-es",
    "jina-v5-nano",
    "joyai-llm",
    "kanana2",
    "kimi-k2",
    "kormo",
    "laguna",
    "lfm2",
    "llada-moe",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "megrez",
    "mellum",
    "mellum2",
    "midm-2.0",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "modern-bert",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "roberta-bpe",
    "sarvam-moe",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "talkie",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "whitespace",
    "youtu",
});

constexpr std::string_view kStepSeparator = " | ";
// Built into the byte-level step of the Hugging Face tokenizers library; GPT-2's own.
constexpr std::string_view kGpt2Pattern =
    R"re('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";

bool Consume(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// The pattern of a split step and, in `rest`, the steps after it. A pattern may hold anything, so
// it ends where the next step begins.
std::string_view TakePattern(std::string_view& rest) {
  std::size_t end = rest.size();
  for (const std::string_view next : {") | Split(", ") | Digits(", ") | ByteLevel("}) {
    end = std::min(end, rest.find(next));
  }
  const std::string_view pattern = rest.substr(0, end);
  rest.remove_prefix(std::min(rest.size(), end + 1 + kStepSeparator.size()));
  return pattern;
}

std::string CanonicalSplit(json::Element step) {
  const auto regex = json::AsString(json::FindPath(step, "pattern.Regex"));
  const auto text = json::AsString(json::FindPath(step, "pattern.String"));
  const auto behavior = json::AsString(json::Find(step, "behavior")).value_or("");
  const bool invert = json::AsBool(json::Find(step, "invert")).value_or(false);
  return fmt::format("Split({},{}{},{})", regex ? "Regex" : "String", behavior,
                     invert ? ",inverted" : "", regex ? *regex : text.value_or(""));
}

int Flag(json::Element step, std::string_view key, bool absent) {
  return json::AsBool(json::Find(step, key)).value_or(absent) ? 1 : 0;
}

std::string CanonicalStep(json::Element step) {
  const auto type = json::AsString(json::Find(step, "type")).value_or("");
  if (type == "Split") return CanonicalSplit(step);
  if (type == "ByteLevel") {
    return fmt::format("ByteLevel(prefix_space={},regex={})", Flag(step, "add_prefix_space", true),
                       Flag(step, "use_regex", true));
  }
  if (type == "Digits")
    return fmt::format("Digits(individual={})", Flag(step, "individual_digits", false));
  if (type != "Sequence") return simdjson::minify(step);
  std::string steps;
  if (const auto list = json::AsArray(json::Find(step, "pretokenizers"))) {
    for (const json::Element inner : *list) {
      if (!steps.empty()) steps += " | ";
      steps += CanonicalStep(inner);
    }
  }
  return steps;
}

}  // namespace

std::string CanonicalPreTokenizer(std::optional<json::Element> definition) {
  return definition ? CanonicalStep(*definition) : "none";
}

std::optional<std::string_view> RecognisePreTokenizer(std::string_view canonical) {
  for (const KnownPreTokenizer& known : kKnown) {
    if (known.canonical == canonical) return known.name;
  }
  return std::nullopt;
}

std::span<const std::string_view> PreTokenizerNames() { return kNames; }

std::optional<NamedPreTokenizer> FindPreTokenizer(std::string_view name) {
  for (const Alias& alias : kAliases) {
    if (alias.name == name) name = alias.of;
  }
  for (const KnownPreTokenizer& known : kKnown) {
    if (known.name == name) return NamedPreTokenizer{known.canonical, known.ignore_merges};
  }
  return std::nullopt;
}

std::optional<std::vector<std::string>> SplitPatterns(std::string_view canonical) {
  std::vector<std::string> patterns;
  while (!canonical.starts_with("ByteLevel(")) {
    if (Consume(canonical, "Split(Regex,Isolated,")) {
      patterns.emplace_back(TakePattern(canonical));
    } else if (Consume(canonical, "Digits(individual=1) | ")) {
      patterns.emplace_back(R"(\p{N})");
    } else if (Consume(canonical, "Digits(individual=0) | ")) {
      patterns.emplace_back(R"(\p{N}+)");
    } else {
      return std::nullopt;
    }
  }
  if (canonical == kGpt2Definition) {
    patterns.emplace_back(kGpt2Pattern);
  } else if (canonical != "ByteLevel(prefix_space=0,regex=0)") {
    return std::nullopt;
  }
  return patterns;
}

}  // namespace sluice::tokenizer
