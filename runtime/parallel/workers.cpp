#include "runtime/parallel/workers.h"

#include <thread>
#include <utility>

namespace sluice::runtime {
namespace {

// Waits a little, and longer when it has been in vain for some time.
class Patience {
 public:
  void Wait() {
    constexpr int kShortWaits = 20'000;  // about as long as the serial parts between loops take
    if (++waits_ > kShortWaits) return std::this_thread::yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
  void Renew() { waits_ = 0; }

 private:
  int waits_ = 0;
};

}  // namespace

Workers::Helpers::Helpers(Workers& workers) : workers_(workers) {
  workers_.ending_.store(false);
  for (int i = 1; i < workers_.threads_; ++i) {
    group_.run([this] { workers_.Help(); });
  }
}

Workers::Helpers::~Helpers() {
  workers_.ending_.store(true);
  group_.wait();
}

void Workers::TakeIterations() {
  try {
    Scratch& scratch = scratch_.local();
    for (std::size_t i; (i = next_.fetch_add(1)) < loop_.count;) {
      loop_.call(loop_.body, i, scratch);
    }
  } catch (...) {
    next_.store(loop_.count);  // the others need not go on
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void Workers::Help() {
  Patience patience;
  for (std::uint64_t done = 0; !ending_.load();) {
    const std::uint64_t loop = open_.load();
    if (loop == 0 || loop == done) {
      patience.Wait();
      continue;
    }
    // Either the loop is still open now, or its owner sees this thread and waits.
    inside_.fetch_add(1);
    if (open_.load() == loop) TakeIterations();
    inside_.fetch_sub(1);
    done = loop;
    patience.Renew();
  }
}

void Workers::RunLoop(const Loop& loop) {
  if (loop.count == 0) return;
  loop_ = loop;
  next_.store(0);
  if (loop.count > 1) open_.store(++last_loop_);
  TakeIterations();
  open_.store(0);
  for (Patience patience; inside_.load() > 0;) patience.Wait();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace sluice::runtime
