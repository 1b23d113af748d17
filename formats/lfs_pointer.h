// Git LFS pointers: the small text files that stand in for a model file after a clone without LFS.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace sluice {

// From the Git LFS specification, version 1: the first line of every pointer file.
inline constexpr std::string_view kLfsPointerStart = "version https://git-lfs.github.com/spec/";

[[nodiscard]] inline bool IsLfsPointer(std::string_view file_start) {
  return file_start.starts_with(kLfsPointerStart);
}

[[nodiscard]] inline Error LfsPointerError(std::string_view path) {
  return MakeError(ErrorCode::kCorrupt, "this is a Git LFS pointer, not the file itself")
      .In(path)
      .Advice("fetch the real file: run `git lfs pull` in the checkpoint folder");
}

[[nodiscard]] inline bool IsLfsPointerError(const Error& error) {
  return error.what == LfsPointerError("").what;
}

}  // namespace sluice
