#include "runtime/model/softmax_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace sluice::runtime {
namespace {

constexpr std::size_t kQueries = 5;
constexpr std::size_t kPositions = 37;
constexpr std::size_t kWidth = 20;
constexpr std::size_t kValueWidth = 18;
constexpr float kScale = 0.7F;

// Random queries, keys, values, and the attention of the whole in binary64.
class SoftmaxAttention : public ::testing::Test {
 protected:
  SoftmaxAttention() {
    std::mt19937 random(3);
    const auto fill = [&](std::vector<float>& values) {
      for (float& value : values) value = static_cast<float>(random() % 2001) / 500 - 2;
    };
    fill(queries_);
    fill(keys_);
    fill(values_);
  }

  static Matrix Rows(const std::vector<float>& values, std::size_t width, std::size_t first,
                     std::size_t count) {
    return {gguf::TensorType::kF32,
            reinterpret_cast<const std::byte*>(values.data() + first * width), count, width,
            width * sizeof(float)};
  }

  struct Owned {
    std::vector<float> largest = std::vector<float>(kQueries);
    std::vector<float> sum = std::vector<float>(kQueries);
    std::vector<float> mixed = std::vector<float>(kQueries * (kValueWidth + 1), 9.0F);
    AttentionStates states{largest, sum, mixed.data(), kValueWidth + 1};
  };

  // Attends to positions [first, end), in blocks of `step`; query i sees `visible_[i]` in all.
  void Run(std::size_t first, std::size_t end, std::size_t step, Owned& owned) {
    ClearStates(owned.states, kValueWidth);
    Scratch scratch;
    for (std::size_t at = first; at < end; at += step) {
      const std::size_t count = std::min(step, end - at);
      std::vector<std::uint32_t> visible;
      for (const std::size_t seen : visible_) {
        visible.push_back(static_cast<std::uint32_t>(seen <= at ? 0 : std::min(seen - at, count)));
      }
      Attend({queries_.data(), kWidth, kQueries}, visible, Rows(keys_, kWidth, at, count),
             Rows(values_, kValueWidth, at, count), kScale, owned.states, scratch);
    }
  }

  void ExpectExact(Owned& owned) {
    for (std::size_t i = 0; i < kQueries; ++i) {
      FinishState(owned.states, i, kValueWidth);
      std::vector<double> want(kValueWidth);
      double sum = 0;
      for (std::size_t p = 0; p < visible_[i]; ++p) {
        double score = 0;
        for (std::size_t k = 0; k < kWidth; ++k) {
          score += static_cast<double>(queries_[i * kWidth + k]) * keys_[p * kWidth + k];
        }
        const double weight = std::exp(score * kScale);
        sum += weight;
        for (std::size_t k = 0; k < kValueWidth; ++k) {
          want[k] += weight * values_[p * kValueWidth + k];
        }
      }
      for (std::size_t k = 0; k < kValueWidth; ++k) {
        ASSERT_NEAR(owned.mixed[i * (kValueWidth + 1) + k], want[k] / sum, 2e-5) << i << " " << k;
      }
      EXPECT_EQ(owned.mixed[i * (kValueWidth + 1) + kValueWidth], 9.0F);
    }
  }

  std::vector<float> queries_ = std::vector<float>(kQueries * kWidth);
  std::vector<float> keys_ = std::vector<float>(kPositions * kWidth);
  std::vector<float> values_ = std::vector<float>(kPositions * kValueWidth);
  std::vector<std::size_t> visible_{1, 2, 20, 36, 37};
};

TEST_F(SoftmaxAttention, OneBlockIsPlainSoftmax) {
  Owned owned;
  Run(0, kPositions, kPositions, owned);
  ExpectExact(owned);
}

TEST_F(SoftmaxAttention, BlocksAddUp) {
  for (const std::size_t step : {1, 4, 16, 36}) {
    Owned owned;
    Run(0, kPositions, step, owned);
    ExpectExact(owned);
  }
}

TEST_F(SoftmaxAttention, SpansMergeInAnyPlaceEvenIfSomeSeeNothing) {
  for (const std::size_t cut : {1, 10, 30}) {
    Owned front;
    Owned back;
    Run(0, cut, 4, front);
    Run(cut, kPositions, 4, back);
    for (std::size_t i = 0; i < kQueries; ++i) {
      MergeState(back.states, front.states, i, kValueWidth);
    }
    ExpectExact(front);
  }
}

TEST_F(SoftmaxAttention, LargeScoresDoNotOverflow) {
  for (float& value : queries_) value *= 100;
  visible_.assign(kQueries, kPositions);
  Owned owned;
  Run(0, kPositions, 8, owned);
  for (std::size_t i = 0; i < kQueries; ++i) {
    FinishState(owned.states, i, kValueWidth);
    for (std::size_t k = 0; k < kValueWidth; ++k) {
      ASSERT_LE(std::abs(owned.mixed[i * (kValueWidth + 1) + k]), 2.01F);
    }
  }
}

}  // namespace
}  // namespace sluice::runtime
