// The ways in which checkpoints store packed weights. Each function takes the tensor that holds the
// codes, finds its companions, checks that they fit and adds the weight to the result, or reports
// what is wrong. Formulae and layouts: docs/formats/prequantized.md.
#pragma once

#include <string>
#include <string_view>

#include "pipeline/prequantized/packed_groups.h"

namespace sluice {

// FP8 and INT8: codes under the weight's own name and shape, scales for blocks, rows or all.
void TakeScaled(PackedGroups& groups, const PackedPart& codes);

// NVFP4 and MXFP4: bytes of two codes, scales for 16 or 32 inputs, which of them the dtype of the
// scales says. NVFP4 has a scale of the scales too, named `name` + `global_suffix`.
void TakeFp4(PackedGroups& groups, const PackedPart& codes, const std::string& name,
             std::string_view global_suffix, bool global_divides);

// gpt-oss: MXFP4 as blocks [..., rows, groups, 16] and scales [..., rows, groups].
void TakeBlocks(PackedGroups& groups, const PackedPart& codes, const std::string& name);

// compressed-tensors: bytes of 4-bit floats, or integers packed into words along the inputs.
void TakePacked(PackedGroups& groups, const PackedPart& codes, const std::string& name);

// GPTQ and AWQ: integers packed into words, stored [inputs, outputs]; `base` ends with a dot.
void TakeWords(PackedGroups& groups, const PackedPart& codes, const std::string& base);

}  // namespace sluice
