// A Plan: everything about one conversion that can be known without touching a payload byte.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arch/spec.h"
#include "core/result.h"
#include "formats/gguf/value.h"
#include "formats/gguf/writer.h"
#include "formats/safetensors/shards.h"
#include "pipeline/settings.h"
#include "stages/source_set.h"
#include "stages/tensor_expr.h"

namespace sluice {

// --outtype. kAuto: what the dialect's own converter would choose.
enum class OutType : std::uint8_t { kAuto, kF32, kF16, kBF16 };

struct QuantizeRequest;  // pipeline/quantize/apply.h

struct PlanOptions {
  std::optional<arch::Dialect> dialect;  // default: see arch::DefaultDialect
  OutType outtype = OutType::kAuto;
  bool keep_mtp = true;         // multi-token-prediction layers, where the dialect knows them
  bool with_projector = false;  // also plan the separate vision file
  bool with_tokenizer = true;   // else the file lacks its keys: for what reads tensors only
  // The weights are run, not written: accept those in the MLX layout (Segment::mlx), which cannot
  // be converted, and say nothing of what a file would leave out.
  bool to_run = false;
  std::string pre;  // name of the pre-tokenizer, one of PreTokenizerNames(); empty: recognise
  std::string chat_template_file;
  std::string model_name;
  Settings overrides;  // --set
  // Quantize the model file; nullptr: leave it in --outtype.
  std::shared_ptr<const QuantizeRequest> quantize;
  // Values of packed weights whose scale is no finite number become 0; else they are an error, when
  // they are read.
  bool zero_non_finite = false;
  std::uint64_t max_shard_bytes = 0;  // of the model's tensors in one file; 0: all
};

// One output tensor.
struct PlannedTensor {
  gguf::TensorRecord record;  // name, type, shape, offset in the data section, bytes
  TensorExpr expr;
  std::string source;  // name of the source tensor, with {xid} for a stack; empty if generated
  std::string views;   // the view words for people; empty for a plain copy
  std::string reason;  // why it has its type, where a recipe chose it
};

// One output file.
struct FilePlan {
  const arch::FileSpec* spec = nullptr;  // nullptr for a GGUF source of an unknown architecture
  gguf::Metadata metadata;
  std::vector<PlannedTensor> tensors;  // in file order
  // Laid out with the default alignment whatever general.alignment says, as llama-quantize does it.
  bool ignores_alignment_key = false;
  std::uint32_t alignment = gguf::kDefaultAlignment;
  std::vector<std::byte> head;   // everything in front of the data section
  std::uint64_t data_bytes = 0;  // of the data section

  [[nodiscard]] std::uint64_t file_bytes() const { return head.size() + data_bytes; }
  [[nodiscard]] bool is_ollama() const {
    return spec != nullptr && spec->dialect == arch::Dialect::kOllama;
  }
};

struct Plan {
  std::string folder;  // of the checkpoint; empty for a GGUF source
  const arch::Family* family = nullptr;
  arch::Dialect dialect = arch::Dialect::kLlamaCpp;
  std::vector<ShardFile> shards;
  std::vector<std::vector<std::byte>> generated;  // sources numbered after the shards
  // The model, in several files if it is split, then the projector if asked for.
  std::vector<FilePlan> files;
  std::shared_ptr<const imatrix::Reader> importance;  // read while the model is quantized
  std::vector<std::string> warnings;
  std::size_t source_tensors = 0;

  // Bytes of the shards.
  [[nodiscard]] std::uint64_t source_bytes() const;
};

// Reads headers, configuration and tokenizer of a checkpoint folder and decides every byte of the
// output but the tensors' data. All problems of the checkpoint are reported in one Error.
// kMissing, kCorrupt, kMismatch: the checkpoint. kUnsupported: architecture, dialect, dtype,
// pre-tokenizer. kUsage: options that contradict each other, unknown names in them, settings that
// ApplySettings refuses.
Result<Plan> MakePlan(const std::string& folder, const PlanOptions& options);

}  // namespace sluice
