// The feed-forward half of a layer: one MLP, or a few routed experts and a shared one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/config.h"
#include "runtime/model/router.h"
#include "runtime/model/weights.h"
#include "runtime/parallel/float_buffer.h"
#include "runtime/parallel/workers.h"

namespace sluice::runtime {

// Used by one thread at a time; what it refers to must outlive it.
class FeedForward {
 public:
  FeedForward(const Config& config, Workers& workers);

  // sums[i] += output for inputs[i], of `count` tokens: both are [count, H], `inputs` normed. The
  // output of a token does not depend on the others.
  void Run(const FeedForwardWeights& weights, std::size_t count, const float* inputs, float* sums);

 private:
  // An MLP and the tokens that go through it.
  struct Group {
    const MlpWeights& mlp;
    const std::uint32_t* tokens;  // nullptr: all
    std::size_t count;
    std::size_t first_slot;        // in outputs_; token i of the group has slot first_slot + i
    std::size_t first_hidden = 0;  // float in hidden_
  };

  void RouteAll(const FeedForwardWeights& weights, std::size_t count, const float* inputs);
  // Groups tokens by expert; fills tokens_ and slots_.
  std::vector<Group> GroupByExpert(const FeedForwardWeights& weights, std::size_t count);
  void RunGroups(std::vector<Group>& groups, const float* inputs);
  void AddRouted(std::size_t count, float* sums);

  const Config& config_;
  const RouterConfig router_;
  Workers& workers_;

  std::vector<Choice> choices_;        // [tokens, K], experts ascending
  std::vector<std::uint32_t> tokens_;  // of the groups, one after the other
  std::vector<std::uint32_t> slots_;   // [tokens, K]: where the output for a choice lies
  FloatBuffer logits_;                 // [tokens, E]
  FloatBuffer hidden_;                 // of each slot, as wide as its MLP
  FloatBuffer outputs_;                // [slots, H]
};

}  // namespace sluice::runtime
