#include "formats/imatrix/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "formats/gguf/reader.h"
#include "formats/lfs_pointer.h"

namespace sluice::imatrix {
namespace {

// Mean squares that no activations have: the encoders' products of weights would overflow, and the
// result would be blamed on the values, or nobody.
constexpr float kMaxWeight = 1e16F;

std::string PlaceOf(const Entry& entry, std::uint64_t value) {
  const std::uint64_t columns = entry.values / entry.divisors.size();
  if (entry.divisors.size() == 1) return fmt::format("column {}", value);
  return fmt::format("matrix {}, column {}", value / columns, value % columns);
}

// A sum of squares is finite and not negative.
Status CheckSums(std::span<const std::byte> file, const Entry& entry) {
  const std::byte* sums = file.data() + entry.offset;
  const std::uint64_t columns = entry.values / entry.divisors.size();
  for (std::uint64_t i = 0; i < entry.values; ++i) {
    float sum;
    std::memcpy(&sum, sums + i * sizeof sum, sizeof sum);
    const bool is_sum = std::isfinite(sum) && sum >= 0;
    const float divisor = entry.divisors[i / columns];
    if (is_sum && (divisor <= 0 || sum / divisor <= kMaxWeight)) continue;
    return MakeError(ErrorCode::kCorrupt, "unusable importance")
        .At(entry.name)
        .AtOffset(entry.offset + i * sizeof sum)
        .Expected(is_sum ? fmt::format("a mean square of at most {}", kMaxWeight)
                         : "a finite sum of squares")
        .Actual(is_sum && divisor != 1
                    ? fmt::format("{} / {} for {}", sum, divisor, PlaceOf(entry, i))
                    : fmt::format("{} for {}", sum, PlaceOf(entry, i)))
        .Advice("collect the importance matrix again, or convert without --imatrix");
  }
  return Ok();
}

Status SortEntries(std::vector<Entry>& entries) {
  if (entries.empty()) return MakeError(ErrorCode::kCorrupt, "an importance matrix without data");
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(entries.begin(), entries.end(),
                         [](const Entry& a, const Entry& b) { return a.name == b.name; });
  if (twice == entries.end()) return Ok();
  return MakeError(ErrorCode::kCorrupt, "the file holds this entry twice")
      .At(twice->name)
      .AtOffset(std::next(twice)->offset);
}

Result<Contents> ReadContents(std::span<const std::byte> file, const std::string& path) {
  SLUICE_ASSIGN(Contents contents,
                gguf::HasMagic(file) ? ReadGgufForm(file, path) : ReadLegacyForm(file));
  SLUICE_TRY(SortEntries(contents.entries));
  for (const Entry& entry : contents.entries) SLUICE_TRY(CheckSums(file, entry));
  return contents;
}

}  // namespace

Result<Reader> Reader::Open(const std::string& path) {
  SLUICE_ASSIGN(MappedFile file, MappedFile::Open(path));
  const auto bytes = file.bytes();
  if (IsLfsPointer({reinterpret_cast<const char*>(bytes.data()),
                    std::min(bytes.size(), kLfsPointerStart.size())})) {
    return LfsPointerError(path);
  }
  Result<Contents> contents = ReadContents(bytes, path);
  SLUICE_TRY(file.CheckIntact());
  if (!contents) return std::move(contents).error().In(path);
  file.Release(0, bytes.size());
  return Reader(std::move(file), *std::move(contents));
}

const Entry* Reader::Find(std::string_view name) const {
  const auto& entries = contents_.entries;
  const auto found = std::lower_bound(
      entries.begin(), entries.end(), name,
      [](const Entry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found == entries.end() || found->name != name ? nullptr : &*found;
}

Status Reader::ReadWeights(const Entry& entry, std::uint64_t first, std::span<float> out) const {
  const std::uint64_t offset = entry.offset + first * sizeof(float);
  Status read = file_.file().ReadAt(offset, std::as_writable_bytes(out));
  if (!read) return std::move(read).error().At(entry.name);
  const std::uint64_t matrix_values = entry.values / entry.divisors.size();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float divisor = entry.divisors[(first + i) / matrix_values];
    out[i] = divisor > 0 ? out[i] / divisor : 1.0F;
  }
  return Ok();
}

}  // namespace sluice::imatrix
