#include "pipeline/quantize/repack.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "stages/packed.h"

namespace sluice {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";

// The last component but one of the weights that llama.cpp looks for a ".scale" of.
constexpr std::array<std::string_view, 14> kScaledWeights{
    "attn_q",         "attn_k",       "attn_v",         "attn_output", "ffn_gate",
    "ffn_up",         "ffn_down",     "ffn_gate_exps",  "ffn_up_exps", "ffn_down_exps",
    "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp", "output"};

bool HasScaleTensor(std::string_view name) {
  if (!name.ends_with(kWeightSuffix)) return false;
  name.remove_suffix(kWeightSuffix.size());
  name = name.substr(name.rfind('.') + 1);
  return std::find(kScaledWeights.begin(), kScaledWeights.end(), name) != kScaledWeights.end();
}

// Whether a view only moves whole blocks of that many elements.
bool KeepsBlocks(const StridedView& view, std::uint64_t block) {
  const std::span<const Axis> axes = view.axes();
  if (axes.empty() || view.offset() % block != 0) return false;
  const auto is_whole = [&](const Axis& axis) { return axis.stride % block == 0; };
  return axes.back().stride == 1 && axes.back().extent % block == 0 &&
         std::all_of(axes.begin(), axes.end() - 1, is_whole);
}

bool HasGlobal(const Segment& segment) {
  return segment.packed != nullptr && segment.packed->global.has_value();
}

Dtype DtypeOf(PackedNumber number) {
  if (number == PackedNumber::kF16) return Dtype::kF16;
  return number == PackedNumber::kBF16 ? Dtype::kBF16 : Dtype::kF32;
}

PlannedTensor ScalesOf(const PlannedTensor& tensor) {
  PlannedTensor scales;
  const std::string_view name = tensor.record.name;
  scales.record.name = fmt::format("{}.scale", name.substr(0, name.size() - kWeightSuffix.size()));
  TensorExpr& expr = scales.expr;
  for (const Segment& segment : tensor.expr.segments) {
    const PackedField& global = *segment.packed->global;
    const bool is_shared = global.matrix.group > 1;
    const std::uint64_t copies = is_shared ? segment.packed->matrices : 1;
    const std::vector<std::uint64_t> shape{is_shared ? 1 : segment.packed->matrices};
    for (std::uint64_t copy = 0; copy < copies; ++copy) {
      expr.elements += shape.front();
      expr.segments.push_back({global.shard, global.byte_offset, DtypeOf(global.number),
                               StridedView::Whole(shape).Coalesced(), expr.elements});
    }
    if (scales.source.empty()) scales.source = global.name;
    if (segment.packed->global_divides) expr.steps = {PointwiseStep::kReciprocal};
    // Whoever does not take zeros has refused the weights themselves.
    if (segment.packed->zero_non_finite) expr.quantizing.emplace().zero_non_finite = true;
  }
  expr.row_elements = expr.elements;
  scales.record.shape = {expr.elements};
  if (!expr.steps.empty()) scales.views = "1 / x";
  return scales;
}

}  // namespace

bool Repack(gguf::TensorType type, bool ollama, PlannedTensor& tensor) {
  std::vector<Segment>& segments = tensor.expr.segments;
  const std::uint64_t block = gguf::InfoOf(type).block_elements;
  const bool has_global = HasGlobal(segments.front());
  const bool fits = std::all_of(segments.begin(), segments.end(), [&](const Segment& segment) {
    return segment.packed != nullptr && segment.packed->blocks == type &&
           HasGlobal(segment) == has_global && KeepsBlocks(segment.view, block);
  });
  if (!fits || !tensor.expr.steps.empty()) return false;
  if (has_global && (ollama || !HasScaleTensor(tensor.record.name))) return false;
  const std::string_view words = segments.front().packed->words;
  tensor.views.replace(0, words.size(),
                       fmt::format("repack the blocks of {}", gguf::InfoOf(type).name));
  for (Segment& segment : segments) segment.blocks = type;
  tensor.expr.type = type;
  tensor.record.type = type;
  return true;
}

void AddScales(std::vector<PlannedTensor>& tensors) {
  std::vector<PlannedTensor> all;
  for (PlannedTensor& tensor : tensors) {
    const Segment& first = tensor.expr.segments.front();
    const bool has_scales = first.blocks && HasGlobal(first);
    all.push_back(std::move(tensor));
    if (has_scales) all.push_back(ScalesOf(all.back()));
  }
  tensors = std::move(all);
}

}  // namespace sluice
