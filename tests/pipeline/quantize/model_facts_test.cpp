#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

#include "pipeline/quantize/recipe.h"
#include "result_matchers.h"

namespace sluice {
namespace {

using testing::Fails;
using testing::IsOk;

gguf::Metadata Lfm2() {
  constexpr std::array<std::int32_t, 3> kKvHeads{0, 8, 0};
  gguf::Metadata metadata;
  metadata.Set("general.architecture", std::string("lfm2"));
  metadata.Set("general.file_type", std::uint32_t{32});
  metadata.Set("lfm2.block_count", std::uint32_t{3});
  metadata.Set("lfm2.attention.head_count", std::uint32_t{32});
  metadata.Set("lfm2.attention.head_count_kv", gguf::Array::Of<std::int32_t>(kKvHeads));
  return metadata;
}

TEST(ModelFacts, AreReadFromKeyValues) {
  const Result<ModelFacts> facts = ModelFactsOf(Lfm2());
  ASSERT_THAT(facts, IsOk());
  EXPECT_EQ(facts->architecture, "lfm2");
  EXPECT_EQ(facts->num_blocks, 3U);
  EXPECT_EQ(facts->num_mtp_blocks, 0U);
  EXPECT_EQ(facts->num_heads, 32U);
  EXPECT_EQ(facts->num_kv_heads, 0U) << "of block 0";
  EXPECT_EQ(facts->num_experts, 0U);
  EXPECT_EQ(facts->file_type, 32U);
}

TEST(ModelFacts, KvHeadsDefaultToHeads) {
  gguf::Metadata metadata;
  metadata.Set("general.architecture", std::string("llama"));
  metadata.Set("llama.block_count", std::uint64_t{48});
  metadata.Set("llama.attention.head_count", std::int32_t{16});
  metadata.Set("llama.nextn_predict_layers", std::uint32_t{1});
  metadata.Set("llama.expert_count", std::uint32_t{64});
  const Result<ModelFacts> facts = ModelFactsOf(metadata);
  ASSERT_THAT(facts, IsOk());
  EXPECT_EQ(facts->num_blocks, 48U);
  EXPECT_EQ(facts->num_kv_heads, 16U);
  EXPECT_EQ(facts->num_mtp_blocks, 1U);
  EXPECT_EQ(facts->num_experts, 64U);
  EXPECT_EQ(facts->file_type, std::nullopt);
}

TEST(ModelFacts, RejectsWhatIsNoCount) {
  const auto with = [](const char* key, gguf::Value value) {
    gguf::Metadata metadata = Lfm2();
    metadata.Set(key, std::move(value));
    return ModelFactsOf(metadata);
  };
  EXPECT_THAT(with("lfm2.block_count", -1), Fails(ErrorCode::kCorrupt, "'lfm2.block_count'"));
  EXPECT_THAT(with("lfm2.block_count", 3.5F), Fails(ErrorCode::kCorrupt, "got 3.5"));
  EXPECT_THAT(with("lfm2.block_count", std::uint64_t{1} << 40),
              Fails(ErrorCode::kCorrupt, "32 bits"));
  EXPECT_THAT(with("lfm2.expert_count", true), Fails(ErrorCode::kCorrupt, "'lfm2.expert_count'"));
  EXPECT_THAT(with("lfm2.attention.head_count_kv", gguf::Array(gguf::ValueType::kI32)),
              Fails(ErrorCode::kCorrupt, "head_count_kv"));
  EXPECT_THAT(with("general.architecture", std::string("qwen2")),
              Fails(ErrorCode::kMissing, "'qwen2.block_count'"));
  EXPECT_THAT(ModelFactsOf({}), Fails(ErrorCode::kMissing, "'general.architecture'"));
}

}  // namespace
}  // namespace sluice
