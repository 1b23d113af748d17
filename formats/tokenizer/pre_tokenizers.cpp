#include "formats/tokenizer/pre_tokenizers.h"

#include <fmt/format.h>

#include <array>

namespace sluice::tokenizer {
namespace {

struct KnownPreTokenizer {
  std::string_view name;
  std::string_view canonical;
};

// The patterns are those of the published tokenizer.json files: Llama 3 (also LFM2 and GLM-4.7),
// Llama 4, Qwen2, Mistral Nemo ("tekken"), SmolLM and GPT-2.
constexpr std::array kKnown{
    KnownPreTokenizer{
        "llama-bpe",
        R"re(Split(Regex,Isolated,(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re"},
    KnownPreTokenizer{
        "llama4",
        R"re(Split(Regex,Isolated,[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re"},
    KnownPreTokenizer{
        "qwen2",
        R"re(Split(Regex,Isolated,(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re"},
    KnownPreTokenizer{
        "tekken",
        R"re(Split(Regex,Isolated,[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+) | ByteLevel(prefix_space=0,regex=0))re"},
    KnownPreTokenizer{"smollm", "Digits(individual=1) | ByteLevel(prefix_space=0,regex=1)"},
    KnownPreTokenizer{"gpt-2", kGpt2Definition},
};

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

}  // namespace sluice::tokenizer
