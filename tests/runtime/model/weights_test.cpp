#include "runtime/model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>

#include "glm_fixture.h"
#include "largest_allocation.h"
#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;
using testing::OpenTiny;

// glm-tiny, with tensors hidden, added or described wrongly.
class AlteredSource final : public WeightSource {
 public:
  std::set<std::string, std::less<>> hidden;
  std::map<std::string, std::vector<std::uint64_t>, std::less<>> shapes;  // added or altered
  std::map<std::string, gguf::TensorType, std::less<>> types;

  const gguf::Metadata& metadata() const override { return source_->metadata(); }
  std::vector<std::string_view> names() const override {
    std::vector<std::string_view> names = source_->names();
    std::erase_if(names, [&](std::string_view name) { return hidden.contains(name); });
    for (const auto& [name, shape] : shapes) names.push_back(name);
    return names;
  }
  const std::vector<std::uint64_t>* ShapeOf(std::string_view name) const override {
    if (hidden.contains(name)) return nullptr;
    const auto found = shapes.find(name);
    return found == shapes.end() ? source_->ShapeOf(name) : &found->second;
  }
  Result<Matrix> At(std::string_view name, std::uint64_t index, std::uint64_t rows,
                    std::uint64_t columns) override {
    SLUICE_ASSIGN(Matrix matrix, source_->At(name, index, rows, columns));
    const auto found = types.find(name);
    if (found != types.end()) matrix.type = found->second;
    return matrix;
  }
  Status CheckIntact() const override { return source_->CheckIntact(); }

 private:
  std::unique_ptr<WeightSource> source_ = OpenTiny();
};

Result<Weights> Load(WeightSource& source) {
  std::vector<std::string> warnings;
  return LoadWeights(source, *ConfigFromMetadata(source.metadata(), warnings));
}

TEST(LoadWeights, FindsEveryTensorOfTheModel) {
  AlteredSource source;
  const Result<Weights> weights = Load(source);
  ASSERT_THAT(weights, IsOk());
  ASSERT_EQ(weights->layers.size(), 3U);
  EXPECT_TRUE(weights->layers[0].feed_forward.dense.has_value());
  EXPECT_EQ(weights->layers[1].feed_forward.experts.size(), 8U);
  EXPECT_TRUE(weights->layers[2].feed_forward.shared.has_value());
  EXPECT_NE(weights->output.data, weights->embedding.data);
}

TEST(LoadWeights, WithoutOutputTheEmbeddingServes) {
  AlteredSource source;
  source.hidden = {"output.weight"};
  const Result<Weights> weights = Load(source);
  ASSERT_THAT(weights, IsOk());
  EXPECT_EQ(weights->output.data, weights->embedding.data);
}

TEST(LoadWeights, EveryMissingTensorIsNamed) {
  AlteredSource source;
  source.hidden = {"token_embd.weight", "blk.0.ffn_up.weight", "blk.2.ffn_gate_exps.weight"};
  const Result<Weights> weights = Load(source);
  EXPECT_THAT(weights, Fails(ErrorCode::kMissing, "tensor 'token_embd.weight'"));
  EXPECT_THAT(weights, Fails(ErrorCode::kMissing,
                             "tensor 'blk.0.ffn_up.weight': tensor of the model is missing: "
                             "expected shape [160, 64]"));
  EXPECT_THAT(weights, Fails(ErrorCode::kMissing, "expected shape [8, 32, 64]"));
}

TEST(LoadWeights, WrongShapesAreNamed) {
  AlteredSource source;
  source.shapes["blk.1.attn_k_b.weight"] = {4, 24, 32};
  EXPECT_THAT(Load(source), Fails(ErrorCode::kMismatch,
                                  "tensor 'blk.1.attn_k_b.weight': shape: expected [4, 32, 24], "
                                  "got [4, 24, 32]"));
}

TEST(LoadWeights, CountsBeyondTheFileCostNothing) {
  AlteredSource source;
  std::vector<std::string> warnings;
  Config config = *ConfigFromMetadata(source.metadata(), warnings);
  config.layers = 1U << 21U;
  config.experts = 1U << 21U;
  testing::ForgetLargestAllocation();
  const Result<Weights> weights = LoadWeights(source, config);
  EXPECT_LT(testing::LargestAllocation(), 1U << 20U);
  EXPECT_THAT(weights, Fails(ErrorCode::kMismatch, "tensor 'blk.2.ffn_gate_exps.weight'"));
  EXPECT_THAT(weights, Fails(ErrorCode::kMismatch, "tensor 'blk.4.attn_norm.weight'"));
  EXPECT_THAT(weights.error().Format(), Not(HasSubstr("blk.5")));
}

TEST(LoadWeights, TensorsNobodyUsesAreRefused) {
  AlteredSource source;
  source.shapes["blk.1.attn_q_a.bias"] = {32};
  source.shapes["blk.3.nextn.anything"] = {1};  // of a multi-token-prediction layer
  const Result<Weights> weights = Load(source);
  EXPECT_THAT(weights, Fails(ErrorCode::kUnsupported, "tensor 'blk.1.attn_q_a.bias'"));
  EXPECT_THAT(weights.error().Format(), Not(HasSubstr("nextn")));
}

TEST(LoadWeights, TypesWithoutValuesAreRefused) {
  AlteredSource source;
  source.types["blk.0.attn_output.weight"] = gguf::TensorType::kI32;
  source.types["output_norm.weight"] = gguf::TensorType::kQ8_K;
  const Result<Weights> weights = Load(source);
  EXPECT_THAT(weights, Fails(ErrorCode::kUnsupported,
                             "tensor 'blk.0.attn_output.weight': tensor type without values: got "
                             "I32"));
  EXPECT_THAT(weights, Fails(ErrorCode::kUnsupported, "tensor 'output_norm.weight'"));
}

}  // namespace
}  // namespace sluice::runtime
