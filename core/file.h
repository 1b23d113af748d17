// POSIX files as RAII objects whose errors carry the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

namespace sluice {

// One open file descriptor; movable, closed by the destructor. ReadAt and WriteAt may be called by
// several threads at once, Write may not.
class File {
 public:
  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  // A regular file for reading. kMissing: there is none; kMismatch: a folder or pipe; kIo.
  static Result<File> OpenForReading(const std::string& path);
  // Takes a descriptor that stays open when the File goes away (standard output).
  static File Borrow(int descriptor, std::string name);
  // `flags` as for open(2); new files get mode 0666 less the umask.
  static Result<File> Open(const std::string& path, int flags);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int descriptor() const { return descriptor_; }

  Result<std::uint64_t> Size() const;

  // Fills `out` from byte `offset`; reaching the end of the file first is kCorrupt.
  Status ReadAt(std::uint64_t offset, std::span<std::byte> out) const;
  // Writes all of `bytes` at the current position.
  Status Write(std::span<const std::byte> bytes);
  // Writes all of `bytes` at byte `offset`.
  Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes);
  Status Sync();
  // Lets the page cache forget the whole pages of a range. Later reads are correct, only slower.
  void DropCache(std::uint64_t offset, std::uint64_t size) const;
  // Closes an owned descriptor; a no-op on a borrowed or closed one.
  Status Close();

 private:
  int descriptor_ = -1;
  bool owned_ = false;
  std::string path_;
};

// The whole of a small text or binary file. kCorrupt when it is larger than `max_bytes`.
Result<std::string> ReadWholeFile(const std::string& path, std::uint64_t max_bytes);

// Makes a rename inside `path`'s folder durable.
Status SyncFolderOf(const std::string& path);

}  // namespace sluice
