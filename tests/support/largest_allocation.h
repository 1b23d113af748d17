// The largest request for memory: what a hostile file must not be able to choose. Programs that use
// it link largest_allocation.cpp, which replaces operator new.
#pragma once

#include <cstddef>

namespace sluice::testing {

// Bytes of the largest single request since the last call of ForgetLargestAllocation().
std::size_t LargestAllocation();
void ForgetLargestAllocation();

}  // namespace sluice::testing
