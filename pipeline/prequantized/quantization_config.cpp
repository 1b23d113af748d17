#include "pipeline/prequantized/quantization_config.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "core/utf8.h"
#include "pipeline/hparams.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRegexMark = "re:";

struct NamedMethod {
  std::string_view name;
  QuantMethod method;
};
constexpr std::array kMethods{
    NamedMethod{"fp8", QuantMethod::kFp8},
    NamedMethod{"fbgemm_fp8", QuantMethod::kFp8},
    NamedMethod{"compressed-tensors", QuantMethod::kCompressedTensors},
    NamedMethod{"modelopt", QuantMethod::kModelOpt},
    NamedMethod{"mxfp4", QuantMethod::kMxfp4},
    NamedMethod{"gptq", QuantMethod::kGptq},
    NamedMethod{"awq", QuantMethod::kAwq},
};

// Formats of compressed-tensors whose tensors FindPacked knows.
constexpr std::array<std::string_view, 7> kFormats{
    "float-quantized",      "int-quantized",        "naive-quantized", "pack-quantized",
    "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mixed-precision",
};

Error Unknown(std::string_view what, std::string_view expected, std::string_view actual) {
  return MakeError(ErrorCode::kUnsupported, what).Expected(expected).Actual(actual);
}

Error WrongField(std::string_view key, std::string_view expected, json::Element actual) {
  return MakeError(ErrorCode::kCorrupt, fmt::format("quantization_config.{}", key))
      .Expected(expected)
      .Actual(std::string(simdjson::minify(actual)));
}

// A positive number; 0 when it is absent, null or -1.
Result<std::uint64_t> ReadSize(json::Element object, std::string_view key) {
  const auto value = json::Find(object, key);
  if (!value) return std::uint64_t{0};
  const auto number = json::AsInteger(value);
  constexpr std::int64_t kMost = std::int64_t{1} << 32;
  if (!number || *number == 0 || *number < -1 || *number > kMost) {
    return WrongField(key, "a positive integer, or -1", *value);
  }
  return *number < 0 ? 0 : static_cast<std::uint64_t>(*number);
}

// [rows, columns] of a block of scales.
Status ReadBlock(json::Element object, std::string_view key, WeightScheme& scheme) {
  const auto value = json::Find(object, key);
  if (!value) return Ok();
  const auto array = json::AsArray(value);
  if (!array) return WrongField(key, "two positive integers", *value);
  std::vector<std::uint64_t> sizes;
  for (const json::Element item : *array) {
    const auto size = json::AsInteger(item);
    if (size && *size > 0) sizes.push_back(static_cast<std::uint64_t>(*size));
  }
  if (sizes.size() != 2) return WrongField(key, "two positive integers", *value);
  scheme.block_rows = sizes[0];
  scheme.block_columns = sizes[1];
  return Ok();
}

Status CheckBits(std::uint64_t bits, std::initializer_list<std::uint64_t> known) {
  if (std::find(known.begin(), known.end(), bits) != known.end()) return Ok();
  return Unknown("weights of this many bits", fmt::format("{}", fmt::join(known, " or ")),
                 fmt::format("{} bits", bits));
}

constexpr std::size_t kMaxModuleBytes = 4096;
// For one name: patterns of real checkpoints take some hundreds.
constexpr std::uint32_t kMaxMatchSteps = 100'000;

Status AddKept(json::Element object, std::string_view key, std::vector<KeptModule>& kept) {
  const auto value = json::Find(object, key);
  if (!value) return Ok();
  const auto array = json::AsArray(value);
  if (!array) return WrongField(key, "a list of module names", *value);
  for (const json::Element item : *array) {
    const auto name = json::AsString(item);
    if (!name) return WrongField(key, "a list of module names", *value);
    KeptModule& module = kept.emplace_back(KeptModule{std::string(*name), std::nullopt});
    if (!name->starts_with(kRegexMark)) continue;
    if (name->size() > kMaxModuleBytes) {
      return WrongField(key, "regular expressions of at most 4096 bytes", item);
    }
    auto expression =
        RegularExpression::Compile(module.text.substr(kRegexMark.size()), kMaxMatchSteps);
    if (!expression) {
      return WrongField(key, "regular expressions behind re:", item)
          .Advice(expression.error().actual);
    }
    module.expression = *std::move(expression);
  }
  return Ok();
}

Status ReadFp8(json::Element object, QuantizationConfig& config) {
  WeightScheme scheme{true, 8};
  SLUICE_TRY(ReadBlock(object, "weight_block_size", scheme));
  config.schemes.push_back(scheme);
  return Ok();
}

Status ReadIntegers(json::Element object, std::string_view bits_key, std::string_view group_key,
                    QuantizationConfig& config) {
  WeightScheme scheme;
  SLUICE_ASSIGN(scheme.bits, ReadSize(object, bits_key));
  SLUICE_ASSIGN(scheme.group_size, ReadSize(object, group_key));
  config.schemes.push_back(scheme);
  return Ok();
}

Status ReadGptq(json::Element object, QuantizationConfig& config) {
  SLUICE_TRY(ReadIntegers(object, "bits", "group_size", config));
  SLUICE_TRY(CheckBits(config.schemes.front().bits, {2, 4, 8}));
  const std::string_view format =
      json::AsString(json::Find(object, "checkpoint_format")).value_or("gptq");
  if (format != "gptq" && format != "gptq_v2") {
    return Unknown("GPTQ weights in this format", "gptq or gptq_v2", format);
  }
  config.stores_zeros_less_one = format == "gptq";
  config.schemes.front().lists_groups =
      json::AsBool(json::Find(object, "desc_act")).value_or(false);
  return Ok();
}

Status ReadAwq(json::Element object, QuantizationConfig& config) {
  const bool is_short = json::Find(object, "bits").has_value();
  SLUICE_TRY(ReadIntegers(object, is_short ? "bits" : "w_bit",
                          json::Find(object, "group_size") ? "group_size" : "q_group_size",
                          config));
  SLUICE_TRY(CheckBits(config.schemes.front().bits, {4}));
  const std::string version =
      AsciiLower(json::AsString(json::Find(object, "version")).value_or("gemm"));
  if (version != "gemm") return Unknown("AWQ weights in this layout", "gemm", version);
  return Ok();
}

Status CheckFormat(json::Element object) {
  const auto format = json::AsString(json::Find(object, "format"));
  if (!format || std::find(kFormats.begin(), kFormats.end(), *format) != kFormats.end()) {
    return Ok();
  }
  return Unknown("compressed-tensors weights in this format",
                 fmt::format("one of {}", fmt::join(kFormats, ", ")), *format);
}

// actorder: "weight" and "static" leave groups of neighbours; true is the oldest way to say
// "group".
bool ListsGroups(json::Element weights) {
  const auto value = json::Find(weights, "actorder");
  const std::string order = AsciiLower(json::AsString(value).value_or(""));
  return order == "group" || order == "dynamic" || json::AsBool(value).value_or(false);
}

Status ReadCompressedTensors(json::Element object, QuantizationConfig& config) {
  SLUICE_TRY(CheckFormat(object));
  const auto value = json::Find(object, "config_groups");
  const auto groups = json::AsObject(value);
  if (!groups) {
    return MakeError(ErrorCode::kCorrupt, "quantization_config without config_groups");
  }
  for (const auto& [name, group] : *groups) {
    SLUICE_TRY(CheckFormat(group));
    const auto weights = json::Find(group, "weights");
    if (!weights) continue;  // of activations alone
    WeightScheme scheme;
    scheme.is_float = json::AsString(json::Find(*weights, "type")).value_or("int") == "float";
    SLUICE_ASSIGN(scheme.bits, ReadSize(*weights, "num_bits"));
    SLUICE_TRY(scheme.is_float ? CheckBits(scheme.bits, {4, 8})
                               : CheckBits(scheme.bits, {2, 4, 8}));
    SLUICE_ASSIGN(scheme.group_size, ReadSize(*weights, "group_size"));
    SLUICE_TRY(ReadBlock(*weights, "block_structure", scheme));
    scheme.lists_groups = ListsGroups(*weights);
    config.schemes.push_back(scheme);
  }
  if (!config.schemes.empty()) return Ok();
  return WrongField("config_groups", "a group with weights", *value);
}

Status ReadFields(json::Element object, QuantizationConfig& config) {
  for (const std::string_view key : {"modules_to_not_convert", "ignore", "exclude_modules"}) {
    SLUICE_TRY(AddKept(object, key, config.kept));
  }
  switch (config.method) {
    case QuantMethod::kFp8:
      return ReadFp8(object, config);
    case QuantMethod::kCompressedTensors:
      return ReadCompressedTensors(object, config);
    case QuantMethod::kGptq:
      return ReadGptq(object, config);
    case QuantMethod::kAwq:
      return ReadAwq(object, config);
    case QuantMethod::kModelOpt:  // the tensors say whether it is FP8 or NVFP4
      config.schemes.push_back({true, 8});
      return Ok();
    case QuantMethod::kMxfp4:
      config.schemes.push_back({true, 4});
      return Ok();
  }
  return Ok();
}

Result<QuantizationConfig> Read(json::Element object, std::string_view method_name) {
  std::vector<std::string_view> names;
  for (const NamedMethod& known : kMethods) {
    names.push_back(known.name);
    if (known.name != method_name) continue;
    QuantizationConfig config;
    config.method = known.method;
    SLUICE_TRY(ReadFields(object, config));
    return config;
  }
  return Unknown("weights quantized by this method",
                 fmt::format("quant_method {}", fmt::join(names, ", ")),
                 method_name.empty() ? "none" : method_name);
}

Result<std::optional<QuantizationConfig>> ReadFrom(const std::string& path, json::Element object,
                                                   std::string_view method_name) {
  Result<QuantizationConfig> config = Read(object, method_name);
  if (!config) return std::move(config).error().In(path);
  config->path = path;
  return std::optional(*std::move(config));
}

// Whether `part` is some of the dotted components of `module`, side by side.
bool IsPartOf(const std::string& part, const std::string& module) {
  for (std::size_t at = module.find(part); at != std::string::npos;
       at = module.find(part, at + 1)) {
    const std::size_t end = at + part.size();
    const bool begins = at == 0 || module[at - 1] == '.';
    if (begins && (end == module.size() || module[end] == '.')) return true;
  }
  return false;
}

}  // namespace

Result<bool> QuantizationConfig::Keeps(const std::string& module) const {
  for (const KeptModule& one : kept) {
    if (!one.expression) {
      if (IsPartOf(one.text, module)) return true;
      if (::fnmatch(one.text.c_str(), module.c_str(), 0) == 0) return true;
      continue;
    }
    const Result<bool> matches = one.expression->MatchesStart(module);
    if (matches && *matches) return true;
    if (matches) continue;
    return MakeError(ErrorCode::kUnsupported, "a regular expression takes too much work")
        .In(path)
        .At(module)
        .Expected("module names that can be told apart quickly")
        .Actual(fmt::format("'{}': {}", one.text, matches.error().actual));
  }
  return false;
}

Result<std::optional<QuantizationConfig>> ReadQuantizationConfig(const std::string& folder,
                                                                 const json::Document& config) {
  for (const std::string_view path :
       {"quantization_config", "compression_config", "text_config.quantization_config",
        "text_config.compression_config"}) {
    const auto object = json::FindPath(config.root(), path);
    if (!object) continue;
    const auto method = json::AsString(json::Find(*object, "quant_method"));
    const std::string_view fallback =
        path.ends_with("compression_config") ? "compressed-tensors" : "";
    return ReadFrom(config.path(), *object, method.value_or(fallback));
  }
  const fs::path model_opt = fs::path(folder) / "hf_quant_config.json";
  std::error_code error;
  if (!fs::exists(model_opt, error)) return std::optional<QuantizationConfig>();
  SLUICE_ASSIGN(const json::Document document,
                json::Document::Load(model_opt.string(), kMaxConfigBytes));
  const auto producer = json::AsString(json::FindPath(document.root(), "producer.name"));
  const auto object = json::Find(document.root(), "quantization");
  return ReadFrom(model_opt.string(), object.value_or(document.root()), producer.value_or(""));
}

}  // namespace sluice
