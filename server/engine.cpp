#include "server/engine.h"

#include <algorithm>
#include <utility>

namespace sluice::server {

Answer::News Answer::Wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [&] { return !news_.text.empty() || news_.ended; });
  News news = news_;
  news_.text.clear();
  return news;
}

void Answer::Add(const std::string& text) {
  if (text.empty()) return;
  const std::lock_guard lock(mutex_);
  news_.text += text;
  changed_.notify_all();
}

void Answer::End(std::optional<Error> error) {
  const std::lock_guard lock(mutex_);
  news_.ended = true;
  news_.error = std::move(error);
  changed_.notify_all();
}

Engine::Engine(runtime::LanguageModel& model, std::uint32_t parallel, std::size_t max_waiting)
    : capacity_(parallel + max_waiting), batch_(model, parallel), thread_([this] { Run(); }) {}

Engine::~Engine() {
  Stop();
  thread_.join();
}

Status Engine::CheckRoomLocked() const {
  if (stopped_) return MakeError(ErrorCode::kResource, "the server is stopping");
  if (active_.size() + waiting_.size() >= capacity_) {
    return MakeError(ErrorCode::kResource, "too many requests are waiting")
        .Advice("try again later");
  }
  return Ok();
}

Status Engine::CheckRoom() const {
  const std::lock_guard lock(mutex_);
  return CheckRoomLocked();
}

Result<std::shared_ptr<Answer>> Engine::Submit(runtime::Generation generation) {
  const std::lock_guard lock(mutex_);
  SLUICE_TRY(CheckRoomLocked());
  auto answer = std::make_shared<Answer>(std::move(generation));
  waiting_.push_back(answer);
  wake_.notify_all();
  return answer;
}

void Engine::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
}

Engine::Load Engine::load() const {
  const std::lock_guard lock(mutex_);
  return {active_.size(), waiting_.size()};
}

void Engine::Run() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopped_ || !waiting_.empty() || !active_.empty(); });
      if (stopped_) {
        for (const auto& answer : active_) answer->Cancel();
        for (const auto& answer : waiting_) answer->Cancel();
      }
      EndCancelled();
      Admit();
      if (stopped_) return;
    }
    Step();
  }
}

void Engine::Admit() {
  while (!waiting_.empty() && !batch_.full()) {
    const std::shared_ptr<Answer> answer = std::move(waiting_.front());
    waiting_.pop_front();
    const Status added = batch_.Add(answer->generation_);
    if (!added) {
      answer->End(added.error());
      continue;
    }
    answer->reused_tokens_ = batch_.reused_tokens(answer->generation_);
    active_.push_back(answer);
  }
}

void Engine::EndCancelled() {
  std::erase_if(waiting_, [](const std::shared_ptr<Answer>& answer) {
    if (!answer->cancelled_.load()) return false;
    answer->generation_.Cancel();
    answer->End(std::nullopt);
    return true;
  });
  std::erase_if(active_, [&](const std::shared_ptr<Answer>& answer) {
    runtime::Generation& generation = answer->generation_;
    if (!generation.finished() && answer->cancelled_.load()) answer->Add(generation.Cancel());
    if (!generation.finished()) return false;
    batch_.Remove(generation);
    answer->End(std::nullopt);
    return true;
  });
}

// Only this thread changes active_, so it may be read without the mutex here.
void Engine::Step() {
  const auto outputs = batch_.Step();
  if (!outputs) {
    const std::lock_guard lock(mutex_);
    for (const auto& answer : active_) answer->End(outputs.error());
    active_.clear();
    return;
  }
  for (const auto& output : *outputs) {
    for (const auto& answer : active_) {
      if (&answer->generation_ == output.generation) answer->Add(output.text);
    }
  }
  const std::lock_guard lock(mutex_);
  EndCancelled();
}

}  // namespace sluice::server
