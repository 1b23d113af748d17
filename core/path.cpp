#include "core/path.h"

#include <sys/stat.h>

#include <cerrno>

namespace sluice {

bool IsPresent(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

}  // namespace sluice
