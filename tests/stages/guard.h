// What surrounds the memory that a kernel is to write.
#pragma once

#include <cstddef>

namespace sluice::testing {

inline constexpr std::byte kGuard{0x5A};
inline constexpr std::size_t kGuardBytes = 80;

}  // namespace sluice::testing
