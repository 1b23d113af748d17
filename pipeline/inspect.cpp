#include "pipeline/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <span>

#include "core/mapped_file.h"
#include "formats/gguf/reader.h"
#include "formats/json/json.h"
#include "formats/safetensors/shards.h"
#include "pipeline/hparams.h"
#include "stages/kernels/cast.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMeasuredElements = 16384;
constexpr std::size_t kFirstValues = 8;

void AddHeader(const safetensors::Header& header, const std::string& file, std::uint64_t file_bytes,
               Inspection& inspection) {
  inspection.bytes += file_bytes;
  for (const safetensors::TensorInfo& tensor : header.tensors) {
    inspection.tensors.push_back({tensor.name, std::string(DtypeName(tensor.dtype)), tensor.shape,
                                  tensor.offset, tensor.bytes, file, file_bytes});
  }
}

// A list of integers or of texts; nullopt for any other.
std::optional<gguf::Value> ListOf(json::Array list) {
  std::size_t length = 0;
  std::vector<std::int64_t> integers;
  std::vector<std::string> texts;
  for (const json::Element item : list) {
    ++length;
    if (const auto integer = json::AsInteger(item)) integers.push_back(*integer);
    if (const auto text = json::AsString(item)) texts.emplace_back(*text);
  }
  if (length == 0) return std::nullopt;
  if (integers.size() == length) return gguf::Array::Of(std::span<const std::int64_t>(integers));
  if (texts.size() == length) return gguf::Array::OfStrings(texts);
  return std::nullopt;
}

// A field of a configuration; other lists are JSON text.
gguf::Value ValueOf(json::Element element) {
  if (const auto flag = json::AsBool(element)) return *flag;
  if (const auto text = json::AsString(element)) return std::string(*text);
  if (const auto integer = json::AsInteger(element)) return *integer;
  if (std::uint64_t large = 0; element.get(large) == simdjson::SUCCESS) return large;
  if (double number = 0; element.get(number) == simdjson::SUCCESS) return number;
  const auto array = json::AsArray(element);
  const auto list = array ? ListOf(*array) : std::nullopt;
  return list ? *list : gguf::Value(std::string(simdjson::minify(element)));
}

// The fields of an object that are not null, by their dotted names; of equal ones the first.
void AddFields(json::Object object, const std::string& prefix, std::set<std::string>& seen,
               gguf::Metadata& metadata) {
  for (const auto [key, value] : object) {
    const std::string name = prefix + std::string(key);
    if (const auto inner = json::AsObject(value)) {
      AddFields(*inner, name + ".", seen, metadata);
    } else if (!value.is_null() && seen.insert(name).second) {
      metadata.Append(name, ValueOf(value));
    }
  }
}

Result<Inspection> InspectFolder(const std::string& path) {
  SLUICE_ASSIGN(safetensors::ShardSet shards, safetensors::OpenShards(path));
  Inspection inspection;
  inspection.kind = fmt::format("checkpoint folder, {} shards", shards.shards.size());
  inspection.warnings = std::move(shards.warnings);
  for (const safetensors::Shard& shard : shards.shards) {
    AddHeader(shard.header, fs::path(shard.path).filename().string(), shard.file_bytes, inspection);
  }
  SLUICE_ASSIGN(const auto config, json::Document::LoadIfPresent(
                                       (fs::path(path) / "config.json").string(), kMaxConfigBytes));
  if (const auto fields = config ? json::AsObject(config->root()) : std::nullopt) {
    std::set<std::string> seen;
    AddFields(*fields, "", seen, inspection.metadata);
  }
  return inspection;
}

Result<Inspection> InspectGguf(const MappedFile& file) {
  SLUICE_ASSIGN(gguf::Head head, gguf::ReadHead(file));
  Inspection inspection;
  inspection.kind = fmt::format("GGUF version {}", head.version);
  inspection.bytes = file.bytes().size();
  inspection.metadata = std::move(head.metadata);
  for (const gguf::TensorRecord& tensor : head.tensors) {
    inspection.tensors.push_back({tensor.name, std::string(gguf::InfoOf(tensor.type).name),
                                  tensor.shape, head.data_start + tensor.data_offset, tensor.bytes,
                                  "", inspection.bytes});
  }
  return inspection;
}

Result<Inspection> InspectSafetensors(const MappedFile& file) {
  SLUICE_ASSIGN(const safetensors::Header header, safetensors::ReadHeader(file.file()));
  Inspection inspection;
  inspection.kind = "safetensors";
  for (const auto& [key, value] : header.metadata) inspection.metadata.Set(key, value);
  AddHeader(header, "", file.bytes().size(), inspection);
  return inspection;
}

// Sums in double precision, in order, of distances from the first finite value: the deviation of
// values that hardly differ would drown in sums of the values themselves.
class StatisticsCollector {
 public:
  void Add(std::span<const float> values) {
    for (const float value : values) {
      if (statistics_.first.size() < kFirstValues) statistics_.first.push_back(value);
      ++statistics_.elements;
      if (std::isnan(value)) {
        ++statistics_.nans;
      } else if (std::isinf(value)) {
        ++statistics_.infinities;
      } else {
        statistics_.zeros += value == 0 ? 1 : 0;
        if (min_ > max_) origin_ = value;  // the first
        min_ = std::min<double>(min_, value);
        max_ = std::max<double>(max_, value);
        const double distance = value - origin_;
        sum_ += distance;
        squares_ += distance * distance;
      }
    }
  }

  TensorStatistics Take() {
    const std::uint64_t finite = statistics_.elements - statistics_.nans - statistics_.infinities;
    if (finite > 0) {
      const auto count = static_cast<double>(finite);
      statistics_.min = min_;
      statistics_.max = max_;
      const double mean_distance = sum_ / count;
      statistics_.mean = origin_ + mean_distance;
      statistics_.standard_deviation =
          std::sqrt(std::max(0.0, squares_ / count - mean_distance * mean_distance));
    }
    return std::move(statistics_);
  }

 private:
  TensorStatistics statistics_;
  double min_ = std::numeric_limits<double>::infinity();
  double max_ = -std::numeric_limits<double>::infinity();
  double origin_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

Result<TensorStatistics> MeasureEntry(const MappedFile& file, const TensorEntry& entry) {
  const std::optional<ValueDecoder> decoder = ValueDecoder::ForType(entry.type);
  if (!decoder) {
    return MakeError(ErrorCode::kUnsupported, "statistics of this type")
        .In(file.path())
        .At(entry.name)
        .Actual(entry.type);
  }
  StatisticsCollector collector;
  std::vector<float> values(kMeasuredElements);
  const std::uint64_t tile_bytes = decoder->BytesOf(kMeasuredElements);
  for (std::uint64_t done = 0; done < entry.bytes; done += tile_bytes) {
    const std::uint64_t bytes = std::min(tile_bytes, entry.bytes - done);
    const auto tile =
        std::span(values).first(bytes / decoder->block_bytes() * decoder->block_elements());
    SLUICE_TRY(file.Populate(entry.offset + done, bytes));
    decoder->Decode(file.bytes().data() + entry.offset + done, tile);
    SLUICE_TRY(file.CheckIntact());
    collector.Add(tile);
    file.Release(entry.offset + done, bytes);
  }
  return collector.Take();
}

}  // namespace

std::optional<ValueDecoder> ValueDecoder::ForType(const std::string& type) {
  ValueDecoder decoder;
  if (const std::optional<Dtype> dtype = ParseDtype(type)) {
    if (!IsFloat(*dtype)) return std::nullopt;
    decoder.dtype_ = *dtype;
    return decoder;
  }
  const gguf::TensorTypeInfo* const info = gguf::FindTensorType(type);
  if (info == nullptr) return std::nullopt;
  decoder.codec_ = quant::FindCodec(info->type);
  if (decoder.codec_ == nullptr) return std::nullopt;
  return decoder;
}

std::uint32_t ValueDecoder::block_elements() const {
  return codec_ == nullptr ? 1 : gguf::InfoOf(codec_->type).block_elements;
}

std::uint32_t ValueDecoder::block_bytes() const {
  return codec_ == nullptr ? DtypeBytes(dtype_) : gguf::InfoOf(codec_->type).block_bytes;
}

void ValueDecoder::Decode(const std::byte* in, std::span<float> out) const {
  if (codec_ == nullptr) {
    kernels::DecodeToF32(dtype_, in, out);
  } else {
    codec_->decode(in, out);
  }
}

Result<Inspection> InspectPath(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return InspectFolder(path);
  SLUICE_ASSIGN(const MappedFile file, MappedFile::Open(path));
  if (gguf::HasMagic(file.bytes())) return InspectGguf(file);
  if (fs::path(path).extension() == ".gguf")
    return InspectGguf(file);  // says what is wrong with it
  return InspectSafetensors(file);
}

Result<TensorStatistics> Measure(const std::string& path, const std::string& tensor) {
  SLUICE_ASSIGN(const Inspection inspection, InspectPath(path));
  const auto entry =
      std::find_if(inspection.tensors.begin(), inspection.tensors.end(),
                   [&](const TensorEntry& candidate) { return candidate.name == tensor; });
  if (entry == inspection.tensors.end()) {
    return MakeError(ErrorCode::kMissing, "no such tensor").In(path).At(tensor);
  }
  const std::string file_path =
      entry->file.empty() ? path : (fs::path(path) / entry->file).string();
  SLUICE_ASSIGN(const MappedFile file, MappedFile::Open(file_path, entry->file_bytes));
  return MeasureEntry(file, *entry);
}

}  // namespace sluice
