#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

namespace sluice {
namespace {

// Linux moves at most this much in one call.
constexpr std::size_t kMaxTransfer = 0x7ffff000;
constexpr mode_t kNewFileMode = 0666;

Error TooShort(const std::string& path, std::uint64_t offset, std::uint64_t wanted,
               std::uint64_t got) {
  return MakeError(ErrorCode::kCorrupt, "file ends too early")
      .In(path)
      .AtOffset(offset)
      .Expected(fmt::format("{} bytes", wanted))
      .Actual(fmt::format("{} bytes", got))
      .Advice("the file is truncated: download or copy it again");
}

std::string_view KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  return "a device";
}

}  // namespace

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      owned_(std::exchange(other.owned_, false)),
      path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (owned_) ::close(descriptor_);
    descriptor_ = std::exchange(other.descriptor_, -1);
    owned_ = std::exchange(other.owned_, false);
    path_ = std::move(other.path_);
  }
  return *this;
}

File::~File() {
  if (owned_) ::close(descriptor_);
}

Result<File> File::Open(const std::string& path, int flags) {
  File file;
  file.descriptor_ = ::open(path.c_str(), flags | O_CLOEXEC, kNewFileMode);
  if (file.descriptor_ < 0) {
    const int cause = errno;
    // A signal while a pipe waits for its reader.
    if (cause == EINTR) return MakeError(ErrorCode::kCancelled, "cancelled");
    Error error = ErrnoError("cannot open", path, cause);
    if (cause == ENOENT) error.code = ErrorCode::kMissing;
    return error;
  }
  file.owned_ = true;
  file.path_ = path;
  return file;
}

Result<File> File::OpenForReading(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must report "not a regular file", not wait for a writer.
  SLUICE_ASSIGN(File file, Open(path, O_RDONLY | O_NONBLOCK));
  struct stat info {};
  if (::fstat(file.descriptor_, &info) != 0) return ErrnoError("cannot stat", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(ErrorCode::kMismatch, "not a regular file")
        .In(path)
        .Actual(KindOf(info.st_mode));
  }
  return file;
}

File File::Borrow(int descriptor, std::string name) {
  File file;
  file.descriptor_ = descriptor;
  file.path_ = std::move(name);
  return file;
}

Result<std::uint64_t> File::Size() const {
  struct stat info {};
  if (::fstat(descriptor_, &info) != 0) return ErrnoError("cannot stat", path_, errno);
  return static_cast<std::uint64_t>(info.st_size);
}

Status File::ReadAt(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::size_t want = std::min(out.size() - done, kMaxTransfer);
    const ssize_t got =
        ::pread(descriptor_, out.data() + done, want, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError("cannot read", path_, errno).AtOffset(offset + done);
    if (got == 0) return TooShort(path_, offset, out.size(), done);
    done += static_cast<std::size_t>(got);
  }
  return Ok();
}

Status File::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxTransfer));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoError("cannot write", path_, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return Ok();
}

Status File::WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), kMaxTransfer),
                                 static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoError("cannot write", path_, errno).AtOffset(offset);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return Ok();
}

void File::DropCache(std::uint64_t offset, std::uint64_t size) const {
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size),
                  POSIX_FADV_DONTNEED);
}

Status File::Sync() {
  if (::fsync(descriptor_) != 0) return ErrnoError("cannot flush to disk", path_, errno);
  return Ok();
}

Status File::Close() {
  if (!owned_) return Ok();
  owned_ = false;
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    return ErrnoError("cannot close", path_, errno);
  }
  return Ok();
}

Result<std::string> ReadWholeFile(const std::string& path, std::uint64_t max_bytes) {
  SLUICE_ASSIGN(const File file, File::OpenForReading(path));
  SLUICE_ASSIGN(const std::uint64_t size, file.Size());
  if (size > max_bytes) {
    return MakeError(ErrorCode::kCorrupt, "file is too large for its purpose")
        .In(path)
        .Expected(fmt::format("at most {} bytes", max_bytes))
        .Actual(fmt::format("{} bytes", size));
  }
  std::string text(size, '\0');
  SLUICE_TRY(file.ReadAt(0, std::as_writable_bytes(std::span(text))));
  return text;
}

Status SyncFolderOf(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  SLUICE_ASSIGN(File handle, File::Open(folder, O_RDONLY | O_DIRECTORY));
  // Some file systems cannot sync a folder; the rename itself has succeeded by then.
  if (::fsync(handle.descriptor()) != 0 && errno != EINVAL && errno != ENOTSUP) {
    return ErrnoError("cannot flush folder", folder, errno);
  }
  return Ok();
}

}  // namespace sluice
