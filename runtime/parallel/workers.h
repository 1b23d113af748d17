// The threads that a model computes with, the scratch memory of each, and who watches.
//
// A forward pass is hundreds of short parallel loops, one after the other. Threads of oneTBB join
// it for its whole length and look for the next loop without going to sleep: a loop then begins
// within a microsecond, where waking threads for each would cost more than the shorter loops take.
#pragma once

#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "core/buffer.h"
#include "runtime/parallel/activation_observer.h"
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
      : threads_(threads),
        limit_(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads)),
        arena_(threads),
        shares_(static_cast<std::size_t>(threads)) {}

  // Shows what is computed from now on to `observer`, or to nobody: nullptr.
  void Observe(ActivationObserver* observer) { observer_ = observer; }
  void Show(const Matrix& weights, const FloatRows& inputs) const {
    if (observer_ != nullptr) observer_->OnProduct(weights, inputs);
  }

  // Gives what `body` returns. While it runs, other threads take part in the loops it calls For
  // for. What `body` throws, Run throws.
  template <class Body>
  auto Run(const Body& body) {
    return arena_.execute([&] {
      const Helpers helpers(*this);
      return body();
    });
  }

  // Calls body(i, scratch) once for each i below `count`, in any order, with the threads that are
  // there: alone outside of Run. Each begins with a share of its own in ascending order, since
  // memory gives long stretches fastest, then helps the others. What `body` throws, For throws.
  // REQUIRES: not called by `body`.
  template <class Body>
  void For(std::size_t count, const Body& body) {
    RunLoop({count, &body, [](const void* context, std::size_t i, Scratch& scratch) {
               (*static_cast<const Body*>(context))(i, scratch);
             }});
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
  struct Loop {
    std::size_t count = 0;
    const void* body = nullptr;
    void (*call)(const void* body, std::size_t i, Scratch& scratch) = nullptr;
  };
  // The other threads' part in a Run: they come when oneTBB has them and leave at the end.
  class Helpers {
   public:
    explicit Helpers(Workers& workers);
    ~Helpers();
    Helpers(const Helpers&) = delete;
    Helpers& operator=(const Helpers&) = delete;

   private:
    Workers& workers_;
    tbb::task_group group_;
  };

  void RunLoop(const Loop& loop);
  // Takes part in one loop after the other until the Run ends, as thread number `thread`.
  void Help(std::size_t thread);
  // Does iterations of the open loop until there are none left.
  void TakeIterations(std::size_t thread);

  static constexpr std::size_t kCacheLine = 64;

  // The iterations with which one thread begins.
  struct alignas(kCacheLine) Share {
    std::atomic<std::size_t> next{0};
    std::size_t end = 0;  // changes as loop_ does
  };

  const int threads_;
  tbb::global_control limit_;
  tbb::task_arena arena_;
  tbb::enumerable_thread_specific<Scratch> scratch_;

  Loop loop_;                    // changes only while none is open and nobody is inside
  std::vector<Share> shares_;    // of each thread; those beyond loop_.count are not used
  std::uint64_t last_loop_ = 0;  // number of the last loop that was opened
  std::exception_ptr error_;
  std::mutex error_mutex_;
  alignas(kCacheLine) std::atomic<std::uint64_t> open_{0};  // number of the open loop; 0: none
  alignas(kCacheLine) std::atomic<int> inside_{0};          // helpers that may use loop_
  std::atomic<bool> ending_{false};
  ActivationObserver* observer_ = nullptr;
};

}  // namespace sluice::runtime
