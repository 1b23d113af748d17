#include "runtime/model/glm.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "glm_fixture.h"
#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::LoadTiny;

std::vector<TokenId> Tokens(std::uint32_t count, std::uint32_t step) {
  std::vector<TokenId> tokens(count);
  for (std::uint32_t i = 0; i < count; ++i) tokens[i] = (i * i * step + 3 * i) % 500;
  return tokens;
}

// Logits of all tokens of a new sequence.
std::vector<float> AllLogits(Glm& model, std::span<const TokenId> tokens) {
  std::vector<float> logits(tokens.size() * model.vocab_size());
  const SequenceId sequence = *model.CreateSequence();
  EXPECT_THAT(model.ForwardAll(sequence, tokens, logits), IsOk());
  model.ReleaseSequence(sequence);
  return logits;
}

std::span<const float> RowOf(const Glm& model, const std::vector<float>& logits, std::size_t row) {
  return std::span(logits).subspan(row * model.vocab_size(), model.vocab_size());
}

void ExpectNear(std::span<const float> got, std::span<const float> want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-5F) << i;
}

TEST(Glm, ABatchEqualsItsSequencesOneByOne) {
  const auto model = LoadTiny({.threads = 2});
  const std::vector<std::vector<TokenId>> prompts{Tokens(20, 3), Tokens(20, 5), Tokens(20, 7)};
  std::vector<std::vector<float>> logits(3, std::vector<float>(model->vocab_size()));
  std::vector<SequenceInput> batch;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    batch.push_back({*model->CreateSequence(), prompts[i], logits[i]});
  }
  ASSERT_THAT(model->Forward(batch), IsOk());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    ExpectNear(logits[i], RowOf(*model, AllLogits(*model, prompts[i]), 19));
  }
}

// Different lengths and pasts, one without logits, several steps.
TEST(Glm, SequencesOfABatchMayDiffer) {
  const auto model = LoadTiny({.threads = 2});
  const std::vector<TokenId> a = Tokens(30, 3);
  const std::vector<TokenId> b = Tokens(9, 5);
  std::vector<float> of_a(model->vocab_size());
  std::vector<float> of_b(model->vocab_size());
  const SequenceId first = *model->CreateSequence();
  const SequenceId second = *model->CreateSequence();
  const auto part = [](const std::vector<TokenId>& tokens, std::size_t at, std::size_t count) {
    return std::span(tokens).subspan(at, count);
  };
  ASSERT_THAT(model->Forward(std::vector<SequenceInput>{{first, part(a, 0, 17), {}}}), IsOk());
  ASSERT_THAT(model->Forward(std::vector<SequenceInput>{{first, part(a, 17, 1), {}},
                                                        {second, part(b, 0, 5), of_b}}),
              IsOk());
  ExpectNear(of_b, RowOf(*model, AllLogits(*model, b), 4));
  ASSERT_THAT(model->Forward(std::vector<SequenceInput>{{second, part(b, 5, 4), of_b},
                                                        {first, part(a, 18, 12), of_a}}),
              IsOk());
  ExpectNear(of_a, RowOf(*model, AllLogits(*model, a), 29));
  ExpectNear(of_b, RowOf(*model, AllLogits(*model, b), 8));
}

TEST(Glm, ATruncatedSequenceGoesOnAsIfNothingHadBeen) {
  const auto model = LoadTiny({.threads = 2});
  const std::vector<TokenId> tokens = Tokens(150, 3);
  const std::vector<float> want = AllLogits(*model, tokens);
  const SequenceId sequence = *model->CreateSequence();
  std::vector<float> logits(model->vocab_size());
  ASSERT_THAT(model->Forward(std::vector<SequenceInput>{{sequence, Tokens(150, 9), {}}}), IsOk());
  for (const std::uint32_t kept : {0U, 70U, 129U}) {
    model->TruncateSequence(sequence, kept);
    const auto rest = std::span(tokens).subspan(kept);
    ASSERT_THAT(model->Forward(std::vector<SequenceInput>{{sequence, rest, logits}}), IsOk());
    ExpectNear(logits, RowOf(*model, want, 149));
  }
}

TEST(Glm, PromptsLongerThanAPassEqualTheSameInPieces) {
  const auto model = LoadTiny({.threads = 2});
  const std::vector<TokenId> tokens = Tokens(1100, 3);
  const std::vector<float> whole = AllLogits(*model, tokens);
  const SequenceId sequence = *model->CreateSequence();
  std::vector<float> logits(model->vocab_size());
  for (std::size_t at = 0; at < tokens.size(); at += 100) {
    const auto piece = std::span(tokens).subspan(at, 100);
    ASSERT_THAT(model->Forward(std::vector<SequenceInput>{{sequence, piece, logits}}), IsOk());
    ExpectNear(logits, RowOf(*model, whole, at + 99));
  }
}

TEST(Glm, ThreadsDoNotChangeBits) {
  const std::vector<TokenId> tokens = Tokens(90, 3);
  const std::vector<float> want = AllLogits(*LoadTiny({.threads = 1}), tokens);
  for (const int threads : {2, 7}) {
    EXPECT_EQ(AllLogits(*LoadTiny({.threads = threads}), tokens), want);
  }
}

// Every token goes to the same experts, so that the experts' products see many tokens at once.
TEST(Glm, EqualTokensShareExperts) {
  const auto model = LoadTiny({.threads = 2});
  const std::vector<TokenId> tokens(40, 123);
  const std::vector<float> together = AllLogits(*model, tokens);
  const SequenceId sequence = *model->CreateSequence();
  std::vector<float> logits(model->vocab_size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::vector<SequenceInput> one{{sequence, std::span(tokens).subspan(i, 1), logits}};
    ASSERT_THAT(model->Forward(one), IsOk());
    ExpectNear(logits, RowOf(*model, together, i));
  }
}

TEST(Glm, RefusesTokensOutsideTheVocabularyAndTheContext) {
  const auto model = LoadTiny({.threads = 1});
  const SequenceId sequence = *model->CreateSequence();
  const std::vector<TokenId> outside{5, model->vocab_size()};
  EXPECT_THAT(model->Forward(std::vector<SequenceInput>{{sequence, outside, {}}}),
              Fails(ErrorCode::kUsage, "expected an id below 520, got 520"));
  const std::vector<TokenId> many(model->context_length() + 1, 5);
  EXPECT_THAT(model->Forward(std::vector<SequenceInput>{{sequence, many, {}}}),
              Fails(ErrorCode::kUsage, "context: expected at most 4096, got 4097"));
}

TEST(Glm, IdsOfReleasedSequencesAreUsedAgain) {
  const auto model = LoadTiny({.threads = 1});
  const SequenceId first = *model->CreateSequence();
  const SequenceId second = *model->CreateSequence();
  EXPECT_NE(first, second);
  model->ReleaseSequence(first);
  EXPECT_EQ(*model->CreateSequence(), first);
}

TEST(Glm, TellsWhatACachedTokenTakes) {
  EXPECT_EQ(LoadTiny({.threads = 1})->cache_bytes_per_token(), 3 * (32 + 8) * 4);
  const auto narrow = LoadTiny({.threads = 1, .cache_type = gguf::TensorType::kBF16});
  EXPECT_EQ(narrow->cache_bytes_per_token(), 3 * (32 + 8) * 2);
}

}  // namespace
}  // namespace sluice::runtime
