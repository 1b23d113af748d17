#include "pipeline/gguf_plan.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "arch/registry.h"
#include "pipeline/guarded.h"
#include "pipeline/layout.h"
#include "pipeline/quantize/apply.h"

namespace sluice {
namespace {

using gguf::TensorType;

// The type of a checkpoint's elements that is stored the same way.
std::optional<Dtype> DtypeOf(TensorType type) {
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    if (IsSameEncoding(dtype, type)) return dtype;
  }
  return std::nullopt;
}

PlannedTensor PlanTensor(const gguf::SplitTensor& from) {
  PlannedTensor tensor;
  tensor.record = *from.record;
  tensor.source = from.record->name;
  TensorExpr& expr = tensor.expr;
  const StridedView view = StridedView::Whole(from.record->shape).Coalesced();
  expr.type = from.record->type;
  expr.row_elements = from.record->shape.empty() ? 1 : from.record->shape.back();
  expr.elements = view.elements();
  Segment segment{static_cast<std::uint32_t>(from.file), from.offset, Dtype::kF32, view,
                  expr.elements};
  if (const auto dtype = DtypeOf(expr.type)) {
    segment.dtype = *dtype;
  } else {
    segment.blocks = expr.type;
  }
  expr.segments.push_back(segment);
  return tensor;
}

Status PlanModel(const gguf::SplitSet& set, const GgufPlanOptions& options, Plan& plan) {
  FilePlan& model = plan.files.emplace_back();
  model.metadata = set.ModelMetadata();
  model.spec = DescriptionOf(model.metadata);
  if (model.is_ollama()) plan.dialect = arch::Dialect::kOllama;
  for (const gguf::SplitTensor& from : gguf::TensorsOf(set)) {
    model.tensors.push_back(PlanTensor(from));
  }
  plan.source_tensors = model.tensors.size();
  if (options.quantize != nullptr) SLUICE_TRY(QuantizeModel(*options.quantize, plan));
  SLUICE_TRY(SplitModel(options.max_shard_bytes, plan));
  return LayOut(plan);
}

}  // namespace

// Where both dialects write an architecture, the order of the keys tells them apart: Ollama sorts
// them, and llama.cpp's converter puts general.type before general.name.
const arch::FileSpec* DescriptionOf(const gguf::Metadata& metadata) {
  const auto* architecture = metadata.Get<std::string>("general.architecture");
  if (architecture == nullptr) return nullptr;
  const bool is_sorted = std::ranges::is_sorted(metadata.items(), {}, &gguf::KeyValue::key);
  return arch::FindModelFile(*architecture,
                             is_sorted ? arch::Dialect::kOllama : arch::Dialect::kLlamaCpp);
}

Result<Plan> MakeGgufPlan(const gguf::SplitSet& set, const GgufPlanOptions& options) {
  return Guarded([&]() -> Result<Plan> {
    Plan plan;
    for (const gguf::SplitFile& file : set.files) {
      SLUICE_ASSIGN(ShardFile shard, StatShard(file.path));
      shard.bytes = file.file_bytes;  // a file that changed since its head was read is refused
      plan.shards.push_back(std::move(shard));
    }
    Status planned = PlanModel(set, options, plan);
    if (!planned) return std::move(planned).error().In(set.files.front().path);
    return plan;
  });
}

}  // namespace sluice
