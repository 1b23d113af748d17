#include "core/machine.h"

#include <linux/magic.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <sstream>

namespace sluice {
namespace {

constexpr std::uint64_t kBytesPerKib = 1024;

int CoresInAffinityMask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

// "max 100000" or "150000 100000" (quota and period in microseconds) -> cores; infinity if none.
double QuotaFromCpuMax(const std::string& path) {
  std::ifstream file(path);
  double quota = 0;
  double period = 0;
  if (file >> quota >> period && period > 0) return quota / period;
  return INFINITY;
}

double QuotaFromCfs(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  return INFINITY;
}

// A quota may sit on the process's own cgroup or on any of its parents.
double CgroupQuota() {
  double cores = QuotaFromCfs("/sys/fs/cgroup/cpu");
  std::ifstream membership("/proc/self/cgroup");
  for (std::string line; std::getline(membership, line);) {
    if (!line.starts_with("0::")) continue;
    for (std::string group = line.substr(3);; group.erase(group.find_last_of('/'))) {
      cores = std::min(cores, QuotaFromCpuMax("/sys/fs/cgroup" + group + "/cpu.max"));
      if (group.find('/') == std::string::npos) break;
    }
  }
  return cores;
}

}  // namespace

int AllowedCores() {
  const double quota = std::ceil(CgroupQuota());
  const int cores = CoresInAffinityMask();
  return quota < cores ? std::max(1, static_cast<int>(quota)) : cores;
}

std::optional<std::uint64_t> FreeDiskBytes(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

std::uint64_t PhysicalMemoryBytes() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

MemoryUse CurrentMemoryUse() {
  MemoryUse use;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kib = 0;
    if (!(words >> name >> kib)) continue;
    if (name == "VmHWM:") use.peak_resident_bytes = kib * kBytesPerKib;
    if (name == "RssAnon:") use.anonymous_bytes = kib * kBytesPerKib;
  }
  return use;
}

bool IsNetworkFileSystem(const std::string& path) {
  // Numbers from linux/magic.h and, where that has none, from the file system's own source.
  constexpr std::array<std::uint32_t, 9> kNetworkMagics{
      NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, SMB2_SUPER_MAGIC, CIFS_SUPER_MAGIC, CEPH_SUPER_MAGIC,
      V9FS_MAGIC,      AFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, 0x0BD00BD0 /* Lustre */};
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0) return false;
  const auto magic = static_cast<std::uint32_t>(info.f_type);
  return std::find(kNetworkMagics.begin(), kNetworkMagics.end(), magic) != kNetworkMagics.end();
}

}  // namespace sluice
