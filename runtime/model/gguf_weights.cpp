#include <fmt/format.h>

#include <map>
#include <optional>

#include "core/mapped_file.h"
#include "formats/gguf/reader.h"
#include "runtime/model/weight_source.h"

namespace sluice::runtime {
namespace {

class GgufWeights final : public WeightSource {
 public:
  GgufWeights(MappedFile file, gguf::Head head) : file_(std::move(file)), head_(std::move(head)) {
    for (const gguf::TensorRecord& tensor : head_.tensors) by_name_[tensor.name] = &tensor;
  }

  const gguf::Metadata& metadata() const override { return head_.metadata; }

  std::vector<std::string_view> names() const override {
    std::vector<std::string_view> names;
    for (const auto& [name, tensor] : by_name_) names.push_back(name);
    return names;
  }

  const std::vector<std::uint64_t>* ShapeOf(std::string_view name) const override {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &found->second->shape;
  }

  Result<Matrix> At(std::string_view name, std::uint64_t index, std::uint64_t rows,
                    std::uint64_t columns) override {
    const gguf::TensorRecord& tensor = *by_name_.find(name)->second;
    const std::optional<std::uint64_t> row_bytes = gguf::TensorBytes(tensor.type, columns);
    if (!row_bytes) {
      const gguf::TensorTypeInfo& info = gguf::InfoOf(tensor.type);
      return MakeError(ErrorCode::kMismatch, fmt::format("row of type {}", info.name))
          .At(name)
          .Expected(fmt::format("a multiple of {} elements", info.block_elements))
          .Actual(fmt::format("{}", columns));
    }
    const std::uint64_t offset = head_.data_start + tensor.data_offset + index * rows * *row_bytes;
    return Matrix{tensor.type, file_.bytes().data() + offset, rows, columns, *row_bytes};
  }

  Status CheckIntact() const override { return file_.CheckIntact(); }

 private:
  MappedFile file_;
  gguf::Head head_;
  std::map<std::string_view, const gguf::TensorRecord*> by_name_;
};

}  // namespace

Result<std::unique_ptr<WeightSource>> OpenGguf(const std::string& path) {
  SLUICE_ASSIGN(MappedFile file, MappedFile::Open(path));
  SLUICE_ASSIGN(gguf::Head head, gguf::ReadHead(file));
  const auto* parts = head.metadata.Get<std::uint16_t>("split.count");
  if (parts != nullptr && *parts > 1) {
    return MakeError(ErrorCode::kUnsupported, "one part of a split file")
        .In(path)
        .Expected("a whole model")
        .Actual(fmt::format("one of {} parts", *parts))
        .Advice("make one file of the parts first: sluice merge");
  }
  std::unique_ptr<WeightSource> source =
      std::make_unique<GgufWeights>(std::move(file), std::move(head));
  return source;
}

}  // namespace sluice::runtime
