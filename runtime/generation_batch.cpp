#include "runtime/generation_batch.h"

#include <algorithm>
#include <span>
#include <utility>

namespace sluice::runtime {
namespace {

// Prompt tokens in one pass, over all generations: enough to make good use of each weight that is
// read, few enough that answers in the making go on between them.
constexpr std::size_t kPromptTokensPerStep = 512;

std::size_t CommonPrefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                                  a.begin());
}

}  // namespace

GenerationBatch::GenerationBatch(LanguageModel& model, std::uint32_t max_generations)
    : model_(model), max_generations_(max_generations) {}

GenerationBatch::~GenerationBatch() {
  for (const auto& active : active_) model_.ReleaseSequence(active->slot.sequence);
  for (const Slot& slot : idle_) model_.ReleaseSequence(slot.sequence);
}

GenerationBatch::Slot GenerationBatch::TakeIdle(std::size_t index) {
  Slot slot = std::move(idle_[index]);
  idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(index));
  return slot;
}

// The idle sequence that has most in common with the prompt, unless that would throw away most of a
// long conversation for little.
Result<GenerationBatch::Slot> GenerationBatch::TakeSlot(const std::vector<TokenId>& prompt) {
  std::size_t best = idle_.size();
  std::size_t best_common = 0;
  for (std::size_t i = 0; i < idle_.size(); ++i) {
    const std::size_t common = CommonPrefix(idle_[i].tokens, prompt);
    if (best == idle_.size() || common > best_common) {
      best = i;
      best_common = common;
    }
  }
  const bool may_create = active_.size() + idle_.size() < max_generations_;
  const bool worth_it =
      best != idle_.size() && 2 * best_common >= std::min(idle_[best].tokens.size(), prompt.size());
  if (may_create && !worth_it) {
    SLUICE_ASSIGN(const SequenceId sequence, model_.CreateSequence());
    return Slot{sequence, {}, 0};
  }
  if (!worth_it) {
    best = static_cast<std::size_t>(
        std::min_element(idle_.begin(), idle_.end(),
                         [](const Slot& a, const Slot& b) { return a.last_used < b.last_used; }) -
        idle_.begin());
  }
  return TakeIdle(best);
}

Status GenerationBatch::Add(Generation& generation) {
  const std::vector<TokenId>& prompt = generation.tokens();
  auto active = std::make_unique<Active>();
  SLUICE_ASSIGN(active->slot, TakeSlot(prompt));
  Slot& slot = active->slot;
  // The last token's logits are wanted, so it has to be run in any case.
  const std::size_t common = std::min(CommonPrefix(slot.tokens, prompt), prompt.size() - 1);
  if (common < slot.tokens.size()) {
    model_.TruncateSequence(slot.sequence, static_cast<std::uint32_t>(common));
    slot.tokens.resize(common);
  }
  active->generation = &generation;
  active->reused = static_cast<std::uint32_t>(common);
  active->logits.resize(model_.vocab_size());
  active_.push_back(std::move(active));
  return Ok();
}

void GenerationBatch::Remove(const Generation& generation) {
  const auto found = std::find_if(active_.begin(), active_.end(), [&](const auto& active) {
    return active->generation == &generation;
  });
  if (found == active_.end()) return;
  (*found)->slot.last_used = ++clock_;
  idle_.push_back(std::move((*found)->slot));
  active_.erase(found);
}

Result<std::vector<GenerationBatch::Output>> GenerationBatch::Step() {
  std::vector<SequenceInput> inputs;
  std::vector<Active*> members;
  std::size_t prompt_room = kPromptTokensPerStep;
  for (const auto& active : active_) {
    if (active->generation->finished()) continue;
    const std::span<const TokenId> waiting =
        std::span(active->generation->tokens()).subspan(active->slot.tokens.size());
    std::size_t count = waiting.size();
    if (count > 1) {
      count = std::min(count, prompt_room);
      prompt_room -= count;
    }
    if (count == 0) continue;
    const bool last = count == waiting.size();
    inputs.push_back({active->slot.sequence, waiting.first(count),
                      last ? std::span<float>(active->logits) : std::span<float>()});
    members.push_back(active.get());
  }
  std::vector<Output> outputs;
  if (inputs.empty()) return outputs;
  const Status status = model_.Forward(inputs);
  if (!status) {
    // What the sequences hold now is not known.
    for (const auto& active : active_) model_.ReleaseSequence(active->slot.sequence);
    active_.clear();
    return status.error();
  }
  for (std::size_t i = 0; i < members.size(); ++i) {
    Active& active = *members[i];
    const std::span<const TokenId> tokens = inputs[i].tokens;
    active.slot.tokens.insert(active.slot.tokens.end(), tokens.begin(), tokens.end());
    if (inputs[i].logits.empty()) continue;
    outputs.push_back({active.generation, active.generation->Accept(active.logits)});
  }
  return outputs;
}

std::uint32_t GenerationBatch::reused_tokens(const Generation& generation) const {
  for (const auto& active : active_) {
    if (active->generation == &generation) return active->reused;
  }
  return 0;
}

}  // namespace sluice::runtime
