// Writes the part of a safetensors file in front of its data.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "formats/safetensors/header.h"

namespace sluice::safetensors {

// Length and JSON for tensors whose data follow each other in the given order, padded with spaces
// so that the data section starts at a multiple of 8. Reads name, dtype and shape of each entry and
// fills in its offset and bytes. `format` names the framework whose layout of weights it is.
// REQUIRES: shapes whose size fits 64 bits.
std::string SerializeHead(std::span<TensorInfo> tensors, std::string_view format = "pt");

}  // namespace sluice::safetensors
