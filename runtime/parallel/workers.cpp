#include "runtime/parallel/workers.h"

#include <algorithm>
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
    group_.run([this, i] { workers_.Help(static_cast<std::size_t>(i)); });
  }
}

Workers::Helpers::~Helpers() {
  workers_.ending_.store(true);
  group_.wait();
}

void Workers::TakeIterations(std::size_t thread) {
  const std::size_t num_shares = std::min(loop_.count, shares_.size());
  try {
    Scratch& scratch = scratch_.local();
    for (std::size_t k = 0; k < num_shares; ++k) {
      Share& share = shares_[(thread + k) % num_shares];
      for (std::size_t i; (i = share.next.fetch_add(1)) < share.end;) {
        loop_.call(loop_.body, i, scratch);
      }
    }
  } catch (...) {
    for (Share& share : shares_) share.next.store(share.end);  // the others need not go on
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void Workers::Help(std::size_t thread) {
  Patience patience;
  for (std::uint64_t done = 0; !ending_.load();) {
    const std::uint64_t loop = open_.load();
    if (loop == 0 || loop == done) {
      patience.Wait();
      continue;
    }
    // Either the loop is still open now, or its owner sees this thread and waits.
    inside_.fetch_add(1);
    if (open_.load() == loop) TakeIterations(thread);
    inside_.fetch_sub(1);
    done = loop;
    patience.Renew();
  }
}

void Workers::RunLoop(const Loop& loop) {
  if (loop.count == 0) return;
  loop_ = loop;
  const std::size_t num_shares = std::min(loop.count, shares_.size());
  for (std::size_t t = 0; t < num_shares; ++t) {
    shares_[t].next.store(loop.count * t / num_shares);
    shares_[t].end = loop.count * (t + 1) / num_shares;
  }
  if (loop.count > 1) open_.store(++last_loop_);
  TakeIterations(0);
  open_.store(0);
  for (Patience patience; inside_.load() > 0;) patience.Wait();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace sluice::runtime
