// Latent attention that expands every latent to the keys and values of a head.
#pragma once

#include <cstdint>

#include "runtime/model/attention_job.h"
#include "runtime/parallel/workers.h"

namespace sluice::runtime {

// Computes job.out of one head. Different heads may be computed at the same time.
void AttendNaive(const AttentionJob& job, std::uint32_t head, Scratch& scratch);

}  // namespace sluice::runtime
