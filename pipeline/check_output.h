// Which paths no output may have.
#pragma once

#include <string>

#include "core/result.h"
#include "pipeline/convert.h"
#include "pipeline/plan.h"

namespace sluice {

// kUsage for no name, a folder, and whatever the plan reads: its shards by any name, and other
// files of the checkpoint folder that are no .gguf files.
Status CheckOutput(const std::string& path, const Plan& plan);

// The errors that Convert would have with this output now, but for those of space; for what comes
// before Convert and takes long.
Status CheckOutputOpens(const std::string& path, const Plan& plan, const ConvertOptions& options);

}  // namespace sluice
