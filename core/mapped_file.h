// Read-only memory-mapped files whose pages can be made resident and released again, and which turn
// a file that shrinks under the mapping into an error instead of a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/file.h"
#include "core/result.h"

namespace sluice {

// The mapping lives as long as the object; spans into bytes() must not outlive it. Moving keeps
// the addresses. All const members may be called by several threads at once.
//
// A file that another process truncates while it is mapped raises SIGBUS on the next access beyond
// its new end. The first MappedFile installs a process-wide handler which, for addresses inside a
// live mapping, puts a page of zeros in place of the lost one and marks the file, so that readers
// go on with zeros and must ask CheckIntact() before they use what they read. Signals for other
// addresses go to the handler that was there before.
class MappedFile {
 public:
  // Maps a whole file. Errors of File::OpenForReading. kCorrupt when it does not have
  // `expected_bytes`, where those are given: what was checked against them could lie beyond its
  // end.
  static Result<MappedFile> Open(const std::string& path,
                                 std::optional<std::uint64_t> expected_bytes = std::nullopt);

  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const;
  [[nodiscard]] const File& file() const;
  [[nodiscard]] const std::string& path() const { return file().path(); }

  // Makes a range resident in this process's page tables before it is touched: one call instead of
  // a page fault every few pages. kCorrupt when the file no longer has these bytes.
  Status Populate(std::uint64_t offset, std::uint64_t size) const;
  // Takes the pages of a range out of this process's resident set, the page it shares with what is
  // in front of it too, but not the one that it shares with what is behind it: that is usually read
  // next, and a fault would bring back the pages around it. The page cache keeps them all, so a
  // later access is correct, only slower.
  void Release(std::uint64_t offset, std::uint64_t size) const;

  // kCorrupt once an access hit a part of the file that is gone.
  Status CheckIntact() const;

 private:
  struct Mapping;
  explicit MappedFile(std::unique_ptr<Mapping> mapping);
  std::unique_ptr<Mapping> mapping_;
};

}  // namespace sluice
