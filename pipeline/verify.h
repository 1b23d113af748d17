// Proves a conversion: carries out the plan once more and compares the result with the files, in
// one pass and without writing anything.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "pipeline/convert.h"
#include "pipeline/plan.h"

namespace sluice {

struct VerifyReport {
  // What the files have (actual) in place of what the plan says (expected): key-values, types and
  // shapes first, then bytes, one entry for a tensor with the offset of the first byte that
  // differs. Empty: the files are a conversion of the sources.
  std::vector<Error> differences;
  std::uint64_t key_values = 0;  // of the plan
  std::uint64_t tensors = 0;
  std::uint64_t bytes = 0;  // of the tensors that were compared byte by byte
  double seconds = 0;
  std::vector<std::string> warnings;  // those of the plan
};

// Compares plan.files[i] with the model in files[i], which may be split in any way; of a split
// model the first file is named. Padding, alignment and the keys of a split do not count. Memory,
// threads, I/O mode, cancelling and progress are those of `options`.
// Errors of gguf::OpenSplit and RunGraph; kCorrupt when a file changes meanwhile.
// REQUIRES: the plan is not split, files.size() == plan.files.size().
Result<VerifyReport> Verify(const Plan& plan, std::span<const std::string> files,
                            const ConvertOptions& options);

}  // namespace sluice
