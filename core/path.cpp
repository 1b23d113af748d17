#include "core/path.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace sluice {

bool IsPresent(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

std::string PlaceOf(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  // A path that is not absolute is only made so where something exists.
  const fs::path place = fs::weakly_canonical(fs::absolute(path, error), error);
  return error ? path : place.string();
}

}  // namespace sluice
