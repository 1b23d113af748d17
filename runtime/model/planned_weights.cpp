#include <algorithm>
#include <deque>
#include <map>

#include "core/buffer.h"
#include "runtime/model/mlx_weights.h"
#include "runtime/model/weight_source.h"
#include "stages/encode.h"
#include "stages/read.h"
#include "stages/slab.h"
#include "stages/source_set.h"
#include "stages/transform.h"

namespace sluice::runtime {
namespace {

using gguf::TensorType;

// The encoding that holds a source's values exactly and that kernels read.
TensorType TypeFor(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16:
    case Dtype::kF8E4M3:
    case Dtype::kF8E5M2:
      return TensorType::kBF16;
    case Dtype::kF16:
      return TensorType::kF16;
    default:
      return TensorType::kF32;
  }
}

class PlannedWeights final : public WeightSource {
 public:
  PlannedWeights(Plan plan, SourceSet sources)
      : plan_(std::move(plan)), sources_(std::move(sources)) {
    for (const PlannedTensor& tensor : model().tensors) by_name_[tensor.record.name] = &tensor;
  }

  const gguf::Metadata& metadata() const override { return model().metadata; }

  std::vector<std::string_view> names() const override {
    std::vector<std::string_view> names;
    for (const auto& [name, tensor] : by_name_) names.push_back(name);
    return names;
  }

  const std::vector<std::uint64_t>* ShapeOf(std::string_view name) const override {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &found->second->record.shape;
  }

  Result<Matrix> At(std::string_view name, std::uint64_t index, std::uint64_t rows,
                    std::uint64_t columns) override {
    const TensorExpr& expr = by_name_.find(name)->second->expr;
    const std::uint64_t count = rows * columns;
    const std::uint64_t first = index * count;
    const auto segment = std::upper_bound(
        expr.segments.begin(), expr.segments.end(), first,
        [](std::uint64_t element, const Segment& candidate) { return element < candidate.end; });
    if (segment->mlx != nullptr) {
      Result<Matrix> matrix = MlxAt(*segment, first, rows, columns);
      if (!matrix) return std::move(matrix).error().At(name);
      return matrix;
    }
    const TensorType type = TypeFor(segment->dtype);
    Matrix matrix{type, InPlace(expr, *segment, first, count), rows, columns,
                  *gguf::TensorBytes(type, columns)};
    if (matrix.data != nullptr) return matrix;
    Result<const std::byte*> copy = Copy(expr, type, first, count);
    if (!copy) return std::move(copy).error().At(name);
    matrix.data = *copy;
    return matrix;
  }

  Status CheckIntact() const override {
    for (std::uint32_t shard = 0; shard < plan_.shards.size(); ++shard) {
      SLUICE_TRY(sources_.CheckIntact(shard));
    }
    return Ok();
  }

 private:
  [[nodiscard]] const FilePlan& model() const { return plan_.files.front(); }

  // Where the elements lie one after the other in a mapped shard; nullptr if they do not.
  [[nodiscard]] const std::byte* InPlace(const TensorExpr& expr, const Segment& segment,
                                         std::uint64_t first, std::uint64_t count) const {
    const std::uint64_t begin = segment.end - segment.view.elements();
    if (!expr.steps.empty() || segment.packed != nullptr || first + count > segment.end ||
        !IsSameEncoding(segment.dtype, TypeFor(segment.dtype))) {
      return nullptr;
    }
    const std::vector<Box> boxes = CutBoxes(segment.view, first - begin, count);
    const auto leads = [&](const Axis& axis) { return axis.extent == 1; };
    if (boxes.size() != 1) return nullptr;
    const Box& box = boxes.front();
    const bool in_order =
        box.axes.empty() || (std::all_of(box.axes.begin(), box.axes.end() - 1, leads) &&
                             (box.axes.back().stride == 1 || box.axes.back().extent == 1));
    if (!in_order) return nullptr;
    return sources_.Bytes(segment.shard).data() + segment.byte_offset +
           box.source * DtypeBytes(segment.dtype);
  }

  // In place, or decoded to F32.
  Result<Matrix> MlxAt(const Segment& segment, std::uint64_t first, std::uint64_t rows,
                       std::uint64_t columns) {
    const std::uint64_t count = rows * columns;
    if (first + count > segment.end) {
      return MakeError(ErrorCode::kUnsupported, "a matrix in several quantized tensors");
    }
    if (const auto matrix = mlx_.InPlace(segment, first, rows, columns)) return *matrix;
    auto* const values =
        reinterpret_cast<float*>(copies_.emplace_back().Reserve(count * sizeof(float)).data());
    mlx_.Decode(segment, first, {values, count});
    return Matrix{TensorType::kF32, reinterpret_cast<const std::byte*>(values), rows, columns,
                  columns * sizeof(float)};
  }

  // The elements as the stages of a conversion would write them.
  Result<const std::byte*> Copy(const TensorExpr& expr, TensorType type, std::uint64_t first,
                                std::uint64_t count) {
    TensorExpr typed = expr;
    typed.type = type;
    SlabBuffers buffers;
    Slab slab;
    slab.expr = &typed;
    slab.first = first;
    slab.count = count;
    slab.buffer_bytes = SlabBytes(typed, CostOf(typed, sources_), count);
    slab.buffers = &buffers;
    SLUICE_TRY(Read(sources_, slab));
    SLUICE_TRY(Transform(sources_, slab));
    SLUICE_TRY(Encode(sources_, slab));
    std::byte* const copy = copies_.emplace_back().Reserve(*gguf::TensorBytes(type, count)).data();
    std::byte* out = copy;
    for (const auto bytes : slab.payload) out = std::copy(bytes.begin(), bytes.end(), out);
    return copy;
  }

  Plan plan_;
  SourceSet sources_;
  std::map<std::string_view, const PlannedTensor*> by_name_;
  MlxWeights mlx_{sources_};
  std::deque<Buffer> copies_;
};

}  // namespace

Result<std::unique_ptr<WeightSource>> OpenPlanned(Plan plan) {
  SLUICE_ASSIGN(SourceSet sources, SourceSet::Open(plan.shards, IoMode::kMmap, plan.generated));
  std::unique_ptr<WeightSource> source =
      std::make_unique<PlannedWeights>(std::move(plan), std::move(sources));
  return source;
}

}  // namespace sluice::runtime
