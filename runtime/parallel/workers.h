// The threads that a model computes with, and the scratch memory of each.
#pragma once

#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/buffer.h"
#include "runtime/parallel/float_buffer.h"

namespace sluice::runtime {

// Memory that one thread reuses from task to task. Contents do not survive a task.
struct Scratch {
  Buffer panel;                       // of Multiply
  std::array<FloatBuffer, 4> floats;  // whatever the task keeps in them
};

// Used by one thread at a time.
class Workers {
 public:
  // REQUIRES: threads >= 1.
  explicit Workers(int threads)
      : limit_(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads)),
        arena_(threads) {}

  // Runs `body` with the threads at hand: the For calls inside it start without delay.
  template <class Body>
  auto Run(const Body& body) {
    return arena_.execute(body);
  }

  // Calls body(i, scratch) once for each i below `count`, in any order, at the same time. What
  // `body` throws, For throws.
  template <class Body>
  void For(std::size_t count, const Body& body) {
    if (count == 0) return;
    if (count == 1) return body(std::size_t{0}, scratch_.local());
    const auto run = [&](std::size_t i) { body(i, scratch_.local()); };
    arena_.execute(
        [&] { tbb::parallel_for(std::size_t{0}, count, run, tbb::simple_partitioner()); });
  }

  // Calls body(i) for each i below `count` as For does, for bodies that take little time each.
  template <class Body>
  void ForRows(std::size_t count, const Body& body) {
    constexpr std::size_t kRowsOfTask = 8;
    For((count + kRowsOfTask - 1) / kRowsOfTask, [&](std::size_t task, Scratch&) {
      const std::size_t end = std::min(count, (task + 1) * kRowsOfTask);
      for (std::size_t i = task * kRowsOfTask; i < end; ++i) body(i);
    });
  }

 private:
  tbb::global_control limit_;
  tbb::task_arena arena_;
  tbb::enumerable_thread_specific<Scratch> scratch_;
};

}  // namespace sluice::runtime
