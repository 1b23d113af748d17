// Symbolic dimensions: equal sums compare equal, and no number overflows silently.
#include "arch/extent.h"

#include <gtest/gtest.h>

#include <limits>

namespace sluice::arch {
namespace {

using enum Hp;

HParams Counts(std::initializer_list<std::pair<Hp, std::uint64_t>> counts) {
  HParams hparams;
  for (const auto& [id, count] : counts) hparams.Set(id, count, true);
  return hparams;
}

// ---- Normal form: known to the compiler already, because the families' tables rely on it

static_assert(kHeads * kHeadDim == kHeadDim * kHeads);
static_assert(kNope + kRope == kRope + kNope);
static_assert(kHeads * (kNope + kRope) == kRope * kHeads + kHeads * kNope);
static_assert(Extent(2) * kHidden == kHidden + kHidden);
static_assert(Extent(2) * kHidden != Extent(kHidden));
static_assert(Extent(3) + Extent(4) == Extent(7));
static_assert(Extent(3) * Extent(4) == Extent(12));
static_assert(Extent(kVocab) + Extent(8) == Extent(8) + Extent(kVocab));
static_assert(Extent(kVocab) + Extent(8) != Extent(kVocab));
static_assert(kHeads * kHeads != Extent(kHeads));
static_assert(Extent(1) * kHidden == Extent(kHidden));

static_assert(Extent().IsZero());
static_assert(Extent(0).IsZero());
static_assert((Extent(0) * kHidden).IsZero());
static_assert(Extent(0) * kHidden == Extent());
static_assert(Extent(kHidden) + Extent(0) == Extent(kHidden));
static_assert(!Extent(kHidden).IsZero());

// ---- What does not fit is not valid

static_assert((Extent(kVisionTiles) * kVisionPositions * kVisionHidden).valid);
static_assert(!(Extent(kVisionTiles) * kVisionPositions * kVisionHidden * kHeads).valid);
static_assert((kNope + kRope).valid);
static_assert(!(kNope + kRope + Extent(kVHead)).valid);
static_assert((kNope + kRope + Extent(kNope)).valid);
static_assert(!((kNope + kRope) * (kHeads + kVHead)).valid);
static_assert(!((kNope + kRope + Extent(kVHead)) * Extent(kHeads)).valid);

// ---- Quotients

static_assert(Quotient(kHeads * kHeadDim, kHeads) == Extent(kHeadDim));
static_assert(Quotient(kHeads * (kNope + kVHead), kHeads) == kNope + kVHead);
static_assert(Quotient(kHeads * kHeads, kHeads) == Extent(kHeads));
static_assert(Quotient(Extent(2) * kHidden, kHidden) == Extent(2));
static_assert(Quotient(kHidden, kHidden) == Extent(1));
static_assert(!Quotient(kHeads * kHeadDim, kKvHeads));
static_assert(!Quotient(kHeads * kNope + kRope, kHeads));       // only one term contains it
static_assert(!Quotient(Extent(4) * kHidden, Extent(2)));       // a number is no factor
static_assert(!Quotient(kHeads * kHeadDim, kHeads* kHeadDim));  // neither is a product
static_assert(!Quotient(kHeads * kHeadDim, Extent(2) * kHeads));
static_assert(!Quotient(kHeads * kHeadDim, Extent()));
// Terms come back into order although the removed factor decided it.
static_assert(Quotient(kVHead * kHeads + kHeads * kNope, kHeads) == kVHead + kNope);

TEST(Extent, EvaluatesSumsOfProducts) {
  const HParams hparams = Counts({{kHeads, 4}, {kNope, 24}, {kRope, 8}, {kVocab, 512}});
  EXPECT_EQ(Evaluate(kHeads * (kNope + kRope), hparams), 128);
  EXPECT_EQ(Evaluate(Extent(kVocab) + Extent(8), hparams), 520);
  EXPECT_EQ(Evaluate(Extent(3) * kHeads, hparams), 12);
  EXPECT_EQ(Evaluate(kHeads * kHeads, hparams), 16);
  EXPECT_EQ(Evaluate(Extent(), hparams), 0);
  EXPECT_EQ(Evaluate(Extent(1), hparams), 1);
}

TEST(Extent, EvaluatesUpToTheLastNumberOf64Bits) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(Evaluate(kHidden, Counts({{kHidden, kMost}})), kMost);
  EXPECT_EQ(Evaluate(Extent(kHidden) + Extent(1), Counts({{kHidden, kMost - 1}})), kMost);
  EXPECT_EQ(Evaluate(kHeads * kHeadDim, Counts({{kHeads, kMost / 3}, {kHeadDim, 3}})), kMost);
}

TEST(Extent, RejectsOverflowOfProducts) {
  const std::uint64_t half = std::uint64_t{1} << 63;
  EXPECT_EQ(Evaluate(kHeads * kHeadDim, Counts({{kHeads, half}, {kHeadDim, 2}})), std::nullopt);
  EXPECT_EQ(Evaluate(Extent(2) * kHidden, Counts({{kHidden, half}})), std::nullopt);
  const std::uint64_t third = std::uint64_t{1} << 22;
  EXPECT_EQ(
      Evaluate(Extent(kVisionTiles) * kVisionPositions * kVisionHidden,
               Counts({{kVisionTiles, third}, {kVisionPositions, third}, {kVisionHidden, third}})),
      std::nullopt);
}

TEST(Extent, RejectsOverflowOfSums) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(Evaluate(kNope + kRope, Counts({{kNope, kMost}, {kRope, 1}})), std::nullopt);
  EXPECT_EQ(Evaluate(Extent(kVocab) + Extent(8), Counts({{kVocab, kMost - 7}})), std::nullopt);
}

TEST(Shape, ComparesByExtentsAndRank) {
  EXPECT_EQ(Shape(kHeads * kHeadDim, kHidden), Shape(kHeadDim * kHeads, kHidden));
  EXPECT_NE(Shape(kHidden), Shape(kHidden, 1));
  EXPECT_EQ(Shape().rank, 0);
  EXPECT_EQ(Shape(kHidden, 1, kConvCache).rank, 3);
}

}  // namespace
}  // namespace sluice::arch
