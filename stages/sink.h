// Ordered sinks: where the bytes of an output file go, from first to last.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/file.h"
#include "core/result.h"

namespace sluice {

// One output. Used by one thread at a time. Destroying a sink that was not finished discards what
// it has written, as far as the kind of output allows.
class Sink {
 public:
  virtual ~Sink() = default;
  // Appends all spans, in order.
  virtual Status Append(std::span<const std::span<const std::byte>> spans) = 0;
  // Makes the next Append continue at byte `offset` of the output instead. By default kUsage: a
  // pipe takes its bytes in order only.
  virtual Status Seek(std::uint64_t offset);
  // After the last Append: brings all bytes to where they stay, so that little can go wrong in
  // Finish. By default nothing.
  virtual Status Flush();
  // Makes the output complete and, for files, visible under its own name.
  virtual Status Finish() = 0;
};

struct FileSinkOptions {
  bool overwrite = false;  // replace an existing file
  bool sync = true;        // flush to the disk before the file gets its name
  bool keep_mode = false;  // take over the permissions of the file that is replaced
  const std::atomic<bool>* cancel = nullptr;  // true ends the reservation of space: kCancelled
};

// Writes `<path>.partial` and renames it to `path` in Finish. The space for `total_bytes` is
// reserved first. kUsage when `path` exists, and for "-" and what is no file; kResource when the
// disk is too small; kIo when another process is writing the same output or the folder is not
// writable.
Result<std::unique_ptr<Sink>> OpenFileSink(const std::string& path, std::uint64_t total_bytes,
                                           const FileSinkOptions& options);

// Writes to a descriptor that is open already: a pipe, a device, standard output. While a pipe is
// full, `cancel` is looked at now and then: true ends the write with kCancelled.
std::unique_ptr<Sink> OpenStreamSink(File file, const std::atomic<bool>* cancel = nullptr);

}  // namespace sluice
