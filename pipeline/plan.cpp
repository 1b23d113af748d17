#include "pipeline/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "arch/registry.h"
#include "formats/tokenizer/pre_tokenizers.h"
#include "pipeline/bind.h"
#include "pipeline/element_types.h"
#include "pipeline/guarded.h"
#include "pipeline/hparams.h"
#include "pipeline/key_values.h"
#include "pipeline/layout.h"
#include "pipeline/mlx/fold.h"
#include "pipeline/prequantized/packed_tensors.h"
#include "pipeline/quantize/apply.h"
#include "pipeline/tensor_index.h"
#include "pipeline/vocabulary.h"

namespace sluice {
namespace {

using arch::Dialect;
using arch::FileSpec;
using arch::Hp;
using arch::Role;

// ---- Which family, which files ------------------------------------------------------------------

std::string KnownArchitectures() {
  std::vector<std::string_view> names;
  for (const arch::Family* family : arch::Families()) {
    for (const FileSpec& file : family->files) {
      for (const std::string_view name : file.hf_architectures) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    }
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<const arch::Family*> ChooseFamily(const std::string& architecture,
                                         const std::string& config_path) {
  if (const arch::Family* family = arch::FindFamily(architecture)) return family;
  const std::string_view why = arch::WhyRefused(architecture);
  return MakeError(ErrorCode::kUnsupported, why.empty() ? "unknown architecture" : why)
      .In(config_path)
      .Expected(fmt::format("one of {}", KnownArchitectures()))
      .Actual(architecture);
}

struct ChosenFiles {
  Dialect dialect = Dialect::kLlamaCpp;
  const FileSpec* model = nullptr;
  const FileSpec* projector = nullptr;  // if the dialect has a separate one
};

Result<ChosenFiles> ChooseFiles(const arch::Family& family, const std::string& architecture,
                                const PlanOptions& options) {
  ChosenFiles chosen;
  chosen.dialect = options.dialect.value_or(arch::DefaultDialect(family, architecture));
  chosen.model = arch::FindFile(family, architecture, chosen.dialect, Role::kModel);
  chosen.projector = arch::FindFile(family, architecture, chosen.dialect, Role::kProjector);
  if (chosen.model == nullptr) {
    const Dialect other = arch::DefaultDialect(family, architecture);
    return MakeError(ErrorCode::kUnsupported, fmt::format("{} in the {} dialect", architecture,
                                                          arch::DialectName(chosen.dialect)))
        .Expected(fmt::format("--dialect {}", arch::DialectName(other)));
  }
  if (options.with_projector && chosen.projector == nullptr) {
    return MakeError(ErrorCode::kUsage, "--mmproj does not apply")
        .Expected("a family whose vision part is a file of its own in this dialect")
        .Actual(
            fmt::format("{} in the {} dialect", family.name, arch::DialectName(chosen.dialect)));
  }
  return chosen;
}

// ---- One file -----------------------------------------------------------------------------------

std::uint64_t Elements(std::span<const std::uint64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1},
                         [](std::uint64_t a, std::uint64_t b) { return a * b; });
}

ParameterCounts CountParameters(const std::vector<BoundTensor>& tensors) {
  ParameterCounts counts;
  for (const BoundTensor& tensor : tensors) {
    const std::uint64_t elements = Elements(tensor.shape);
    counts.total += elements;
    if (tensor.name.find("_exps.") == std::string::npos) {
      counts.shared += elements;
    } else {
      counts.experts = tensor.shape.front();
      counts.one_expert += elements / counts.experts;
    }
  }
  return counts;
}

// (block, name) as Ollama sorts: numbered blocks first, all other tensors as one group after them.
std::pair<std::uint64_t, std::string_view> OllamaOrder(const BoundTensor& tensor) {
  constexpr std::uint64_t kNoBlock = std::numeric_limits<std::uint64_t>::max();
  const NamePattern pattern = PatternOf(tensor.name);
  const bool in_block = tensor.name.starts_with("blk.") && !pattern.numbers.empty();
  return {in_block ? pattern.numbers.front() : kNoBlock, tensor.name};
}

void SortTensors(Dialect dialect, std::vector<BoundTensor>& tensors) {
  std::stable_sort(tensors.begin(), tensors.end(), [&](const BoundTensor& a, const BoundTensor& b) {
    if (dialect == Dialect::kOllama) return OllamaOrder(a) < OllamaOrder(b);
    return std::pair(a.order, a.rule_order) < std::pair(b.order, b.rule_order);
  });
}

// A name that no reader knows would make a file that none opens.
Status CheckPre(const std::string& name) {
  const auto names = tokenizer::PreTokenizerNames();
  if (name.empty() || std::ranges::find(names, name) != names.end()) return Ok();
  return MakeError(ErrorCode::kUsage, "--pre names no pre-tokenizer that llama.cpp knows")
      .Expected(fmt::format("one of {}", fmt::join(names, ", ")))
      .Actual(name)
      .Advice("for a newer reader: --pre default --set tokenizer.ggml.pre=str:NAME");
}

class Planner {
 public:
  Planner(Plan& plan, const PlanOptions& options) : plan_(plan), options_(options) {}

  Status Run();

 private:
  Status LoadCheckpoint();
  Status FindQuantized();
  Status BindTensors();
  void SetOptionsAsHParams();
  void WarnOfSkippedProjector(const std::vector<BoundTensor>& projector);
  void NoteAbsentMtp(const std::vector<BoundTensor>& model);
  Status CheckHead(const std::vector<BoundTensor>& model);
  FilePlan PlanTensors(const FileSpec& spec, std::vector<BoundTensor> bound);
  PlannedTensor PlanTensor(const BoundTensor& bound, const ElementTypes& types);
  void PlanMetadata(FilePlan& file);
  void PlanTokenizer(FilePlan& file);
  Status ApplyOverrides();
  [[nodiscard]] Status Problems() {
    if (problems_.empty()) return Ok();
    return JoinErrors(std::move(problems_));
  }

  Plan& plan_;
  const PlanOptions& options_;
  std::vector<Error> problems_;
  std::optional<ConfigFiles> config_;
  ChosenFiles chosen_;
  arch::HParams hparams_;
  safetensors::ShardSet shards_;
  MlxTensors mlx_;
  PackedTensors packed_;
  std::optional<TensorIndex> index_;
  std::vector<ParameterCounts> parameters_;  // of each file
};

Status Planner::LoadCheckpoint() {
  SLUICE_ASSIGN(shards_, safetensors::OpenShards(plan_.folder));
  for (std::string& warning : shards_.warnings) plan_.warnings.push_back(std::move(warning));
  for (const safetensors::Shard& shard : shards_.shards) {
    SLUICE_ASSIGN(ShardFile file, StatShard(shard.path));
    plan_.shards.push_back(std::move(file));
  }
  SLUICE_ASSIGN(config_, LoadConfigFiles(plan_.folder));
  SLUICE_ASSIGN(const std::string architecture, ArchitectureOf(*config_));
  SLUICE_ASSIGN(plan_.family, ChooseFamily(architecture, config_->config.path()));
  SLUICE_ASSIGN(chosen_, ChooseFiles(*plan_.family, architecture, options_));
  plan_.dialect = chosen_.dialect;
  for (const safetensors::Shard& shard : shards_.shards) {
    plan_.source_tensors += shard.header.tensors.size();
  }
  SLUICE_TRY(FindQuantized());
  index_.emplace(shards_, packed_);
  return Ok();
}

Status Planner::FindQuantized() {
  SLUICE_ASSIGN(mlx_, FoldMlxTensors(config_->config, shards_));
  if (mlx_.empty()) {
    SLUICE_ASSIGN(packed_, FindPackedTensors(plan_.folder, config_->config, shards_,
                                             options_.zero_non_finite, problems_));
    plan_.warnings.insert(plan_.warnings.end(), packed_.notes.begin(), packed_.notes.end());
    return Problems();
  }
  if (options_.to_run) return Ok();
  return MakeError(ErrorCode::kUnsupported, "weights are quantized in the MLX layout")
      .In(plan_.folder)
      .At(mlx_.begin()->first)
      .Advice("sluice run takes them as they are; convert the original checkpoint");
}

// What the user decides about a hyperparameter.
void Planner::SetOptionsAsHParams() {
  if (!hparams_.Has(Hp::kMtpBlocks)) return;
  const auto& groups = chosen_.model->groups;
  const bool knows_mtp = std::any_of(groups.begin(), groups.end(), [](const auto& group) {
    return group.count == Hp::kKeptMtpBlocks;
  });
  const bool keep = options_.keep_mtp && knows_mtp;
  hparams_.Set(Hp::kKeptMtpBlocks, keep ? hparams_.Count(Hp::kMtpBlocks) : 0, false);
}

void Planner::WarnOfSkippedProjector(const std::vector<BoundTensor>& projector) {
  if (projector.empty()) return;
  plan_.warnings.push_back(fmt::format(
      "{} vision tensors are left out: --mmproj FILE writes them to a file of their own",
      projector.size()));
}

void Planner::NoteAbsentMtp(const std::vector<BoundTensor>& model) {
  if (chosen_.dialect != Dialect::kLlamaCpp || !hparams_.Has(Hp::kKeptMtpBlocks)) return;
  const std::uint64_t kept = hparams_.Count(Hp::kKeptMtpBlocks);
  const std::string prefix = fmt::format("blk.{}.", hparams_.Count(Hp::kBlocks));
  const bool present = std::any_of(model.begin(), model.end(), [&](const BoundTensor& tensor) {
    return tensor.name.starts_with(prefix);
  });
  if (kept == 0 || present) return;
  plan_.warnings.push_back(
      "num_nextn_predict_layers is not 0 but the checkpoint has no such layer: the file counts it, "
      "and loaders take the file as the trunk alone");
}

// Where the family lets it be absent, a model still runs without; a file of it may lack what got
// lost.
Status Planner::CheckHead(const std::vector<BoundTensor>& model) {
  if (!hparams_.Has(Hp::kTied) || hparams_.Flag(Hp::kTied)) return Ok();
  const auto is_head = [](const BoundTensor& tensor) { return tensor.name == "output.weight"; };
  if (std::ranges::any_of(model, is_head)) return Ok();
  if (!options_.to_run) {
    return MakeError(ErrorCode::kMissing, "a required tensor is missing")
        .At("lm_head.weight")
        .Expected("it for output.weight, or tie_word_embeddings true in config.json");
  }
  plan_.warnings.push_back(
      "tie_word_embeddings is false but the checkpoint has no lm_head.weight: the embedding is the "
      "output head");
  return Ok();
}

PlannedTensor Planner::PlanTensor(const BoundTensor& bound, const ElementTypes& types) {
  PlannedTensor tensor;
  tensor.record.name = bound.name;
  tensor.record.shape = bound.shape;
  TensorExpr& expr = tensor.expr;
  Dtype first_dtype = Dtype::kF32;
  if (bound.rule == nullptr) {
    const auto bytes = std::as_bytes(std::span(bound.generated));
    const auto shard = static_cast<std::uint32_t>(plan_.shards.size() + plan_.generated.size());
    plan_.generated.emplace_back(bytes.begin(), bytes.end());
    expr.segments.push_back({shard, 0, Dtype::kF32, StridedView::Whole(bound.shape).Coalesced(),
                             bound.generated.size()});
    tensor.views = "computed from config.json";
  } else {
    for (const BoundSource& source : bound.sources) {
      const SourceTensor& from = (*index_)[source.position];
      expr.elements += source.view.elements();
      expr.segments.push_back(from.SegmentOf(source.view, expr.elements));
      const auto quantized = mlx_.find(from.info->name);
      if (quantized != mlx_.end()) expr.segments.back().mlx = quantized->second;
    }
    const SourceTensor& first = (*index_)[bound.sources.front().position];
    first_dtype = first.info->dtype;
    tensor.source = first.info->name;
    if (bound.sources.size() > 1) {
      const std::string& last = (*index_)[bound.sources.back().position].info->name;
      tensor.source = fmt::format("{} .. {}", tensor.source, last);
    }
    tensor.views = DescribeViews(*bound.rule, hparams_);
    const auto packed = std::find_if(expr.segments.begin(), expr.segments.end(),
                                     [](const Segment& one) { return one.packed != nullptr; });
    if (packed != expr.segments.end()) {
      const std::string& words = packed->packed->words;
      tensor.views = tensor.views.empty() ? words : fmt::format("{}, {}", words, tensor.views);
    }
    if (bound.rule->pointwise != arch::Pointwise::kNone) {
      expr.steps.push_back(PointwiseStep::kTanh);
      if (bound.rule->pointwise == arch::Pointwise::kOneMinusTanh) {
        expr.steps.push_back(PointwiseStep::kOneMinus);
      }
    }
  }
  expr.elements = Elements(bound.shape);
  expr.row_elements = bound.shape.empty() ? 1 : bound.shape.back();
  expr.type = types.For(bound, first_dtype);
  tensor.record.type = expr.type;
  return tensor;
}

FilePlan Planner::PlanTensors(const FileSpec& spec, std::vector<BoundTensor> bound) {
  FilePlan file;
  file.spec = &spec;
  SortTensors(spec.dialect, bound);
  const ElementTypes types(spec.dialect, options_.outtype, shards_);
  for (const BoundTensor& tensor : bound) file.tensors.push_back(PlanTensor(tensor, types));
  parameters_.push_back(CountParameters(bound));
  return file;
}

Status Planner::BindTensors() {
  TensorBinder binder(*index_, hparams_, problems_);
  std::vector<BoundTensor> model = binder.Bind(*chosen_.model);
  std::vector<const FileSpec*> files{chosen_.model};
  std::vector<BoundTensor> projector;
  if (chosen_.projector != nullptr) {
    files.push_back(chosen_.projector);
    const std::size_t before = problems_.size();
    projector = binder.Bind(*chosen_.projector);
    if (!options_.with_projector) problems_.resize(before);  // an incomplete tower is not written
  }
  std::vector<std::string> left_out;
  binder.ReportUnused(files, left_out);
  SLUICE_TRY(Problems());
  if (!options_.to_run) std::ranges::move(left_out, std::back_inserter(plan_.warnings));
  NoteAbsentMtp(model);
  SLUICE_TRY(CheckHead(model));
  plan_.files.push_back(PlanTensors(*chosen_.model, std::move(model)));
  if (options_.with_projector) {
    plan_.files.push_back(PlanTensors(*chosen_.projector, std::move(projector)));
  } else {
    WarnOfSkippedProjector(projector);
  }
  return Ok();
}

void Planner::PlanTokenizer(FilePlan& file) {
  Result<TokenizerFiles> tokenizer = LoadTokenizer(plan_.folder, plan_.warnings);
  if (!tokenizer) {
    problems_.push_back(std::move(tokenizer).error());
    return;
  }
  const Status added =
      AddTokenizer(plan_.folder, *tokenizer, *config_, plan_.dialect, file.spec->tokenizer,
                   {options_.pre, options_.chat_template_file}, hparams_.Count(Hp::kVocab),
                   file.metadata, plan_.warnings);
  if (!added) problems_.push_back(added.error());
}

void Planner::PlanMetadata(FilePlan& file) {
  const FileSpec& spec = *file.spec;
  const bool is_llama_cpp = spec.dialect == Dialect::kLlamaCpp;
  const ParameterCounts& parameters =
      parameters_[static_cast<std::size_t>(&file - plan_.files.data())];
  file.metadata.Set("general.architecture", std::string(spec.gguf_arch));
  std::uint32_t file_type = MajorityFileType(file.tensors);
  if (is_llama_cpp) {
    // A second file would repeat what is wrong with the same sources.
    std::vector<std::string> repeated;
    AddGeneral(plan_.folder, *config_, spec.role, options_.model_name, parameters, file.metadata,
               spec.role == Role::kModel ? plan_.warnings : repeated);
    const ElementTypes types(spec.dialect, options_.outtype, shards_);
    file_type = types.FileTypeNumber();
  } else if (!options_.model_name.empty()) {
    file.metadata.Set("general.name", options_.model_name);
  }
  AddKeyValues(spec, hparams_, file_type, file.metadata, problems_);
  constexpr std::uint32_t kQuantizationVersion = 2;  // ggml.h: GGML_QNT_VERSION
  file.metadata.Set("general.quantization_version", kQuantizationVersion);
  if (spec.role == Role::kModel && options_.with_tokenizer) PlanTokenizer(file);
}

Status Planner::ApplyOverrides() {
  for (FilePlan& file : plan_.files) {
    SLUICE_TRY(ApplySettings(options_.overrides, file.spec, file.metadata));
    if (file.is_ollama()) file.metadata.SortByKey();
  }
  return Ok();
}

Status Planner::Run() {
  SLUICE_TRY(CheckPre(options_.pre));
  SLUICE_TRY(LoadCheckpoint());
  const std::string& config_path = config_->config.path();
  hparams_ = BindHParams(*plan_.family, *config_, problems_);
  SLUICE_TRY(Problems());
  SetOptionsAsHParams();
  Inspect(plan_.family->findings, hparams_, config_path, options_.to_run, problems_,
          plan_.warnings);
  Inspect(chosen_.model->findings, hparams_, config_path, options_.to_run, problems_,
          plan_.warnings);
  SLUICE_TRY(Problems());
  SLUICE_TRY(BindTensors());
  for (FilePlan& file : plan_.files) PlanMetadata(file);
  SLUICE_TRY(Problems());
  SLUICE_TRY(ApplyOverrides());
  if (options_.quantize != nullptr) SLUICE_TRY(QuantizeModel(*options_.quantize, plan_));
  SLUICE_TRY(SplitModel(options_.max_shard_bytes, plan_));
  return LayOut(plan_);
}

}  // namespace

std::uint64_t Plan::source_bytes() const {
  std::uint64_t bytes = 0;
  for (const ShardFile& shard : shards) bytes += shard.bytes;
  return bytes;
}

Result<Plan> MakePlan(const std::string& folder, const PlanOptions& options) {
  return Guarded([&]() -> Result<Plan> {
    Plan plan;
    plan.folder = folder;
    SLUICE_TRY(Planner(plan, options).Run());
    return plan;
  });
}

}  // namespace sluice
