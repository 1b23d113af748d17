#include "pipeline/measure/choose.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace sluice {
namespace {

// From one candidate of a tensor to a larger one.
struct Step {
  std::size_t tensor = 0;
  std::size_t to = 0;
  std::uint64_t bytes = 0;  // more
  double saved = 0;         // error less, above 0

  [[nodiscard]] double rate() const { return saved / static_cast<double>(bytes); }
};

struct Exchange {
  Step up;
  Step down;  // taken back: `to` is the smaller candidate
};

// Exchanges matter for models of few tensors, whose steps are large beside the budget.
constexpr int kMaxExchanges = 64;

// The step, if it leads to more bytes and less error.
std::optional<Step> StepBetween(const Candidates& candidates, std::size_t tensor, std::size_t from,
                                std::size_t to) {
  const Candidate& a = candidates[from];
  const Candidate& b = candidates[to];
  if (b.bytes <= a.bytes || b.error >= a.error) return std::nullopt;
  return Step{tensor, to, b.bytes - a.bytes, a.error - b.error};
}

// The steps along the lower convex hull, at falling rates: each goes where most is saved a byte,
// the farthest among equals.
void AddHullSteps(const Candidates& candidates, std::size_t tensor, std::vector<Step>& steps) {
  for (std::size_t from = SmallestOf(candidates);;) {
    std::optional<Step> best;
    for (std::size_t to = 0; to < candidates.size(); ++to) {
      const std::optional<Step> step = StepBetween(candidates, tensor, from, to);
      if (!step) continue;
      const bool better = !best || step->rate() > best->rate() ||
                          (step->rate() == best->rate() && step->bytes > best->bytes);
      if (better) best = step;
    }
    if (!best) return;
    steps.push_back(*best);
    from = best->to;
  }
}

class Chooser {
 public:
  Chooser(std::span<const Candidates> tensors, std::uint64_t budget) : tensors_(tensors) {
    for (const Candidates& candidates : tensors) {
      const std::size_t smallest = SmallestOf(candidates);
      mix_.chosen.push_back(smallest);
      mix_.bytes += candidates[smallest].bytes;
      mix_.error += candidates[smallest].error;
    }
    left_ = budget - mix_.bytes;
  }

  Mix Run() {
    ClimbHulls();
    Fill();
    for (int round = 0; round < kMaxExchanges; ++round) {
      const std::optional<Exchange> exchange = BestExchange();
      if (!exchange) break;
      GiveBack(exchange->down);
      Take(exchange->up);
      Fill();
    }
    mix_.error = 0;  // without the rounding of all steps
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      mix_.error += tensors_[t][mix_.chosen[t]].error;
    }
    mix_.lower_bound = std::clamp(mix_.lower_bound, 0.0, mix_.error);
    return std::move(mix_);
  }

 private:
  void ClimbHulls() {
    std::vector<Step> steps;
    for (std::size_t t = 0; t < tensors_.size(); ++t) AddHullSteps(tensors_[t], t, steps);
    std::stable_sort(steps.begin(), steps.end(),
                     [](const Step& a, const Step& b) { return a.rate() > b.rate(); });
    std::vector<bool> stopped(tensors_.size(), false);
    std::optional<double> bound;
    for (const Step& step : steps) {
      if (stopped[step.tensor]) continue;
      if (step.bytes <= left_) {
        Take(step);
        continue;
      }
      stopped[step.tensor] = true;
      // If tensors could be split between two types, the budget would end within this step.
      if (!bound) bound = mix_.error - step.rate() * static_cast<double>(left_);
    }
    mix_.lower_bound = bound.value_or(mix_.error);
  }

  [[nodiscard]] std::optional<Step> BestThatFits() const {
    std::optional<Step> best;
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      for (std::size_t to = 0; to < tensors_[t].size(); ++to) {
        const std::optional<Step> step = StepBetween(tensors_[t], t, mix_.chosen[t], to);
        if (!step || step->bytes > left_) continue;
        if (!best || step->saved > best->saved) best = step;
      }
    }
    return best;
  }

  void Fill() {
    while (const std::optional<Step> step = BestThatFits()) Take(*step);
  }

  // The step and the reverse of a step, of another tensor, that together fit and save most.
  [[nodiscard]] std::optional<Exchange> BestExchange() const {
    std::vector<Step> ups;
    std::vector<Step> downs;
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      for (std::size_t other = 0; other < tensors_[t].size(); ++other) {
        if (auto up = StepBetween(tensors_[t], t, mix_.chosen[t], other)) ups.push_back(*up);
        if (auto down = StepBetween(tensors_[t], t, other, mix_.chosen[t])) {
          down->to = other;
          downs.push_back(*down);
        }
      }
    }
    std::optional<Exchange> best;
    double most = 0;
    for (const Step& up : ups) {
      for (const Step& down : downs) {
        const bool fits = up.bytes <= left_ + down.bytes && up.tensor != down.tensor;
        if (!fits || up.saved - down.saved <= most) continue;
        most = up.saved - down.saved;
        best = Exchange{up, down};
      }
    }
    return best;
  }

  void GiveBack(const Step& step) {
    mix_.chosen[step.tensor] = step.to;
    mix_.bytes -= step.bytes;
    mix_.error += step.saved;
    left_ += step.bytes;
  }

  void Take(const Step& step) {
    mix_.chosen[step.tensor] = step.to;
    mix_.bytes += step.bytes;
    mix_.error -= step.saved;
    left_ -= step.bytes;
  }

  std::span<const Candidates> tensors_;
  std::uint64_t left_ = 0;  // of the budget
  Mix mix_;
};

}  // namespace

std::size_t SmallestOf(const Candidates& candidates) {
  const auto found =
      std::min_element(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
        return a.bytes != b.bytes ? a.bytes < b.bytes : a.error < b.error;
      });
  return static_cast<std::size_t>(found - candidates.begin());
}

Mix ChooseMix(std::span<const Candidates> tensors, std::uint64_t budget) {
  return Chooser(tensors, budget).Run();
}

}  // namespace sluice
