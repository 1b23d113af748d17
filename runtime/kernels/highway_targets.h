// Included before Highway by every kernel: the targets the kernels are not written for.
#pragma once

// They keep vectors in arrays and members, which vectors of unknown length do not allow.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
