#include "pipeline/bind.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "arch/targets.h"
#include "core/shape.h"

namespace sluice {
namespace {

using arch::FileSpec;
using arch::Hp;
using arch::TensorGroup;
using arch::TensorRule;

std::string WithBlock(std::string_view pattern, std::uint64_t block) {
  const std::size_t at = pattern.find(kBlockToken);
  if (at == std::string_view::npos) return std::string(pattern);
  return fmt::format("{}{}{}", pattern.substr(0, at), block,
                     pattern.substr(at + kBlockToken.size()));
}

bool Stacks(const TensorRule& rule) {
  return rule.source.find(kExpertToken) != std::string_view::npos;
}

bool IsRequired(const TensorRule& rule) { return rule.need == arch::Need::kRequired; }

// The sources that a rule finds in a block.
struct Match {
  const TensorRule* rule = nullptr;
  std::string name;  // of the source, with {xid} where experts are stacked
  std::vector<std::pair<std::uint64_t, std::uint32_t>> experts;  // (number, position)
};

// Applies one view word to numbers. False when they do not fit it.
bool ApplyView(const arch::View& word, const arch::HParams& hparams, StridedView& view) {
  const auto number = [&](const arch::Extent& extent) { return *Evaluate(extent, hparams); };
  if (const auto* split = std::get_if<arch::Split>(&word)) {
    const std::uint64_t outer = number(split->outer);
    if (outer == 0 || view.axes()[split->axis].extent % outer != 0) return false;
    view.Split(split->axis, outer);
  } else if (const auto* take = std::get_if<arch::Take>(&word)) {
    view.Take(take->axis, number(take->begin), number(take->count));
  } else if (const auto* swap = std::get_if<arch::Swap>(&word)) {
    view.Swap(swap->a, swap->b);
  } else if (const auto* squeeze = std::get_if<arch::Squeeze>(&word)) {
    view.Squeeze(squeeze->axis);
  } else if (const auto* pairs = std::get_if<arch::RopePairs>(&word)) {
    // [heads * D, ...] -> [heads, 2, D / 2, ...] -> [heads, D / 2, 2, ...]
    const std::uint64_t heads = hparams.Count(pairs->heads);
    if (view.axes()[0].extent % (2 * heads) != 0) return false;
    view.Split(0, heads);
    view.Split(1, 2);
    view.Swap(1, 2);
  }
  return true;
}

}  // namespace

// Binds the rules of one group in one block.
class GroupBinder {
 public:
  GroupBinder(TensorBinder& binder, const FileSpec& file, const TensorGroup& group,
              std::uint64_t block)
      : binder_(binder),
        file_(file),
        group_(group),
        block_(block),
        source_prefix_(ChoosePrefix()) {}

  // Whether any source of the group exists in this block.
  [[nodiscard]] bool HasAny() const {
    return std::any_of(group_.rules.begin(), group_.rules.end(),
                       [&](const TensorRule& rule) { return Exists(rule, source_prefix_); });
  }

  std::vector<BoundTensor> Bind() {
    std::vector<BoundTensor> bound;
    for (std::size_t i = 0; i < group_.rules.size();) {
      std::size_t end = i + 1;
      while (end < group_.rules.size() && group_.rules[end].target == group_.rules[i].target) ++end;
      BindTarget(group_.rules.subspan(i, end - i), i, bound);
      i = end;
    }
    OrderStacks(bound);
    return bound;
  }

 private:
  [[nodiscard]] Match Look(const TensorRule& rule, const std::string& prefix) const {
    Match match{&rule, prefix + std::string(rule.source), {}};
    if (Stacks(rule)) {
      const std::size_t at = match.name.find(kExpertToken);
      const std::string_view name = match.name;
      match.experts =
          binder_.index_.FindExperts(name.substr(0, at), name.substr(at + kExpertToken.size()));
    } else if (const auto position = binder_.index_.Find(match.name)) {
      match.experts.emplace_back(0, *position);
    }
    return match;
  }

  [[nodiscard]] bool Exists(const TensorRule& rule, const std::string& prefix) const {
    return !Look(rule, prefix).experts.empty();
  }

  [[nodiscard]] std::string ChoosePrefix() const {
    for (std::size_t i = 0; i < group_.num_prefixes; ++i) {
      std::string prefix = WithBlock(group_.source_prefixes[i], block_);
      for (const TensorRule& rule : group_.rules) {
        if (Exists(rule, prefix)) return prefix;
      }
    }
    return WithBlock(group_.source_prefixes[0], block_);
  }

  void BindTarget(std::span<const TensorRule> alternatives, std::size_t rule_order,
                  std::vector<BoundTensor>& bound) {
    std::vector<Match> found;
    for (const TensorRule& rule : alternatives) {
      Match match = Look(rule, source_prefix_);
      if (!match.experts.empty()) found.push_back(std::move(match));
    }
    if (found.empty()) {
      if (IsRequired(alternatives.front())) ReportMissing(alternatives.front());
      return;
    }
    const auto fits = std::find_if(found.begin(), found.end(), [&](const Match& match) {
      return Fits(match.experts.front().second, DeclaredShape(*match.rule));
    });
    const Match& chosen = fits == found.end() ? found.front() : *fits;
    for (const auto& [number, position] : chosen.experts) binder_.used_[position] = true;
    if (!CheckSources(chosen)) return;
    BoundTensor tensor;
    tensor.name = WithBlock(group_.target_prefix, block_) + std::string(chosen.rule->target);
    tensor.rule = chosen.rule;
    tensor.rule_order = rule_order;
    tensor.shape = TargetShape(*chosen.rule);
    if (AddSources(chosen, tensor)) bound.push_back(std::move(tensor));
  }

  void Report(Error error) { binder_.problems_.push_back(std::move(error)); }

  void ReportMissing(const TensorRule& rule) {
    Report(MakeError(ErrorCode::kMissing, "a required tensor is missing")
               .At(source_prefix_ + std::string(rule.source))
               .Expected(fmt::format("it for {}{}", WithBlock(group_.target_prefix, block_),
                                     rule.target)));
  }

  [[nodiscard]] const std::vector<std::uint64_t>& SourceShape(std::uint32_t position) const {
    return binder_.index_[position].info->shape;
  }

  // A packed stack [experts, outputs, inputs] also serves a rule that declares [experts, inputs,
  // outputs]: packing runs along the inputs, whatever the parameter's own order is.
  [[nodiscard]] bool Fits(std::uint32_t position, std::vector<std::uint64_t> declared) const {
    const SourceTensor& source = binder_.index_[position];
    if (source.info->shape == declared) return true;
    if (source.packed == nullptr || declared.size() != 3) return false;
    std::swap(declared[1], declared[2]);
    return source.info->shape == declared;
  }

  // An extent that passes 64 bits becomes the largest number, which no tensor in a file has.
  [[nodiscard]] std::vector<std::uint64_t> Numbers(const arch::Shape& shape) const {
    std::vector<std::uint64_t> numbers;
    for (std::size_t i = 0; i < shape.rank; ++i) {
      const auto number = Evaluate(shape.extents[i], binder_.hparams_);
      numbers.push_back(number.value_or(std::numeric_limits<std::uint64_t>::max()));
    }
    return numbers;
  }
  [[nodiscard]] std::vector<std::uint64_t> DeclaredShape(const TensorRule& rule) const {
    return Numbers(rule.shape);
  }
  [[nodiscard]] std::vector<std::uint64_t> TargetShape(const TensorRule& rule) const {
    return Numbers(*arch::ExpectedShape(file_.gguf_arch, group_.target_prefix, rule.target));
  }

  // Expert numbers, shapes and dtypes.
  bool CheckSources(const Match& match) {
    const std::size_t before = binder_.problems_.size();
    if (Stacks(*match.rule)) CheckExperts(match);
    const std::vector<std::uint64_t> declared = DeclaredShape(*match.rule);
    for (const auto& [number, position] : match.experts) {
      const safetensors::TensorInfo& info = *binder_.index_[position].info;
      if (!Fits(position, declared)) {
        Report(MakeError(ErrorCode::kMismatch, "the shape does not fit config.json")
                   .At(info.name)
                   .Expected(ShapeText(declared))
                   .Actual(ShapeText(info.shape)));
      } else if (!IsFloat(info.dtype)) {
        Report(MakeError(ErrorCode::kUnsupported, "elements of this dtype are no weights")
                   .At(info.name)
                   .Expected("F64, F32, F16, BF16, F8_E4M3 or F8_E5M2")
                   .Actual(DtypeName(info.dtype)));
      }
    }
    return binder_.problems_.size() == before;
  }

  // Numbers 0 .. experts - 1, each once; the candidates are sorted and unique.
  void CheckExperts(const Match& match) {
    const std::uint64_t wanted = binder_.hparams_.Count(Hp::kExperts);
    std::uint64_t next = 0;
    for (const auto& [number, position] : match.experts) {
      if (number >= wanted) {
        Report(MakeError(ErrorCode::kMismatch, "an expert beyond the configured number")
                   .At(binder_.index_[position].info->name)
                   .Expected(fmt::format("experts 0 to {}", wanted - 1))
                   .Actual(fmt::format("expert {}", number)));
        continue;
      }
      if (number != next) ReportGap(match, next, number);
      next = number + 1;
    }
    if (next < wanted) ReportGap(match, next, wanted);
  }

  void ReportGap(const Match& match, std::uint64_t begin, std::uint64_t end) {
    Report(MakeError(ErrorCode::kMissing,
                     end - begin == 1 ? fmt::format("expert {} is missing", begin)
                                      : fmt::format("experts {} to {} are missing", begin, end - 1))
               .At(match.name)
               .Expected(fmt::format("experts 0 to {}", binder_.hparams_.Count(Hp::kExperts) - 1)));
  }

  bool AddSources(const Match& match, BoundTensor& tensor) {
    for (const auto& [number, position] : match.experts) {
      StridedView view = binder_.index_[position].View();
      if (SourceShape(position) != DeclaredShape(*match.rule)) view.Swap(1, 2);
      for (const arch::View& word : match.rule->views) {
        if (!ApplyView(word, binder_.hparams_, view)) {
          Report(MakeError(ErrorCode::kMismatch, "the number of heads does not divide the rows")
                     .At(binder_.index_[position].info->name)
                     .Actual(ShapeText(SourceShape(position))));
          return false;
        }
      }
      tensor.sources.push_back({position, view.Coalesced()});
      tensor.order = std::max<std::uint64_t>(tensor.order, position + 1);
    }
    const std::uint64_t elements =
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::uint64_t{1},
                        [](std::uint64_t a, std::uint64_t b) { return a * b; });
    if (elements == tensor.sources.front().view.elements() * tensor.sources.size()) return true;
    Report(MakeError(ErrorCode::kBug, "views and target shape disagree").At(tensor.name));
    return false;
  }

  // All stacks of a block are written together, after the last expert tensor of any of them.
  static void OrderStacks(std::vector<BoundTensor>& bound) {
    std::uint64_t last = 0;
    for (const BoundTensor& tensor : bound) {
      if (Stacks(*tensor.rule)) last = std::max(last, tensor.order);
    }
    for (BoundTensor& tensor : bound) {
      if (Stacks(*tensor.rule)) tensor.order = last;
    }
  }

  TensorBinder& binder_;
  const FileSpec& file_;
  const TensorGroup& group_;
  std::uint64_t block_;
  std::string source_prefix_;
};

namespace {

struct BlockRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 1;
};
BlockRange BlocksFrom(Hp begin, Hp count, const arch::HParams& hparams) {
  if (count == Hp::kNone) return {};
  const std::uint64_t first = begin == Hp::kNone ? 0 : hparams.Count(begin);
  return {first, first + hparams.Count(count)};
}
BlockRange BlocksOf(const TensorGroup& group, const arch::HParams& hparams) {
  return BlocksFrom(group.first, group.count, hparams);
}

// The tensors of one rule.
void Generate(const arch::GeneratedTensor& generated, const arch::HParams& hparams,
              std::vector<BoundTensor>& bound) {
  const BlockRange blocks = BlocksFrom(Hp::kNone, generated.count, hparams);
  for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) {
    if (generated.where != nullptr && !generated.where(hparams, block)) continue;
    BoundTensor tensor;
    tensor.name = WithBlock(generated.target, block);
    tensor.generated = generated.compute(hparams);
    tensor.shape = {tensor.generated.size()};
    if (!tensor.generated.empty()) bound.push_back(std::move(tensor));
  }
}

}  // namespace

TensorBinder::TensorBinder(const TensorIndex& index, const arch::HParams& hparams,
                           std::vector<Error>& problems)
    : index_(index), hparams_(hparams), problems_(problems), used_(index.size()) {}

// A block has at least one tensor, so a count beyond the number of tensors is nonsense, and looping
// over it would take forever.
bool TensorBinder::BlockCountsAreSane(const FileSpec& file) {
  for (const TensorGroup& group : file.groups) {
    const BlockRange blocks = BlocksOf(group, hparams_);
    if (blocks.end - blocks.begin <= index_.size()) continue;
    problems_.push_back(
        MakeError(ErrorCode::kMismatch, "config.json counts too many layers")
            .Expected(fmt::format("at most one for each of {} tensors", index_.size()))
            .Actual(fmt::format("{}", blocks.end - blocks.begin)));
    return false;
  }
  return true;
}

std::vector<BoundTensor> TensorBinder::Bind(const FileSpec& file) {
  std::vector<BoundTensor> bound;
  const std::size_t before = problems_.size();
  if (!BlockCountsAreSane(file)) {
    std::fill(used_.begin(), used_.end(), true);  // nothing can be said about single tensors
    return bound;
  }
  const auto for_each = [&](const TensorGroup& group, const auto& visit) {
    const BlockRange blocks = BlocksOf(group, hparams_);
    for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) {
      if (group.where != nullptr && !group.where(hparams_, block)) continue;
      GroupBinder binder(*this, file, group, block);
      visit(binder);
    }
  };
  // One tensor of one block of the all-or-none groups makes all tensors of all their blocks
  // required.
  bool begun = false;
  for (const TensorGroup& group : file.groups) {
    if (!group.all_or_none) continue;
    for_each(group, [&](const GroupBinder& binder) { begun = begun || binder.HasAny(); });
  }
  for (const TensorGroup& group : file.groups) {
    if (group.all_or_none && !begun) continue;
    for_each(group, [&](GroupBinder& binder) {
      for (BoundTensor& tensor : binder.Bind()) bound.push_back(std::move(tensor));
    });
  }
  // Not before tensors have shown that the numbers they are computed from are true: a head of
  // 2^32 - 1 elements would take minutes and gigabytes.
  if (problems_.size() > before) return bound;
  for (const arch::GeneratedTensor& generated : file.generated) {
    Generate(generated, hparams_, bound);
  }
  return bound;
}

std::string DescribeViews(const TensorRule& rule, const arch::HParams& hparams) {
  std::vector<std::string> words;
  const auto number = [&](const arch::Extent& extent) { return *Evaluate(extent, hparams); };
  for (const arch::View& view : rule.views) {
    if (const auto* split = std::get_if<arch::Split>(&view)) {
      words.push_back(fmt::format("split axis {} into {}", split->axis, number(split->outer)));
    } else if (const auto* take = std::get_if<arch::Take>(&view)) {
      const std::uint64_t begin = number(take->begin);
      words.push_back(fmt::format("take {}..{} of axis {}", begin, begin + number(take->count) - 1,
                                  take->axis));
    } else if (const auto* swap = std::get_if<arch::Swap>(&view)) {
      words.push_back(fmt::format("swap axes {} and {}", swap->a, swap->b));
    } else if (const auto* squeeze = std::get_if<arch::Squeeze>(&view)) {
      words.push_back(fmt::format("squeeze axis {}", squeeze->axis));
    } else if (const auto* pairs = std::get_if<arch::RopePairs>(&view)) {
      words.push_back(
          fmt::format("interleave rotary halves of {} heads", hparams.Count(pairs->heads)));
    } else if (std::holds_alternative<arch::StackExperts>(view)) {
      words.push_back(fmt::format("stack {} experts", hparams.Count(Hp::kExperts)));
    }
  }
  if (rule.pointwise == arch::Pointwise::kTanh) words.emplace_back("tanh");
  if (rule.pointwise == arch::Pointwise::kOneMinusTanh) words.emplace_back("1 - tanh");
  return fmt::format("{}", fmt::join(words, ", "));
}

}  // namespace sluice
