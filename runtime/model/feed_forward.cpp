#include "runtime/model/feed_forward.h"

#include <algorithm>

#include "runtime/kernels/multiply.h"
#include "runtime/kernels/vector_ops.h"
#include "runtime/parallel/products.h"

namespace sluice::runtime {

FeedForward::FeedForward(const Config& config, Workers& workers)
    : config_(config),
      router_{config.used_experts, config.expert_groups, config.used_groups, config.norm_weights,
              config.routed_scale},
      workers_(workers) {}

void FeedForward::RouteAll(const FeedForwardWeights& weights, std::size_t count,
                           const float* inputs) {
  const std::size_t experts = config_.experts;
  float* const logits = logits_.Reserve(count * experts);
  const Product product{weights.router, {inputs, config_.hidden, count}, logits, experts};
  MultiplyAll(workers_, {&product, 1});
  choices_.resize(count * config_.used_experts);
  workers_.ForRows(count, [&](std::size_t i) {
    Route(router_, {logits + i * experts, experts}, weights.router_bias,
          std::span(choices_).subspan(i * config_.used_experts, config_.used_experts));
  });
}

std::vector<FeedForward::Group> FeedForward::GroupByExpert(const FeedForwardWeights& weights,
                                                           std::size_t count) {
  // A counting sort: how many of each expert, where each begins, then the tokens in order.
  std::vector<std::size_t> begin(config_.experts + 1);
  for (const Choice& choice : choices_) ++begin[choice.expert + 1];
  for (std::size_t e = 0; e < config_.experts; ++e) begin[e + 1] += begin[e];
  tokens_.resize(choices_.size());
  slots_.resize(choices_.size());
  std::vector<std::size_t> next(begin.begin(), begin.end() - 1);
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const std::size_t slot = next[choices_[i].expert]++;
    tokens_[slot] = static_cast<std::uint32_t>(i / config_.used_experts);
    slots_[i] = static_cast<std::uint32_t>(slot);
  }
  std::vector<Group> groups;
  for (std::size_t e = 0; e < config_.experts; ++e) {
    const std::size_t tokens = begin[e + 1] - begin[e];
    if (tokens == 0) continue;
    groups.push_back({weights.experts[e], tokens_.data() + begin[e], tokens, begin[e]});
  }
  if (weights.shared) groups.push_back({*weights.shared, nullptr, count, choices_.size()});
  return groups;
}

void FeedForward::RunGroups(std::vector<Group>& groups, const float* inputs) {
  struct Task {
    const Group* group;
    RowRange rows;
  };
  std::vector<Task> tasks;
  std::size_t hidden_floats = 0;
  std::size_t slots = 0;
  for (Group& group : groups) {
    const std::uint64_t width = group.mlp.gate.rows;
    group.first_hidden = hidden_floats;
    hidden_floats += group.count * width;
    slots += group.count;
    const FloatRows tokens{inputs, config_.hidden, group.count, group.tokens};
    workers_.Show(group.mlp.gate, tokens);
    workers_.Show(group.mlp.up, tokens);
    const std::uint64_t step = RowsOfTask(group.mlp.gate);
    for (std::uint64_t begin = 0; begin < width; begin += step) {
      tasks.push_back({&group, {begin, std::min(begin + step, width)}});
    }
  }
  float* const hidden = hidden_.Reserve(hidden_floats);
  workers_.For(tasks.size(), [&](std::size_t t, Scratch& scratch) {
    const auto& [group, rows] = tasks[t];
    const std::size_t width = group->mlp.gate.rows;
    const FloatRows tokens{inputs, config_.hidden, group->count, group->tokens};
    float* const gate = hidden + group->first_hidden + rows.begin;
    float* const up = scratch.floats[0].Reserve(group->count * rows.size());
    Multiply(group->mlp.gate, rows, tokens, gate, width, scratch.panel);
    Multiply(group->mlp.up, rows, tokens, up, rows.size(), scratch.panel);
    for (std::size_t i = 0; i < group->count; ++i) {
      SiluTimes({gate + i * width, rows.size()}, up + i * rows.size());
    }
  });
  float* const outputs = outputs_.Reserve(slots * config_.hidden);
  std::vector<Product> products;
  for (const Group& group : groups) {
    const std::size_t width = group.mlp.gate.rows;
    products.push_back({group.mlp.down,
                        {hidden + group.first_hidden, width, group.count},
                        outputs + group.first_slot * config_.hidden,
                        config_.hidden});
  }
  MultiplyAll(workers_, products);
}

// In ascending order of experts, whatever the grouping; the shared expert last.
void FeedForward::AddRouted(std::size_t count, float* sums) {
  const std::size_t hidden = config_.hidden;
  const std::size_t used = config_.used_experts;
  const bool shared = config_.shared_experts > 0;
  workers_.ForRows(count, [&](std::size_t i) {
    const auto output_of = [&](std::size_t slot) {
      return std::span<const float>(outputs_.data() + slot * hidden, hidden);
    };
    for (std::size_t k = i * used; k < (i + 1) * used; ++k) {
      AddScaled(output_of(slots_[k]), choices_[k].weight, sums + i * hidden);
    }
    if (shared) AddScaled(output_of(choices_.size() + i), 1.0F, sums + i * hidden);
  });
}

void FeedForward::Run(const FeedForwardWeights& weights, std::size_t count, const float* inputs,
                      float* sums) {
  if (weights.dense) {
    std::vector<Group> groups{{*weights.dense, nullptr, count, 0}};
    RunGroups(groups, inputs);
    workers_.ForRows(count, [&](std::size_t i) {
      const std::size_t at = i * config_.hidden;
      AddScaled({outputs_.data() + at, config_.hidden}, 1.0F, sums + at);
    });
    return;
  }
  RouteAll(weights, count, inputs);
  std::vector<Group> groups = GroupByExpert(weights, count);
  RunGroups(groups, inputs);
  AddRouted(count, sums);
}

}  // namespace sluice::runtime
