#include "pipeline/join.h"

#include <algorithm>
#include <cstdint>

namespace sluice {
namespace {

Status CheckSameShards(const Plan& first, const Plan& plan) {
  const auto [before, now] = std::ranges::mismatch(first.shards, plan.shards);
  if (before == first.shards.end() && now == plan.shards.end()) return Ok();
  return MakeError(ErrorCode::kCorrupt, "file changed while it was planned")
      .In(now == plan.shards.end() ? before->path : now->path)
      .Advice("let the download or copy of the checkpoint finish, then convert again");
}

}  // namespace

Result<std::vector<std::vector<std::byte>>> JoinSources(std::span<Plan* const> plans) {
  std::vector<std::vector<std::byte>> generated;
  for (Plan* const plan : plans) {
    SLUICE_TRY(CheckSameShards(*plans.front(), *plan));
    const auto num_shards = static_cast<std::uint32_t>(plan->shards.size());
    std::vector<std::uint32_t> numbers;  // of the plan's own generated tensors among all
    for (const std::vector<std::byte>& bytes : plan->generated) {
      auto found = std::ranges::find(generated, bytes);
      if (found == generated.end()) found = generated.insert(generated.end(), bytes);
      numbers.push_back(num_shards + static_cast<std::uint32_t>(found - generated.begin()));
    }
    for (FilePlan& file : plan->files) {
      for (PlannedTensor& tensor : file.tensors) {
        for (Segment& segment : tensor.expr.segments) {
          if (segment.shard >= num_shards) segment.shard = numbers[segment.shard - num_shards];
        }
      }
    }
  }
  return generated;
}

}  // namespace sluice
