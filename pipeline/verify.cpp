#include "pipeline/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/mapped_file.h"
#include "core/shape.h"
#include "formats/gguf/split.h"
#include "pipeline/diff.h"

namespace sluice {
namespace {

// Where the bytes of a planned tensor should be found.
struct Place {
  std::uint64_t begin = 0;  // in the planned file
  std::uint64_t bytes = 0;
  const MappedFile* file = nullptr;
  std::uint64_t offset = 0;  // in `file`
  std::string_view tensor;

  std::uint64_t num_different = 0;
  std::uint64_t first_different = 0;  // in `file`
  std::byte expected{};
  std::byte actual{};
};

// Compares the bytes of a planned file, given from first to last, instead of keeping them.
class CompareSink final : public Sink {
 public:
  // `places` are in the order of the planned file.
  explicit CompareSink(std::vector<Place> places) : places_(std::move(places)) {}

  Status Append(std::span<const std::span<const std::byte>> spans) override {
    for (const std::span<const std::byte> bytes : spans) SLUICE_TRY(Compare(bytes));
    return Ok();
  }
  Status Finish() override { return Ok(); }

  [[nodiscard]] const std::vector<Place>& places() const { return places_; }

 private:
  Status Compare(std::span<const std::byte> bytes) {
    const std::uint64_t end = position_ + bytes.size();
    while (next_ < places_.size() && places_[next_].begin < end) {
      Place& place = places_[next_];
      const std::uint64_t from = std::max(place.begin, position_);
      const std::uint64_t to = std::min(place.begin + place.bytes, end);
      SLUICE_TRY(CompareAt(place, from - place.begin, bytes.subspan(from - position_, to - from)));
      if (to < place.begin + place.bytes) break;
      ++next_;
    }
    position_ = end;
    return Ok();
  }

  static Status CompareAt(Place& place, std::uint64_t at, std::span<const std::byte> expected) {
    const MappedFile& file = *place.file;
    const std::uint64_t offset = place.offset + at;
    SLUICE_TRY(file.Populate(offset, expected.size()));
    const std::span<const std::byte> actual = file.bytes().subspan(offset, expected.size());
    if (std::memcmp(expected.data(), actual.data(), expected.size()) != 0) {
      Count(place, offset, expected, actual);
    }
    file.Release(offset, expected.size());
    return file.CheckIntact();
  }

  static void Count(Place& place, std::uint64_t offset, std::span<const std::byte> expected,
                    std::span<const std::byte> actual) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (expected[i] == actual[i]) continue;
      if (place.num_different++ > 0) continue;
      place.first_different = offset + i;
      place.expected = expected[i];
      place.actual = actual[i];
    }
  }

  std::vector<Place> places_;
  std::size_t next_ = 0;        // the first place that is not finished
  std::uint64_t position_ = 0;  // in the planned file
};

// One planned file beside the model that should be it.
class Comparison {
 public:
  static Result<std::unique_ptr<Comparison>> Open(const FilePlan& plan, const std::string& path) {
    auto comparison = std::unique_ptr<Comparison>(new Comparison(plan));
    SLUICE_ASSIGN(comparison->set_, gguf::OpenSplit(path));
    for (const gguf::SplitFile& file : comparison->set_.files) {
      SLUICE_ASSIGN(MappedFile mapped, MappedFile::Open(file.path, file.file_bytes));
      comparison->mapped_.push_back(std::move(mapped));
    }
    return comparison;
  }

  // Compares what is known without a payload byte; afterwards `sink` compares the rest.
  void CompareHeads(std::vector<Error>& differences) {
    CompareKeyValues(differences);
    sink_ = std::make_unique<CompareSink>(CompareRecords(differences));
  }
  [[nodiscard]] CompareSink& sink() const { return *sink_; }

  void AddBytes(VerifyReport& report) const {
    for (const Place& place : sink_->places()) {
      report.bytes += place.bytes;
      if (place.num_different == 0) continue;
      report.differences.push_back(
          MakeError(ErrorCode::kMismatch, fmt::format("{} of {} bytes differ, the first",
                                                      place.num_different, place.bytes))
              .In(place.file->path())
              .At(place.tensor)
              .AtOffset(place.first_different)
              .Expected(fmt::format("{:#04x}", static_cast<unsigned>(place.expected)))
              .Actual(fmt::format("{:#04x}", static_cast<unsigned>(place.actual))));
    }
  }

 private:
  explicit Comparison(const FilePlan& plan) : plan_(plan) {}

  Error Difference(std::string_view what, std::string_view expected,
                   std::string_view actual) const {
    return MakeError(ErrorCode::kMismatch, what)
        .In(set_.files.front().path)
        .Expected(expected)
        .Actual(actual);
  }

  void CompareKeyValues(std::vector<Error>& differences) const {
    const gguf::Metadata actual = set_.ModelMetadata();
    const gguf::Metadata& expected = plan_.metadata;
    const auto before = differences.size();
    for (const gguf::KeyValue& item : expected.items()) {
      const gguf::Value* const value = actual.Find(item.key);
      if (value != nullptr && *value == item.value) continue;
      const std::string wanted = TypedText(item.value);
      const std::string found = value == nullptr ? "none" : TypedText(*value);
      const std::string_view where = wanted == found ? ", further on than shown" : "";
      differences.push_back(Difference(fmt::format("key '{}'{}", item.key, where), wanted, found));
    }
    for (const gguf::KeyValue& item : actual.items()) {
      if (expected.Find(item.key) != nullptr) continue;
      differences.push_back(
          Difference(fmt::format("key '{}'", item.key), "none", TypedText(item.value)));
    }
    if (differences.size() > before) return;
    const auto other = std::mismatch(
        expected.items().begin(), expected.items().end(), actual.items().begin(),
        [](const gguf::KeyValue& a, const gguf::KeyValue& b) { return a.key == b.key; });
    if (other.first == expected.items().end()) return;
    differences.push_back(Difference("order of the keys", other.first->key, other.second->key));
  }

  static std::string TypeText(const gguf::TensorRecord& tensor) {
    return fmt::format("{} {}", gguf::InfoOf(tensor.type).name, ShapeText(tensor.shape));
  }

  // Gives the places of the tensors that are there in the planned type and shape.
  std::vector<Place> CompareRecords(std::vector<Error>& differences) const {
    const std::vector<gguf::SplitTensor> tensors = gguf::TensorsOf(set_);
    std::unordered_map<std::string_view, const gguf::SplitTensor*> by_name;
    for (const gguf::SplitTensor& tensor : tensors) by_name.emplace(tensor.record->name, &tensor);
    std::vector<Place> places;
    for (const PlannedTensor& planned : plan_.tensors) {
      const gguf::TensorRecord& record = planned.record;
      const auto found = by_name.find(record.name);
      const gguf::SplitTensor* const actual = found == by_name.end() ? nullptr : found->second;
      if (actual != nullptr) by_name.erase(found);
      if (actual == nullptr || actual->record->type != record.type ||
          actual->record->shape != record.shape) {
        differences.push_back(Difference("type and shape", TypeText(record),
                                         actual == nullptr ? "none" : TypeText(*actual->record))
                                  .At(record.name));
        continue;
      }
      places.push_back({plan_.head.size() + record.data_offset, record.bytes,
                        &mapped_[actual->file], actual->offset, record.name});
    }
    for (const gguf::SplitTensor& tensor : tensors) {
      if (!by_name.contains(tensor.record->name)) continue;
      differences.push_back(
          Difference("type and shape", "none", TypeText(*tensor.record)).At(tensor.record->name));
    }
    if (places.size() == plan_.tensors.size() && by_name.empty())
      CompareOrder(tensors, differences);
    return places;
  }

  void CompareOrder(std::span<const gguf::SplitTensor> tensors,
                    std::vector<Error>& differences) const {
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::string& expected = plan_.tensors[i].record.name;
      if (tensors[i].record->name == expected) continue;
      differences.push_back(Difference("order of the tensors", expected, tensors[i].record->name));
      return;
    }
  }

  const FilePlan& plan_;
  gguf::SplitSet set_;
  std::vector<MappedFile> mapped_;  // the files of set_
  std::unique_ptr<CompareSink> sink_;
};

}  // namespace

Result<VerifyReport> Verify(const Plan& plan, std::span<const std::string> files,
                            const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  VerifyReport report;
  SLUICE_ASSIGN(const SourceSet sources, SourceSet::Open(plan.shards, options.io, plan.generated));
  std::vector<std::unique_ptr<Comparison>> comparisons;
  std::vector<GraphOutput> outputs;
  for (std::size_t i = 0; i < files.size(); ++i) {
    SLUICE_ASSIGN(std::unique_ptr<Comparison> comparison,
                  Comparison::Open(plan.files[i], files[i]));
    comparison->CompareHeads(report.differences);
    outputs.push_back({&plan.files[i], &comparison->sink()});
    comparisons.push_back(std::move(comparison));
    report.key_values += plan.files[i].metadata.items().size();
    report.tensors += plan.files[i].tensors.size();
  }
  SLUICE_TRY(RunGraph(sources, outputs, GraphOptionsOf(options)));
  SLUICE_TRY(sources.CheckUnchanged());
  for (const auto& comparison : comparisons) comparison->AddBytes(report);
  report.warnings = plan.warnings;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace sluice
