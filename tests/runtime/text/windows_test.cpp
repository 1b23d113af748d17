#include "runtime/text/windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "result_matchers.h"

namespace sluice::runtime {
namespace {

using sluice::testing::Fails;
using sluice::testing::IsOk;
using ::testing::ElementsAre;

const std::vector<TokenId> kTokens{10, 11, 12, 13, 14, 15, 16};

gguf::Metadata BosKeys(bool adds) {
  gguf::Metadata metadata;
  metadata.Set("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  metadata.Set("tokenizer.ggml.add_bos_token", adds);
  return metadata;
}

TEST(Windows, FollowEachOtherAndLeaveOutTheRest) {
  for (const gguf::Metadata& metadata : {gguf::Metadata(), BosKeys(false)}) {
    const Result<Windows> windows = Windows::Cut(kTokens, metadata, 3, 0);
    ASSERT_THAT(windows, IsOk());
    ASSERT_EQ(windows->count(), 2U);
    EXPECT_EQ(windows->length(), 3U);
    EXPECT_THAT(windows->At(0), ElementsAre(10, 11, 12));
    EXPECT_THAT(windows->At(1), ElementsAre(13, 14, 15));
  }
}

TEST(Windows, BeginWithTheTokenThatTextsBeginWith) {
  const Result<Windows> windows = Windows::Cut(kTokens, BosKeys(true), 4, 0);
  ASSERT_THAT(windows, IsOk());
  ASSERT_EQ(windows->count(), 2U);
  EXPECT_THAT(windows->At(0), ElementsAre(1, 10, 11, 12));
  EXPECT_THAT(windows->At(1), ElementsAre(1, 14, 15, 16));
}

TEST(Windows, AreAtMostAsManyAsWanted) {
  EXPECT_EQ(Windows::Cut(kTokens, {}, 2, 2)->count(), 2U);
  EXPECT_EQ(Windows::Cut(kTokens, {}, 2, 9)->count(), 3U);
}

TEST(Windows, RefuseATextThatFillsNone) {
  EXPECT_EQ(Windows::Cut(kTokens, {}, 7, 0)->count(), 1U);
  EXPECT_THAT(Windows::Cut(kTokens, {}, 8, 0),
              Fails(ErrorCode::kUsage, "at least one window of 8 tokens, got 7"));
}

}  // namespace
}  // namespace sluice::runtime
