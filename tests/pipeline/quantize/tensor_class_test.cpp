#include "pipeline/quantize/tensor_class.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

TEST(TensorClass, IsReadFromTheName) {
  const auto expect = [](std::string_view name, TensorClass tensor_class) {
    EXPECT_EQ(ClassOf(name), tensor_class) << name;
  };
  expect("output.weight", TensorClass::kOutput);
  expect("token_embd.weight", TensorClass::kEmbedding);
  expect("per_layer_token_embd.weight", TensorClass::kEmbedding);
  expect("blk.3.attn_qkv.weight", TensorClass::kQkv);
  expect("blk.3.attn_kv_b.weight", TensorClass::kKvB);
  expect("blk.3.attn_v.weight", TensorClass::kV);
  expect("blk.3.attn_k.weight", TensorClass::kK);
  expect("blk.3.attn_q.weight", TensorClass::kQ);
  expect("blk.3.attn_output.weight", TensorClass::kAttnOutput);
  expect("blk.3.ffn_up_shexp.weight", TensorClass::kUp);
  expect("blk.3.ffn_gate_up_exps.weight", TensorClass::kGate);
  expect("blk.3.ffn_down_exps.weight", TensorClass::kDown);
  // Latent attention and short convolutions have no class of their own.
  for (const char* name : {"attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_k_b", "attn_v_b",
                           "shortconv.in_proj", "cross_attn_v_proj"}) {
    expect("blk.0." + std::string(name) + ".weight", TensorClass::kOther);
  }
  expect("output_norm.weight", TensorClass::kOther);
}

TEST(TensorClass, BlockIsTheNumberBehindBlk) {
  EXPECT_EQ(BlockOf("blk.12.attn_v.weight"), 12U);
  for (const char* name : {"v.blk.1.attn_v.weight", "blk.x.weight", "blk.1", "blk.", "blk.-1.w",
                           "blk.99999999999999999999.w", "output.weight"}) {
    EXPECT_EQ(BlockOf(name), std::nullopt) << name;
  }
}

TEST(TensorClass, QuantizedOrderIsBlocksByNumberThenName) {
  std::vector<std::string_view> names{"blk.10.a", "blk.2.b",       "token_embd.weight",
                                      "blk.2.a",  "output.weight", "blk.0.z"};
  std::sort(names.begin(), names.end(), [](std::string_view a, std::string_view b) {
    return QuantizedOrderOf(a) < QuantizedOrderOf(b);
  });
  EXPECT_EQ(names, (std::vector<std::string_view>{"output.weight", "token_embd.weight", "blk.0.z",
                                                  "blk.2.a", "blk.2.b", "blk.10.a"}));
}

TEST(KeptTensors, AreToldByTheirNames) {
  EXPECT_EQ(KeptByName("blk.0.attn_norm.weight", "llama"), "_norm.weight");
  EXPECT_EQ(KeptByName("blk.0.ffn_gate_inp.weight", "llama"), "ffn_gate_inp.weight");
  EXPECT_EQ(KeptByName("blk.0.shortconv.conv.weight", "lfm2"), "shortconv.conv.weight");
  EXPECT_EQ(KeptByName("v.position_embd.weight", "mllama"), ".position_embd");
  EXPECT_EQ(KeptByName("position_embd.weight", "gpt2"), "position_embd.weight");
  EXPECT_EQ(KeptByName("blk.0.ffn_gate.weight", "llama"), std::nullopt);
  EXPECT_EQ(KeptByName("blk.0.shortconv.in_proj.weight", "lfm2"), std::nullopt);
  EXPECT_EQ(KeptByName("blk.0.time_mix_key.weight", "rwkv6"), std::nullopt);
}

TEST(KeptTensors, SomeDependOnTheArchitecture) {
  EXPECT_EQ(KeptByName("blk.0.attn_k_b.weight", "deepseek2"), std::nullopt);
  EXPECT_EQ(KeptByName("blk.0.attn_k_b.weight", "glm5-next"), "attn_k_b.weight");
}

TEST(KeptTensors, OllamaKeepsVisionAndTheGatesOfCrossAttention) {
  for (const char* name : {"v.blk.0.attn_q.weight", "mm.0.weight", "mm.linear_1.weight",
                           "blk.3.cross_attn_q_norm.weight", "blk.3.cross_attn_attn_gate"}) {
    EXPECT_TRUE(KeptByOllama(name)) << name;
  }
  for (const char* name : {"blk.3.cross_attn_q_proj.weight", "blk.0.ffn_gate.weight",
                           "output.weight", "blk.0.mm.weight"}) {
    EXPECT_FALSE(KeptByOllama(name)) << name;
  }
}

}  // namespace
}  // namespace sluice
