#include "pipeline/measure/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "core/checked.h"
#include "pipeline/layout.h"
#include "pipeline/measure/choose.h"
#include "pipeline/measure/run.h"
#include "pipeline/measure/type_lines.h"
#include "pipeline/quantize/importance.h"

namespace sluice {
namespace {

using enum gguf::TensorType;
using gguf::TensorRecord;
using gguf::TensorType;

// Parts of a large tensor that are measured; see MeasureErrors.
constexpr std::uint64_t kMaxUnits = 64;

using Family = std::vector<TensorType>;

const Family& KFamily() {
  static const Family kFamily{kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K, kQ8_0};
  return kFamily;
}

// The types that a recipe's name stands for.
Result<Family> FamilyOf(FileType recipe) {
  static const Family kOlder{kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0};
  static const Family kIq{kIQ1_S, kIQ1_M,  kIQ2_XXS, kIQ2_XS, kIQ2_S, kIQ3_XXS,
                          kIQ3_S, kIQ4_XS, kQ5_K,    kQ6_K,   kQ8_0};
  const FileTypeInfo& info = InfoOf(recipe);
  for (const Family* family : {&KFamily(), &kOlder}) {
    const bool has = std::find(family->begin(), family->end(), info.default_type) != family->end();
    if (has && recipe != FileType::kCopy) return *family;
  }
  if (info.name.starts_with("IQ")) return kIq;
  return MakeError(ErrorCode::kUsage, "no family of types to choose from")
      .Expected("--type of K-quants (Q4_K_M ...), of the older types (Q4_0 ...) or of IQ types")
      .Actual(info.name);
}

// A tensor whose type is to be chosen.
struct FreeTensor {
  std::size_t position = 0;  // in the plan's file
  const TensorRecord* record = nullptr;
  const imatrix::Entry* importance = nullptr;
  Candidates candidates;
};

class TargetPlanner {
 public:
  TargetPlanner(const QuantizeRequest& request, const SizeTarget& target, Plan& plan)
      : request_(request), target_(target), plan_(plan), file_(plan.files.front()) {}

  Result<std::string> Run(const ConvertOptions& run);

 private:
  Status FindFreeTensors();
  Status FindBudget();
  Status Measure(const ConvertOptions& run);
  void SetErrors(const std::vector<TensorErrors>& measured);
  Result<QuantizeRequest> RequestFor(const std::vector<std::size_t>& chosen) const;
  static Status QuantizeTo(const QuantizeRequest& request, Plan& plan);
  void SetReasons();

  // What tensors take of the target: in the file also padding.
  [[nodiscard]] std::uint64_t Cost(TensorType type, std::uint64_t elements) const {
    const std::uint64_t bytes = *gguf::TensorBytes(type, elements);
    const std::uint32_t alignment =
        IgnoresAlignmentKey(request_, file_) ? gguf::kDefaultAlignment : file_.alignment;
    return target_.file_bytes > 0 ? RoundUp(bytes, alignment) : bytes;
  }
  [[nodiscard]] std::uint64_t CostOf(const FilePlan& file) const;
  [[nodiscard]] Status Unreachable(std::uint64_t smallest, std::uint64_t elements) const;
  [[nodiscard]] std::string Text(const QuantizeRequest& chosen, const Mix& mix) const;

  const QuantizeRequest& request_;
  const SizeTarget& target_;
  Plan& plan_;
  FilePlan& file_;
  std::shared_ptr<const imatrix::Reader> importance_;
  RecipeInput input_;
  std::vector<FreeTensor> free_;
  std::uint64_t budget_ = 0;  // for the free tensors
};

Result<std::string> TargetPlanner::Run(const ConvertOptions& run) {
  SLUICE_ASSIGN(importance_, OpenImportance(request_.importance_path));
  SLUICE_ASSIGN(input_, RecipeInputOf(file_));
  SLUICE_TRY(FindFreeTensors());
  SLUICE_TRY(FindBudget());
  SLUICE_TRY(Measure(run));
  std::vector<Candidates> candidates;
  for (const FreeTensor& tensor : free_) candidates.push_back(tensor.candidates);
  const Mix mix = ChooseMix(candidates, budget_);
  SLUICE_ASSIGN(const QuantizeRequest chosen, RequestFor(mix.chosen));
  SLUICE_TRY(QuantizeTo(chosen, plan_));
  SetReasons();
  return Text(chosen, mix);
}

Status TargetPlanner::FindFreeTensors() {
  const FileType file_type = request_.recipe.file_type;
  SLUICE_ASSIGN(const Family family, FamilyOf(file_type));
  SLUICE_ASSIGN(
      const Recipe recipe,
      ChooseTypes(input_.model, input_.records, RecipeOptions(request_, file_, importance_.get())));
  std::vector<TensorRecord> records;
  for (std::size_t i = 0; i < input_.records.size(); ++i) {
    if (recipe.choices[i].by != ChosenBy::kRecipe) continue;
    free_.push_back({input_.order[i], &input_.records[i], nullptr, {}});
    records.push_back(input_.records[i]);
  }
  SLUICE_ASSIGN(const ImportancePlan weights, FindImportance(records, importance_.get()));
  for (std::size_t i = 0; i < free_.size(); ++i) {
    FreeTensor& tensor = free_[i];
    tensor.importance = weights.entries[i];
    const std::uint64_t elements = file_.tensors[tensor.position].expr.elements;
    for (const TensorType wanted : family) {
      const TensorType type = FittingType(wanted, tensor.record->shape.back());
      const bool is_known =
          std::any_of(tensor.candidates.begin(), tensor.candidates.end(),
                      [&](const Candidate& candidate) { return candidate.type == type; });
      const bool is_useless =
          tensor.importance == nullptr && NeedsImportance(tensor.record->name, type, file_type);
      if (!is_known && !is_useless) tensor.candidates.push_back({type, Cost(type, elements), 0});
    }
  }
  return Ok();
}

std::uint64_t TargetPlanner::CostOf(const FilePlan& file) const {
  std::uint64_t cost = target_.file_bytes > 0 ? file.head.size() : 0;
  for (const PlannedTensor& tensor : file.tensors) {
    cost += Cost(tensor.record.type, tensor.expr.elements);
  }
  return cost;
}

// Plans the smallest file: the types leave everything else in it as it is.
Status TargetPlanner::FindBudget() {
  std::vector<std::size_t> smallest;
  for (const FreeTensor& tensor : free_) {
    smallest.push_back(SmallestOf(tensor.candidates));
    budget_ += tensor.candidates[smallest.back()].bytes;
  }
  SLUICE_ASSIGN(const QuantizeRequest request, RequestFor(smallest));
  Plan plan = plan_;
  SLUICE_TRY(QuantizeTo(request, plan));
  const std::uint64_t least = CostOf(plan.files.front());
  std::uint64_t elements = 0;
  for (const PlannedTensor& tensor : file_.tensors) elements += tensor.expr.elements;
  std::uint64_t limit = target_.file_bytes;
  if (limit == 0) {
    constexpr double kMostBits = 64;
    const double bits = std::min(target_.bits_per_weight, kMostBits);
    limit = static_cast<std::uint64_t>(bits / 8 * static_cast<double>(elements));
  }
  if (least > limit) return Unreachable(least, elements);
  budget_ += limit - least;
  return Ok();
}

Status TargetPlanner::Unreachable(std::uint64_t smallest, std::uint64_t elements) const {
  constexpr double kSteps = 10000;  // so rounded up that it can be reached
  const double bits = 8 * static_cast<double>(smallest) / static_cast<double>(elements);
  const bool is_size = target_.file_bytes > 0;
  const bool is_iq = InfoOf(request_.recipe.file_type).name.starts_with("IQ");
  return MakeError(ErrorCode::kUsage, "no mix of types is as small as the target")
      .Expected(is_size ? fmt::format("--target-size {} or more", smallest)
                        : fmt::format("--target-bpw {:.4f} or more",
                                      std::ceil(bits * kSteps + 1) / kSteps))
      .Actual(is_size ? fmt::format("{}", target_.file_bytes)
                      : fmt::format("{}", target_.bits_per_weight))
      .Advice(is_iq ? "--imatrix FILE allows the smallest types"
                    : "--type IQ4_XS chooses among smaller types, best with --imatrix");
}

Status TargetPlanner::Measure(const ConvertOptions& run) {
  std::vector<MeasureJob> jobs;
  for (const FreeTensor& tensor : free_) {
    MeasureJob& job = jobs.emplace_back();
    job.name = tensor.record->name;
    job.expr = file_.tensors[tensor.position].expr;
    job.expr.quantizing =
        QuantizingOf(request_, *tensor.record, importance_.get(), tensor.importance);
    for (const Candidate& candidate : tensor.candidates) job.types.push_back(candidate.type);
  }
  SLUICE_ASSIGN(const SourceSet sources, SourceSet::Open(plan_.shards, run.io, plan_.generated));
  SLUICE_ASSIGN(const std::vector<TensorErrors> measured,
                MeasureErrors(sources, jobs, kMaxUnits, GraphOptionsOf(run)));
  SLUICE_TRY(sources.CheckUnchanged());
  SetErrors(measured);
  return Ok();
}

void TargetPlanner::SetErrors(const std::vector<TensorErrors>& measured) {
  ValueSums weighted;  // of tensors with importance data
  for (std::size_t i = 0; i < free_.size(); ++i) {
    if (free_[i].importance != nullptr) weighted.Add(measured[i].values);
  }
  const double average =
      weighted.weighted_squares > 0 ? weighted.weighted_squares / weighted.squares : 1;
  for (std::size_t i = 0; i < free_.size(); ++i) {
    FreeTensor& tensor = free_[i];
    const double elements = static_cast<double>(file_.tensors[tensor.position].expr.elements);
    const double share = static_cast<double>(measured[i].values.elements) / elements;
    const double scale = (tensor.importance == nullptr ? average : 1) / share;
    for (std::size_t c = 0; c < tensor.candidates.size(); ++c) {
      constexpr double kUnbearable = 1e150;  // overflow: sums of it are still finite
      const double error = measured[i].types[c].weighted_error * scale;
      tensor.candidates[c].error = std::isfinite(error) ? error : kUnbearable;
    }
  }
}

// The user's request with a rule for each free tensor.
Result<QuantizeRequest> TargetPlanner::RequestFor(const std::vector<std::size_t>& chosen) const {
  QuantizeRequest request = request_;
  std::vector<TypedName> types;
  std::map<TensorType, std::uint64_t> elements;
  for (std::size_t i = 0; i < free_.size(); ++i) {
    const TensorType type = free_[i].candidates[chosen[i]].type;
    types.emplace_back(free_[i].record->name, type);
    elements[type] += file_.tensors[free_[i].position].expr.elements;
  }
  for (const std::string& line : TypeLines(types)) {
    SLUICE_ASSIGN(TypeRule rule, ParseTypeRule(line));
    request.recipe.rules.push_back(std::move(rule));
  }
  if (target_.keeps_file_type) return request;
  const auto most =
      std::max_element(KFamily().begin(), KFamily().end(),
                       [&](TensorType a, TensorType b) { return elements[a] < elements[b]; });
  SLUICE_ASSIGN(request.recipe.file_type, ParseFileType(gguf::InfoOf(*most).name));
  return request;
}

Status TargetPlanner::QuantizeTo(const QuantizeRequest& request, Plan& plan) {
  SLUICE_TRY(QuantizeModel(request, plan));
  return LayOut(plan);
}

void TargetPlanner::SetReasons() {
  std::set<std::string_view> names;
  for (const FreeTensor& tensor : free_) names.insert(tensor.record->name);
  for (PlannedTensor& tensor : file_.tensors) {
    if (!names.contains(tensor.record.name)) continue;
    tensor.reason = target_.file_bytes > 0 ? "--target-size" : "--target-bpw";
  }
}

std::string TargetPlanner::Text(const QuantizeRequest& chosen, const Mix& mix) const {
  std::uint64_t bytes = 0;
  std::uint64_t elements = 0;
  for (const PlannedTensor& tensor : file_.tensors) {
    bytes += tensor.record.bytes;
    elements += tensor.expr.elements;
  }
  const double above = mix.lower_bound > 0 ? mix.error / mix.lower_bound - 1 : 0;
  std::string text = fmt::format(
      "# {:.4f} bits per weight, a file of {} bytes; squared error at most {:.3f} % above the "
      "least possible\n# for --type {}\n",
      8 * static_cast<double>(bytes) / static_cast<double>(elements), file_.file_bytes(),
      100 * above, InfoOf(chosen.recipe.file_type).name);
  for (const TypeRule& rule : chosen.recipe.rules) text += rule.text + "\n";
  return text;
}

}  // namespace

Result<std::string> QuantizeToTarget(const QuantizeRequest& request, const SizeTarget& target,
                                     const ConvertOptions& run, Plan& plan) {
  if (target.file_bytes == 0 && !(target.bits_per_weight > 0)) {
    return MakeError(ErrorCode::kUsage, "no target size")
        .Expected("a file size or a number of bits per weight above 0");
  }
  return TargetPlanner(request, target, plan).Run(run);
}

}  // namespace sluice
