#include "pipeline/mlx/folder_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "arch/registry.h"
#include "core/file.h"
#include "formats/gguf/split.h"
#include "formats/safetensors/writer.h"
#include "pipeline/hparams.h"
#include "pipeline/tensor_index.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxTextBytes = std::uint64_t{256} << 20;
constexpr std::string_view kConfigName = "config.json";
// How the source's weights were quantized.
constexpr std::string_view kModelOptName = "hf_quant_config.json";
constexpr std::string_view kExperts = ".experts.";
constexpr std::string_view kStacked = ".switch_mlp.";

std::vector<std::byte> BytesOf(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// The encoding in which values of a dtype are stored when they are not quantized.
gguf::TensorType PlainTypeOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
    case Dtype::kF32:
      return gguf::TensorType::kF32;
    case Dtype::kF16:
      return gguf::TensorType::kF16;
    default:
      return gguf::TensorType::kBF16;
  }
}

Dtype DtypeOf(const TensorExpr& expr) {
  if (expr.mlx_part) return expr.mlx_part->dtype();
  if (expr.type == gguf::TensorType::kF32) return Dtype::kF32;
  return expr.type == gguf::TensorType::kF16 ? Dtype::kF16 : Dtype::kBF16;
}

// A tensor of the output before it is quantized: one of the source, or a stack of experts.
struct Output {
  std::string name;
  std::map<std::uint64_t, std::uint32_t> sources;  // expert -> position in the index
  bool stacked = false;
};

// The output that a source tensor belongs to, and its place in the stack.
std::pair<Output, std::uint64_t> OutputOf(const std::string& name) {
  const NamePattern pattern = PatternOf(name);
  const std::size_t at = name.find(kExperts);
  if (pattern.numbers.size() != 2 || at == std::string::npos) return {{name, {}, false}, 0};
  const std::size_t number = at + kExperts.size();
  const std::size_t end = name.find('.', number);
  const std::string stacked = fmt::format("{}{}{}", std::string_view(name).substr(0, at), kStacked,
                                          std::string_view(name).substr(end + 1));
  return {{stacked, {}, true}, pattern.numbers.back()};
}

class FolderPlanner {
 public:
  explicit FolderPlanner(const MlxOptions& options) : options_(options) {}

  Result<FolderPlan> Run(const std::string& checkpoint) {
    SLUICE_TRY(OpenCheckpoint(checkpoint));
    SLUICE_TRY(AddTensors());
    SLUICE_TRY(AddShards());
    SLUICE_TRY(AddTexts());
    AddConfig();
    return std::move(result_);
  }

 private:
  Status OpenCheckpoint(const std::string& checkpoint) {
    PlanOptions options;
    options.keep_mtp = options_.keep_mtp;
    SLUICE_ASSIGN(result_.plan, MakePlan(checkpoint, options));
    const std::string config_path = (fs::path(checkpoint) / kConfigName).string();
    if (result_.plan.family != &arch::kGlm4MoeLite) {
      return MakeError(ErrorCode::kUnsupported, "model to quantize as safetensors")
          .In(config_path)
          .Expected(arch::kGlm4MoeLite.name)
          .Actual(result_.plan.family->name);
    }
    result_.plan.files.clear();
    result_.plan.generated.clear();
    SLUICE_ASSIGN(shards_, safetensors::OpenShards(checkpoint));
    result_.plan.warnings = shards_.warnings;  // the others are about GGUF
    SLUICE_TRY(FindPackedWeights(config_path));
    index_.emplace(shards_, packed_);
    SLUICE_ASSIGN(const std::string text, ReadWholeFile(config_path, kMaxTextBytes));
    config_ = Json::parse(text, nullptr, false);
    if (!config_.is_object() || !config_.value("num_hidden_layers", Json()).is_number_unsigned()) {
      return MakeError(ErrorCode::kCorrupt, "no number of layers").In(config_path);
    }
    return Ok();
  }

  Status FindPackedWeights(const std::string& config_path) {
    SLUICE_ASSIGN(const json::Document config, json::Document::Load(config_path, kMaxTextBytes));
    std::vector<Error> problems;
    SLUICE_ASSIGN(packed_, FindPackedTensors(result_.plan.folder, config, shards_,
                                             options_.zero_non_finite, problems));
    if (!problems.empty()) return JoinErrors(std::move(problems));
    return Ok();
  }

  [[nodiscard]] bool IsKept(const std::string& name) const {
    const NamePattern pattern = PatternOf(name);
    return options_.keep_mtp || !pattern.text.starts_with("model.layers.{}.") ||
           pattern.numbers.front() < config_["num_hidden_layers"].get<std::uint64_t>();
  }

  Status AddTensors() {
    std::vector<Output> outputs;
    std::map<std::string, std::size_t> stacks;
    for (std::uint32_t position = 0; position < index_->size(); ++position) {
      const std::string& name = (*index_)[position].info->name;
      if (!IsKept(name)) continue;
      auto [output, expert] = OutputOf(name);
      const auto [known, is_new] = stacks.emplace(output.name, outputs.size());
      if (is_new) outputs.push_back(std::move(output));
      outputs[known->second].sources.emplace(expert, position);
    }
    for (const Output& output : outputs) SLUICE_TRY(AddOutput(output));
    return Ok();
  }

  Status AddOutput(const Output& output) {
    const safetensors::TensorInfo& first = *(*index_)[output.sources.begin()->second].info;
    TensorExpr expr;
    for (const auto& [expert, position] : output.sources) {
      const SourceTensor& source = (*index_)[position];
      const safetensors::TensorInfo* const info = source.info;
      if (info->shape != first.shape || info->dtype != first.dtype || !IsFloat(info->dtype)) {
        return MakeError(ErrorCode::kUnsupported, "tensor to quantize as safetensors")
            .At(info->name)
            .Expected(fmt::format("numbers, as tensor '{}' holds them", first.name))
            .Actual(DtypeName(info->dtype));
      }
      const StridedView view = source.View().Coalesced();
      expr.elements += view.elements();
      expr.segments.push_back(source.SegmentOf(view, expr.elements));
    }
    std::vector<std::uint64_t> shape = first.shape;
    if (output.stacked) shape.insert(shape.begin(), output.sources.size());
    expr.type = PlainTypeOf(first.dtype);
    expr.row_elements = shape.empty() ? 1 : shape.back();
    const auto encoding =
        ChooseMlxEncoding(output.name, shape, options_.type, options_.affine_group, first.dtype);
    if (encoding) {
      AddQuantized(output.name, std::move(shape), std::move(expr), *encoding);
    } else {
      Add(output.name, std::move(shape), std::move(expr));
    }
    return Ok();
  }

  void AddQuantized(const std::string& name, std::vector<std::uint64_t> shape, TensorExpr expr,
                    const mlx::Encoding& encoding) {
    Quantizing how;
    how.rounded = expr.type;
    how.zero_non_finite = options_.zero_non_finite;
    expr.quantizing = how;
    const std::string module = name.substr(0, name.size() - mlx::kWeight.size());
    NoteEncoding(module, encoding);
    const auto last = encoding.has_biases() ? mlx::Part::kBiases : mlx::Part::kScales;
    const auto add = [&](mlx::Part part, std::string_view suffix, std::uint64_t columns) {
      expr.mlx_part = {encoding, part};
      expr.read_again = part != last;
      std::vector<std::uint64_t> part_shape = shape;
      part_shape.back() = columns;
      Add(fmt::format("{}{}", module, suffix), std::move(part_shape), expr);
    };
    add(mlx::Part::kCodes, mlx::kWeight, shape.back() * encoding.bits / mlx::kWordBits);
    add(mlx::Part::kScales, ".scales", shape.back() / encoding.group);
    if (encoding.has_biases()) add(mlx::Part::kBiases, ".biases", shape.back() / encoding.group);
  }

  void Add(std::string name, std::vector<std::uint64_t> shape, TensorExpr expr) {
    PlannedTensor tensor;
    tensor.record.name = std::move(name);
    tensor.record.shape = std::move(shape);
    tensor.record.type = expr.type;
    tensor.record.bytes = expr.bytes();
    tensor.expr = std::move(expr);
    tensors_.push_back(std::move(tensor));
  }

  // config.json names each module that is not quantized as most are.
  void NoteEncoding(const std::string& module, const mlx::Encoding& encoding) {
    const auto describe = [](const mlx::Encoding& of) {
      return Json{{"group_size", of.group}, {"bits", of.bits}, {"mode", mlx::ModeName(of.mode)}};
    };
    const Json usual = describe(MlxEncodingOf(options_.type, options_.affine_group, Dtype::kBF16));
    if (quantization_.empty()) quantization_ = usual;
    const Json here = describe(encoding);
    if (here != usual) quantization_[module] = here;
  }

  // Tensors of which all that follow are aligned come first: in a file they follow each other
  // without gaps, and some readers want every tensor aligned to its elements.
  static void AlignTensors(std::vector<PlannedTensor>& tensors) {
    const auto alignment = [](const PlannedTensor& tensor) {
      return std::min(std::countr_zero(tensor.record.bytes), 3);
    };
    std::stable_sort(tensors.begin(), tensors.end(),
                     [&](const auto& a, const auto& b) { return alignment(a) > alignment(b); });
  }

  static void LayOutShard(FilePlan& file) {
    AlignTensors(file.tensors);
    std::vector<safetensors::TensorInfo> infos;
    for (const PlannedTensor& tensor : file.tensors) {
      infos.push_back({tensor.record.name, DtypeOf(tensor.expr), tensor.record.shape, 0, 0});
    }
    file.head = BytesOf(safetensors::SerializeHead(infos, "mlx"));
    for (std::size_t i = 0; i < infos.size(); ++i) {
      file.tensors[i].record.data_offset = infos[i].offset - file.head.size();
      file.data_bytes += infos[i].bytes;
    }
  }

  Status AddShards() {
    std::vector<gguf::TensorRecord> records;
    for (const PlannedTensor& tensor : tensors_) records.push_back(tensor.record);
    std::vector<gguf::TensorRange> ranges{{0, records.size()}};
    if (options_.max_shard_bytes > 0) {
      SLUICE_ASSIGN(ranges, gguf::GroupBySize(records, options_.max_shard_bytes));
    }
    Json weight_map = Json::object();
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      FilePlan file;
      for (std::size_t t = ranges[i].begin; t < ranges[i].end; ++t) {
        file.tensors.push_back(std::move(tensors_[t]));
      }
      LayOutShard(file);
      total += file.data_bytes;
      std::string name = ranges.size() == 1 ? "model.safetensors"
                                            : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1,
                                                          ranges.size());
      for (const PlannedTensor& tensor : file.tensors) weight_map[tensor.record.name] = name;
      AddFile(std::move(name), std::move(file));
    }
    if (ranges.size() > 1) {
      AddText(std::string(safetensors::kIndexName),
              Json{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}});
    }
    return Ok();
  }

  void AddFile(std::string name, FilePlan file) {
    result_.names.push_back(std::move(name));
    result_.plan.files.push_back(std::move(file));
  }
  void AddText(std::string name, const Json& json) {
    FilePlan file;
    file.head = BytesOf(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    AddFile(std::move(name), std::move(file));
  }

  // Everything that describes the model and its tokenizer, as it is.
  Status AddTexts() {
    const std::vector<std::string_view> kinds{".json", ".jinja", ".model", ".txt"};
    std::error_code error;
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(result_.plan.folder, error)) {
      const std::string name = entry.path().filename().string();
      const std::string kind = entry.path().extension().string();
      if (name == kConfigName || name == safetensors::kIndexName || name == kModelOptName ||
          !entry.is_regular_file(error) ||
          std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
        continue;
      }
      paths.push_back(entry.path());
    }
    if (error) {
      return ErrnoError("cannot list folder", result_.plan.folder, error.value());
    }
    std::sort(paths.begin(), paths.end());
    for (const fs::path& path : paths) {
      SLUICE_ASSIGN(const std::string text, ReadWholeFile(path.string(), kMaxTextBytes));
      FilePlan file;
      file.head = BytesOf(text);
      AddFile(path.filename().string(), std::move(file));
    }
    return Ok();
  }

  void AddConfig() {
    if (!options_.keep_mtp) config_["num_nextn_predict_layers"] = 0;
    // What the source's weights were packed in.
    for (const auto* key : {"quantization_config", "compression_config"}) config_.erase(key);
    config_["quantization"] = quantization_;
    AddText(std::string(kConfigName), config_);
  }

  const MlxOptions& options_;
  FolderPlan result_;
  safetensors::ShardSet shards_;
  PackedTensors packed_;
  std::optional<TensorIndex> index_;
  Json config_;
  Json quantization_ = Json::object();
  std::vector<PlannedTensor> tensors_;
};

// Shards of another conversion would be taken for part of this one.
Status CheckNoOtherWeights(const FolderPlan& folder_plan, const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const bool is_weights =
        entry.path().extension() == ".safetensors" || name == safetensors::kIndexName;
    const auto& names = folder_plan.names;
    if (!is_weights || std::find(names.begin(), names.end(), name) != names.end()) continue;
    return MakeError(ErrorCode::kUsage, "the folder holds other weights")
        .In(entry.path().string())
        .Advice("name another folder, or remove the file");
  }
  if (error) return ErrnoError("cannot list folder", folder, error.value());
  return Ok();
}

}  // namespace

Result<FolderPlan> PlanMlxFolder(const std::string& checkpoint, const MlxOptions& options) {
  return FolderPlanner(options).Run(checkpoint);
}

Result<ConvertReport> ConvertToFolder(const FolderPlan& folder_plan, const std::string& folder,
                                      const ConvertOptions& options) {
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    return MakeError(ErrorCode::kUsage, "output is no folder").In(folder);
  }
  const bool made = fs::create_directory(folder, error);
  if (error) return ErrnoError("cannot make folder", folder, error.value());
  SLUICE_TRY(CheckNoOtherWeights(folder_plan, folder));
  std::vector<std::string> paths;
  for (const std::string& name : folder_plan.names) {
    paths.push_back((fs::path(folder) / name).string());
  }
  ConvertOptions with_hook = options;
  // Until its last file has its name, a folder that is overwritten must not look finished.
  with_hook.before_finish = [&]() -> Status {
    std::error_code failed;
    fs::remove(paths.back(), failed);
    if (failed) return ErrnoError("cannot replace", paths.back(), failed.value());
    return Ok();
  };
  Result<ConvertReport> report = Convert(folder_plan.plan, paths, with_hook);
  if (!report && made) fs::remove(folder, error);  // if it is empty
  return report;
}

}  // namespace sluice
