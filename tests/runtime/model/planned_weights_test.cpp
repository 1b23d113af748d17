// Weights of a checkpoint, which must lie where the shards are mapped wherever that is possible.
#include <gtest/gtest.h>

#include <vector>

#include "glm_fixture.h"
#include "runtime/kernels/multiply.h"
#include "runtime/model/weight_source.h"

namespace sluice::runtime {
namespace {

using testing::OpenTiny;

// Distances within one mapped shard are small; what was copied lies anywhere.
bool FollowEachOther(const Matrix& a, const Matrix& b) {
  return a.data + a.rows * a.row_bytes == b.data;
}

std::vector<float> Decode(const Matrix& matrix) {
  std::vector<float> values(matrix.rows * matrix.columns);
  DecodeRows(matrix, {0, matrix.rows}, values.data());
  return values;
}

TEST(PlannedWeights, PlainTensorsKeepTheirTypeAndPlace) {
  const auto source = OpenTiny();
  const Result<Matrix> whole = source->At("blk.0.attn_output.weight", 0, 64, 128);
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(whole->type, gguf::TensorType::kBF16);
  EXPECT_EQ(whole->row_bytes, 256U);
  // The same bytes as two matrices: views of one mapping, not copies.
  const Result<Matrix> first = source->At("blk.0.attn_output.weight", 0, 32, 128);
  const Result<Matrix> second = source->At("blk.0.attn_output.weight", 1, 32, 128);
  EXPECT_EQ(first->data, whole->data);
  EXPECT_TRUE(FollowEachOther(*first, *second));
}

// Per head: value rows of kv_b_proj lie together, key rows must be transposed.
TEST(PlannedWeights, PartsOfKvBAreUsedInPlaceOrTransposed) {
  const auto source = OpenTiny();
  const auto value_rows = [&](std::uint64_t head) {
    return *source->At("blk.1.attn_v_b.weight", head, 32, 32);
  };
  // Between the values of two heads lie the 24 key rows of the second.
  const Matrix first = value_rows(0);
  const Matrix second = value_rows(1);
  EXPECT_EQ(second.data - first.data, (32 + 24) * 32 * 2);
  const Matrix keys_in_file{first.type, first.data - 24 * 32 * 2, 24, 32, 32 * 2};
  const std::vector<float> stored = Decode(keys_in_file);  // [dn, rk]
  const std::vector<float> embed = Decode(*source->At("blk.1.attn_k_b.weight", 0, 32, 24));
  for (std::size_t k = 0; k < 32; ++k) {
    for (std::size_t n = 0; n < 24; ++n) ASSERT_EQ(embed[k * 24 + n], stored[n * 32 + k]);
  }
}

TEST(PlannedWeights, ExpertsAreUsedWhereTheyAre) {
  const auto source = OpenTiny();
  for (std::uint64_t expert = 0; expert < 8; ++expert) {
    const Matrix matrix = *source->At("blk.1.ffn_up_exps.weight", expert, 32, 64);
    const Matrix again = *source->At("blk.1.ffn_up_exps.weight", expert, 32, 64);
    EXPECT_EQ(matrix.data, again.data) << "a copy of expert " << expert;
  }
}

}  // namespace
}  // namespace sluice::runtime
