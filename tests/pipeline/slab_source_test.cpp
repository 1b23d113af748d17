// Slabs of all outputs, in file order.
#include "pipeline/slab_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/pipeline/graph_fixture.h"

namespace sluice {
namespace {

using namespace sluice::testing;  // NOLINT(*-using-namespace): the fixture's own words

std::vector<Slab> AllSlabs(const SourceSet& sources, const std::vector<KnownFile>& files,
                           std::uint64_t max_slab_bytes) {
  std::vector<GraphOutput> outputs;
  for (const KnownFile& file : files) outputs.push_back({&file.plan, nullptr});
  SlabSource source(sources, outputs, max_slab_bytes);
  std::vector<Slab> slabs;
  while (std::optional<Slab> slab = source.Next()) slabs.push_back(*std::move(slab));
  EXPECT_FALSE(source.Next().has_value()) << "the end stays the end";
  return slabs;
}

class SlabSourceTest : public ::testing::Test {
 protected:
  Random random_{121};
  RandomShards shards_{random_, 2, 96 * 1024};
};

TEST_F(SlabSourceTest, CoversEveryTensorOnceAndInOrder) {
  for (const Sources kind : {Sources::kMapped, Sources::kRead}) {
    const SourceSet sources = shards_.Open(kind);
    for (const std::uint64_t max_bytes : {1, 100, 5000, 1 << 20}) {
      std::vector<KnownFile> files;
      files.push_back(MakeFile(random_, SmallExprs(random_, shards_, 20), 32, true));
      files.push_back(MakeFile(random_, {}, 32, true));
      files.push_back(MakeFile(random_, SmallExprs(random_, shards_, 20), 32, false));
      std::size_t output = 0;
      std::size_t tensor = 0;
      std::uint64_t element = 0;
      std::uint64_t index = 0;
      std::uint64_t data_bytes = 0;
      for (const Slab& slab : AllSlabs(sources, files, max_bytes)) {
        const FilePlan& plan = files[output].plan;
        ASSERT_EQ(slab.index, index++);
        ASSERT_EQ(slab.output, output);
        ASSERT_EQ(slab.tensor, tensor);
        ASSERT_EQ(slab.expr, &plan.tensors[tensor].expr);
        ASSERT_EQ(slab.first, element);
        ASSERT_GT(slab.count, 0);
        ASSERT_TRUE(slab.pieces.empty() && slab.payload.empty());
        const SlabCost cost = CostOf(*slab.expr, sources);
        ASSERT_TRUE(SlabBytes(*slab.expr, cost, slab.count) <= max_bytes || slab.count == 1);
        element += slab.count;
        data_bytes += slab.count * gguf::InfoOf(slab.expr->type).block_bytes;
        ASSERT_LE(element, slab.expr->elements);
        if (element < slab.expr->elements) {
          ASSERT_EQ(slab.padding, 0) << "in the middle of a tensor";
          continue;
        }
        data_bytes += slab.padding;
        element = 0;
        if (++tensor < plan.tensors.size()) {
          ASSERT_EQ(data_bytes, plan.tensors[tensor].record.data_offset);
          continue;
        }
        ASSERT_EQ(data_bytes, plan.data_bytes);
        data_bytes = 0;
        tensor = 0;
        output = 2;  // past the file without tensors
      }
      EXPECT_EQ(tensor, 0);
      EXPECT_EQ(output, 2);
    }
  }
}

TEST_F(SlabSourceTest, NothingForFilesWithoutTensors) {
  std::vector<KnownFile> files;
  files.push_back(MakeFile(random_, {}, 32, true));
  EXPECT_TRUE(AllSlabs(shards_.Open(Sources::kMapped), files, 1000).empty());
  EXPECT_TRUE(AllSlabs(shards_.Open(Sources::kMapped), {}, 1000).empty());
}

}  // namespace
}  // namespace sluice
