#include "pipeline/hparams.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "core/utf8.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using arch::Hp;
using arch::HParamRule;
using arch::HpKind;
using arch::HpValue;

// Every count becomes a u32 in the GGUF file.
constexpr std::uint64_t kMaxCount = std::numeric_limits<std::uint32_t>::max();

Result<std::optional<json::Document>> LoadOptional(const fs::path& path) {
  return json::Document::LoadIfPresent(path.string(), kMaxConfigBytes);
}

// Where a rule looks, in order.
std::vector<json::Element> Roots(arch::Section section, const ConfigFiles& files) {
  std::vector<json::Element> roots;
  const auto add = [&](std::optional<json::Element> root) {
    if (root) roots.push_back(*root);
  };
  const json::Element config = files.config.root();
  switch (section) {
    case arch::Section::kText:
      add(json::Find(config, "text_config"));
      roots.push_back(config);
      break;
    case arch::Section::kVision:
      add(json::Find(config, "vision_config"));
      break;
    case arch::Section::kPreprocessor:
      if (files.processor) {
        add(json::Find(files.processor->root(), "image_processor"));
        add(files.processor->root());
      }
      if (files.preprocessor) add(files.preprocessor->root());
      break;
  }
  return roots;
}

struct FoundField {
  std::string_view path;
  json::Element value;
};
std::optional<FoundField> FindField(const HParamRule& rule, const ConfigFiles& files) {
  for (const json::Element root : Roots(rule.section, files)) {
    for (const std::string_view path : rule.paths) {
      if (path.empty()) continue;
      if (const auto value = json::FindPath(root, path)) return FoundField{path, *value};
    }
  }
  return std::nullopt;
}

Error WrongType(std::string_view expected, json::Element actual) {
  constexpr std::size_t kMostShown = 60;
  const std::string text = simdjson::minify(actual);
  const std::string_view shown = Utf8Prefix(text, kMostShown);
  return MakeError(ErrorCode::kCorrupt, "")
      .Expected(expected)
      .Actual(fmt::format("{} ({}{})", json::TypeName(actual), shown,
                          shown.size() < text.size() ? "..." : ""));
}

Result<HpValue> ReadCount(json::Element value, std::uint64_t least) {
  std::int64_t number = 0;
  const auto most = static_cast<std::int64_t>(kMaxCount);
  if (value.get(number) != simdjson::SUCCESS || number < static_cast<std::int64_t>(least) ||
      number > most) {
    return WrongType(fmt::format("an integer from {} to {}", least, most), value);
  }
  return HpValue(static_cast<std::uint64_t>(number));
}

// A number that binary32 holds, if only as 0; nullopt for any other value.
std::optional<double> AsReal(json::Element value) {
  double number = 0;
  const bool is_number = value.is_number() && value.get(number) == simdjson::SUCCESS;
  if (!is_number || !std::isfinite(static_cast<float>(number))) return std::nullopt;
  return number;
}

// `read` gives nullopt for what is no item of the list.
template <typename T, class Read>
Result<HpValue> ReadList(json::Element value, std::string_view expected, const Read& read) {
  const auto array = json::AsArray(value);
  if (!array) return WrongType(expected, value);
  std::vector<T> items;
  for (const json::Element element : *array) {
    const auto item = read(element);
    if (!item) return WrongType(expected, value);
    items.emplace_back(*item);
  }
  return HpValue(std::move(items));
}

Result<HpValue> ReadValue(HpKind kind, json::Element value) {
  switch (kind) {
    case HpKind::kCount:
      return ReadCount(value, 1);
    case HpKind::kCountOrZero:
      return ReadCount(value, 0);
    case HpKind::kReal: {
      const auto number = AsReal(value);
      if (!number) return WrongType("a number that fits 32-bit floating point", value);
      return HpValue(*number);
    }
    case HpKind::kFlag: {
      const auto flag = json::AsBool(value);
      if (!flag) return WrongType("true or false", value);
      return HpValue(*flag);
    }
    case HpKind::kTruth: {
      if (const auto number = json::AsInteger(value)) return HpValue(*number != 0);
      const auto flag = json::AsBool(value);
      if (!flag) return WrongType("true, false or an integer", value);
      return HpValue(*flag);
    }
    case HpKind::kText: {
      const auto text = json::AsString(value);
      if (!text) return WrongType("a string", value);
      return HpValue(std::string(*text));
    }
    case HpKind::kIntegers:
      return ReadList<std::int64_t>(value, "a list of integers", json::AsInteger);
    case HpKind::kReals:
      return ReadList<double>(value, "a list of numbers that fit 32-bit floating point", AsReal);
    case HpKind::kTexts:
      return ReadList<std::string>(value, "a list of strings", json::AsString);
  }
  return MakeError(ErrorCode::kBug, "hyperparameter kind without a reader");
}

HpValue FallbackValue(HpKind kind, double fallback) {
  if (kind == HpKind::kReal) return fallback;
  if (kind == HpKind::kFlag || kind == HpKind::kTruth) return fallback != 0;
  return static_cast<std::uint64_t>(fallback);
}

std::string FieldName(const HParamRule& rule, std::string_view path) {
  return fmt::format("{}{}", rule.section == arch::Section::kVision ? "vision_config." : "", path);
}

// Divisors, bases of powers and terms under a root: 0, a negative number or one that binary32 takes
// for 0 would make every value computed from them infinite or not a number.
bool MustBePositive(Hp id) {
  constexpr std::array kPositive{
      Hp::kRopeTheta,          Hp::kVisionTheta,         Hp::kRopeFactor, Hp::kRopeLowFreqFactor,
      Hp::kRopeHighFreqFactor, Hp::kRopeAttentionFactor, Hp::kRmsEps,     Hp::kLayerNormEps,
      Hp::kVisionEps,          Hp::kFloorScale};
  return std::find(kPositive.begin(), kPositive.end(), id) != kPositive.end();
}

Result<HpValue> ReadField(const HParamRule& rule, json::Element field) {
  SLUICE_ASSIGN(HpValue value, ReadValue(rule.kind, field));
  if (MustBePositive(rule.id) && static_cast<float>(std::get<double>(value)) <= 0) {
    return WrongType("a number above 0 that fits 32-bit floating point", field);
  }
  return value;
}

// An object that holds fields, such as rope_scaling, and is something else would hide all of them.
void CheckParts(const arch::Family& family, const ConfigFiles& files,
                std::vector<Error>& problems) {
  std::set<std::string> seen;
  for (const HParamRule& rule : family.hparams) {
    for (const std::string_view path : rule.paths) {
      const std::size_t dot = path.find('.');
      if (dot == std::string_view::npos) continue;
      const std::string_view part = path.substr(0, dot);
      if (!seen.insert(FieldName(rule, part)).second) continue;
      for (const json::Element root : Roots(rule.section, files)) {
        const auto found = json::Find(root, part);
        if (!found || found->is_object()) continue;
        Error error = WrongType("an object", *found);
        error.what = fmt::format("field '{}' is unusable", FieldName(rule, part));
        problems.push_back(std::move(error).In(files.config.path()));
        break;
      }
    }
  }
}

void CheckUsedExperts(const arch::HParams& hparams, const std::string& config_path,
                      std::vector<Error>& problems) {
  if (!hparams.Has(Hp::kExperts) || !hparams.Has(Hp::kUsedExperts)) return;
  const std::uint64_t experts = hparams.Count(Hp::kExperts);
  const std::uint64_t used = hparams.Count(Hp::kUsedExperts);
  if (used <= experts) return;
  problems.push_back(MakeError(ErrorCode::kCorrupt, "field 'num_experts_per_tok' is unusable")
                         .In(config_path)
                         .Expected(fmt::format("at most the {} experts of a block", experts))
                         .Actual(fmt::format("{}", used)));
}

// MLlama's embeddings are counted by max_num_tiles; the list itself is written nowhere, yet one
// that is no list of pairs is a damaged configuration.
void CheckAspectRatios(const arch::Family& family, const ConfigFiles& files,
                       std::vector<Error>& problems) {
  const bool counts_aspects =
      std::any_of(family.derived.begin(), family.derived.end(),
                  [](const arch::DerivedRule& rule) { return rule.id == Hp::kVisionAspects; });
  const auto ratios = json::FindPath(files.config.root(), "vision_config.supported_aspect_ratios");
  if (!counts_aspects || !ratios) return;
  const auto is_pair = [](json::Element element) {
    const auto pair = json::AsArray(element);
    return pair && pair->size() == 2 &&
           std::all_of(pair->begin(), pair->end(), [](json::Element side) {
             const auto tiles = json::AsInteger(side);
             return tiles && *tiles > 0;
           });
  };
  const auto list = json::AsArray(*ratios);
  if (list && std::all_of(list->begin(), list->end(), is_pair)) return;
  Error error = WrongType("a list of pairs of integers from 1", *ratios);
  error.what = "field 'vision_config.supported_aspect_ratios' is unusable";
  problems.push_back(std::move(error).In(files.config.path()));
}

// Every name that the field goes by.
std::string FieldNames(const HParamRule& rule) {
  std::string names;
  for (const std::string_view path : rule.paths) {
    if (path.empty()) continue;
    names += fmt::format("{}'{}'", names.empty() ? "" : " or ", FieldName(rule, path));
  }
  return names;
}

}  // namespace

Result<ConfigFiles> LoadConfigFiles(const std::string& folder) {
  const fs::path root(folder);
  Result<json::Document> config =
      json::Document::Load((root / "config.json").string(), kMaxConfigBytes);
  if (!config) {
    Error error = std::move(config).error();
    if (error.code == ErrorCode::kMissing) {
      error.advice = "a checkpoint folder holds config.json beside its weights";
    }
    return error;
  }
  ConfigFiles files{*std::move(config), {}, {}, {}};
  SLUICE_ASSIGN(files.generation, LoadOptional(root / "generation_config.json"));
  SLUICE_ASSIGN(files.preprocessor, LoadOptional(root / "preprocessor_config.json"));
  SLUICE_ASSIGN(files.processor, LoadOptional(root / "processor_config.json"));
  return files;
}

Result<std::string> ArchitectureOf(const ConfigFiles& files) {
  const auto names = json::AsArray(json::Find(files.config.root(), "architectures"));
  if (names) {
    for (const json::Element name : *names) {
      if (const auto text = json::AsString(name)) return std::string(*text);
      break;
    }
  }
  return MakeError(ErrorCode::kCorrupt, "architectures names no model class")
      .In(files.config.path())
      .Expected("a list like [\"LlamaForCausalLM\"]");
}

arch::HParams BindHParams(const arch::Family& family, const ConfigFiles& files,
                          std::vector<Error>& problems) {
  arch::HParams hparams;
  const std::size_t before = problems.size();
  CheckParts(family, files, problems);
  CheckAspectRatios(family, files, problems);
  for (const HParamRule& rule : family.hparams) {
    if (const std::optional<FoundField> found = FindField(rule, files)) {
      Result<HpValue> value = ReadField(rule, found->value);
      if (value) {
        hparams.Set(rule.id, *std::move(value), true);
      } else {
        Error error = std::move(value).error();
        error.what = fmt::format("field '{}' is unusable", FieldName(rule, found->path));
        problems.push_back(std::move(error).In(files.config.path()));
      }
    } else if (rule.fallback) {
      hparams.Set(rule.id, FallbackValue(rule.kind, *rule.fallback), false);
    } else if (rule.need == arch::Need::kRequired) {
      problems.push_back(
          MakeError(ErrorCode::kCorrupt, fmt::format("field {} is missing", FieldNames(rule)))
              .In(files.config.path()));
    }
  }
  if (problems.size() != before) return hparams;
  CheckUsedExperts(hparams, files.config.path(), problems);
  for (const arch::DerivedRule& rule : family.derived) {
    if (!hparams.Has(rule.id)) hparams.Set(rule.id, rule.compute(hparams), false);
  }
  return hparams;
}

void Inspect(std::span<const arch::Inspect> findings, const arch::HParams& hparams,
             const std::string& config_path, bool to_run, std::vector<Error>& problems,
             std::vector<std::string>& warnings) {
  for (const arch::Inspect inspect : findings) {
    const std::optional<arch::Finding> finding = inspect(hparams);
    if (!finding) continue;
    if (finding->kind == arch::FindingKind::kNotWritten && to_run) continue;
    if (finding->kind == arch::FindingKind::kWarning ||
        finding->kind == arch::FindingKind::kNotWritten) {
      warnings.push_back(finding->text);
      continue;
    }
    const bool unsupported = finding->kind == arch::FindingKind::kUnsupported;
    problems.push_back(
        MakeError(unsupported ? ErrorCode::kUnsupported : ErrorCode::kCorrupt, finding->text)
            .In(config_path));
  }
}

}  // namespace sluice
