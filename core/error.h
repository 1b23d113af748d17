// What went wrong, where, and what to do next. Every fallible function of the project reports an
// Error through Result<T> (core/result.h); nothing throws across our own interfaces.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

enum class ErrorCode : std::uint8_t {
  kUsage,        // the caller asked for something contradictory: wrong flags, output exists
  kCorrupt,      // a file's content is not what its format allows
  kMissing,      // a file, tensor or field that must exist does not
  kMismatch,     // two facts that must agree do not: shape and config, index and shard
  kUnsupported,  // valid, but not something this program handles
  kIo,           // the operating system refused: read, write, permission
  kResource,     // too little disk space or memory budget
  kCancelled,    // the caller asked to stop
  kBug,          // an invariant of ours does not hold
};

struct Error {
  ErrorCode code = ErrorCode::kBug;
  std::string what;                     // one phrase, lower case, without a full stop
  std::string file;                     // path of the file at fault, if any
  std::string tensor;                   // name of the tensor at fault, if any
  std::string expected;                 // what would have been accepted
  std::string actual;                   // what was found instead
  std::string advice;                   // the next step for the user, at most one line
  std::optional<std::uint64_t> offset;  // bytes from the start of `file`
  std::vector<Error> more;              // further problems found in the same pass

  // Fluent setters: deep code fills what it knows, its caller adds the file or the tensor. A value
  // that is already set stays.
  Error&& In(std::string_view path) &&;
  Error&& At(std::string_view tensor_name) &&;
  Error&& AtOffset(std::uint64_t byte_offset) &&;
  Error&& Expected(std::string_view text) &&;
  Error&& Actual(std::string_view text) &&;
  Error&& Advice(std::string_view text) &&;

  // "<file>: tensor '<name>' at byte <offset>: <what>: expected <x>, got <y>", the advice on a line
  // of its own, then the same for every entry of `more`: Printable (core/utf8.h), unterminated.
  [[nodiscard]] std::string Format() const;
};

// Starts an Error: MakeError(ErrorCode::kCorrupt, "header is not JSON").In(path).
[[nodiscard]] Error MakeError(ErrorCode code, std::string_view what);

// Folds problems into one Error: the first carries the others in `more`.
// REQUIRES: `problems` is not empty.
[[nodiscard]] Error JoinErrors(std::vector<Error> problems);

// An I/O Error from errno, with the operating system's words as `actual`.
[[nodiscard]] Error ErrnoError(std::string_view what, std::string_view path, int error_number);

}  // namespace sluice
