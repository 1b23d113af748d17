#include "pipeline/edit.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>

#include "core/file.h"
#include "core/mapped_file.h"
#include "formats/gguf/split.h"
#include "pipeline/gguf_plan.h"
#include "pipeline/layout.h"
#include "stages/sink.h"

namespace sluice {
namespace {

// A file on its own, be it part of a split model or not, and the bytes of its head.
struct OpenedFile {
  gguf::SplitSet set;
  std::vector<std::byte> head;
};

Result<OpenedFile> OpenAlone(const std::string& path) {
  SLUICE_ASSIGN(const MappedFile mapped, MappedFile::Open(path));
  OpenedFile opened;
  gguf::SplitFile& file = opened.set.files.emplace_back();
  file.path = path;
  file.file_bytes = mapped.bytes().size();
  SLUICE_ASSIGN(file.head, gguf::ReadHead(mapped));
  const auto head = mapped.bytes().first(std::min(file.file_bytes, file.head.data_start));
  opened.head.assign(head.begin(), head.end());
  SLUICE_TRY(mapped.CheckIntact());
  return opened;
}

Result<gguf::Metadata> Edited(gguf::Metadata metadata, const Settings& settings) {
  SLUICE_TRY(ApplySettings(settings, DescriptionOf(metadata), metadata));
  return metadata;
}

// Where the old head lies while the new one is written over it.
std::string KeptHeadOf(const std::string& path) { return path + ".head"; }

Status CheckNoKeptHead(const std::string& path) {
  const std::string kept = KeptHeadOf(path);
  std::error_code ignored;
  if (!std::filesystem::exists(kept, ignored)) return Ok();
  return MakeError(ErrorCode::kCorrupt, "an edit was interrupted: this is the file's old head")
      .In(kept)
      .Advice(
          fmt::format("dd if='{}' of='{}' conv=notrunc puts it back; then remove it", kept, path));
}

Status KeepHead(const std::string& path, std::span<const std::byte> head, bool sync) {
  SLUICE_ASSIGN(const auto sink, OpenFileSink(KeptHeadOf(path), head.size(), {false, sync}));
  SLUICE_TRY(sink->Append(std::span(&head, 1)));
  return sink->Finish();
}

// Writes the bytes from the first to the last that differ. What is torn half-way can be mended with
// the old head, which is safe beside the file before the first byte and goes after the last.
Status WriteHead(const std::string& path, std::span<const std::byte> before,
                 std::span<const std::byte> after, bool sync) {
  const auto first = std::mismatch(before.begin(), before.end(), after.begin()).first;
  const auto begin = static_cast<std::size_t>(first - before.begin());
  if (begin == before.size()) return Ok();
  const auto last = std::mismatch(before.rbegin(), before.rend(), after.rbegin()).first;
  const auto end = before.size() - static_cast<std::size_t>(last - before.rbegin());
  SLUICE_ASSIGN(File file, File::Open(path, O_RDWR));
  SLUICE_TRY(KeepHead(path, before, sync));
  SLUICE_TRY(file.WriteAt(begin, after.subspan(begin, end - begin)));
  if (sync) SLUICE_TRY(file.Sync());
  SLUICE_TRY(file.Close());
  std::error_code error;
  if (std::filesystem::remove(KeptHeadOf(path), error)) return Ok();
  return ErrnoError("cannot remove the old head", KeptHeadOf(path), error.value());
}

}  // namespace

Result<EditReport> EditKeys(const std::string& path, const Settings& settings,
                            const ConvertOptions& run) {
  std::error_code error;
  std::string target = std::filesystem::canonical(path, error);  // links to it stay links
  if (!error) SLUICE_TRY(CheckNoKeptHead(target));
  SLUICE_ASSIGN(const OpenedFile opened, OpenAlone(path));
  const gguf::Head& head = opened.set.files.front().head;
  Result<gguf::Metadata> changed = Edited(head.metadata, settings);
  if (!changed) return std::move(changed).error().In(path);
  gguf::Metadata metadata = *std::move(changed);
  Result<std::uint32_t> alignment = gguf::AlignmentOf(metadata);
  if (!alignment) return std::move(alignment).error().In(path);
  const std::vector<std::byte> edited = gguf::SerializeHead(metadata, head.tensors, *alignment);
  if (edited.size() == opened.head.size() && *alignment == head.alignment) {
    SLUICE_TRY(WriteHead(target, opened.head, edited, run.sync));
    return EditReport{true};
  }
  SLUICE_ASSIGN(Plan plan, MakeGgufPlan(opened.set, {}));
  plan.files.front().metadata = std::move(metadata);
  SLUICE_TRY(LayOut(plan));
  ConvertOptions options = run;
  options.overwrite = true;
  options.replace_source = true;
  SLUICE_TRY(Convert(plan, std::span(&target, 1), options));
  return EditReport{false};
}

}  // namespace sluice
