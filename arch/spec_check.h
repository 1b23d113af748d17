// What the compiler refuses in a family's tables. Each arch/<family>.cpp ends with
// static_assert(Check(kFamily) == Defect::kNone).
#pragma once

#include <algorithm>
#include <optional>

#include "arch/spec.h"
#include "arch/targets.h"

namespace sluice::arch {

enum class Defect : std::uint8_t {
  kNone,
  kDuplicateHParam,
  kUnboundHParam,  // a shape, view or key-value names a hyperparameter that nothing binds
  kDuplicateKey,
  kBlockIndexMismatch,  // {bid} in only one of the prefixes, or without a block count
  kExpertNotStacked,    // {xid} without StackExperts, or the other way round
  kUnknownTarget,       // arch/targets.h has no such name
  kTargetShape,         // the views do not lead to the shape that arch/targets.h states
  kDuplicateTarget,     // two rules for one target that are not neighbours
  kDuplicateSource,     // two targets from one source without shares_source
  kPartsDoNotTile,      // Takes of one source that leave a gap or overlap
};

namespace check {

constexpr bool Contains(std::string_view text, std::string_view token) {
  return text.find(token) != std::string_view::npos;
}

constexpr bool IsBound(const Family& family, Hp id) {
  if (id == Hp::kNone || id == Hp::kKeptMtpBlocks) return true;  // the planner sets the latter
  for (const HParamRule& rule : family.hparams) {
    if (rule.id == id) return true;
  }
  for (const DerivedRule& rule : family.derived) {
    if (rule.id == id) return true;
  }
  return false;
}

constexpr bool IsBound(const Family& family, const Extent& extent) {
  for (const Term& term : extent.terms) {
    for (const Hp factor : term.factors) {
      if (!IsBound(family, factor)) return false;
    }
  }
  return true;
}

constexpr bool IsBound(const Family& family, const View& view) {
  if (const auto* split = std::get_if<Split>(&view)) return IsBound(family, split->outer);
  if (const auto* take = std::get_if<Take>(&view)) {
    return IsBound(family, take->begin) && IsBound(family, take->count);
  }
  if (const auto* pairs = std::get_if<RopePairs>(&view)) return IsBound(family, pairs->heads);
  return !std::holds_alternative<StackExperts>(view) || IsBound(family, Hp::kExperts);
}

constexpr void Erase(Shape& shape, std::size_t axis) {
  for (std::size_t i = axis; i + 1 < shape.rank; ++i) shape.extents[i] = shape.extents[i + 1];
  shape.extents[--shape.rank] = Extent();
}

constexpr bool Insert(Shape& shape, std::size_t axis, const Extent& extent) {
  if (shape.rank == Shape::kMaxRank) return false;
  for (std::size_t i = shape.rank++; i > axis; --i) shape.extents[i] = shape.extents[i - 1];
  shape.extents[axis] = extent;
  return true;
}

// The shape after one view word; nullopt when the word does not apply.
constexpr std::optional<Shape> After(Shape shape, const View& view) {
  if (const auto* split = std::get_if<Split>(&view)) {
    if (split->axis >= shape.rank) return std::nullopt;
    const auto inner = Quotient(shape.extents[split->axis], split->outer);
    if (!inner) return std::nullopt;
    shape.extents[split->axis] = *inner;
    if (!Insert(shape, split->axis, split->outer)) return std::nullopt;
  } else if (const auto* take = std::get_if<Take>(&view)) {
    if (take->axis >= shape.rank) return std::nullopt;
    shape.extents[take->axis] = take->count;
  } else if (const auto* swap = std::get_if<Swap>(&view)) {
    if (swap->a >= shape.rank || swap->b >= shape.rank) return std::nullopt;
    std::swap(shape.extents[swap->a], shape.extents[swap->b]);
  } else if (const auto* squeeze = std::get_if<Squeeze>(&view)) {
    if (squeeze->axis >= shape.rank || shape.extents[squeeze->axis] != Extent(1)) {
      return std::nullopt;
    }
    Erase(shape, squeeze->axis);
  } else if (std::holds_alternative<RopePairs>(view)) {
    if (shape.rank == 0) return std::nullopt;  // whether the heads divide the rows shows in numbers
  } else if (std::holds_alternative<StackExperts>(view)) {
    if (!Insert(shape, 0, Hp::kExperts)) return std::nullopt;
  }
  return shape;
}

constexpr std::optional<Shape> After(const Shape& shape, const Views& views) {
  std::optional<Shape> current = shape;
  for (const View& view : views) {
    if (current) current = After(*current, view);
  }
  return current;
}

// The Take of a rule, and the extent of its axis at that point.
struct Part {
  const Take* take = nullptr;
  Extent whole;
};
constexpr Part PartOf(const TensorRule& rule) {
  std::optional<Shape> shape = rule.shape;
  for (const View& view : rule.views) {
    if (const auto* take = std::get_if<Take>(&view); take != nullptr && shape) {
      return {take, shape->extents[take->axis]};
    }
    if (shape) shape = After(*shape, view);
  }
  return {};
}

// The Takes of all rules on the source of `rule` (in the same declared layout) fill its axis.
constexpr bool PartsTile(std::span<const TensorRule> rules, const TensorRule& rule) {
  const Part part = PartOf(rule);
  if (part.take == nullptr) return true;
  Extent filled;
  bool starts_where_another_ends = part.take->begin.IsZero();
  std::size_t same_begin = 0;  // parts that begin here, this one among them
  for (const TensorRule& other : rules) {
    if (other.source != rule.source || other.shape != rule.shape) continue;
    const Part another = PartOf(other);
    if (another.take == nullptr) return false;
    filled = filled + another.take->count;
    if (another.take->begin == part.take->begin) ++same_begin;
    if (another.take->begin + another.take->count == part.take->begin) {
      starts_where_another_ends = true;
    }
  }
  return starts_where_another_ends && same_begin == 1 && filled == part.whole;
}

constexpr Defect CheckRule(const Family& family, const FileSpec& file, const TensorGroup& group,
                           const TensorRule& rule) {
  bool stacks = false;
  for (const View& view : rule.views) stacks = stacks || std::holds_alternative<StackExperts>(view);
  if (Contains(rule.source, "{xid}") != stacks) return Defect::kExpertNotStacked;
  for (const Extent& extent : rule.shape.extents) {
    if (!extent.valid || !IsBound(family, extent)) return Defect::kUnboundHParam;
  }
  for (const View& view : rule.views) {
    if (!IsBound(family, view)) return Defect::kUnboundHParam;
  }
  const auto expected = ExpectedShape(file.gguf_arch, group.target_prefix, rule.target);
  if (!expected) return Defect::kUnknownTarget;
  if (After(rule.shape, rule.views) != expected) return Defect::kTargetShape;
  return Defect::kNone;
}

constexpr Defect CheckPairs(const TensorGroup& group) {
  for (std::size_t i = 0; i < group.rules.size(); ++i) {
    const TensorRule& rule = group.rules[i];
    bool neighbours = true;
    for (std::size_t j = i + 1; j < group.rules.size(); ++j) {
      const TensorRule& other = group.rules[j];
      if (rule.target != other.target) neighbours = false;
      if (rule.target == other.target && !neighbours) return Defect::kDuplicateTarget;
      if (rule.source == other.source && rule.target != other.target &&
          !(rule.shares_source && other.shares_source)) {
        return Defect::kDuplicateSource;
      }
    }
    if (rule.shares_source && !PartsTile(group.rules, rule)) return Defect::kPartsDoNotTile;
  }
  return Defect::kNone;
}

constexpr Defect CheckGroup(const Family& family, const FileSpec& file, const TensorGroup& group) {
  const bool has_blocks = group.count != Hp::kNone;
  if (Contains(group.target_prefix, "{bid}") != has_blocks || group.num_prefixes == 0) {
    return Defect::kBlockIndexMismatch;
  }
  for (std::size_t i = 0; i < group.num_prefixes; ++i) {
    if (Contains(group.source_prefixes[i], "{bid}") != has_blocks) {
      return Defect::kBlockIndexMismatch;
    }
  }
  if (!IsBound(family, group.first) || !IsBound(family, group.count)) return Defect::kUnboundHParam;
  for (const TensorRule& rule : group.rules) {
    if (const Defect defect = CheckRule(family, file, group, rule); defect != Defect::kNone) {
      return defect;
    }
  }
  return CheckPairs(group);
}

constexpr Defect CheckKeyValues(const Family& family, const FileSpec& file) {
  for (std::size_t i = 0; i < file.key_values.size(); ++i) {
    const KvRule& rule = file.key_values[i];
    for (const KvRule& other : file.key_values.subspan(i + 1)) {
      if (rule.key == other.key) return Defect::kDuplicateKey;
    }
    const auto* id = std::get_if<Hp>(&rule.from);
    if (id != nullptr && !IsBound(family, *id)) return Defect::kUnboundHParam;
  }
  return Defect::kNone;
}

}  // namespace check

constexpr Defect Check(const Family& family, const FileSpec& file) {
  if (const Defect defect = check::CheckKeyValues(family, file); defect != Defect::kNone) {
    return defect;
  }
  for (const TensorGroup& group : file.groups) {
    if (const Defect defect = check::CheckGroup(family, file, group); defect != Defect::kNone) {
      return defect;
    }
  }
  return Defect::kNone;
}

constexpr Defect Check(const Family& family) {
  for (std::size_t i = 0; i < family.hparams.size(); ++i) {
    for (const HParamRule& other : family.hparams.subspan(i + 1)) {
      if (family.hparams[i].id == other.id) return Defect::kDuplicateHParam;
    }
  }
  for (const FileSpec& file : family.files) {
    if (const Defect defect = Check(family, file); defect != Defect::kNone) return defect;
  }
  return Defect::kNone;
}

}  // namespace sluice::arch
