// Reads a family's hyperparameters out of a checkpoint's configuration files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/spec.h"
#include "core/result.h"
#include "formats/json/json.h"

namespace sluice {

// Of config.json and the like.
inline constexpr std::uint64_t kMaxConfigBytes = 64 << 20;

// The JSON files of a checkpoint folder that describe the model.
struct ConfigFiles {
  json::Document config;                       // config.json
  std::optional<json::Document> generation;    // generation_config.json
  std::optional<json::Document> preprocessor;  // preprocessor_config.json
  std::optional<json::Document> processor;     // processor_config.json
};

// kMissing without config.json, kCorrupt for a file that is not JSON.
Result<ConfigFiles> LoadConfigFiles(const std::string& folder);

// architectures[0]. kCorrupt when it is missing.
Result<std::string> ArchitectureOf(const ConfigFiles& files);

// Binds every hyperparameter of `family`; appends one Error to `problems` for each field that is
// missing, of the wrong type or out of range. Derived values are computed only when no problem was
// found: they rely on the others.
arch::HParams BindHParams(const arch::Family& family, const ConfigFiles& files,
                          std::vector<Error>& problems);

// Runs the family's and the file's own checks; problems go to `problems`, the rest to `warnings`,
// but for what a file cannot say if the model is planned `to_run`.
// REQUIRES: hyperparameters that were bound without problems.
void Inspect(std::span<const arch::Inspect> findings, const arch::HParams& hparams,
             const std::string& config_path, bool to_run, std::vector<Error>& problems,
             std::vector<std::string>& warnings);

}  // namespace sluice
