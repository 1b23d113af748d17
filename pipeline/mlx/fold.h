// Finds the weights of a checkpoint that are quantized in the MLX layout.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/result.h"
#include "formats/json/json.h"
#include "formats/safetensors/shards.h"
#include "stages/mlx_tensor.h"

namespace sluice {

// By the name of the weight.
using MlxTensors = std::map<std::string, std::shared_ptr<const MlxTensor>, std::less<>>;

// Replaces, in the headers of `shards`, the tensors of every quantized weight by the one tensor
// that they stand for: its name, its shape, and a dtype that holds its values. The names are those
// of MLX (`X.weight`, `X.scales`, `X.biases`) and of Ollama (`X.weight.scale` or `X.weight_scale`,
// `X.weight.bias` or `X.weight_qbias`, `X.weight.global_scale`). What the codes mean is taken from
// the shard's metadata, else from `quantization` in config.json, else from the shapes.
//
// Problems, each naming the tensors at fault: kMissing: scales or biases. kMismatch: shapes.
// kUnsupported: a mode, number of bits or group size that formats/mlx does not know.
Result<MlxTensors> FoldMlxTensors(const json::Document& config, safetensors::ShardSet& shards);

}  // namespace sluice
