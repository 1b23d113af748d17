// Runs a test on each SIMD target that this machine can execute.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstddef>
#include <cstdint>

namespace sluice::testing {

// More than four of the widest vectors, which have 16 floats.
inline constexpr std::size_t kManyCounts = 70;

// Calls `test()` once for each target. The kernels ask Highway for the target on every call, so
// that a restriction of the supported targets decides which code they run.
template <class Test>
void ForEachSimdTarget(const Test& test) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    test();
    hwy::SetSupportedTargetsForTest(0);  // back to all
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace sluice::testing
