// What the compiler refuses in a family's tables: one deliberately broken table for each Defect.
#include "arch/spec_check.h"

#include <gtest/gtest.h>

#include <array>
#include <initializer_list>

namespace sluice::arch {
namespace {

using enum Hp;

// ---- A small family, whose parts the cases replace

constexpr std::array kHParams{
    Count(kHidden, {"hidden"}),  Count(kVocab, {"vocab"}),     Count(kBlocks, {"blocks"}),
    Count(kHeads, {"heads"}),    Count(kNope, {"nope"}),       Count(kVHead, {"v_head"}),
    Count(kKvRank, {"kv_rank"}), Count(kFfn, {"ffn"}),         Count(kExperts, {"experts"}),
    Count(kExpertFfn, {"moe"}),  Count(kConvCache, {"cache"}), Count(kVisionHidden, {"vh"}),
};

// The tables are local variables: GCC 12 takes addresses of temporaries for no constants.
constexpr Defect CheckFile(const FileSpec& file, std::span<const HParamRule> hparams = kHParams) {
  const FileSpec local = file;
  Family family{};
  family.hparams = hparams;
  family.files = std::span(&local, 1);
  return Check(family);
}

constexpr Defect CheckGroup(const TensorGroup& group,
                            std::span<const HParamRule> hparams = kHParams) {
  const TensorGroup local = group;
  FileSpec file{};
  file.gguf_arch = "deepseek2";
  file.groups = std::span(&local, 1);
  return CheckFile(file, hparams);
}

template <typename... Rules>
constexpr Defect CheckRules(const Rules&... rules) {
  const std::array<TensorRule, sizeof...(Rules)> local{rules...};
  return CheckGroup(Group({"model."}, "", local));
}
template <std::size_t N, typename... Rules>
constexpr Defect CheckBlockRulesWith(const std::array<HParamRule, N>& hparams,
                                     const Rules&... rules) {
  const std::array<TensorRule, sizeof...(Rules)> local{rules...};
  return CheckGroup(Group({"model.layers.{bid}."}, "blk.{bid}.", local, kBlocks), hparams);
}
template <typename... Rules>
constexpr Defect CheckBlockRules(const Rules&... rules) {
  return CheckBlockRulesWith(kHParams, rules...);
}

template <typename... Rules>
constexpr Defect CheckKeys(const Rules&... rules) {
  const std::array<KvRule, sizeof...(Rules)> local{rules...};
  FileSpec file{};
  file.gguf_arch = "llama";
  file.key_values = local;
  return CheckFile(file);
}

constexpr TensorRule kEmbedding{"embed", "token_embd.weight", {kVocab, kHidden}};
constexpr TensorRule kFfnDown{"down", "ffn_down.weight", {kHidden, kFfn}};

// ---- Sound tables

static_assert(CheckFile(FileSpec{}) == Defect::kNone);
static_assert(CheckRules(kEmbedding) == Defect::kNone);
static_assert(CheckBlockRules(kFfnDown) == Defect::kNone);
static_assert(CheckKeys(KvRule{".a", KvType::kU32, kHidden}, KvRule{".b", KvType::kBool, true}) ==
              Defect::kNone);
static_assert(CheckBlockRules(TensorRule{
                  "conv", "shortconv.conv.weight", {kHidden, 1, kConvCache}, {Squeeze{1}}}) ==
              Defect::kNone);
constexpr TensorRule kExpertDown{
    "experts.{xid}.down", "ffn_down_exps.weight", {kHidden, kExpertFfn}, {StackExperts{}}};
constexpr TensorRule kFusedDown{
    "experts.down", "ffn_down_exps.weight", {kExperts, kExpertFfn, kHidden}, {Swap{1, 2}}};
static_assert(CheckBlockRules(kExpertDown, kFusedDown) == Defect::kNone);

// ---- kDuplicateHParam

constexpr std::array kTwice{Count(kHidden, {"hidden"}), Count(kHidden, {"n_embd"})};
static_assert(CheckFile(FileSpec{}, kTwice) == Defect::kDuplicateHParam);

// ---- kUnboundHParam

static_assert(CheckBlockRules(TensorRule{"q", "ffn_down.weight", {kHidden, kKvHeads}}) ==
              Defect::kUnboundHParam);
static_assert(CheckGroup(Group({"{bid}."}, "blk.{bid}.", {}, kMtpBlocks)) ==
              Defect::kUnboundHParam);
static_assert(CheckKeys(KvRule{".a", KvType::kU32, kMoeStep}) == Defect::kUnboundHParam);
// A product of too many factors is no shape at all.
static_assert(CheckRules(TensorRule{
                  "embed", "token_embd.weight", {kHeads * kHeads * (kHeads * kHeads), kHidden}}) ==
              Defect::kUnboundHParam);
// The planner's own count is bound; so are derived values, see the families.
static_assert(CheckGroup(Group({"{bid}."}, "blk.{bid}.", {}, kKeptMtpBlocks)) == Defect::kNone);

// ---- kDuplicateKey

static_assert(CheckKeys(KvRule{".a", KvType::kU32, kHidden}, KvRule{".b", KvType::kU32, kHidden},
                        KvRule{".a", KvType::kF32, kHidden}) == Defect::kDuplicateKey);

// ---- kBlockIndexMismatch

static_assert(CheckGroup(Group({"layers.{bid}."}, "blk.", {}, kBlocks)) ==
              Defect::kBlockIndexMismatch);
static_assert(CheckGroup(Group({"layers."}, "blk.{bid}.", {}, kBlocks)) ==
              Defect::kBlockIndexMismatch);
static_assert(CheckGroup(Group({"a.{bid}.", "b."}, "blk.{bid}.", {}, kBlocks)) ==
              Defect::kBlockIndexMismatch);
static_assert(CheckGroup(Group({"layers.{bid}."}, "blk.{bid}.", {})) ==
              Defect::kBlockIndexMismatch);
static_assert(CheckGroup(Group({}, "", {})) == Defect::kBlockIndexMismatch);

// ---- kExpertNotStacked

static_assert(CheckBlockRules(TensorRule{
                  "experts.{xid}.down", "ffn_down_exps.weight", {kHidden, kExpertFfn}}) ==
              Defect::kExpertNotStacked);
static_assert(CheckBlockRules(TensorRule{"experts.down",
                                         "ffn_down_exps.weight",
                                         {kHidden, kExpertFfn},
                                         {StackExperts{}}}) == Defect::kExpertNotStacked);

// ---- kUnknownTarget

static_assert(CheckRules(TensorRule{"embed", "token_embedding.weight", {kVocab, kHidden}}) ==
              Defect::kUnknownTarget);
static_assert(CheckBlockRules(kEmbedding) == Defect::kUnknownTarget);

// ---- kTargetShape

constexpr TensorRule FfnDown(Shape shape, Views views = {}) {
  return {"down", "ffn_down.weight", shape, views};
}
static_assert(CheckBlockRules(FfnDown({kFfn, kHidden}, {Swap{0, 1}})) == Defect::kNone);
static_assert(CheckBlockRules(FfnDown({kFfn, kHidden})) == Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({kHidden})) == Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({kHidden, kFfn}, {Swap{0, 1}})) == Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({kHidden, kHeads}, {Take{1, 0, kNope}})) ==
              Defect::kTargetShape);
// Words that do not apply to the shape in front of them.
static_assert(CheckBlockRules(FfnDown({kHidden, kFfn}, {Swap{0, 2}})) == Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({kHidden, kFfn}, {Squeeze{1}})) == Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({kHidden, kFfn}, {Squeeze{2}})) == Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({kHidden, kFfn}, {Take{2, 0, kFfn}})) ==
              Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({kHidden, kFfn}, {Split{0, kHeads}})) ==
              Defect::kTargetShape);
static_assert(CheckBlockRules(FfnDown({}, {RopePairs{kHeads}})) == Defect::kTargetShape);
// An architecture's own row goes before the general one.
static_assert(ExpectedShape("mllama", "", "token_embd.weight") ==
              Shape(Extent(kVocab) + Extent(8), kHidden));
static_assert(ExpectedShape("llama", "", "token_embd.weight") == Shape(kVocab, kHidden));
static_assert(ExpectedShape("clip", "v.blk.{bid}.", "ln1.weight") == Shape(kVisionHidden));
static_assert(!ExpectedShape("clip", "v.blk.{bid}.", "ffn_down_exps.weight"));

// ---- kDuplicateTarget, kDuplicateSource

constexpr TensorRule kNorm{"norm", "output_norm.weight", {kHidden}};
constexpr TensorRule kOutput{"embed", "output.weight", {kVocab, kHidden}};
constexpr TensorRule kOtherEmbedding{"wte", "token_embd.weight", {kVocab, kHidden}};
static_assert(CheckRules(kEmbedding, kNorm, kOtherEmbedding) == Defect::kDuplicateTarget);
static_assert(CheckRules(kEmbedding, kOtherEmbedding, kNorm) == Defect::kNone);  // alternatives
static_assert(CheckRules(kEmbedding, kOutput) == Defect::kDuplicateSource);
static_assert(CheckRules(Shared(kEmbedding), kOutput) == Defect::kDuplicateSource);
static_assert(CheckRules(Shared(kEmbedding), Shared(kOutput)) == Defect::kNone);

// ---- kPartsDoNotTile

constexpr Extent kRows = kHeads * (kNope + kVHead);
constexpr TensorRule KeyPart(Take take) {
  return Shared(
      {"kv_b", "attn_k_b.weight", {kRows, kKvRank}, {Split{0, kHeads}, take, Swap{1, 2}}});
}
constexpr TensorRule ValuePart(Take take) {
  return Shared({"kv_b", "attn_v_b.weight", {kRows, kKvRank}, {Split{0, kHeads}, take}});
}
static_assert(CheckBlockRules(KeyPart({1, 0, kNope}), ValuePart({1, kNope, kVHead})) ==
              Defect::kNone);
// The second part begins where no other ends; there is only one part.
static_assert(CheckBlockRules(KeyPart({1, 0, kNope}), ValuePart({1, kVHead, kVHead})) ==
              Defect::kPartsDoNotTile);
static_assert(CheckBlockRules(KeyPart({1, 0, kNope})) == Defect::kPartsDoNotTile);
static_assert(CheckBlockRules(ValuePart({1, kNope, kVHead})) == Defect::kPartsDoNotTile);

// At run time, so that a hole in the check fails a test and not the build.

TEST(SpecCheck, RejectsPartsThatOverlap) {
  // Together as long as the axis, but both from its beginning.
  EXPECT_EQ(CheckBlockRules(KeyPart({1, 0, kNope}), ValuePart({1, 0, kVHead})),
            Defect::kPartsDoNotTile);
}

TEST(SpecCheck, RejectsUnboundHyperparametersInViews) {
  constexpr std::array kFew{Count(kHidden, {"hidden"}), Count(kFfn, {"ffn"}),
                            Count(kBlocks, {"blocks"}), Count(kExpertFfn, {"moe"})};
  const auto check = [&](const TensorRule& rule) { return CheckBlockRulesWith(kFew, rule); };
  EXPECT_EQ(check(kFfnDown), Defect::kNone);
  EXPECT_EQ(check(FfnDown({kHidden, kFfn}, {RopePairs{kHeads}})), Defect::kUnboundHParam);
  EXPECT_EQ(check(FfnDown({kHidden, kFfn}, {Take{1, kNope, kFfn}})), Defect::kUnboundHParam);
  EXPECT_EQ(check(kExpertDown), Defect::kUnboundHParam);
}

TEST(SpecCheck, RejectsCoefficientsThatOverflow) {
  const Extent large(65536);
  EXPECT_FALSE((large * large).valid);
  EXPECT_FALSE((large * Extent(32768) + large * Extent(32768)).valid);
}

}  // namespace
}  // namespace sluice::arch
