#include "runtime/generation.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "byte_tokenizer.h"
#include "result_matchers.h"
#include "runtime/generation_batch.h"
#include "toy_model.h"

namespace sluice::runtime {
namespace {

using ::sluice::testing::ByteTokenizer;
using ::sluice::testing::Fails;
using ::sluice::testing::IsOk;
using testing::ToyModel;

// Ids are bytes: 0 to 255 stand for themselves, 256 ends an answer.
constexpr TokenId kEnd = sluice::testing::kEndToken;
constexpr std::uint32_t kVocabulary = 260;  // with three rows of padding

std::vector<TokenId> Ids(const std::string& text) { return *ByteTokenizer().Encode(text); }

Result<Generation> Start(const LanguageModel& model, const std::string& prompt,
                         const GenerationOptions& options = {}) {
  return Generation::Start(model, ByteTokenizer(), {kEnd}, Ids(prompt), options);
}

// A row of logits that leaves no doubt.
std::vector<float> Sure(TokenId token) {
  std::vector<float> logits(kVocabulary, 0.0F);
  logits[token] = 100.0F;
  return logits;
}

// Feeds the tokens of `answer` and returns the text.
std::string Feed(Generation& generation, const std::vector<TokenId>& answer) {
  std::string text;
  for (const TokenId token : answer) text += generation.Accept(Sure(token));
  return text;
}

TEST(Generation, EndsWithTheEndToken) {
  const ToyModel model(kVocabulary, 100);
  auto generation = Start(model, "ab");
  ASSERT_THAT(generation, IsOk());
  EXPECT_EQ(Feed(*generation, Ids("xy")), "xy");
  EXPECT_FALSE(generation->finished());
  EXPECT_EQ(generation->Accept(Sure(kEnd)), "");
  ASSERT_TRUE(generation->finished());
  EXPECT_EQ(generation->finish_reason(), FinishReason::kEndToken);
  EXPECT_EQ(generation->prompt_tokens(), 2U);
  EXPECT_EQ(generation->answer_tokens(), 2U) << "the end token is not counted";
}

TEST(Generation, GivesOutWholeCharactersOnly) {
  const ToyModel model(kVocabulary, 100);
  auto generation = Start(model, "a");
  EXPECT_EQ(generation->Accept(Sure(0xE2)), "");
  EXPECT_EQ(generation->Accept(Sure(0x82)), "");
  EXPECT_EQ(generation->Accept(Sure(0xAC)), "\u20AC");
  EXPECT_EQ(generation->Accept(Sure(0xE2)), "");
  EXPECT_EQ(generation->Accept(Sure(kEnd)), "\uFFFD") << "a character that stays incomplete";
}

TEST(Generation, EndsAtAStopStringAcrossTokens) {
  const ToyModel model(kVocabulary, 100);
  GenerationOptions options;
  options.stop = {"\nQ:"};
  auto generation = Start(model, "a", options);
  EXPECT_EQ(Feed(*generation, Ids("x\n")), "x");
  EXPECT_EQ(Feed(*generation, Ids("y\nQ:")), "\ny");
  EXPECT_EQ(generation->finish_reason(), FinishReason::kStopString);
  auto unfinished = Start(model, "a", options);
  EXPECT_EQ(Feed(*unfinished, Ids("x\nQ")), "x");
  EXPECT_EQ(unfinished->Accept(Sure(kEnd)), "\nQ") << "what was held back belongs to the answer";
}

TEST(Generation, EndsWhenTheLimitOrTheContextIsFull) {
  const ToyModel model(kVocabulary, 5);
  GenerationOptions options;
  options.max_tokens = 2;
  options.stop = {"yz"};
  auto limited = Start(model, "a", options);
  EXPECT_EQ(Feed(*limited, Ids("xy")), "xy");
  EXPECT_EQ(limited->finish_reason(), FinishReason::kLength);
  auto full = Start(model, "abc");
  EXPECT_EQ(Feed(*full, Ids("xy")), "xy");
  EXPECT_EQ(full->finish_reason(), FinishReason::kLength);
  EXPECT_EQ(full->tokens().size(), 5U);
}

TEST(Generation, CancelsWithWhatItHas) {
  const ToyModel model(kVocabulary, 100);
  GenerationOptions options;
  options.stop = {"yz"};
  auto generation = Start(model, "a", options);
  EXPECT_EQ(Feed(*generation, Ids("xy")), "x");
  EXPECT_EQ(generation->Cancel(), "y");
  EXPECT_EQ(generation->finish_reason(), FinishReason::kCancelled);
}

TEST(Generation, NeverChoosesPaddedRows) {
  const ToyModel model(kVocabulary, 100);
  auto generation = Start(model, "a");
  std::vector<float> logits = Sure('x');
  logits[kVocabulary - 1] = 1000.0F;
  EXPECT_EQ(generation->Accept(logits), "x");
}

TEST(Generation, RefusesWhatCannotBegin) {
  const ToyModel model(kVocabulary, 4);
  EXPECT_THAT(Start(model, ""), Fails(ErrorCode::kUsage, "the prompt is empty"));
  EXPECT_THAT(Start(model, "abcd"), Fails(ErrorCode::kUsage,
                                          "does not fit the model's context: expected fewer than 4 "
                                          "tokens, got 4"));
  GenerationOptions options;
  options.max_tokens = 0;
  EXPECT_THAT(Start(model, "a", options), Fails(ErrorCode::kUsage, "max_tokens"));
  options = {};
  options.sampling.top_p = 2;
  EXPECT_THAT(Start(model, "a", options), Fails(ErrorCode::kUsage, "top_p"));
  const ToyModel small(100, 10);
  EXPECT_THAT(Start(small, "x"), Fails(ErrorCode::kMismatch, "ids below 100, got 120"));
}

// ---- GenerationBatch ----------------------------------------------------------------------------

// Greedy answers of a fixed length.
GenerationOptions Greedy(std::uint32_t tokens) {
  GenerationOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = tokens;
  return options;
}

// The tokens that ToyModel answers a prompt with, without any batch.
std::vector<TokenId> Expected(const std::string& prompt, std::uint32_t tokens) {
  std::vector<TokenId> sequence = Ids(prompt);
  std::vector<float> logits(kVocabulary);
  for (std::uint32_t i = 0; i < tokens; ++i) {
    ToyModel::Fill(sequence, logits);
    logits.resize(kEnd + 1);
    sequence.push_back(
        static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    logits.resize(kVocabulary);
    EXPECT_NE(sequence.back(), kEnd) << "choose another prompt";
  }
  return sequence;
}

// Runs all generations to their ends, adding each as soon as there is room.
Status RunAll(GenerationBatch& batch, std::vector<Generation>& generations) {
  std::size_t next = 0;
  while (next < generations.size() || !batch.empty()) {
    while (next < generations.size() && !batch.full()) SLUICE_TRY(batch.Add(generations[next++]));
    SLUICE_TRY(batch.Step());
    for (const Generation& generation : generations) {
      if (generation.finished()) batch.Remove(generation);
    }
  }
  return Ok();
}

TEST(GenerationBatch, GivesEachTheAnswerItWouldGetAlone) {
  ToyModel model(kVocabulary, 4000);
  GenerationBatch batch(model, 3);
  const std::vector<std::string> prompts{"first", std::string(1500, 'p'), "second one",
                                         "f",     std::string(700, 'q'),  "first and more",
                                         "third"};
  std::vector<Generation> generations;
  for (const std::string& prompt : prompts)
    generations.push_back(*Start(model, prompt, Greedy(20)));
  ASSERT_THAT(RunAll(batch, generations), IsOk());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(generations[i].tokens(), Expected(prompts[i], 20)) << prompts[i].substr(0, 20);
  }
  EXPECT_LE(model.num_sequences(), 3U);
  EXPECT_LE(model.largest_input, 512U) << "a long prompt must leave the others their turn";
}

TEST(GenerationBatch, RunsOnlyWhatIsNewOfAConversation) {
  ToyModel model(kVocabulary, 4000);
  GenerationBatch batch(model, 1);
  const std::string prompt(300, 'a');
  std::string second;
  {
    Generation first = *Start(model, prompt, Greedy(10));
    ASSERT_THAT(RunGeneration(batch, first, [](const std::string&) { return true; }), IsOk());
    for (const TokenId id : first.tokens()) second += static_cast<char>(id);
    EXPECT_EQ(model.tokens_run, 309U) << "the last token of an answer need not be run";
  }
  second += "more";
  model.tokens_run = 0;
  std::vector<TokenId> prompt_ids;
  for (const char c : second) prompt_ids.push_back(static_cast<std::uint8_t>(c));
  auto generation = Generation::Start(model, ByteTokenizer(), {kEnd}, prompt_ids, Greedy(5));
  ASSERT_THAT(generation, IsOk());
  ASSERT_THAT(batch.Add(*generation), IsOk());
  EXPECT_EQ(batch.reused_tokens(*generation), 309U);
  while (!generation->finished()) ASSERT_THAT(batch.Step(), IsOk());
  batch.Remove(*generation);
  EXPECT_EQ(model.tokens_run, 5U + 4U);
  // The same prompt once more: its last token is run again for its logits.
  model.tokens_run = 0;
  auto again = Generation::Start(model, ByteTokenizer(), {kEnd}, prompt_ids, Greedy(5));
  ASSERT_THAT(RunGeneration(batch, *again, [](const std::string&) { return true; }), IsOk());
  EXPECT_EQ(again->tokens(), generation->tokens());
  EXPECT_EQ(model.tokens_run, 5U);
}

TEST(GenerationBatch, KeepsTheConversationThatAPromptGoesOn) {
  ToyModel model(kVocabulary, 4000);
  GenerationBatch batch(model, 2);
  const auto run = [&](const std::string& prompt) {
    Generation generation = *Start(model, prompt, Greedy(3));
    EXPECT_THAT(RunGeneration(batch, generation, [](const std::string&) { return true; }), IsOk());
    EXPECT_EQ(generation.tokens(), Expected(prompt, 3));
  };
  run(std::string(200, 'a'));
  run("a short one");
  model.tokens_run = 0;
  run(std::string(200, 'a') + "b");
  EXPECT_LE(model.tokens_run, 5U);
}

TEST(GenerationBatch, SaysWhenTheModelHasNoRoom) {
  ToyModel model(kVocabulary, 100, 1);
  GenerationBatch batch(model, 4);
  Generation first = *Start(model, "abc", Greedy(3));
  Generation second = *Start(model, "xyz", Greedy(3));
  ASSERT_THAT(batch.Add(first), IsOk());
  EXPECT_THAT(batch.Add(second), Fails(ErrorCode::kResource, "no room for a sequence"));
  batch.Remove(first);
}

TEST(GenerationBatch, StopsWhenTheCallerSaysSo) {
  ToyModel model(kVocabulary, 1000);
  GenerationBatch batch(model, 1);
  Generation generation = *Start(model, "abc", Greedy(100));
  int pieces = 0;
  ASSERT_THAT(RunGeneration(batch, generation, [&](const std::string&) { return ++pieces < 5; }),
              IsOk());
  EXPECT_EQ(generation.finish_reason(), FinishReason::kCancelled);
  EXPECT_EQ(generation.answer_tokens(), 5U);
  EXPECT_TRUE(batch.empty());
}

TEST(GenerationBatch, DropsEverySequenceOfAPassThatFailed) {
  ToyModel model(kVocabulary, 1000);
  GenerationBatch batch(model, 2);
  Generation generation = *Start(model, "abc", Greedy(100));
  model.fail_after = 3;
  EXPECT_THAT(RunGeneration(batch, generation, [](const std::string&) { return true; }),
              Fails(ErrorCode::kResource, "the toy model fails"));
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(model.num_sequences(), 0U);
  model.fail_after = 0;
  Generation next = *Start(model, "abc", Greedy(3));
  ASSERT_THAT(RunGeneration(batch, next, [](const std::string&) { return true; }), IsOk());
  EXPECT_EQ(next.tokens(), Expected("abc", 3));
}

TEST(GenerationBatch, ReleasesItsSequences) {
  ToyModel model(kVocabulary, 1000);
  {
    GenerationBatch batch(model, 2);
    Generation done = *Start(model, "abc", Greedy(3));
    ASSERT_THAT(RunGeneration(batch, done, [](const std::string&) { return true; }), IsOk());
    Generation started = *Start(model, "xyz", Greedy(3));
    ASSERT_THAT(batch.Add(started), IsOk());
    ASSERT_THAT(batch.Step(), IsOk());
    EXPECT_EQ(model.num_sequences(), 2U);
  }
  EXPECT_EQ(model.num_sequences(), 0U);
}

}  // namespace
}  // namespace sluice::runtime
