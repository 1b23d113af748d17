// The one thread that runs the model: answers in a batch, the others wait in order.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/result.h"
#include "runtime/generation.h"
#include "runtime/generation_batch.h"
#include "runtime/language_model.h"

namespace sluice::server {

// An answer that the engine makes, as seen by the thread that waits for it.
class Answer {
 public:
  explicit Answer(runtime::Generation generation) : generation_(std::move(generation)) {}

  struct News {
    std::string text;            // what was added
    bool ended = false;          // nothing follows
    std::optional<Error> error;  // why it ended before its time
  };
  // What is new, waiting for it up to `patience`; nothing when nothing is.
  News Wait(std::chrono::milliseconds patience);

  // Asks the engine to end the answer; it may add some text before it does.
  void Cancel() { cancelled_.store(true); }

  // REQUIRES: Wait has said that the answer has ended.
  [[nodiscard]] const runtime::Generation& generation() const { return generation_; }
  // Tokens of the prompt that an earlier answer had left in the model. The same requirement.
  [[nodiscard]] std::uint32_t reused_tokens() const { return reused_tokens_; }

 private:
  friend class Engine;
  void Add(const std::string& text);
  void End(std::optional<Error> error);

  runtime::Generation generation_;  // the engine's until the answer has ended
  std::uint32_t reused_tokens_ = 0;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  News news_;
};

// May be used by several threads at once.
class Engine {
 public:
  // Makes up to `parallel` answers at once; `max_waiting` more may wait. The model must outlive the
  // engine and be used by nobody else.
  Engine(runtime::LanguageModel& model, std::uint32_t parallel, std::size_t max_waiting);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  // As Stop.
  ~Engine();

  // Whether Submit would take an answer now. kResource when too many wait or the engine has
  // stopped.
  [[nodiscard]] Status CheckRoom() const;
  // Puts an answer in line. The same errors.
  Result<std::shared_ptr<Answer>> Submit(runtime::Generation generation);

  // Ends every answer and takes no more.
  void Stop();

  struct Load {
    std::size_t active = 0;
    std::size_t waiting = 0;
  };
  [[nodiscard]] Load load() const;

 private:
  // As CheckRoom. REQUIRES: the mutex is held.
  [[nodiscard]] Status CheckRoomLocked() const;
  void Run();
  // Takes answers from the line while there is room, and ends those that were cancelled.
  void Admit();
  void EndCancelled();
  void Step();

  const std::size_t capacity_;
  runtime::GenerationBatch batch_;               // of the engine's thread
  std::vector<std::shared_ptr<Answer>> active_;  // changed by the engine's thread, under the mutex
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Answer>> waiting_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace sluice::server
