#include "runtime/model/load.h"

#include <filesystem>
#include <system_error>

#include "pipeline/hparams.h"
#include "pipeline/plan.h"
#include "runtime/model/ollama_model.h"
#include "runtime/model/rope.h"
#include "runtime/model/weight_source.h"
#include "runtime/text/open_tokenizer.h"

namespace sluice::runtime {
namespace {

Result<std::unique_ptr<WeightSource>> OpenCheckpoint(const std::string& folder,
                                                     std::vector<std::string>& warnings) {
  PlanOptions options;
  options.to_run = true;
  options.keep_mtp = false;
  SLUICE_ASSIGN(Plan plan, MakePlan(folder, options));
  for (std::string& warning : plan.warnings) warnings.push_back(std::move(warning));
  return OpenPlanned(std::move(plan));
}

// config.json says more about RoPE than GGUF has keys for.
Status ReadRope(const std::string& folder, Config& config) {
  SLUICE_ASSIGN(const ConfigFiles files, LoadConfigFiles(folder));
  SLUICE_ASSIGN(config.rope_config,
                RopeFromConfig(files.config, config.rope_config.theta, config.context));
  return Ok();
}

Result<LoadedModel> Load(const std::string& path, const LoadOptions& options) {
  LoadedModel loaded;
  std::error_code error;  // a path that cannot be looked at is reported when it is opened
  const bool is_folder = std::filesystem::is_directory(path, error);
  SLUICE_ASSIGN(std::unique_ptr<WeightSource> source,
                is_folder ? OpenCheckpoint(path, loaded.warnings) : OpenGguf(path));
  loaded.metadata = source->metadata();
  SLUICE_ASSIGN(Config config, ConfigFromMetadata(loaded.metadata, loaded.warnings));
  if (is_folder) SLUICE_TRY(ReadRope(path, config));
  if (options.latent_eps) config.latent_eps = *options.latent_eps;
  SLUICE_ASSIGN(loaded.model, Glm::Load(std::move(source), config, options.model));
  return loaded;
}

}  // namespace

Result<LoadedModel> LoadModel(const std::string& path, const LoadOptions& options) {
  if (OllamaModel::IsManifest(path)) {
    SLUICE_ASSIGN(const OllamaModel blobs, OllamaModel::Open(path));
    Result<LoadedModel> loaded = LoadModel(blobs.folder(), options);
    if (!loaded) return blobs.WithRealNames(std::move(loaded).error());
    return loaded;
  }
  Result<LoadedModel> loaded = Load(path, options);
  if (loaded) return loaded;
  Error error = std::move(loaded).error().In(path);
  for (Error& further : error.more) std::move(further).In(path);
  return error;
}

Result<Tokenizer> TokenizerOf(const std::string& path, LoadedModel& loaded) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return TokenizerFromCheckpoint(path, loaded.warnings);
  }
  Result<Tokenizer> tokenizer = TokenizerFromMetadata(loaded.metadata);
  if (!tokenizer) return std::move(tokenizer).error().In(path);
  return tokenizer;
}

}  // namespace sluice::runtime
