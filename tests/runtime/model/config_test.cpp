#include "runtime/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using gguf::Metadata;
using testing::Fails;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::UnorderedElementsAre;

// What both dialects call the same.
Metadata Common(const std::string& arch) {
  Metadata m;
  m.Set("general.architecture", arch);
  const auto count = [&](const char* name, std::uint32_t value) {
    m.Set(arch + "." + name, value);
  };
  count("block_count", 47);
  count("context_length", 202752);
  count("embedding_length", 2048);
  count("feed_forward_length", 10240);
  count("attention.head_count", 20);
  count("attention.q_lora_rank", 768);
  count("attention.kv_lora_rank", 512);
  count("rope.dimension_count", 64);
  count("expert_count", 64);
  count("expert_used_count", 4);
  count("expert_shared_count", 1);
  count("expert_feed_forward_length", 1536);
  count("expert_gating_func", 2);
  count("leading_dense_block_count", 1);
  m.Set(arch + ".attention.layer_norm_rms_epsilon", 1e-5F);
  m.Set(arch + ".rope.freq_base", 1e6F);
  m.Set(arch + ".expert_weights_scale", 1.8F);
  m.Set(arch + ".expert_weights_norm", true);
  return m;
}

Metadata Ollama() {
  Metadata m = Common("glm4moelite");
  m.Set("glm4moelite.attention.key_length", std::uint32_t{256});
  m.Set("glm4moelite.attention.value_length", std::uint32_t{256});
  m.Set("glm4moelite.attention.key_length_mla", std::uint32_t{576});
  m.Set("glm4moelite.attention.value_length_mla", std::uint32_t{512});
  return m;
}

Metadata LlamaCpp() {
  Metadata m = Common("deepseek2");
  m.Set("tokenizer.ggml.pre", std::string("glm4"));
  m.Set("deepseek2.attention.key_length", std::uint32_t{576});
  m.Set("deepseek2.attention.value_length", std::uint32_t{512});
  m.Set("deepseek2.attention.key_length_mla", std::uint32_t{256});
  m.Set("deepseek2.attention.value_length_mla", std::uint32_t{256});
  return m;
}

Metadata Without(const Metadata& metadata, const std::string& key) {
  Metadata fewer;
  for (const auto& item : metadata.items()) {
    if (item.key != key) fewer.Append(item.key, item.value);
  }
  return fewer;
}

Result<Config> Read(const Metadata& metadata) {
  std::vector<std::string> warnings;
  return ConfigFromMetadata(metadata, warnings);
}

TEST(Config, BothDialectsSayTheSame) {
  for (const Metadata& metadata : {Ollama(), LlamaCpp()}) {
    std::vector<std::string> warnings;
    const Result<Config> config = ConfigFromMetadata(metadata, warnings);
    ASSERT_THAT(config, IsOk());
    EXPECT_THAT(warnings, IsEmpty());
    EXPECT_EQ(config->layers, 47U);
    EXPECT_EQ(config->nope, 192U);
    EXPECT_EQ(config->rope, 64U);
    EXPECT_EQ(config->v_head, 256U);
    EXPECT_EQ(config->query_width(), 256U);
    EXPECT_EQ(config->cache_width(), 576U);
    EXPECT_EQ(config->used_experts, 4U);
    EXPECT_EQ(config->expert_groups, 1U);
    EXPECT_TRUE(config->norm_weights);
    EXPECT_EQ(config->latent_eps, config->rms_eps);
    // Of a head's query, not of a cache row, whose width would give 1/24.
    EXPECT_EQ(config->score_scale(), 1.0F / 16);
  }
}

TEST(Config, MtpLayersDoNotCount) {
  Metadata metadata = LlamaCpp();
  metadata.Set("deepseek2.block_count", std::uint32_t{48});
  metadata.Set("deepseek2.nextn_predict_layers", std::uint32_t{1});
  EXPECT_EQ(Read(metadata)->layers, 47U);
  metadata.Set("deepseek2.nextn_predict_layers", std::uint32_t{48});
  EXPECT_THAT(Read(metadata), Fails(ErrorCode::kMismatch, "multi-token-prediction"));
}

TEST(Config, AbsentGatingMeansSigmoidWithAWarning) {
  std::vector<std::string> warnings;
  const Metadata metadata = Without(LlamaCpp(), "deepseek2.expert_gating_func");
  EXPECT_THAT(ConfigFromMetadata(metadata, warnings), IsOk());
  EXPECT_THAT(warnings, UnorderedElementsAre(HasSubstr("expert_gating_func")));
}

TEST(Config, OtherGatingIsRefused) {
  Metadata metadata = LlamaCpp();
  metadata.Set("deepseek2.expert_gating_func", std::uint32_t{1});
  EXPECT_THAT(Read(metadata), Fails(ErrorCode::kUnsupported,
                                    "expert gating function: expected 2 (sigmoid), got 1"));
}

TEST(Config, AbsentNormFlagIsWhatTheDialectLeavesOut) {
  EXPECT_FALSE(Read(Without(LlamaCpp(), "deepseek2.expert_weights_norm"))->norm_weights);
  EXPECT_TRUE(Read(Without(Ollama(), "glm4moelite.expert_weights_norm"))->norm_weights);
}

TEST(Config, OtherModelsAreRefused) {
  Metadata metadata;
  EXPECT_THAT(Read(metadata), Fails(ErrorCode::kMissing, "general.architecture"));
  metadata.Set("general.architecture", std::string("llama"));
  EXPECT_THAT(Read(metadata), Fails(ErrorCode::kUnsupported, "got llama"));
  EXPECT_THAT(Read(Without(LlamaCpp(), "tokenizer.ggml.pre")),
              Fails(ErrorCode::kUnsupported, "got deepseek2 without tokenizer.ggml.pre"));
  Metadata deepseek = LlamaCpp();
  deepseek.Set("tokenizer.ggml.pre", std::string("deepseek-v3"));
  EXPECT_THAT(Read(deepseek),
              Fails(ErrorCode::kUnsupported, "got deepseek2 with pre-tokenizer deepseek-v3"));
}

TEST(Config, AllProblemsAreReportedTogether) {
  Metadata metadata = Without(Ollama(), "glm4moelite.embedding_length");
  metadata.Set("glm4moelite.expert_count", std::string("many"));
  metadata.Set("glm4moelite.context_length", std::uint32_t{0});
  const Result<Config> config = Read(metadata);
  EXPECT_THAT(config, Fails(ErrorCode::kMissing, "no key 'glm4moelite.embedding_length'"));
  EXPECT_THAT(config, Fails(ErrorCode::kMissing,
                            "key 'glm4moelite.expert_count': expected an integer from 1 to "
                            "2097152, got many"));
  EXPECT_THAT(config, Fails(ErrorCode::kMissing, "key 'glm4moelite.context_length'"));
}

TEST(Config, EveryRequiredKeyIsRequired) {
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "feed_forward_length",
        "attention.head_count", "attention.kv_lora_rank", "attention.layer_norm_rms_epsilon",
        "attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base",
        "expert_count", "expert_used_count", "expert_feed_forward_length",
        "expert_weights_scale"}) {
    const std::string name = std::string("glm4moelite.") + key;
    EXPECT_THAT(Read(Without(Ollama(), name)), Fails(ErrorCode::kMissing, name));
  }
}

TEST(Config, NumbersThatOthersAreDividedByAreAboveZero) {
  for (const char* name : {"attention.layer_norm_rms_epsilon", "rope.freq_base",
                           "rope.scaling.factor", "rope.scaling.yarn_beta_fast",
                           "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_attn_factor"}) {
    const std::string key = std::string("glm4moelite.") + name;
    for (const double value : {0.0, -1.0, 1e-60, 1e300}) {  // in single precision: 0 and infinity
      Metadata metadata = Ollama();
      metadata.Set("glm4moelite.rope.scaling.type", std::string("yarn"));
      metadata.Set("glm4moelite.rope.scaling.factor", 4.0);
      EXPECT_THAT(Read(metadata), IsOk());
      metadata.Set(key, value);
      EXPECT_THAT(Read(metadata), Fails(ErrorCode::kCorrupt,
                                        "key '" + key + "': expected a finite number above 0"));
    }
  }
}

TEST(Config, HeadsNeedRoomForRotation) {
  for (const std::uint32_t width : {63U, 256U, 300U}) {
    Metadata metadata = Ollama();
    metadata.Set("glm4moelite.rope.dimension_count", width);
    EXPECT_THAT(Read(metadata), Fails(ErrorCode::kMismatch, "rotated elements of a head"));
  }
}

TEST(Config, ExpertsMustFitTheirGroups) {
  const auto with = [](std::uint32_t groups, std::uint32_t used, std::uint32_t experts) {
    Metadata metadata = Ollama();
    metadata.Set("glm4moelite.expert_group_count", groups);
    metadata.Set("glm4moelite.expert_group_used_count", used);
    metadata.Set("glm4moelite.expert_used_count", experts);
    return Read(metadata);
  };
  EXPECT_THAT(with(8, 4, 4), IsOk());
  EXPECT_EQ(with(8, 4, 4)->used_groups, 4U);
  EXPECT_THAT(with(7, 1, 4), Fails(ErrorCode::kMismatch, "groups"));   // 64 / 7
  EXPECT_THAT(with(64, 4, 4), Fails(ErrorCode::kMismatch, "groups"));  // groups of one
  EXPECT_THAT(with(8, 9, 4), Fails(ErrorCode::kMismatch, "groups"));
  EXPECT_THAT(with(32, 1, 4), Fails(ErrorCode::kMismatch, "groups"));  // 2 to choose 4 from
  EXPECT_THAT(with(1, 1, 65), Fails(ErrorCode::kMismatch, "groups"));
}

TEST(Config, ReadsRopeScaling) {
  Metadata metadata = LlamaCpp();
  metadata.Set("deepseek2.rope.scaling.type", std::string("yarn"));
  EXPECT_THAT(Read(metadata), Fails(ErrorCode::kMissing, "rope.scaling.factor"));
  metadata.Set("deepseek2.rope.scaling.factor", 4.0F);
  metadata.Set("deepseek2.rope.scaling.original_context_length", std::uint32_t{4096});
  metadata.Set("deepseek2.rope.scaling.yarn_log_multiplier", 0.1F);
  const Result<Config> config = Read(metadata);
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->rope_config.scaling, RopeScaling::kYarn);
  EXPECT_EQ(config->rope_config.factor, 4.0);
  EXPECT_EQ(config->rope_config.original_context, 4096.0);
  EXPECT_NEAR(config->rope_config.mscale_all_dim, 1.0, 1e-6);
  EXPECT_NEAR(config->score_scale(), 1.0 / 16 * std::pow(0.1 * std::log(4.0) + 1, 2), 1e-6);
  metadata.Set("deepseek2.rope.scaling.type", std::string("longrope"));
  EXPECT_THAT(Read(metadata), Fails(ErrorCode::kUnsupported, "got longrope"));
}

}  // namespace
}  // namespace sluice::runtime
