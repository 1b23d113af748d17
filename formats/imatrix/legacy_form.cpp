// The older form, little endian and without a magic number:
//
//   entries i32 │ each: name length i32, name, calls i32, values i32, values x f32 │ trailer
//   trailer, which may be absent: chunks i32, dataset length i32, dataset
//
// The values are sums over `calls`.
#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "formats/imatrix/forms.h"

namespace sluice::imatrix {
namespace {

class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> file) : file_(file) {}

  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  [[nodiscard]] std::uint64_t remaining() const { return file_.size() - offset_; }

  Result<std::int32_t> Number() {
    SLUICE_ASSIGN(const auto bytes, Take(1, sizeof(std::int32_t)));
    std::int32_t number;
    std::memcpy(&number, bytes.data(), sizeof number);
    return number;
  }

  // A number of things that take at least `each` bytes and that are there at least `least` times.
  Result<std::uint64_t> Count(std::string_view what, std::uint64_t each, std::int32_t least) {
    const std::uint64_t at = offset_;
    SLUICE_ASSIGN(const std::int32_t count, Number());
    const std::uint64_t most = remaining() / each;
    if (count >= least && static_cast<std::uint64_t>(count) <= most) {
      return static_cast<std::uint64_t>(count);
    }
    return MakeError(ErrorCode::kCorrupt, fmt::format("impossible number of {}", what))
        .AtOffset(at)
        .Expected(fmt::format("{} to {}", least, most))
        .Actual(fmt::format("{}", count))
        .Advice("the file is truncated, or no importance matrix");
  }

  // REQUIRES: count x each does not overflow, which Count() makes sure of.
  Result<std::span<const std::byte>> Take(std::uint64_t count, std::uint64_t each) {
    if (count * each > remaining()) {
      return MakeError(ErrorCode::kCorrupt, "the importance matrix is cut off")
          .AtOffset(offset_)
          .Expected(fmt::format("{} more bytes", count * each))
          .Actual(fmt::format("{}", remaining()));
    }
    const auto taken = file_.subspan(offset_, count * each);
    offset_ += taken.size();
    return taken;
  }

  Result<std::string> Text(std::string_view what, std::int32_t least) {
    SLUICE_ASSIGN(const std::uint64_t length, Count(what, 1, least));
    SLUICE_ASSIGN(const auto bytes, Take(length, 1));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  std::span<const std::byte> file_;
  std::uint64_t offset_ = 0;
};

constexpr std::uint64_t kMinEntryBytes = 17;  // three numbers, a letter, a value

Status ReadValues(Cursor& in, Entry& entry) {
  SLUICE_ASSIGN(const std::int32_t calls, in.Number());
  entry.divisors = {calls > 0 ? static_cast<float>(calls) : 1.0F};
  SLUICE_ASSIGN(entry.values, in.Count("values", sizeof(float), 1));
  entry.offset = in.offset();
  SLUICE_ASSIGN([[maybe_unused]] const auto values, in.Take(entry.values, sizeof(float)));
  return Ok();
}

Result<Entry> ReadEntry(Cursor& in) {
  Entry entry;
  SLUICE_ASSIGN(entry.name, in.Text("letters of an entry's name", 1));
  Status read = ReadValues(in, entry);
  if (!read) return std::move(read).error().At(entry.name);
  return entry;
}

Status ReadTrailer(Cursor& in, Contents& contents) {
  if (in.remaining() == 0) return Ok();
  SLUICE_ASSIGN(const std::int32_t chunks, in.Number());
  contents.num_chunks = chunks > 0 ? static_cast<std::uint32_t>(chunks) : 0;
  SLUICE_ASSIGN(std::string dataset, in.Text("letters of the dataset's name", 0));
  if (!dataset.empty()) contents.datasets.push_back(std::move(dataset));
  if (in.remaining() == 0) return Ok();
  return MakeError(ErrorCode::kCorrupt, "bytes behind the importance matrix")
      .AtOffset(in.offset())
      .Expected("the end of the file")
      .Actual(fmt::format("{} more bytes", in.remaining()));
}

}  // namespace

Result<Contents> ReadLegacyForm(std::span<const std::byte> file) {
  Cursor in(file);
  Contents contents;
  SLUICE_ASSIGN(const std::uint64_t count, in.Count("entries", kMinEntryBytes, 1));
  for (std::uint64_t i = 0; i < count; ++i) {
    SLUICE_ASSIGN(Entry entry, ReadEntry(in));
    contents.entries.push_back(std::move(entry));
  }
  SLUICE_TRY(ReadTrailer(in, contents));
  return contents;
}

}  // namespace sluice::imatrix
