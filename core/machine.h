// What this process may use of the machine, and how much it has used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sluice {

// Cores this process may run on: the affinity mask, bounded by the cgroup's CPU quota (rounded up).
// At least 1.
[[nodiscard]] int AllowedCores();

// Bytes an ordinary user may still write on the file system that holds `path` (a file or a folder
// that exists). nullopt when the file system does not say.
[[nodiscard]] std::optional<std::uint64_t> FreeDiskBytes(const std::string& path);

// Bytes of memory of this machine.
[[nodiscard]] std::uint64_t PhysicalMemoryBytes();

struct MemoryUse {
  std::uint64_t peak_resident_bytes = 0;  // mapped files included
  std::uint64_t anonymous_bytes = 0;      // now: heap, stacks and buffers
};
[[nodiscard]] MemoryUse CurrentMemoryUse();

// Whether `path` lies on a network file system, where page faults are slow and a file that another
// machine truncates is a SIGBUS.
[[nodiscard]] bool IsNetworkFileSystem(const std::string& path);

}  // namespace sluice
