// Result<T> and the two macros that hand errors on.
#include "core/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "result_matchers.h"

namespace sluice {
namespace {

using testing::Fails;
using testing::IsOk;

Result<int> Half(int number) {
  if (number % 2 != 0) return MakeError(ErrorCode::kCorrupt, "odd").Actual(std::to_string(number));
  return number / 2;
}

Result<int> Quarter(int number, int* steps) {
  SLUICE_ASSIGN(const int half, Half(number));
  ++*steps;
  int quarter = 0;
  SLUICE_ASSIGN(quarter, Half(half));
  ++*steps;
  return quarter;
}

Status CheckEven(int number, int* steps) {
  SLUICE_TRY(Half(number));
  ++*steps;
  return Ok();
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<std::string> value = std::string("text");
  ASSERT_TRUE(value.has_value());
  EXPECT_TRUE(static_cast<bool>(value));
  EXPECT_EQ(*value, "text");
  EXPECT_EQ(value->size(), 4U);

  const Result<std::string> error = MakeError(ErrorCode::kIo, "gone");
  EXPECT_FALSE(error.has_value());
  EXPECT_FALSE(static_cast<bool>(error));
  EXPECT_EQ(error.error().code, ErrorCode::kIo);
}

TEST(Status, IsASuccessOrAnError) {
  EXPECT_TRUE(Ok().has_value());
  const Status failed = MakeError(ErrorCode::kBug, "no");
  EXPECT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().what, "no");
}

TEST(Result, MovesOutWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  const std::unique_ptr<int> taken = *std::move(result);
  ASSERT_NE(taken, nullptr);
  EXPECT_EQ(*taken, 7);
}

TEST(Result, AssignGoesOnWithTheValue) {
  int steps = 0;
  const Result<int> quarter = Quarter(12, &steps);
  ASSERT_THAT(quarter, IsOk());
  EXPECT_EQ(*quarter, 3);
  EXPECT_EQ(steps, 2);
}

TEST(Result, AssignReturnsTheErrorAtOnce) {
  int steps = 0;
  EXPECT_THAT(Quarter(7, &steps), Fails(ErrorCode::kCorrupt, "odd: got 7"));
  EXPECT_EQ(steps, 0);
  EXPECT_THAT(Quarter(6, &steps), Fails(ErrorCode::kCorrupt, "odd: got 3"));
  EXPECT_EQ(steps, 1);
}

TEST(Result, TryReturnsTheErrorOrGoesOn) {
  int steps = 0;
  EXPECT_THAT(CheckEven(3, &steps), Fails(ErrorCode::kCorrupt, "odd: got 3"));
  EXPECT_EQ(steps, 0);
  EXPECT_THAT(CheckEven(4, &steps), IsOk());
  EXPECT_EQ(steps, 1);
}

// One call each: an expression with an effect must not run twice.
TEST(Result, MacrosEvaluateTheirExpressionOnce) {
  int calls = 0;
  const auto count = [&]() -> Result<int> { return ++calls; };
  const auto use = [&]() -> Status {
    SLUICE_ASSIGN(const int value, count());
    SLUICE_TRY(count());
    return value == 1 ? Ok() : Status(MakeError(ErrorCode::kBug, "evaluated again"));
  };
  EXPECT_THAT(use(), IsOk());
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace sluice
