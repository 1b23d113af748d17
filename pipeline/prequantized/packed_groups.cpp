#include "pipeline/prequantized/packed_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/file.h"

namespace sluice {

PackedGroups::PackedGroups(const QuantizationConfig& config, const safetensors::ShardSet& shards,
                           bool zero_non_finite, std::vector<Error>& problems)
    : config_(config), shards_(shards), zero_non_finite_(zero_non_finite), problems_(problems) {
  for (std::size_t shard = 0; shard < shards.shards.size(); ++shard) {
    for (const safetensors::TensorInfo& info : shards.shards[shard].header.tensors) {
      parts_.push_back({&info, static_cast<std::uint32_t>(shard)});
    }
  }
  for (const PackedPart& part : parts_) by_name_.emplace(part.info->name, &part);
}

const PackedPart* PackedGroups::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

bool PackedGroups::IsKept(const std::string& name) {
  for (const std::string& module : {name, name.substr(0, name.rfind('.'))}) {
    if (config_failed_) return true;
    Result<bool> kept = config_.Keeps(module);
    if (kept && *kept) return true;
    if (kept) continue;
    Report(std::move(kept).error());
    config_failed_ = true;
  }
  return config_failed_;
}

const PackedPart* PackedGroups::Need(const PackedPart& codes, const std::string& name,
                                     std::initializer_list<Dtype> dtypes) {
  const PackedPart* part = Find(name);
  if (part == nullptr) {
    Report(MakeError(ErrorCode::kMissing, "quantized weights lack a tensor")
               .At(codes.info->name)
               .Expected(fmt::format("'{}' beside it", name)));
    return nullptr;
  }
  return HasDtype(codes, *part, dtypes) ? part : nullptr;
}

std::optional<StackExtents> PackedGroups::NeedExtents(const PackedPart& codes) {
  const auto extents = ExtentsOf(codes.info->shape);
  if (!extents) {
    Report(MakeError(ErrorCode::kUnsupported, "quantized weights of this shape")
               .At(codes.info->name)
               .Expected("a matrix or a stack of matrices")
               .Actual(ShapeText(codes.info->shape)));
  }
  return extents;
}

bool PackedGroups::HasDtype(const PackedPart& codes, const PackedPart& part,
                            std::initializer_list<Dtype> dtypes) {
  found_.parts.insert(part.info->name);
  if (std::find(dtypes.begin(), dtypes.end(), part.info->dtype) != dtypes.end()) return true;
  std::vector<std::string_view> names;
  for (const Dtype dtype : dtypes) names.push_back(DtypeName(dtype));
  Report(MakeError(ErrorCode::kMismatch, "a dtype that does not go with the quantized weights")
             .At(part.info->name)
             .Expected(fmt::format("{} for '{}'", fmt::join(names, ", "), codes.info->name))
             .Actual(DtypeName(part.info->dtype)));
  return false;
}

bool PackedGroups::HasShape(const PackedPart& codes, const PackedPart& part,
                            const std::vector<std::uint64_t>& expected) {
  if (part.info->shape == expected) return true;
  ReportShape(codes, part, ShapeText(expected));
  return false;
}

void PackedGroups::ReportShape(const PackedPart& codes, const PackedPart& part,
                               std::string_view expected, std::string_view actual) {
  Report(MakeError(ErrorCode::kMismatch, "the shape does not fit the quantized weights")
             .At(part.info->name)
             .Expected(fmt::format("{} for '{}' of shape {}", expected, codes.info->name,
                                   ShapeText(codes.info->shape)))
             .Actual(actual.empty() ? ShapeText(part.info->shape) : actual));
}

std::optional<std::vector<std::uint64_t>> PackedGroups::NeedShape(const PackedPart& codes,
                                                                  const PackedPart& part) {
  const std::size_t rank = codes.info->shape.size();
  if (!HasDtype(codes, part, {Dtype::kI64, Dtype::kI32}) || !HasShape(codes, part, {rank})) {
    return std::nullopt;
  }
  std::vector<std::byte> bytes(part.info->bytes);
  const Result<File> file = File::OpenForReading(shards_.shards[part.shard].path);
  Status read = file ? file->ReadAt(part.info->offset, bytes) : Status(file.error());
  if (!read) {
    Report(std::move(read).error().At(part.info->name));
    return std::nullopt;
  }
  // A negative number becomes one that no shape has.
  std::vector<std::uint64_t> shape;
  for (std::size_t at = 0; at < bytes.size(); at += bytes.size() / rank) {
    std::int64_t wide = 0;
    std::int32_t narrow = 0;
    if (part.info->dtype == Dtype::kI64) {
      std::memcpy(&wide, bytes.data() + at, sizeof wide);
    } else {
      std::memcpy(&narrow, bytes.data() + at, sizeof narrow);
      wide = narrow;
    }
    shape.push_back(static_cast<std::uint64_t>(wide));
  }
  return shape;
}

void PackedGroups::Add(const PackedPart& codes, std::string name, std::vector<std::uint64_t> shape,
                       bool transposed, PackedSource source) {
  found_.parts.insert(codes.info->name);
  if (name != codes.info->name && Find(name) != nullptr) {
    return Report(MakeError(ErrorCode::kMismatch, "the same weights twice")
                      .At(name)
                      .Expected(fmt::format("these or '{}'", codes.info->name))
                      .Actual("both"));
  }
  PackedTensor& tensor = found_.tensors.emplace_back();
  tensor.info = {std::move(name), Dtype::kBF16, std::move(shape), codes.info->offset,
                 codes.info->bytes};
  tensor.transposed = transposed;
  source.zero_non_finite = zero_non_finite_;
  tensor.source = std::make_shared<const PackedSource>(std::move(source));
}

void PackedGroups::LeaveOut(std::string_view name) {
  if (const PackedPart* part = Find(name)) found_.parts.insert(part->info->name);
}

}  // namespace sluice
