// Matches an importance matrix with the tensors of one output file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "formats/gguf/writer.h"
#include "formats/imatrix/reader.h"
#include "pipeline/quantize/recipe.h"

namespace sluice {

struct ImportancePlan {
  // For each tensor its data, or nullptr: it keeps its type, or is quantized without weights. Valid
  // as long as the reader.
  std::vector<const imatrix::Entry*> entries;
  std::vector<std::string> warnings;
};

// Finds the data of every tensor that `recipe` gives another type. `reader` is nullptr without an
// importance matrix. REQUIRES: `recipe` was made for these tensors and this file type. All problems
// are reported in one Error. kMissing: tensors without data whose type is useless or impossible
// without. kMismatch: data of another size than the tensor's rows; for token embeddings only a
// warning.
Result<ImportancePlan> PlanImportance(std::span<const gguf::TensorRecord> tensors,
                                      const Recipe& recipe, FileType file_type,
                                      const imatrix::Reader* reader);

// The data of every tensor, whatever type it may get: nullptr where there is none. kMismatch as
// above.
Result<ImportancePlan> FindImportance(std::span<const gguf::TensorRecord> tensors,
                                      const imatrix::Reader* reader);

// Whether PlanImportance refuses to give the tensor this type without data.
[[nodiscard]] bool NeedsImportance(std::string_view tensor, gguf::TensorType type,
                                   FileType file_type);

// Appends quantize.imatrix.*: file, first dataset, entries, chunks. Texts are cut to what
// llama-quantize writes.
void AddImportanceKeys(const imatrix::Reader& reader, gguf::Metadata& metadata);

}  // namespace sluice
