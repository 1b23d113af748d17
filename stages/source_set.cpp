#include "stages/source_set.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "core/machine.h"

namespace sluice {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

Status CheckSameFile(const ShardFile& planned) {
  SLUICE_ASSIGN(const ShardFile now, StatShard(planned.path));
  if (now.bytes == planned.bytes && now.modified_ns == planned.modified_ns) return Ok();
  return MakeError(ErrorCode::kCorrupt, "file changed while it was read")
      .In(planned.path)
      .Expected(fmt::format("{} bytes, unmodified", planned.bytes))
      .Actual(fmt::format("{} bytes", now.bytes))
      .Advice("let the download or copy of the checkpoint finish, then convert again");
}

}  // namespace

Result<ShardFile> StatShard(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    Error error = ErrnoError("cannot stat", path, errno);
    if (errno == ENOENT) error.code = ErrorCode::kMissing;
    return error;
  }
  return ShardFile{path, static_cast<std::uint64_t>(info.st_size),
                   info.st_mtim.tv_sec * kNanosecondsPerSecond + info.st_mtim.tv_nsec};
}

Result<SourceSet> SourceSet::Open(std::span<const ShardFile> shards, IoMode mode,
                                  std::vector<std::vector<std::byte>> generated,
                                  std::uint64_t machine_memory) {
  SourceSet set;
  std::uint64_t total = 0;
  for (const ShardFile& shard : shards) {
    Source source;
    source.file = shard;
    SLUICE_TRY(CheckSameFile(shard));
    if (mode == IoMode::kRead || (mode == IoMode::kAuto && IsNetworkFileSystem(shard.path))) {
      SLUICE_ASSIGN(File file, File::OpenForReading(shard.path));
      source.read = std::make_unique<File>(std::move(file));
    } else {
      SLUICE_ASSIGN(MappedFile file, MappedFile::Open(shard.path));
      source.mapped = std::make_unique<MappedFile>(std::move(file));
    }
    set.sources_.push_back(std::move(source));
    total += shard.bytes;
  }
  set.drops_cache_ = total > machine_memory / 2;
  for (std::vector<std::byte>& bytes : generated) {
    set.sources_.emplace_back().generated = std::move(bytes);
  }
  return set;
}

std::span<const std::byte> SourceSet::Bytes(std::uint32_t shard) const {
  const Source& source = sources_[shard];
  if (source.mapped) return source.mapped->bytes();
  return source.generated;
}

bool SourceSet::MustRead(std::uint32_t shard) const { return sources_[shard].read != nullptr; }

Status SourceSet::ReadAt(std::uint32_t shard, std::uint64_t offset,
                         std::span<std::byte> out) const {
  return sources_[shard].read->ReadAt(offset, out);
}

Status SourceSet::Populate(std::uint32_t shard, std::uint64_t offset, std::uint64_t size) const {
  const Source& source = sources_[shard];
  return source.mapped ? source.mapped->Populate(offset, size) : Ok();
}

void SourceSet::Prefetch(std::uint32_t shard, std::uint64_t offset, std::uint64_t size) const {
  if (sources_[shard].mapped) sources_[shard].mapped->Prefetch(offset, size);
}

void SourceSet::Release(std::uint32_t shard, std::uint64_t offset, std::uint64_t size,
                        bool read_again) const {
  const Source& source = sources_[shard];
  if (source.mapped) source.mapped->Release(offset, size);
  if (!drops_cache_ || read_again) return;
  if (source.mapped) source.mapped->file().DropCache(offset, size);
  if (source.read) source.read->DropCache(offset, size);
}

Status SourceSet::CheckIntact(std::uint32_t shard) const {
  const Source& source = sources_[shard];
  return source.mapped ? source.mapped->CheckIntact() : Ok();
}

Status SourceSet::CheckUnchanged() const {
  for (const Source& source : sources_) {
    if (!source.file.path.empty()) SLUICE_TRY(CheckSameFile(source.file));
  }
  return Ok();
}

}  // namespace sluice
