// Flags of convert that choose a folder of quantized safetensors instead of a GGUF file.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "cli/conversion_flags.h"
#include "core/result.h"
#include "pipeline/convert.h"

namespace sluice::cli {

struct SafetensorsFlags {
  std::string format = "gguf";
  std::uint32_t group_size = 64;

  [[nodiscard]] bool chosen() const { return format == "safetensors"; }
};

void AddSafetensorsFlags(CLI::App& command, SafetensorsFlags& flags);

// kUsage: a flag of the other format was given. `command` has all flags of convert.
Status CheckFlagsOfFormat(const SafetensorsFlags& flags, const CLI::App& command);

// Plans and writes the folder. Errors of PlanMlxFolder and ConvertToFolder; kUsage without a --type
// of safetensors.
Result<ConvertReport> ConvertToSafetensors(const SafetensorsFlags& flags, const PlanFlags& plan,
                                           const std::string& folder, std::uint64_t max_shard_bytes,
                                           const ConvertOptions& options);

}  // namespace sluice::cli
