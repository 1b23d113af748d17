// The threads of one run.
#pragma once

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <cstddef>
#include <type_traits>

#include "pipeline/guarded.h"

namespace sluice {

// Runs `work`, which returns a Result, with `threads` threads, at least 1; what it throws becomes
// an Error.
template <class Work>
std::invoke_result_t<const Work&> InArena(int threads, const Work& work) {
  return Guarded([&] {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                    static_cast<std::size_t>(threads));
    tbb::task_arena arena(threads);
    return arena.execute(work);
  });
}

// Slabs in flight that keep every thread busy while results are taken off in order.
[[nodiscard]] constexpr std::size_t NumTokens(int threads) {
  return 2 * static_cast<std::size_t>(threads) + 2;
}

}  // namespace sluice
