#include "pipeline/mlx/fold.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/checked.h"
#include "core/shape.h"
#include "core/utf8.h"
#include "pipeline/mlx/policy.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{1} << 20;

struct Found {
  const safetensors::TensorInfo* info = nullptr;
  std::uint32_t shard = 0;
};

// What a file says about an encoding. Without a mode it is only a hint (mlx-lm wrote none at
// first).
struct Declared {
  std::optional<mlx::Mode> mode;
  std::optional<std::uint64_t> bits;
  std::optional<std::uint64_t> group;
};

std::string TensorShape(const Found& tensor) { return ShapeText(tensor.info->shape); }

std::optional<std::uint64_t> CountIn(json::Element object, std::string_view key) {
  const auto number = json::AsInteger(json::Find(object, key));
  if (!number || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

// {"bits", "group_size", "mode"} of config.json.
Result<Declared> ReadDeclared(json::Element object) {
  Declared declared{std::nullopt, CountIn(object, "bits"), CountIn(object, "group_size")};
  const auto mode = json::AsString(json::Find(object, "mode"));
  if (!mode) return declared;
  declared.mode = mlx::ParseMode(*mode);
  if (declared.mode) return declared;
  return MakeError(ErrorCode::kUnsupported, "mode of quantized weights")
      .Expected("affine, nvfp4, mxfp4 or mxfp8")
      .Actual(*mode);
}

// Ollama's names of a type, in any case: older ones are Q4 and FP4 for int4, Q8 and FP8 for int8.
std::optional<MlxType> TypeOfBlob(std::string_view name) {
  const std::string lower = AsciiLower(name);
  if (lower == "q4" || lower == "fp4") return ParseMlxType("int4");
  if (lower == "q8" || lower == "fp8") return ParseMlxType("int8");
  return ParseMlxType(lower);
}

// The metadata of an Ollama blob: for one of its tensors, or for all.
Result<Declared> ReadDeclared(const safetensors::Header& header, const std::string& weight) {
  const auto find = [&](std::string_view key) -> const std::string* {
    for (const std::string& full : {fmt::format("{}.{}", weight, key), std::string(key)}) {
      for (const auto& [name, value] : header.metadata) {
        if (name == full) return &value;
      }
    }
    return nullptr;
  };
  Declared declared;
  const std::string* const type = find("quant_type");
  if (type == nullptr) return declared;
  const auto known = TypeOfBlob(*type);
  if (!known) {
    return MakeError(ErrorCode::kUnsupported, "quant_type of quantized weights")
        .Expected("int4, int8, nvfp4, mxfp4 or mxfp8")
        .Actual(*type);
  }
  const mlx::Encoding usual = MlxEncodingOf(*known, 64, Dtype::kBF16);
  declared = {usual.mode, usual.bits, usual.group};
  if (const std::string* const group = find("group_size")) {
    std::uint64_t number = 0;
    std::from_chars(group->data(), group->data() + group->size(), number);
    declared.group = number;
  }
  return declared;
}

// One weight and the tensors that belong to it.
class Weight {
 public:
  Weight(const Found& codes, const Found& scales) : codes_(codes), scales_(scales) {}

  // Checks the shapes that all encodings share.
  Status CheckShapes() const {
    const auto& code_shape = codes_.info->shape;
    const auto& scale_shape = scales_.info->shape;
    const bool fits = code_shape.size() >= 2 && code_shape.size() == scale_shape.size() &&
                      std::equal(code_shape.begin(), code_shape.end() - 1, scale_shape.begin()) &&
                      scale_shape.back() > 0 && code_shape.back() % scale_shape.back() == 0;
    if (fits) return Ok();
    return Disagree("shapes of codes and scales",
                    fmt::format("scales of shape {} but for the last extent, which divides the "
                                "last one of the codes",
                                TensorShape(codes_)));
  }

  Result<mlx::Encoding> Decide(const Declared& declared) const {
    mlx::Encoding encoding;
    if (declared.mode) {
      const mlx::Encoding usual = mlx::EncodingOf(*declared.mode).value_or(mlx::Encoding{});
      encoding = {*declared.mode, Narrow(declared.bits.value_or(usual.bits)),
                  Narrow(declared.group.value_or(usual.group)), scales_.info->dtype};
    } else {
      SLUICE_ASSIGN(encoding, FromShapes(declared));
    }
    if (!mlx::IsKnown(encoding)) {
      return MakeError(ErrorCode::kUnsupported, "quantized weights of this kind")
          .At(codes_.info->name)
          .Expected(
              "affine with 4 or 8 bits in groups of 32, 64 or 128, nvfp4 in groups of 16, mxfp4 or "
              "mxfp8 in groups of 32")
          .Actual(fmt::format("{} with {} bits in groups of {}, and {} in tensor '{}'",
                              mlx::ModeName(encoding.mode), encoding.bits, encoding.group,
                              DtypeName(encoding.scale_dtype), scales_.info->name));
    }
    const std::uint64_t words = encoding.group * encoding.bits / mlx::kWordBits;
    if (WordsOfGroup() != words) {
      return Disagree("codes and scales",
                      fmt::format("{} words a scale, for {} bits in groups of {}", words,
                                  encoding.bits, encoding.group));
    }
    return encoding;
  }

 private:
  static std::uint32_t Narrow(std::uint64_t number) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(number, 0xFFFF'FFFF));
  }
  [[nodiscard]] std::uint64_t WordsOfGroup() const {
    return codes_.info->shape.back() / scales_.info->shape.back();
  }

  Error Disagree(std::string_view what, std::string_view expected) const {
    return MakeError(ErrorCode::kMismatch, what)
        .At(codes_.info->name)
        .Expected(expected)
        .Actual(fmt::format("{}, and {} in tensor '{}'", TensorShape(codes_), TensorShape(scales_),
                            scales_.info->name));
  }

  // Several encodings can have the same shapes; `hint` tells them apart.
  Result<mlx::Encoding> FromShapes(const Declared& hint) const {
    const std::uint64_t words = WordsOfGroup();
    std::vector<mlx::Encoding> candidates;
    if (scales_.info->dtype == Dtype::kU8) {
      for (const auto mode : {mlx::Mode::kNvfp4, mlx::Mode::kMxfp4, mlx::Mode::kMxfp8}) {
        const mlx::Encoding encoding = *mlx::EncodingOf(mode);
        if (encoding.group * encoding.bits == words * mlx::kWordBits)
          candidates.push_back(encoding);
      }
    } else {
      for (const std::uint32_t bits : {4U, 8U}) {
        const mlx::Encoding encoding{mlx::Mode::kAffine, bits,
                                     Narrow(words * (mlx::kWordBits / bits)), scales_.info->dtype};
        if (mlx::IsKnown(encoding)) candidates.push_back(encoding);
      }
    }
    if (candidates.empty()) {
      return Disagree("codes and scales", "shapes of a known encoding");
    }
    const auto matches = [&](const auto& test) {
      const auto found = std::find_if(candidates.begin(), candidates.end(), test);
      return found == candidates.end() ? nullptr : &*found;
    };
    if (candidates.size() > 1) {
      if (const auto* by_group = matches([&](const auto& e) { return e.group == hint.group; })) {
        return *by_group;
      }
      if (const auto* by_bits = matches([&](const auto& e) { return e.bits == hint.bits; })) {
        return *by_bits;
      }
      // Groups of 64 are usual; here both kinds of codes could have groups that are not.
      const auto* usual = matches([](const auto& e) { return e.bits == 8 && e.group == 64; });
      if (usual != nullptr) return *usual;
      return Disagree("codes and scales",
                      "\"bits\" and \"group_size\" in config.json, since these "
                      "shapes can be 4 or 8 bits");
    }
    return candidates.front();
  }

  const Found& codes_;
  const Found& scales_;
};

class Folder {
 public:
  Folder(const json::Document& config, safetensors::ShardSet& shards)
      : config_(config), shards_(shards) {
    for (std::uint32_t shard = 0; shard < shards.shards.size(); ++shard) {
      for (const safetensors::TensorInfo& info : shards.shards[shard].header.tensors) {
        by_name_.emplace(info.name, Found{&info, shard});
      }
    }
  }

  Result<MlxTensors> Run() {
    SLUICE_TRY(ReadHint());
    for (const safetensors::Shard& shard : shards_.shards) {
      for (const safetensors::TensorInfo& info : shard.header.tensors) {
        if (info.dtype != Dtype::kU32 || !info.name.ends_with(mlx::kWeight)) continue;
        Status folded = Fold(by_name_.at(info.name));
        if (folded) continue;
        problems_.push_back(std::move(folded).error().In(shard.path));
      }
    }
    if (!problems_.empty()) return JoinErrors(std::move(problems_));
    Replace();
    return std::move(tensors_);
  }

 private:
  // What older versions of Ollama wrote beside config.json.
  Status ReadHint() {
    const auto path = std::filesystem::path(config_.path()).parent_path() / "model_index.json";
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return Ok();
    SLUICE_ASSIGN(const json::Document index, json::Document::Load(path.string(), kMaxIndexBytes));
    hint_.group = CountIn(index.root(), "group_size");
    return Ok();
  }

  // The first of these names that exists.
  [[nodiscard]] const Found* Find(std::initializer_list<std::string> names) const {
    for (const std::string& name : names) {
      const auto found = by_name_.find(name);
      if (found != by_name_.end()) return &found->second;
    }
    return nullptr;
  }

  static Error Missing(const Found& codes, std::string_view what, std::string_view wanted) {
    return MakeError(ErrorCode::kMissing, fmt::format("quantized weights without {}", what))
        .At(codes.info->name)
        .Expected(fmt::format("a tensor '{}'", wanted));
  }

  Result<Declared> DeclaredFor(const Found& codes, const std::string& module) const {
    SLUICE_ASSIGN(Declared declared,
                  ReadDeclared(shards_.shards[codes.shard].header, codes.info->name));
    if (declared.mode) return declared;
    auto quantization = json::Find(config_.root(), "quantization");
    if (!quantization) quantization = json::Find(config_.root(), "quantization_config");
    if (!quantization) return hint_;
    const auto own = json::Find(*quantization, module);
    Result<Declared> read = ReadDeclared(own && json::AsObject(own) ? *own : *quantization);
    if (!read) return std::move(read).error().At(codes.info->name);
    return read;
  }

  Status Fold(const Found& codes) {
    const std::string& weight = codes.info->name;
    const std::string module = weight.substr(0, weight.size() - mlx::kWeight.size());
    const Found* const scales = Find({module + ".scales", weight + ".scale", weight + "_scale"});
    SLUICE_ASSIGN(const Declared declared, DeclaredFor(codes, module));
    if (scales == nullptr) {
      // Else they are integers that nobody calls quantized.
      if (!declared.mode && !declared.bits && !declared.group) return Ok();
      return Missing(codes, "scales", module + ".scales");
    }
    const Weight checked(codes, *scales);
    SLUICE_TRY(checked.CheckShapes());
    auto tensor = std::make_shared<MlxTensor>();
    SLUICE_ASSIGN(tensor->encoding, checked.Decide(declared));
    tensor->codes = PlaceOf(codes);
    tensor->scales = PlaceOf(*scales);
    SLUICE_TRY(AddBiases(codes, *scales, module, *tensor));
    tensor->columns = scales->info->shape.back() * tensor->encoding.group;
    const auto& shape = codes.info->shape;
    tensor->rows = *CheckedProduct(std::span(shape).first(shape.size() - 1));
    SLUICE_TRY(AddFactors(codes, module, *tensor));
    folded_.insert(scales->info->name);
    tensors_.emplace(weight, std::move(tensor));
    return Ok();
  }

  Status AddBiases(const Found& codes, const Found& scales, const std::string& module,
                   MlxTensor& tensor) {
    if (!tensor.encoding.has_biases()) return Ok();
    const std::string& weight = codes.info->name;
    const Found* const biases = Find({module + ".biases", weight + ".bias", weight + "_qbias"});
    if (biases == nullptr) return Missing(codes, "biases", module + ".biases");
    if (biases->info->shape != scales.info->shape || biases->info->dtype != scales.info->dtype) {
      return MakeError(ErrorCode::kMismatch, "scales and biases")
          .At(biases->info->name)
          .Expected(fmt::format("{} {}, as tensor '{}'", DtypeName(scales.info->dtype),
                                TensorShape(scales), scales.info->name))
          .Actual(fmt::format("{} {}", DtypeName(biases->info->dtype), TensorShape(*biases)));
    }
    tensor.biases = PlaceOf(*biases);
    folded_.insert(biases->info->name);
    return Ok();
  }

  // One factor for the whole tensor, for each of its matrices or for each row.
  Status AddFactors(const Found& codes, const std::string& module, MlxTensor& tensor) {
    const std::string& weight = codes.info->name;
    const Found* const factors =
        Find({module + ".global_scale", weight + ".global_scale", weight + "_global_scale"});
    if (factors == nullptr || tensor.encoding.mode == mlx::Mode::kAffine) return Ok();
    const std::uint64_t count = *CheckedProduct(factors->info->shape);
    const bool fits =
        count == 1 || (count > 0 && (count == tensor.rows || count == codes.info->shape.front()));
    if (!fits || factors->info->dtype != Dtype::kF32) {
      return MakeError(ErrorCode::kMismatch, "global scale")
          .At(factors->info->name)
          .Expected(fmt::format("F32, one or {} numbers, for tensor '{}'", tensor.rows, weight))
          .Actual(fmt::format("{} {}", DtypeName(factors->info->dtype), TensorShape(*factors)));
    }
    tensor.factors = PlaceOf(*factors);
    tensor.rows_of_factor = tensor.rows / count;
    folded_.insert(factors->info->name);
    return Ok();
  }

  [[nodiscard]] static MlxTensor::Place PlaceOf(const Found& tensor) {
    return {tensor.shard, tensor.info->offset};
  }

  void Replace() {
    for (safetensors::Shard& shard : shards_.shards) {
      std::vector<safetensors::TensorInfo>& infos = shard.header.tensors;
      std::erase_if(infos, [&](const auto& info) { return folded_.contains(info.name); });
      for (safetensors::TensorInfo& info : infos) {
        const auto folded = tensors_.find(info.name);
        if (folded == tensors_.end()) continue;
        const MlxTensor& tensor = *folded->second;
        info.shape.back() = tensor.columns;
        const Dtype scales = tensor.encoding.scale_dtype;
        info.dtype = scales == Dtype::kU8 ? Dtype::kBF16 : scales;
      }
    }
  }

  const json::Document& config_;
  safetensors::ShardSet& shards_;
  Declared hint_;  // for weights that nothing else describes
  std::unordered_map<std::string, Found> by_name_;
  std::set<std::string, std::less<>> folded_;  // parts of weights
  MlxTensors tensors_;
  std::vector<Error> problems_;
};

}  // namespace

Result<MlxTensors> FoldMlxTensors(const json::Document& config, safetensors::ShardSet& shards) {
  return Folder(config, shards).Run();
}

}  // namespace sluice
