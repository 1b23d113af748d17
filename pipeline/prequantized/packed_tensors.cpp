#include "pipeline/prequantized/packed_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "pipeline/prequantized/packed_groups.h"
#include "pipeline/prequantized/packed_layouts.h"

namespace sluice {
namespace {

// Scales of activations and of the key-value cache, which no GGUF file has.
constexpr std::array<std::string_view, 10> kActivationSuffixes{
    "input_scale", "input_global_scale", "input_zero_point", "output_scale", "activation_scale",
    ".k_scale",    ".v_scale",           ".q_scale",         ".kv_scale",    ".prob_output_scale"};

// What belongs to codes, and what the codes of the same weight are called.
struct Companion {
  std::string_view suffix;
  std::string_view codes;
};
constexpr std::array kCompanions{
    Companion{"_scale_inv", ""},
    Companion{".weight_scale", ".weight"},
    Companion{"_scale_2", ""},
    Companion{"_global_scale", "_packed"},
    Companion{"_zero_point", "_packed"},
    Companion{".weight_shape", ".weight_packed"},
    Companion{".weight_g_idx", ".weight_packed"},
    Companion{".qzeros", ".qweight"},
    Companion{".scales", ".qweight"},
    Companion{".g_idx", ".qweight"},
    Companion{"_scales", "_blocks"},
};

std::string WithoutSuffix(std::string_view name, std::string_view suffix) {
  return std::string(name.substr(0, name.size() - suffix.size()));
}

bool IsFloat8(Dtype dtype) { return dtype == Dtype::kF8E4M3 || dtype == Dtype::kF8E5M2; }

// Takes a weight whose codes `part` is, if it is any.
void Visit(PackedGroups& groups, const PackedPart& part) {
  const std::string& name = part.info->name;
  const Dtype dtype = part.info->dtype;
  switch (groups.config().method) {
    case QuantMethod::kGptq:
    case QuantMethod::kAwq:
      if (name.ends_with(".qweight")) TakeWords(groups, part, WithoutSuffix(name, "qweight"));
      return;
    case QuantMethod::kMxfp4:
      if (name.ends_with("_blocks")) TakeBlocks(groups, part, WithoutSuffix(name, "_blocks"));
      return;
    case QuantMethod::kCompressedTensors:
      if (name.ends_with("_packed")) {
        return TakePacked(groups, part, WithoutSuffix(name, "_packed"));
      }
      if (dtype == Dtype::kI8 && name.ends_with(".weight")) return TakeScaled(groups, part);
      break;
    case QuantMethod::kModelOpt:
      if (dtype == Dtype::kU8 && !name.ends_with("_scale")) {
        return TakeFp4(groups, part, name, "_scale_2", false);
      }
      break;
    case QuantMethod::kFp8:
      break;
  }
  // Scales of NVFP4 are 8-bit floats as well.
  if (IsFloat8(dtype) && !name.ends_with("_scale")) TakeScaled(groups, part);
}

// Leaves out the scales of activations; gives whether it was one.
bool LeaveOutActivationScale(PackedGroups& groups, const std::string& name) {
  const bool is_one = std::any_of(kActivationSuffixes.begin(), kActivationSuffixes.end(),
                                  [&](std::string_view suffix) { return name.ends_with(suffix); });
  if (is_one) groups.LeaveOut(name);
  return is_one;
}

// A problem for scales without codes.
void CheckCompanion(PackedGroups& groups, const std::string& name) {
  for (const Companion& companion : kCompanions) {
    if (!name.ends_with(companion.suffix)) continue;
    const std::string codes = WithoutSuffix(name, companion.suffix) + std::string(companion.codes);
    const PackedPart* const weight = groups.Find(codes);
    const bool may_be_packed = weight == nullptr && companion.codes == ".weight" &&
                               groups.config().method == QuantMethod::kCompressedTensors;
    return groups.Report(
        MakeError(ErrorCode::kMissing, "it belongs to quantized weights that are not there")
            .At(name)
            .Expected(may_be_packed ? fmt::format("codes in '{0}' or '{0}_packed'", codes)
                                    : fmt::format("codes in '{}'", codes))
            .Actual(weight == nullptr ? ""
                                      : fmt::format("that in {}", DtypeName(weight->info->dtype))));
  }
}

bool IsPlain(Dtype dtype) {
  return dtype == Dtype::kF64 || dtype == Dtype::kF32 || dtype == Dtype::kF16 ||
         dtype == Dtype::kBF16;
}

// A problem for the first codes and scales of a checkpoint that does not say what they are.
void CheckNoneIsPacked(const std::string& config_path, const safetensors::ShardSet& shards,
                       std::vector<Error>& problems) {
  const QuantizationConfig none;
  PackedGroups groups(none, shards, /*zero_non_finite=*/false, problems);
  for (const PackedPart& part : groups.parts()) {
    const std::string& name = part.info->name;
    for (const Companion& companion : kCompanions) {
      if (!name.ends_with(companion.suffix)) continue;
      const std::string codes =
          WithoutSuffix(name, companion.suffix) + std::string(companion.codes);
      const PackedPart* weight = groups.Find(codes);
      if (weight == nullptr) weight = groups.Find(codes + "_packed");
      if (weight == nullptr || IsPlain(weight->info->dtype)) continue;
      return groups.Report(MakeError(ErrorCode::kMissing, "quantized weights, but nothing says how")
                               .In(config_path)
                               .At(weight->info->name)
                               .Expected("quantization_config")
                               .Actual(fmt::format("none, and codes in {} beside '{}'",
                                                   DtypeName(weight->info->dtype), name))
                               .Advice("take config.json from where the weights are from"));
    }
  }
}

PackedTensors FindPacked(const QuantizationConfig& config, const safetensors::ShardSet& shards,
                         bool zero_non_finite, std::vector<Error>& problems) {
  PackedGroups groups(config, shards, zero_non_finite, problems);
  const std::size_t before = problems.size();
  for (const PackedPart& part : groups.parts()) Visit(groups, part);
  // Companions of weights with a problem are left over, which is no problem of its own.
  const bool all_fit = problems.size() == before;
  std::size_t num_activation_scales = 0;
  for (const PackedPart& part : groups.parts()) {
    const std::string& name = part.info->name;
    if (groups.IsTaken(name) || groups.IsKept(name)) continue;
    if (LeaveOutActivationScale(groups, name)) {
      ++num_activation_scales;
    } else if (all_fit) {
      CheckCompanion(groups, name);
    }
  }
  PackedTensors found = groups.Take();
  if (num_activation_scales > 0) {
    found.notes.push_back(
        fmt::format("{} scales of activations left out: a GGUF file has no place for them",
                    num_activation_scales));
  }
  return found;
}

}  // namespace

Result<PackedTensors> FindPackedTensors(const std::string& folder, const json::Document& config,
                                        const safetensors::ShardSet& shards, bool zero_non_finite,
                                        std::vector<Error>& problems) {
  SLUICE_ASSIGN(const auto quantization, ReadQuantizationConfig(folder, config));
  if (!quantization) {
    CheckNoneIsPacked(config.path(), shards, problems);
    return PackedTensors();
  }
  return FindPacked(*quantization, shards, zero_non_finite, problems);
}

}  // namespace sluice
