// The vocabulary in which a model family is described: a family is data, not code.
//
// A Family says which config.json fields give its hyperparameters, and for each dialect which GGUF
// file (or two) it becomes: which key-values, and which source tensor becomes which target tensor
// through which views. Nothing here reads a file. docs/adding-an-architecture.md walks through it.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "arch/extent.h"
#include "arch/hparams.h"
#include "formats/gguf/types.h"

namespace sluice::arch {

// ---- Hyperparameters ----------------------------------------------------------------------------

enum class HpKind : std::uint8_t {
  kCount,
  kCountOrZero,
  kReal,
  kFlag,
  kTruth,  // a flag that may also be an integer, of which 0 is false
  kText,
  kIntegers,
  kReals,
  kTexts
};

// Where a hyperparameter is looked up. kText: in text_config, then in the whole config.json
// (text-only models have no such part). kVision: in vision_config. kPreprocessor: in
// image_processor of processor_config.json, in the whole of that, then in preprocessor_config.json.
enum class Section : std::uint8_t { kText, kVision, kPreprocessor };

enum class Need : std::uint8_t { kRequired, kOptional };

struct HParamRule {
  static constexpr std::size_t kMaxPaths = 4;

  Hp id = Hp::kNone;
  HpKind kind = HpKind::kCount;
  Section section = Section::kText;
  std::array<std::string_view, kMaxPaths> paths{};  // dotted; the first one present wins
  Need need = Need::kRequired;
  std::optional<double> fallback{};  // when no path is present; counts and flags as numbers
};

// A hyperparameter computed from others when config.json does not give it, in list order. The
// function may rely on required hyperparameters and on those that stand before it in the list;
// monostate leaves it absent.
using Derive = HpValue (*)(const HParams&);
struct DerivedRule {
  Hp id;
  Derive compute;
};

// ---- Findings -----------------------------------------------------------------------------------

// kNotWritten: a warning about what a file cannot say, which does not matter where none is written.
enum class FindingKind : std::uint8_t { kWarning, kUnsupported, kInvalid, kNotWritten };
struct Finding {
  FindingKind kind;
  std::string text;
};
// Looks at the hyperparameters as a whole; nullopt when all is well.
using Inspect = std::optional<Finding> (*)(const HParams&);

// ---- Key-values ---------------------------------------------------------------------------------

enum class KvType : std::uint8_t { kU32, kF32, kBool, kString, kU32Array, kI32Array, kF32Array };

// When a key is written. A value that is absent is never written.
enum class When : std::uint8_t {
  kPresent,   // always, if there is a value
  kRequired,  // always; a checkpoint without the value cannot be converted
  kGiven,     // only if config.json states it
  kNonZero,   // not for 0
  kTrue,      // not for false
};

// The type of most tensors of the file: filled in when all tensors are known.
struct FileType {};

using KvSource = std::variant<Hp, std::uint32_t, bool, std::string_view, Derive, FileType>;

struct KvRule {
  std::string_view key;  // a leading '.' stands for "<gguf_arch>."
  KvType type;
  KvSource from;
  When when = When::kPresent;
};

// ---- Tensors ------------------------------------------------------------------------------------

// The element type a target gets. "Requested" is --outtype or what the dialect chooses for it.
enum class Store : std::uint8_t {
  kRequested,
  kF32,           // always
  kF16,           // F16 unless F32 is requested: readers of this tensor know no BF16
  kF32UnlessF16,  // F16 if that is requested, else F32
};

enum class Pointwise : std::uint8_t { kNone, kTanh, kOneMinusTanh };

// View words. Axes count from 0, outermost first, on the shape that the previous word left.
struct Split {  // axis -> two axes; the outer one has `outer` positions
  std::uint8_t axis;
  Extent outer;
};
struct Take {  // `count` positions of an axis, from `begin` on
  std::uint8_t axis;
  Extent begin;
  Extent count;
};
struct Swap {
  std::uint8_t a;
  std::uint8_t b;
};
struct Squeeze {  // drops an axis of extent 1
  std::uint8_t axis;
};
// Rows held as two rotary halves per head become interleaved pairs: within each head of D rows,
// row s * D/2 + j moves to 2 * j + s. The shape stays.
struct RopePairs {
  Hp heads;
};
// {xid} in the source name becomes a new outermost axis of Hp::kExperts positions.
struct StackExperts {};

using View = std::variant<std::monostate, Split, Take, Swap, Squeeze, RopePairs, StackExperts>;
using Views = std::array<View, 4>;

// One way to obtain one target. Neighbouring rules with the same target are alternatives: the
// first one whose source exists, with the declared shape, is used.
struct TensorRule {
  std::string_view source;  // under the group's source prefix; {xid} matches a decimal number
  std::string_view target;  // under the group's target prefix
  Shape shape{};            // of the source, each expert by itself
  Views views{};
  Store store = Store::kRequested;
  Need need = Need::kRequired;
  Pointwise pointwise = Pointwise::kNone;
  // Several targets may be made of one source: by Takes that tile it, or as declared copies.
  bool shares_source = false;
};

// Whether a group applies to a block; also called with block 0 for groups without blocks.
using BlockTest = bool (*)(const HParams&, std::uint64_t block);

// Rules that share a prefix. With `count`, {bid} in both prefixes stands for each block from
// `first` to first + count - 1 for which `where` holds.
struct TensorGroup {
  static constexpr std::size_t kMaxPrefixes = 3;

  std::array<std::string_view, kMaxPrefixes>
      source_prefixes{};  // alternatives, the first preferred
  std::size_t num_prefixes = 0;
  std::string_view target_prefix;
  std::span<const TensorRule> rules;
  Hp first = Hp::kNone;  // kNone: block 0
  Hp count = Hp::kNone;  // kNone: the group has no blocks
  BlockTest where = nullptr;
  // A group whose tensors may all be absent, but not some of them.
  bool all_or_none = false;
};

// Source tensors that are known and deliberately not written.
struct DroppedTensors {
  std::string_view source_prefix;  // {bid} matches a decimal number
  std::string_view name;           // under the prefix; empty: every name
  BlockTest where = nullptr;
  std::string_view why{};  // said in the summary when something was dropped; may be empty
};

// A tensor that no source holds; with `count`, one for each block for which `where` holds, as in a
// TensorGroup.
struct GeneratedTensor {
  std::string_view target;
  std::vector<float> (*compute)(const HParams&);  // empty: the file has no such tensor
  Hp count = Hp::kNone;
  BlockTest where = nullptr;
};

// ---- Tokenizer ----------------------------------------------------------------------------------

// A special token that a family defines by its text when the checkpoint names none.
struct SpecialToken {
  std::string_view role;  // "bos", "eot", ...
  std::string_view text;
};

struct TokenizerFacts {
  // The family's own name for the pre-tokenizer that the table calls `published_pre`.
  std::string_view published_pre = {};
  std::string_view family_pre = {};
  std::span<const SpecialToken> special_tokens = {};
  bool writes_space_prefix = false;  // tokenizer_config.json's add_prefix_space, for llama.cpp
};

// ---- Files and families -------------------------------------------------------------------------

enum class Dialect : std::uint8_t { kLlamaCpp, kOllama };
enum class Role : std::uint8_t { kModel, kProjector };

// One GGUF file of a family in a dialect.
struct FileSpec {
  Dialect dialect;
  Role role = Role::kModel;
  std::string_view gguf_arch;
  std::string_view loaded_by;  // which programs load it: a line of docs/support.md
  std::span<const std::string_view> hf_architectures;
  std::span<const KvRule> key_values;
  std::span<const TensorGroup> groups;
  std::span<const DroppedTensors> dropped;
  std::span<const GeneratedTensor> generated;
  std::span<const Inspect> findings;
  TokenizerFacts tokenizer;
};

struct Family {
  std::string_view name;  // as people write it
  std::span<const HParamRule> hparams;
  std::span<const DerivedRule> derived;
  std::span<const Inspect> findings;
  std::span<const FileSpec> files;
};

// ---- Building blocks for the tables -------------------------------------------------------------

using Paths = std::array<std::string_view, HParamRule::kMaxPaths>;

constexpr HParamRule Count(Hp id, Paths paths, Section section = Section::kText) {
  return {id, HpKind::kCount, section, paths};
}
constexpr HParamRule CountOrZero(Hp id, Paths paths, Section section = Section::kText) {
  return {id, HpKind::kCountOrZero, section, paths};
}
constexpr HParamRule Real(Hp id, Paths paths, Section section = Section::kText) {
  return {id, HpKind::kReal, section, paths};
}
constexpr HParamRule Flag(Hp id, Paths paths, Section section = Section::kText) {
  return {id, HpKind::kFlag, section, paths};
}
constexpr HParamRule Truth(Hp id, Paths paths, Section section = Section::kText) {
  return {id, HpKind::kTruth, section, paths};
}
constexpr HParamRule Text(Hp id, Paths paths, Section section = Section::kText) {
  return {id, HpKind::kText, section, paths, Need::kOptional};
}
constexpr HParamRule List(Hp id, HpKind kind, Paths paths, Section section = Section::kText) {
  return {id, kind, section, paths, Need::kOptional};
}
constexpr HParamRule Optional(HParamRule rule) {
  rule.need = Need::kOptional;
  return rule;
}
constexpr HParamRule Default(HParamRule rule, double fallback) {
  rule.need = Need::kOptional;
  rule.fallback = fallback;
  return rule;
}

constexpr TensorRule Norm(std::string_view source, std::string_view target, Shape shape) {
  return {source, target, shape, {}, Store::kF32};
}
constexpr TensorRule Optional(TensorRule rule) {
  rule.need = Need::kOptional;
  return rule;
}
template <std::size_t N>
constexpr std::array<TensorRule, N> Optional(std::array<TensorRule, N> rules) {
  for (TensorRule& rule : rules) rule = Optional(rule);
  return rules;
}
constexpr TensorRule Shared(TensorRule rule) {
  rule.shares_source = true;
  return rule;
}

constexpr TensorGroup Group(std::initializer_list<std::string_view> sources,
                            std::string_view target, std::span<const TensorRule> rules,
                            Hp count = Hp::kNone, BlockTest where = nullptr) {
  TensorGroup group;
  for (const std::string_view prefix : sources) {
    group.source_prefixes[group.num_prefixes++] = prefix;
  }
  group.target_prefix = target;
  group.rules = rules;
  group.count = count;
  group.where = where;
  return group;
}

// Arrays end to end.
template <typename T, std::size_t... N>
constexpr auto Join(const std::array<T, N>&... parts) {
  std::array<T, (N + ...)> joined{};
  std::size_t next = 0;
  const auto append = [&](const auto& part) {
    for (const T& item : part) joined[next++] = item;
  };
  (append(parts), ...);
  return joined;
}

[[nodiscard]] constexpr std::string_view DialectName(Dialect dialect) {
  return dialect == Dialect::kLlamaCpp ? "llama.cpp" : "ollama";
}

}  // namespace sluice::arch
