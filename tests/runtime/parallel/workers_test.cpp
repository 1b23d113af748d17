#include "runtime/parallel/workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

namespace sluice::runtime {
namespace {

using ::testing::Each;

// How often each iteration of a loop was called.
std::vector<int> CallsOf(Workers& workers, std::size_t count) {
  std::vector<std::atomic<int>> calls(count);
  workers.For(count, [&](std::size_t i, Scratch&) { ++calls[i]; });
  return {calls.begin(), calls.end()};
}

class WorkersOf : public ::testing::TestWithParam<int> {};

TEST_P(WorkersOf, CallEachIterationOnceLoopAfterLoop) {
  Workers workers(GetParam());
  workers.Run([&] {
    for (std::size_t count = 0; count < 300; ++count) {
      EXPECT_THAT(CallsOf(workers, count), Each(1)) << count;
    }
  });
}

TEST_P(WorkersOf, SeeWhatTheLoopBeforeHasWritten) {
  Workers workers(GetParam());
  std::vector<int> values(64, 1);
  std::vector<int> sums(64);
  workers.Run([&] {
    for (int loop = 0; loop < 200; ++loop) {
      workers.For(64, [&](std::size_t i, Scratch&) {
        sums[i] = std::accumulate(values.begin(), values.end(), 0);
      });
      workers.For(64, [&](std::size_t i, Scratch&) { values[i] = sums[i] / 64 + 1; });
    }
  });
  EXPECT_THAT(values, Each(201));
}

TEST_P(WorkersOf, WorkAloneOutsideOfRun) {
  Workers workers(GetParam());
  const std::thread::id self = std::this_thread::get_id();
  std::vector<std::thread::id> callers(100);
  workers.For(100, [&](std::size_t i, Scratch&) { callers[i] = std::this_thread::get_id(); });
  EXPECT_THAT(callers, Each(self));
}

TEST_P(WorkersOf, GiveEachThreadItsOwnScratch) {
  Workers workers(GetParam());
  std::atomic<int> shared{0};
  workers.Run([&] {
    workers.For(2000, [&](std::size_t i, Scratch& scratch) {
      float* const mine = scratch.floats[0].Reserve(16);
      for (int k = 0; k < 16; ++k) mine[k] = static_cast<float>(i);
      for (int k = 0; k < 16; ++k) shared += mine[k] != static_cast<float>(i) ? 1 : 0;
    });
  });
  EXPECT_EQ(shared, 0);
}

TEST_P(WorkersOf, PassOnWhatABodyThrowsAndGoOn) {
  Workers workers(GetParam());
  workers.Run([&] {
    const auto throws = [](std::size_t i, Scratch&) {
      if (i == 7) throw std::runtime_error("seven");
    };
    EXPECT_THROW(workers.For(100, throws), std::runtime_error);
    EXPECT_THAT(CallsOf(workers, 100), Each(1));
  });
  EXPECT_THROW(workers.Run([]() -> int { throw std::runtime_error("body"); }), std::runtime_error);
  EXPECT_EQ(workers.Run([] { return 3; }), 3);
}

INSTANTIATE_TEST_SUITE_P(Threads, WorkersOf, ::testing::Values(1, 2, 5));

}  // namespace
}  // namespace sluice::runtime
