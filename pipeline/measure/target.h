// --target-size, --target-bpw: the mix of types with the least error that fits.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"
#include "pipeline/convert.h"
#include "pipeline/plan.h"
#include "pipeline/quantize/apply.h"

namespace sluice {

// One of the two is above 0.
struct SizeTarget {
  std::uint64_t file_bytes = 0;  // of the whole file
  double bits_per_weight = 0;    // of all tensors of the file
  // Whether general.file_type is that of the request; else the recipe's that is called like the
  // type of most weights.
  bool keeps_file_type = false;
};

// Quantizes the model of a plan, planned for one file without quantization, to the mix of types
// whose sum of squared errors, weighted by the importance matrix if there is one, is least within
// the target. The types are those of one family, which the request's recipe names: the K-quants
// with Q8_0, the older Q4_0 to Q5_1 with Q8_0, or the IQ types with Q5_K, Q6_K and Q8_0; without
// importance data those that need it are left out. Tensors that the user's rules and options
// decide keep those types. Of `run` memory_bytes, threads, io, cancel and on_progress count.
//
// Errors are measured in one pass; of a tensor with more than 2^24 elements 64 parts of 2^18 at
// equal distances. Tensors without importance data count with the average weight of the others.
//
// Returns the text of a --tensor-types file that gives the same types, with the request's rules,
// once the recipe that its comment names is given too. kUsage: a recipe without a family, a target
// that is too small, with the smallest size that can be reached. Errors of QuantizeModel, LayOut,
// MeasureErrors.
Result<std::string> QuantizeToTarget(const QuantizeRequest& request, const SizeTarget& target,
                                     const ConvertOptions& run, Plan& plan);

}  // namespace sluice
