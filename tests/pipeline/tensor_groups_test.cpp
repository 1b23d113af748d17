// Which tensors of several models are made together.
#include "pipeline/tensor_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/pipeline/graph_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words
using gguf::TensorType;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A matrix that begins at this byte of the shard.
TensorExpr At(std::uint64_t byte_offset, TensorType type = TensorType::kF32) {
  return MatrixExpr(Dtype::kF16, type, 4, 8, false, byte_offset);
}

FilePlan FileOf(std::vector<TensorExpr> exprs) {
  FilePlan plan;
  for (TensorExpr& expr : exprs) plan.tensors.emplace_back().expr = std::move(expr);
  return plan;
}

TensorPlace Place(std::size_t output, std::size_t tensor) { return {output, tensor}; }

TEST(GroupTensors, OneModelIsMadeTensorByTensorEvenWhereSourcesRepeat) {
  const FilePlan first = FileOf({At(0), At(64), At(0)});
  const FilePlan second = FileOf({At(0)});
  const std::vector<GraphOutput> outputs{{&first, nullptr, 0}, {&second, nullptr, 0}};
  EXPECT_THAT(GroupTensors(outputs),
              ElementsAre(ElementsAre(Place(0, 0)), ElementsAre(Place(0, 1)),
                          ElementsAre(Place(0, 2)), ElementsAre(Place(1, 0))));
}

TEST(GroupTensors, TheFirstModelGivesTheOrderAndTensorsItLacksFollow) {
  const FilePlan first = FileOf({At(0), At(64), At(64), At(128)});
  const FilePlan second =
      FileOf({At(128, TensorType::kF16), At(0, TensorType::kBF16), At(192), At(64)});
  const std::vector<GraphOutput> outputs{{&first, nullptr, 0}, {&second, nullptr, 1}};
  EXPECT_THAT(GroupTensors(outputs),
              ElementsAre(ElementsAre(Place(0, 0), Place(1, 1)),
                          ElementsAre(Place(0, 1), Place(1, 3)), ElementsAre(Place(0, 2)),
                          ElementsAre(Place(0, 3), Place(1, 0)), ElementsAre(Place(1, 2))));
}

TEST(GroupTensors, ModelsInSeveralFiles) {
  const FilePlan whole = FileOf({At(0), At(64)});
  const FilePlan part = FileOf({At(0)});
  const FilePlan rest = FileOf({At(64)});
  const std::vector<GraphOutput> outputs{
      {&whole, nullptr, 4}, {&part, nullptr, 1}, {&rest, nullptr, 1}};
  EXPECT_THAT(GroupTensors(outputs), ElementsAre(ElementsAre(Place(0, 0), Place(1, 0)),
                                                 ElementsAre(Place(0, 1), Place(2, 0))));
}

TEST(GroupTensors, WhatDiffersInAnyWayOfReadingIsMadeApart) {
  const TensorExpr expr = At(0);
  TensorExpr rows = expr;
  rows.row_elements = 4;
  TensorExpr steps = expr;
  steps.steps = {PointwiseStep::kTanh};
  TensorExpr dtype = expr;
  dtype.segments.front().dtype = Dtype::kBF16;
  const TensorExpr transposed = MatrixExpr(Dtype::kF16, TensorType::kF32, 8, 4, true, 0);
  const TensorExpr longer = MatrixExpr(Dtype::kF16, TensorType::kF32, 5, 8, false, 0);
  const FilePlan first = FileOf({expr});
  for (const TensorExpr& other : {rows, steps, dtype, transposed, longer}) {
    const FilePlan second = FileOf({other});
    const std::vector<GraphOutput> outputs{{&first, nullptr, 0}, {&second, nullptr, 1}};
    EXPECT_EQ(GroupTensors(outputs).size(), 2);
  }
}

TEST(GroupTensors, NothingOfNothing) { EXPECT_THAT(GroupTensors({}), IsEmpty()); }

}  // namespace
}  // namespace sluice
