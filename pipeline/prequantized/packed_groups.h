// The tensors of a checkpoint as they are put together to packed weights, with the complaints about
// those that do not go together; each names both tensors.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/shape.h"
#include "pipeline/prequantized/packed_fields.h"
#include "pipeline/prequantized/packed_tensors.h"

namespace sluice {

class PackedGroups {
 public:
  PackedGroups(const QuantizationConfig& config, const safetensors::ShardSet& shards,
               bool zero_non_finite, std::vector<Error>& problems);
  PackedGroups(const PackedGroups&) = delete;
  PackedGroups& operator=(const PackedGroups&) = delete;

  [[nodiscard]] const QuantizationConfig& config() const { return config_; }
  // All tensors, by shard and then by name.
  [[nodiscard]] const std::vector<PackedPart>& parts() const { return parts_; }
  [[nodiscard]] const PackedPart* Find(std::string_view name) const;
  // Whether the configuration says that a weight is not quantized. Where it cannot be asked, that
  // is a problem, and all weights from then on count as kept.
  bool IsKept(const std::string& name);
  // Whether a tensor is part of a packed weight or left out.
  [[nodiscard]] bool IsTaken(std::string_view name) const { return found_.parts.contains(name); }

  // The tensor that the codes need. nullptr and a problem when it is missing or of another dtype.
  const PackedPart* Need(const PackedPart& codes, const std::string& name,
                         std::initializer_list<Dtype> dtypes);
  // Extents of the codes' tensor. nullopt and a problem when it is no matrix or stack of matrices.
  std::optional<StackExtents> NeedExtents(const PackedPart& codes);
  // Whether `part`, a companion of the codes or they themselves, has such a dtype or shape; a
  // problem if not.
  bool HasDtype(const PackedPart& codes, const PackedPart& part,
                std::initializer_list<Dtype> dtypes);
  bool HasShape(const PackedPart& codes, const PackedPart& part,
                const std::vector<std::uint64_t>& expected);
  // `actual`: what the tensor's content says, if not its shape.
  void ReportShape(const PackedPart& codes, const PackedPart& part, std::string_view expected,
                   std::string_view actual = "");
  // The content of `part`, a shape in I64 or I32 of the rank of the codes. nullopt and a problem
  // when it is no such tensor or cannot be read.
  std::optional<std::vector<std::uint64_t>> NeedShape(const PackedPart& codes,
                                                      const PackedPart& part);
  void Report(Error error) { problems_.push_back(std::move(error)); }

  // Takes a weight into the result, under its own name and shape.
  void Add(const PackedPart& codes, std::string name, std::vector<std::uint64_t> shape,
           bool transposed, PackedSource source);
  // Leaves out a tensor, if there is one of that name.
  void LeaveOut(std::string_view name);

  [[nodiscard]] PackedTensors Take() { return std::move(found_); }

 private:
  const QuantizationConfig& config_;
  const safetensors::ShardSet& shards_;
  bool zero_non_finite_;
  std::vector<Error>& problems_;
  std::vector<PackedPart> parts_;
  std::unordered_map<std::string_view, const PackedPart*> by_name_;
  PackedTensors found_;
  bool config_failed_ = false;
};

}  // namespace sluice
