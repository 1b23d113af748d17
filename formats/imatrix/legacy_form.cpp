// The older form, little endian and without a magic number:
//
//   entries i32 │ each: name length i32, name, calls i32, values i32, values x f32 │ trailer
//   trailer, which may be absent: chunks i32, dataset length i32, dataset
//
// The values are sums over `calls`.
#include <fmt/format.h>

#include <utility>

#include "formats/byte_cursor.h"
#include "formats/imatrix/forms.h"

namespace sluice::imatrix {
namespace {

class Cursor : public ByteCursor {
 public:
  explicit Cursor(std::span<const std::byte> file)
      : ByteCursor(file, "the importance matrix is cut off", "") {}

  // A number of things that take at least `each` bytes and that are there at least `least` times.
  Result<std::uint64_t> Count(std::string_view what, std::uint64_t each, std::int32_t least) {
    const std::uint64_t at = offset();
    SLUICE_ASSIGN(const auto count, Number<std::int32_t>());
    const std::uint64_t most = remaining() / each;
    if (count >= least && static_cast<std::uint64_t>(count) <= most) {
      return static_cast<std::uint64_t>(count);
    }
    return MakeError(ErrorCode::kCorrupt, fmt::format("impossible number of {}", what))
        .AtOffset(at)
        .Expected(most < static_cast<std::uint64_t>(least) ? "more bytes behind it"
                                                           : fmt::format("{} to {}", least, most))
        .Actual(fmt::format("{}", count))
        .Advice("the file is truncated, or no importance matrix");
  }

  Result<std::string> CountedText(std::string_view what, std::int32_t least) {
    SLUICE_ASSIGN(const std::uint64_t length, Count(what, 1, least));
    SLUICE_ASSIGN(const std::string_view text, Text(length));
    return std::string(text);
  }
};

constexpr std::uint64_t kMinEntryBytes = 17;  // three numbers, a letter, a value

Status ReadValues(Cursor& in, Entry& entry) {
  SLUICE_ASSIGN(const std::int32_t calls, in.Number<std::int32_t>());
  entry.divisors = {calls > 0 ? static_cast<float>(calls) : 1.0F};
  SLUICE_ASSIGN(entry.values, in.Count("values", sizeof(float), 1));
  entry.offset = in.offset();
  SLUICE_ASSIGN([[maybe_unused]] const auto values, in.Take(entry.values * sizeof(float)));
  return Ok();
}

Result<Entry> ReadEntry(Cursor& in) {
  Entry entry;
  SLUICE_ASSIGN(entry.name, in.CountedText("letters of an entry's name", 1));
  Status read = ReadValues(in, entry);
  if (!read) return std::move(read).error().At(entry.name);
  return entry;
}

Status ReadTrailer(Cursor& in, Contents& contents) {
  if (in.remaining() == 0) return Ok();
  SLUICE_ASSIGN(const std::int32_t chunks, in.Number<std::int32_t>());
  contents.num_chunks = chunks > 0 ? static_cast<std::uint32_t>(chunks) : 0;
  SLUICE_ASSIGN(std::string dataset, in.CountedText("letters of the dataset's name", 0));
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
