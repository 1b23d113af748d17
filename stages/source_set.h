// The open shards of one run, and the small tensors that were computed while planning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/machine.h"
#include "core/mapped_file.h"
#include "core/result.h"

namespace sluice {

enum class IoMode : std::uint8_t { kAuto, kMmap, kRead };

// What the plan knows of a shard file; the file must still be that when it is read.
struct ShardFile {
  std::string path;
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const ShardFile&) const = default;
};

// The const members may be called by several threads at once.
class SourceSet {
 public:
  // Opens every shard; kAuto reads shards on network file systems and maps the others.
  // `generated` become further shards, numbered after those of `shards`.
  // kCorrupt when a file is no longer what the plan saw.
  // Of shards that together exceed half of `machine_memory` (bytes) nothing would stay in the page
  // cache until the next run: Release lets go of them there too, which leaves other programs theirs
  // and saves the kernel the search for pages to reclaim.
  static Result<SourceSet> Open(std::span<const ShardFile> shards, IoMode mode,
                                std::vector<std::vector<std::byte>> generated,
                                std::uint64_t machine_memory = PhysicalMemoryBytes());

  // Of the shard's file; empty for a generated one.
  [[nodiscard]] const std::string& PathOf(std::uint32_t shard) const {
    return sources_[shard].file.path;
  }
  // Where the shard lies in memory; empty for a shard that must be read into a buffer.
  [[nodiscard]] std::span<const std::byte> Bytes(std::uint32_t shard) const;
  [[nodiscard]] bool MustRead(std::uint32_t shard) const;

  Status ReadAt(std::uint32_t shard, std::uint64_t offset, std::span<std::byte> out) const;
  // Makes a range of a mapped shard resident; a no-op for other shards.
  Status Populate(std::uint32_t shard, std::uint64_t offset, std::uint64_t size) const;
  // A range that is not needed for now. One that will be read again stays in the page cache.
  void Release(std::uint32_t shard, std::uint64_t offset, std::uint64_t size,
               bool read_again = false) const;
  // kCorrupt once a mapped read met a part of the shard that is gone.
  Status CheckIntact(std::uint32_t shard) const;
  // kCorrupt when any file has changed since the plan was made.
  Status CheckUnchanged() const;

 private:
  struct Source {
    ShardFile file;
    std::unique_ptr<MappedFile> mapped;
    std::unique_ptr<File> read;
    std::vector<std::byte> generated;
  };
  std::vector<Source> sources_;
  bool drops_cache_ = false;
};

// The facts of a shard file as they are now.
Result<ShardFile> StatShard(const std::string& path);

}  // namespace sluice
