// Models in Ollama's store, where each tensor and each configuration file is a blob of its own.
//
//   STORE/manifests/<host>/<namespace>/<name>/<tag>   JSON: layers with media type, digest, name
//   STORE/blobs/sha256-<hex>                          a safetensors file of one tensor or a few, or
//   JSON
#pragma once

#include <memory>
#include <string>

#include "core/result.h"

namespace sluice::runtime {

// A model's blobs as the checkpoint folder that they were: a folder of links to them, in the
// system's folder for temporary files, which goes away with the object. Files that were opened
// through it stay open.
class OllamaModel {
 public:
  // Whether `path` is a file below a folder `manifests` that stands beside `blobs`.
  [[nodiscard]] static bool IsManifest(const std::string& path);

  // kMissing: a blob. kCorrupt: the manifest. kUnsupported: a model that is not in safetensors.
  // kIo. REQUIRES: IsManifest(path).
  static Result<OllamaModel> Open(const std::string& path);

  [[nodiscard]] const std::string& folder() const { return *folder_; }

  // An error with the blobs and the manifest in place of the links and the folder, which nobody
  // can look at afterwards.
  [[nodiscard]] Error WithRealNames(Error error) const;

 private:
  struct RemoveFolder {
    void operator()(const std::string* folder) const;
  };
  OllamaModel(std::string manifest, std::string folder)
      : manifest_(std::move(manifest)), folder_(new std::string(std::move(folder))) {}
  [[nodiscard]] std::string RealName(const std::string& path) const;

  std::string manifest_;
  std::unique_ptr<const std::string, RemoveFolder> folder_;
};

}  // namespace sluice::runtime
