#include "runtime/model/config.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

namespace sluice::runtime {
namespace {

constexpr std::string_view kGlm = "glm4moelite";
constexpr std::string_view kDeepSeek = "deepseek2";
constexpr std::string_view kGlmPre = "glm4";
constexpr std::uint64_t kSigmoid = 2;  // llama.cpp: LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID

std::optional<std::uint64_t> AsCount(const gguf::Value& value) {
  return std::visit(
      [](const auto& number) -> std::optional<std::uint64_t> {
        using T = std::decay_t<decltype(number)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          if (std::cmp_greater_equal(number, 0)) return static_cast<std::uint64_t>(number);
        }
        return std::nullopt;
      },
      value);
}

std::optional<double> AsReal(const gguf::Value& value) {
  if (const auto* number = std::get_if<float>(&value)) return *number;
  if (const auto* number = std::get_if<double>(&value)) return *number;
  return std::nullopt;
}

// The key-values of one architecture; remembers what is wrong with those it is asked for.
class Keys {
 public:
  Keys(const gguf::Metadata& metadata, std::string_view prefix)
      : metadata_(metadata), prefix_(prefix) {}

  std::optional<std::uint32_t> FindCount(std::string_view name, std::uint32_t least = 1) {
    const gguf::Value* value = Find(name);
    if (value == nullptr) return std::nullopt;
    const auto count = AsCount(*value);
    // Products of three of these still fit 64 bits.
    constexpr std::uint64_t kMost = std::uint64_t{1} << 21;
    if (count && *count >= least && *count <= kMost) return static_cast<std::uint32_t>(*count);
    return Wrong(name, fmt::format("an integer from {} to {}", least, kMost), *value);
  }
  std::optional<double> FindReal(std::string_view name) {
    const auto is_finite = [](float real) { return std::isfinite(real); };
    return FindReal(name, is_finite, "a finite real number");
  }
  std::optional<double> FindPositive(std::string_view name) {
    const auto is_positive = [](float real) { return std::isfinite(real) && real > 0; };
    return FindReal(name, is_positive, "a finite number above 0");
  }
  std::optional<bool> FindFlag(std::string_view name) {
    const gguf::Value* value = Find(name);
    if (value == nullptr) return std::nullopt;
    if (const bool* flag = std::get_if<bool>(value)) return *flag;
    return Wrong(name, "true or false", *value);
  }
  std::optional<std::string> FindText(std::string_view name) {
    const gguf::Value* value = Find(name);
    if (value == nullptr) return std::nullopt;
    if (const auto* text = std::get_if<std::string>(value)) return *text;
    return Wrong(name, "a string", *value);
  }
  std::uint32_t Count(std::string_view name) { return Required(name, FindCount(name)); }
  float Real(std::string_view name) { return static_cast<float>(Required(name, FindReal(name))); }
  float Positive(std::string_view name) {
    return static_cast<float>(Required(name, FindPositive(name)));
  }

  void Report(Error error) { problems_.push_back(std::move(error)); }
  Status Problems() { return problems_.empty() ? Ok() : JoinErrors(std::move(problems_)); }

 private:
  const gguf::Value* Find(std::string_view name) {
    return metadata_.Find(fmt::format("{}.{}", prefix_, name));
  }
  // `is_usable` judges the number in the precision that the model computes with.
  std::optional<double> FindReal(std::string_view name, bool (*is_usable)(float),
                                 std::string_view expected) {
    const gguf::Value* value = Find(name);
    if (value == nullptr) return std::nullopt;
    const auto real = AsReal(*value);
    if (real && is_usable(static_cast<float>(*real))) return real;
    return Wrong(name, expected, *value);
  }
  std::nullopt_t Wrong(std::string_view name, std::string_view expected, const gguf::Value& value) {
    Report(MakeError(ErrorCode::kCorrupt, fmt::format("key '{}.{}'", prefix_, name))
               .Expected(expected)
               .Actual(gguf::ToText(value, 4, 40)));
    return std::nullopt;
  }
  template <class T>
  T Required(std::string_view name, std::optional<T> value) {
    if (value) return *value;
    if (Find(name) == nullptr) {
      Report(MakeError(ErrorCode::kMissing, fmt::format("no key '{}.{}'", prefix_, name)));
    }
    return T{1};  // harmless: the problem is reported
  }

  const gguf::Metadata& metadata_;
  std::string_view prefix_;
  std::vector<Error> problems_;
};

Result<std::string_view> ArchitectureOf(const gguf::Metadata& metadata) {
  const auto* architecture = metadata.Get<std::string>("general.architecture");
  if (architecture == nullptr) {
    return MakeError(ErrorCode::kMissing, "no key 'general.architecture'");
  }
  if (*architecture == kGlm) return kGlm;
  const auto refuse = [](std::string_view actual) {
    return MakeError(ErrorCode::kUnsupported, "model to run")
        .Expected("GLM-4 MoE Lite (glm4moelite, or deepseek2 with pre-tokenizer glm4)")
        .Actual(actual);
  };
  if (*architecture != kDeepSeek) return refuse(*architecture);
  const auto* pre = metadata.Get<std::string>("tokenizer.ggml.pre");
  if (pre == nullptr) return refuse("deepseek2 without tokenizer.ggml.pre");
  if (*pre != kGlmPre) return refuse(fmt::format("deepseek2 with pre-tokenizer {}", *pre));
  return kDeepSeek;
}

// The dialects give the key lengths of a head and of a cache row each other's names.
void ReadHeadWidths(bool deepseek, Keys& keys, Config& config) {
  const std::uint32_t key =
      keys.Count(deepseek ? "attention.key_length_mla" : "attention.key_length");
  config.v_head = keys.Count(deepseek ? "attention.value_length_mla" : "attention.value_length");
  config.rope = keys.Count("rope.dimension_count");
  config.nope = key - config.rope;
  if (config.rope % 2 != 0 || config.rope >= key) {
    keys.Report(MakeError(ErrorCode::kMismatch, "rotated elements of a head")
                    .Expected(fmt::format("an even number below {}", key))
                    .Actual(fmt::format("{}", config.rope)));
  }
}

void ReadExperts(bool deepseek, Keys& keys, Config& config) {
  config.experts = keys.Count("expert_count");
  config.used_experts = keys.Count("expert_used_count");
  config.shared_experts = keys.FindCount("expert_shared_count", 0).value_or(0);
  config.expert_ffn = keys.Count("expert_feed_forward_length");
  config.expert_groups = keys.FindCount("expert_group_count").value_or(1);
  config.used_groups = keys.FindCount("expert_group_used_count").value_or(1);
  // Writers of deepseek2 files leave the key out where it is false.
  config.norm_weights = keys.FindFlag("expert_weights_norm").value_or(!deepseek);
  config.routed_scale = keys.Real("expert_weights_scale");
  config.dense_layers = keys.FindCount("leading_dense_block_count", 0).value_or(0);
  const std::uint32_t of_group = config.experts / config.expert_groups;
  const bool grouped =
      config.expert_groups == 1 || (config.experts % config.expert_groups == 0 && of_group >= 2 &&
                                    config.used_groups <= config.expert_groups);
  const std::uint32_t eligible =
      config.expert_groups == 1 ? config.experts : of_group * config.used_groups;
  if (!grouped || config.used_experts > eligible) {
    keys.Report(
        MakeError(ErrorCode::kMismatch, "experts and their groups")
            .Expected("groups of equal size, at least 2, with enough experts to choose from")
            .Actual(fmt::format("{} of {} experts, {} of {} groups", config.used_experts,
                                config.experts, config.used_groups, config.expert_groups)));
  }
}

void ReadGating(Keys& keys, std::vector<std::string>& warnings) {
  const auto gating = keys.FindCount("expert_gating_func", 0);
  if (!gating) {
    warnings.push_back("no key expert_gating_func: taking sigmoid, as this model family does");
  } else if (*gating != kSigmoid) {
    keys.Report(MakeError(ErrorCode::kUnsupported, "expert gating function")
                    .Expected(fmt::format("{} (sigmoid)", kSigmoid))
                    .Actual(fmt::format("{}", *gating)));
  }
}

void ReadRope(Keys& keys, Config& config) {
  RopeConfig& rope = config.rope_config;
  rope.theta = keys.Positive("rope.freq_base");
  Result<RopeScaling> scaling =
      ParseRopeScaling(keys.FindText("rope.scaling.type").value_or("none"));
  if (!scaling) return keys.Report(std::move(scaling).error());
  rope.scaling = *scaling;
  if (rope.scaling == RopeScaling::kNone) return;
  rope.factor = keys.Positive("rope.scaling.factor");
  if (rope.scaling == RopeScaling::kLinear) return;
  rope.original_context =
      keys.FindCount("rope.scaling.original_context_length").value_or(config.context);
  rope.beta_fast = keys.FindPositive("rope.scaling.yarn_beta_fast").value_or(rope.beta_fast);
  rope.beta_slow = keys.FindPositive("rope.scaling.yarn_beta_slow").value_or(rope.beta_slow);
  rope.attention = keys.FindPositive("rope.scaling.yarn_attn_factor");
  // The key holds a tenth of mscale_all_dim. Files do not state mscale; published models that have
  // both give them the same value.
  constexpr double kTenth = 0.1;
  rope.mscale_all_dim = keys.FindReal("rope.scaling.yarn_log_multiplier").value_or(0) / kTenth;
  rope.mscale = rope.mscale_all_dim;
}

}  // namespace

float Config::score_scale() const {
  return static_cast<float>(rope_config.score_factor() / std::sqrt(query_width()));
}

Result<Config> ConfigFromMetadata(const gguf::Metadata& metadata,
                                  std::vector<std::string>& warnings) {
  SLUICE_ASSIGN(const std::string_view architecture, ArchitectureOf(metadata));
  const bool deepseek = architecture == kDeepSeek;
  Keys keys(metadata, architecture);
  Config config;
  config.hidden = keys.Count("embedding_length");
  config.context = keys.Count("context_length");
  config.heads = keys.Count("attention.head_count");
  config.q_rank = keys.FindCount("attention.q_lora_rank", 0).value_or(0);
  config.kv_rank = keys.Count("attention.kv_lora_rank");
  config.ffn = keys.Count("feed_forward_length");
  config.rms_eps = keys.Positive("attention.layer_norm_rms_epsilon");
  config.latent_eps = config.rms_eps;
  const std::uint32_t blocks = keys.Count("block_count");
  const std::uint32_t mtp = keys.FindCount("nextn_predict_layers", 0).value_or(0);
  config.layers = blocks - mtp;
  if (mtp >= blocks) {
    keys.Report(MakeError(ErrorCode::kMismatch, "multi-token-prediction layers")
                    .Expected(fmt::format("fewer than the {} blocks", blocks))
                    .Actual(fmt::format("{}", mtp)));
  }
  ReadHeadWidths(deepseek, keys, config);
  ReadExperts(deepseek, keys, config);
  ReadGating(keys, warnings);
  ReadRope(keys, config);
  SLUICE_TRY(keys.Problems());
  return config;
}

}  // namespace sluice::runtime
