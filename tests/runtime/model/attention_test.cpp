// One attention layer of glm-tiny against the recorded result of the NumPy reference.
#include "runtime/model/attention.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "glm_fixture.h"
#include "runtime/model/rope.h"

namespace sluice::runtime {
namespace {

using gguf::TensorType;
using testing::GoldenFloats;
using testing::OpenTiny;

constexpr std::uint32_t kLayer = 1;
constexpr std::uint32_t kTokens = 12;

// Sequences that attention is run on, a call at a time.
class AttentionOnSequences {
 public:
  explicit AttentionOnSequences(AttentionForm form, TensorType cache = TensorType::kF32)
      : source_(OpenTiny()),
        config_(ReadConfig(*source_)),
        weights_(*LoadWeights(*source_, config_)),
        cache_({config_.layers, config_.cache_width(), cache}),
        attention_(config_, form, workers_, cache_),
        sequences_(3) {}

  [[nodiscard]] std::uint32_t hidden() const { return config_.hidden; }

  // Appends `counts[s]` of the rows `inputs` to sequence s, one sequence after the other, and gives
  // the output of the last `wanted` tokens of each.
  std::vector<float> Run(const std::vector<std::uint32_t>& counts, std::span<const float> inputs,
                         std::uint32_t wanted) {
    Pass pass;
    Queries queries;
    for (std::uint32_t s = 0; s < counts.size(); ++s) {
      const std::uint32_t end = pass.num_rows + counts[s];
      pass.slices.push_back({&sequences_[s], pass.num_rows, counts[s], sequences_[s].length()});
      pass.slice_of.insert(pass.slice_of.end(), counts[s], s);
      const std::uint64_t first = queries.rows.size();
      for (std::uint32_t row = end - std::min(wanted, counts[s]); row < end; ++row) {
        queries.rows.push_back(row);
      }
      queries.of_slice.push_back({first, queries.rows.size()});
      pass.num_rows = end;
      cache_.Grow(sequences_[s], counts[s]);
    }
    const Rope rope(config_.rope_config, config_.rope);
    pass.angles.resize(pass.num_rows * config_.rope);
    for (std::uint32_t r = 0; r < pass.num_rows; ++r) {
      rope.Angles(pass.SliceOf(r).PositionOf(r),
                  std::span(pass.angles).subspan(r * config_.rope, config_.rope));
    }
    std::vector<float> out(queries.rows.size() * config_.hidden);
    attention_.Run(weights_.layers[kLayer].attention, kLayer, pass, queries, inputs.data(),
                   out.data());
    return out;
  }

 private:
  static Config ReadConfig(const WeightSource& source) {
    std::vector<std::string> warnings;
    Config config = *ConfigFromMetadata(source.metadata(), warnings);
    config.latent_eps = 1e-6F;
    return config;
  }

  std::unique_ptr<WeightSource> source_;
  const Config config_;
  const Weights weights_;
  Workers workers_{2};
  KvCache cache_;
  Attention attention_;
  std::vector<KvCache::Sequence> sequences_;
};

void ExpectNear(std::span<const float> got, std::span<const float> want, float tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance) << i;
}

class AttentionForms : public ::testing::TestWithParam<AttentionForm> {
 protected:
  const std::vector<float> inputs_ = GoldenFloats("attention/inputs.f32");
  const std::vector<float> want_ = GoldenFloats("attention/outputs.f32");
};

TEST_P(AttentionForms, WholeWithoutCacheEqualsTheReference) {
  AttentionOnSequences attention(GetParam());
  ExpectNear(attention.Run({kTokens}, inputs_, kTokens), want_, 2e-6F);
}

TEST_P(AttentionForms, ChunksOverTheCacheEqualTheReference) {
  for (const std::vector<std::uint32_t>& chunks :
       {std::vector<std::uint32_t>(kTokens, 1), {5, 1, 1, 3, 2}, {1, 11}}) {
    AttentionOnSequences attention(GetParam());
    const std::size_t width = attention.hidden();
    std::vector<float> got;
    for (const std::uint32_t count : chunks) {
      const auto rows = std::span(inputs_).subspan(got.size(), count * width);
      const std::vector<float> out = attention.Run({count}, rows, count);
      got.insert(got.end(), out.begin(), out.end());
    }
    ExpectNear(got, want_, 2e-6F);
  }
}

TEST_P(AttentionForms, TheLastQueriesDoNotNeedTheOthers) {
  AttentionOnSequences attention(GetParam());
  const std::size_t floats = 2 * attention.hidden();
  ExpectNear(attention.Run({kTokens}, inputs_, 2), std::span(want_).last(floats), 2e-6F);
}

TEST_P(AttentionForms, WithoutQueriesTheCacheIsFilledAllTheSame) {
  AttentionOnSequences attention(GetParam());
  const std::size_t width = attention.hidden();
  EXPECT_TRUE(attention.Run({kTokens - 1}, inputs_, 0).empty());
  ExpectNear(attention.Run({1}, std::span(inputs_).last(width), 1), std::span(want_).last(width),
             2e-6F);
}

// [B, L, H]: three sequences of equal length, then of different lengths and with a past.
TEST_P(AttentionForms, ABatchEqualsItsSequencesOneByOne) {
  AttentionOnSequences attention(GetParam());
  const std::size_t width = attention.hidden();
  const auto rows = [&](std::size_t first, std::size_t count) {
    return std::span(inputs_).subspan(first * width, count * width);
  };
  const std::vector<float> equal = attention.Run({4, 4, 4}, inputs_, 4);
  for (std::uint32_t s = 0; s < 3; ++s) {
    AttentionOnSequences alone(GetParam());
    ExpectNear(std::span(equal).subspan(4 * s * width, 4 * width),
               alone.Run({4}, rows(4 * s, 4), 4), 1e-6F);
  }
  const std::vector<float> ragged = attention.Run({7, 1, 2}, rows(0, 10), 2);
  AttentionOnSequences alone(GetParam());
  alone.Run({4}, rows(8, 4), 0);
  ExpectNear(std::span(ragged).last(2 * width), alone.Run({2}, rows(8, 2), 2), 1e-6F);
}

// Past the positions that one task takes and across blocks of the cache.
TEST_P(AttentionForms, LongSequencesAgreeWithTheOtherForm) {
  const AttentionForm other =
      GetParam() == AttentionForm::kNaive ? AttentionForm::kAbsorbed : AttentionForm::kNaive;
  AttentionOnSequences attention(GetParam());
  AttentionOnSequences reference(other);
  std::vector<float> many;
  while (many.size() < 1300 * std::size_t{attention.hidden()}) {
    many.insert(many.end(), inputs_.begin(), inputs_.end());
  }
  ExpectNear(attention.Run({1300}, many, 40), reference.Run({1300}, many, 40), 5e-6F);
  ExpectNear(attention.Run({1}, inputs_, 1), reference.Run({1}, inputs_, 1), 5e-6F);
}

std::string NameOf(const ::testing::TestParamInfo<AttentionForm>& tested) {
  switch (tested.param) {
    case AttentionForm::kNaive:
      return "Naive";
    case AttentionForm::kAbsorbed:
      return "Absorbed";
    case AttentionForm::kCheaper:
      break;
  }
  return "Cheaper";
}

INSTANTIATE_TEST_SUITE_P(Forms, AttentionForms,
                         ::testing::Values(AttentionForm::kCheaper, AttentionForm::kNaive,
                                           AttentionForm::kAbsorbed),
                         NameOf);

}  // namespace
}  // namespace sluice::runtime
