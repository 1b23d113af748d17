#include "runtime/model/mlx_weights.h"

#include <algorithm>

#include "runtime/kernels/mlx_kernels.h"
#include "stages/kernels/gather.h"

namespace sluice::runtime {

Matrix MlxWeights::RowsOf(const MlxTensor& tensor, std::uint64_t first_row, std::uint64_t rows) {
  std::unique_ptr<const MlxMatrix>& known = matrices_[&tensor];
  if (known == nullptr) {
    const auto address = [&](const MlxTensor::Place& place) {
      return sources_.Bytes(place.shard).data() + place.offset;
    };
    known = std::make_unique<const MlxMatrix>(
        MlxMatrix{tensor.encoding, address(tensor.codes), address(tensor.scales),
                  tensor.biases ? address(*tensor.biases) : nullptr,
                  tensor.factors ? address(*tensor.factors) : nullptr, tensor.rows_of_factor});
  }
  const std::uint64_t row_bytes = tensor.row_code_bytes();
  return {gguf::TensorType::kI8,
          known->codes + first_row * row_bytes,
          rows,
          tensor.columns,
          row_bytes,
          known.get()};
}

std::optional<Matrix> MlxWeights::InPlace(const Segment& segment, std::uint64_t first,
                                          std::uint64_t rows, std::uint64_t columns) {
  const MlxTensor& tensor = *segment.mlx;
  if (columns != tensor.columns) return std::nullopt;
  const std::uint64_t begin = segment.end - segment.view.elements();
  const std::vector<Box> boxes = CutBoxes(segment.view, first - begin, rows * columns);
  if (boxes.size() != 1) return std::nullopt;
  const Box& box = boxes.front();
  // As many neighbours as there are elements are all of them, in order.
  const ElementRange range = SourceRange(box);
  const bool in_order = box.axes.empty() || box.axes.back().stride == 1;
  if (!in_order || range.end - range.begin != box.elements || range.begin % columns != 0) {
    return std::nullopt;
  }
  return RowsOf(tensor, range.begin / columns, rows);
}

void MlxWeights::Decode(const Segment& segment, std::uint64_t first, std::span<float> out) {
  const MlxTensor& tensor = *segment.mlx;
  const std::uint64_t begin = segment.end - segment.view.elements();
  std::vector<float> rows;
  for (const Box& box : CutBoxes(segment.view, first - begin, out.size())) {
    const ElementRange range = SourceRange(box);
    const std::uint64_t first_row = range.begin / tensor.columns;
    const std::uint64_t end_row = (range.end - 1) / tensor.columns + 1;
    rows.resize((end_row - first_row) * tensor.columns);
    DecodeMlx(RowsOf(tensor, first_row, end_row - first_row), rows.data());
    const float* const source = rows.data() + (box.source - first_row * tensor.columns);
    kernels::GatherBox(box, sizeof(float), reinterpret_cast<const std::byte*>(source),
                       std::as_writable_bytes(out.subspan(box.position, box.elements)));
  }
}

}  // namespace sluice::runtime
