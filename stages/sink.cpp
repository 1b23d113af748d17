#include "stages/sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "core/machine.h"

namespace sluice {
namespace {

// Linux accepts this many spans in one call (UIO_MAXIOV).
constexpr std::size_t kMaxSpans = 1024;

// Takes `written` bytes off the front of `spans`.
void Advance(std::span<iovec>& spans, std::size_t written) {
  while (!spans.empty() && written >= spans.front().iov_len) {
    written -= spans.front().iov_len;
    spans = spans.subspan(1);
  }
  if (written == 0 || spans.empty()) return;
  spans.front().iov_base = static_cast<std::byte*>(spans.front().iov_base) + written;
  spans.front().iov_len -= written;
}

// Waits until a pipe has room again.
Status WaitForRoom(int descriptor, const std::atomic<bool>* cancel) {
  constexpr int kMilliseconds = 100;
  pollfd pipe{descriptor, POLLOUT, 0};
  while (::poll(&pipe, 1, kMilliseconds) <= 0) {
    if (cancel != nullptr && cancel->load()) return MakeError(ErrorCode::kCancelled, "cancelled");
  }
  return Ok();
}

// Errors name the output; `cancel` is looked at while a descriptor that does not block is full.
Status AppendAll(int descriptor, const std::string& name,
                 std::span<const std::span<const std::byte>> spans,
                 const std::atomic<bool>* cancel) {
  std::vector<iovec> vectors;
  vectors.reserve(spans.size());
  for (const auto bytes : spans) {
    if (!bytes.empty()) vectors.push_back({const_cast<std::byte*>(bytes.data()), bytes.size()});
  }
  std::span<iovec> left(vectors);
  while (!left.empty()) {
    const int count = static_cast<int>(std::min(left.size(), kMaxSpans));
    const ssize_t put = ::writev(descriptor, left.data(), count);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) {
      SLUICE_TRY(WaitForRoom(descriptor, cancel));
      continue;
    }
    if (put < 0) return ErrnoError("cannot write", name, errno);
    Advance(left, static_cast<std::size_t>(put));
  }
  return Ok();
}

class FileSink final : public Sink {
 public:
  FileSink(std::string path, File partial, bool sync)
      : path_(std::move(path)), partial_(std::move(partial)), sync_(sync) {}

  ~FileSink() override {
    if (!finished_) ::unlink(partial_.path().c_str());
  }

  Status Append(std::span<const std::span<const std::byte>> spans) override {
    for (const auto bytes : spans) position_ += bytes.size();
    end_ = std::max(end_, position_);
    return AppendAll(partial_.descriptor(), partial_.path(), spans, nullptr);
  }

  Status Seek(std::uint64_t offset) override {
    if (::lseek(partial_.descriptor(), static_cast<off_t>(offset), SEEK_SET) < 0) {
      return ErrnoError("cannot seek", partial_.path(), errno);
    }
    position_ = offset;
    return Ok();
  }

  Status Flush() override {
    // What was reserved and not needed must not stay as zeros.
    if (::ftruncate(partial_.descriptor(), static_cast<off_t>(end_)) != 0) {
      return ErrnoError("cannot truncate", partial_.path(), errno);
    }
    if (sync_) SLUICE_TRY(partial_.Sync());
    flushed_ = true;
    return Ok();
  }

  Status Finish() override {
    if (!flushed_) SLUICE_TRY(Flush());
    // Renamed while it is still open and locked: no other process can take the name in between.
    if (::rename(partial_.path().c_str(), path_.c_str()) != 0) {
      return ErrnoError("cannot rename the finished file", path_, errno);
    }
    finished_ = true;
    SLUICE_TRY(partial_.Close());
    return sync_ ? SyncFolderOf(path_) : Ok();
  }

 private:
  std::string path_;
  File partial_;
  std::uint64_t position_ = 0;  // of the next Append
  std::uint64_t end_ = 0;       // of what was written
  bool sync_;
  bool flushed_ = false;
  bool finished_ = false;
};

class StreamSink final : public Sink {
 public:
  StreamSink(File file, const std::atomic<bool>* cancel)
      : file_(std::move(file)), cancel_(cancel), unblocked_(Unblocked(file_)) {}
  Status Append(std::span<const std::span<const std::byte>> spans) override {
    return AppendAll((unblocked_ ? *unblocked_ : file_).descriptor(), file_.path(), spans, cancel_);
  }
  Status Finish() override {
    if (unblocked_) SLUICE_TRY(unblocked_->Close());
    return file_.Close();
  }

 private:
  // A pipe once more, so that writes to it do not block and other users of the descriptor notice
  // nothing.
  static std::optional<File> Unblocked(const File& file) {
    struct stat info {};
    if (::fstat(file.descriptor(), &info) != 0 || !S_ISFIFO(info.st_mode)) return std::nullopt;
    const std::string again = fmt::format("/proc/self/fd/{}", file.descriptor());
    Result<File> unblocked = File::Open(again, O_WRONLY | O_NONBLOCK);
    if (!unblocked) return std::nullopt;
    return *std::move(unblocked);
  }

  File file_;
  const std::atomic<bool>* cancel_;
  std::optional<File> unblocked_;
};

std::string FolderOf(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

Result<File> OpenPartial(const std::string& path) {
  // A link would lead to a file that is not ours to overwrite.
  Result<File> file = File::Open(path, O_RDWR | O_CREAT | O_NOFOLLOW);
  if (!file) {
    Error error = std::move(file).error();
    error.code = ErrorCode::kIo;  // a missing folder is no missing input
    std::error_code failed;
    if (std::filesystem::is_directory(FolderOf(path), failed)) return error;
    return std::move(error).Advice(fmt::format("there is no folder '{}': make it", FolderOf(path)));
  }
  // The name must still be this file once it is locked: another process may have renamed it to its
  // finished output in between.
  struct stat opened {};
  struct stat named {};
  if (::flock(file->descriptor(), LOCK_EX | LOCK_NB) != 0 ||
      ::fstat(file->descriptor(), &opened) != 0 || ::stat(path.c_str(), &named) != 0 ||
      opened.st_ino != named.st_ino) {
    return MakeError(ErrorCode::kIo, "another process is writing this file").In(path);
  }
  if (opened.st_nlink != 1) {
    return MakeError(ErrorCode::kIo, "this file has another name, too, and may be wanted")
        .In(path)
        .Advice("remove it, or choose another output");
  }
  return file;
}

// Takes seconds on some file systems; a signal ends it.
Status Allocate(const File& file, std::uint64_t bytes, const std::atomic<bool>* cancel) {
  while (::fallocate(file.descriptor(), 0, 0, static_cast<off_t>(bytes)) != 0) {
    const int cause = errno;
    // File systems that cannot reserve space are written as they come.
    if (cause == EOPNOTSUPP || cause == ENOSYS) return Ok();
    if (cause == EINTR) {
      if (cancel == nullptr || !cancel->load()) continue;
      return MakeError(ErrorCode::kCancelled, "cancelled");
    }
    Error error = ErrnoError("cannot reserve space", file.path(), cause);
    error.code = cause == ENOSPC ? ErrorCode::kResource : ErrorCode::kIo;
    return error;
  }
  return Ok();
}

Status ReserveSpace(const File& file, const std::string& folder, std::uint64_t bytes,
                    const std::atomic<bool>* cancel) {
  const auto available = FreeDiskBytes(folder);
  if (available && *available < bytes) {
    return MakeError(ErrorCode::kResource, "too little space on the disk")
        .In(folder)
        .Expected(fmt::format("{} bytes", bytes))
        .Actual(fmt::format("{} bytes free", *available));
  }
  return bytes > 0 ? Allocate(file, bytes, cancel) : Ok();
}

}  // namespace

Status Sink::Seek(std::uint64_t) {
  return MakeError(ErrorCode::kUsage, "this output takes its bytes in order only");
}

Status Sink::Flush() { return Ok(); }

Result<std::unique_ptr<Sink>> OpenFileSink(const std::string& path, std::uint64_t total_bytes,
                                           const FileSinkOptions& options) {
  struct stat existing {};
  const bool is_no_file = ::stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode);
  if (is_no_file || path == "-") {
    return MakeError(ErrorCode::kUsage, "output is no file")
        .In(path)
        .Expected("the name of a file, not a pipe, device or folder");
  }
  if (!options.overwrite && ::lstat(path.c_str(), &existing) == 0) {
    return MakeError(ErrorCode::kUsage, "output exists")
        .In(path)
        .Advice("choose another name, or overwrite it with --force");
  }
  SLUICE_ASSIGN(File partial, OpenPartial(path + ".partial"));
  // A leftover of a run that was killed is cut before it counts against the free space.
  if (::ftruncate(partial.descriptor(), 0) != 0) {
    return ErrnoError("cannot truncate", partial.path(), errno);
  }
  constexpr mode_t kPermissions = 07777;
  struct stat replaced {};
  if (options.keep_mode && ::stat(path.c_str(), &replaced) == 0 &&
      ::fchmod(partial.descriptor(), replaced.st_mode & kPermissions) != 0) {
    return ErrnoError("cannot set permissions", partial.path(), errno);
  }
  const Status reserved = ReserveSpace(partial, FolderOf(path), total_bytes, options.cancel);
  auto sink = std::make_unique<FileSink>(path, std::move(partial), options.sync);
  if (!reserved) return reserved.error();  // the sink removes the partial file
  return std::unique_ptr<Sink>(std::move(sink));
}

std::unique_ptr<Sink> OpenStreamSink(File file, const std::atomic<bool>* cancel) {
  return std::make_unique<StreamSink>(std::move(file), cancel);
}

}  // namespace sluice
