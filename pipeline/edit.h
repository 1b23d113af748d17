// Changes key-values of a GGUF file.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"
#include "pipeline/convert.h"

namespace sluice {

struct EditReport {
  bool in_place = false;  // only the head was written
};

// Sets key-values of the file `path`: present keys where they stand, others at the end. The tensors
// stay; of a split model only this file changes. Where the new head fills the old one's place it is
// written there, while the old one is kept as `<path>.head`; otherwise the whole file is written
// anew beside the old one and takes its name and permissions when it is complete. `run` as for
// Convert, `overwrite` is implied. kUsage: an unusable general.alignment, a key of the split.
// kCorrupt: an earlier edit was interrupted and has left the old head. Errors of gguf::ReadHead and
// Convert.
Result<EditReport> EditKeys(const std::string& path,
                            const std::vector<std::pair<std::string, gguf::Value>>& settings,
                            const ConvertOptions& run);

}  // namespace sluice
