#include "runtime/model/ollama_model.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string_view>

#include "formats/json/json.h"

namespace sluice::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{64} << 20;
constexpr std::string_view kTensor = "application/vnd.ollama.image.tensor";
constexpr std::string_view kJson = "application/vnd.ollama.image.json";
constexpr std::string_view kGguf = "application/vnd.ollama.image.model";

// The folder that holds `manifests` and `blobs`.
std::optional<fs::path> StoreOf(const fs::path& manifest) {
  std::error_code error;
  fs::path below = fs::absolute(manifest, error).lexically_normal();
  for (fs::path at = below.parent_path(); at != below; below = at, at = at.parent_path()) {
    if (at.filename() == "manifests" && fs::is_directory(at.parent_path() / "blobs", error)) {
      return at.parent_path();
    }
  }
  return std::nullopt;
}

// "sha256:<hex>" as the name of its blob; nullopt for anything else, such as a path.
std::optional<std::string> BlobName(std::string_view digest) {
  constexpr std::string_view kKind = "sha256:";
  constexpr std::string_view kDigits = "0123456789abcdef";
  if (!digest.starts_with(kKind)) return std::nullopt;
  const std::string_view hex = digest.substr(kKind.size());
  if (hex.empty() || hex.find_first_not_of(kDigits) != std::string_view::npos) return std::nullopt;
  return "sha256-" + std::string(hex);
}

Error Corrupt(const std::string& manifest, std::string_view what, std::string_view actual) {
  return MakeError(ErrorCode::kCorrupt, what).In(manifest).Actual(actual);
}

// Links one layer's blob into `folder`, if it belongs to the model.
Status LinkLayer(json::Element layer, const std::string& manifest, const fs::path& store,
                 const fs::path& folder) {
  const auto kind = json::AsString(json::Find(layer, "mediaType"));
  if (kind == kGguf) {
    return MakeError(ErrorCode::kUnsupported, "Ollama model to run as a manifest")
        .In(manifest)
        .Expected("one in safetensors")
        .Actual("one in GGUF")
        .Advice("name the blob of this layer: it is the GGUF file");
  }
  if (kind != kTensor && kind != kJson) return Ok();
  const auto name = json::AsString(json::Find(layer, "name"));
  const bool plain =
      name && !name->empty() && name->front() != '.' && name->find('/') == std::string_view::npos;
  if (!plain) return Corrupt(manifest, "layer without a plain name", name.value_or("none"));
  const auto digest = json::AsString(json::Find(layer, "digest"));
  const auto blob = digest ? BlobName(*digest) : std::nullopt;
  if (!blob) return Corrupt(manifest, "layer without a digest", digest.value_or("none"));
  const fs::path target = store / "blobs" / *blob;
  std::error_code error;
  if (!fs::exists(target, error)) {
    return MakeError(ErrorCode::kMissing, "a blob that the manifest names is missing")
        .In(target.string())
        .At(*name);
  }
  const std::string link = std::string(*name) + (kind == kTensor ? ".safetensors" : "");
  fs::create_symlink(target, folder / link, error);
  if (error == std::errc::file_exists) return Corrupt(manifest, "two layers of one name", *name);
  if (error) return ErrnoError("cannot link a blob", (folder / link).string(), error.value());
  return Ok();
}

}  // namespace

void OllamaModel::RemoveFolder::operator()(const std::string* folder) const {
  std::error_code ignored;
  fs::remove_all(*folder, ignored);  // links, not what they point to
  delete folder;
}

bool OllamaModel::IsManifest(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && StoreOf(path).has_value();
}

std::string OllamaModel::RealName(const std::string& path) const {
  if (!path.starts_with(*folder_)) return path;
  std::error_code error;
  const fs::path blob = fs::read_symlink(path, error);
  return error ? manifest_ : blob.string();
}

Error OllamaModel::WithRealNames(Error error) const {
  error.file = RealName(error.file);
  for (Error& further : error.more) further.file = RealName(further.file);
  return error;
}

Result<OllamaModel> OllamaModel::Open(const std::string& path) {
  SLUICE_ASSIGN(const json::Document manifest, json::Document::Load(path, kMaxManifestBytes));
  const auto layers = json::AsArray(json::Find(manifest.root(), "layers"));
  if (!layers) return Corrupt(path, "no layers", json::TypeName(manifest.root()));
  std::error_code error;
  const fs::path temporary = fs::temp_directory_path(error);
  if (error) return ErrnoError("no folder for temporary files", "TMPDIR", error.value());
  std::string folder = (temporary / "sluice-ollama-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return ErrnoError("cannot make folder", folder, errno);
  OllamaModel model(path, folder);
  for (const json::Element layer : *layers) {
    SLUICE_TRY(LinkLayer(layer, path, *StoreOf(path), folder));
  }
  return model;
}

}  // namespace sluice::runtime
