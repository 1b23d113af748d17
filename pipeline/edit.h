// Changes key-values of a GGUF file.
#pragma once

#include <string>

#include "core/result.h"
#include "pipeline/convert.h"
#include "pipeline/settings.h"

namespace sluice {

struct EditReport {
  bool in_place = false;  // only the head was written
};

// Sets key-values of the file `path`: present keys where they stand, others at the end. The tensors
// stay; of a split model only this file changes. Where the new head fills the old one's place it is
// written there, while the old one is kept as `<path>.head`; otherwise the whole file is written
// anew beside the old one and takes its name and permissions when it is complete. `run` as for
// Convert, `overwrite` is implied. kUsage: an unusable general.alignment. kCorrupt: an earlier edit
// was interrupted and has left the old head. Errors of ApplySettings, gguf::ReadHead and Convert.
Result<EditReport> EditKeys(const std::string& path, const Settings& settings,
                            const ConvertOptions& run);

}  // namespace sluice
