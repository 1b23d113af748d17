// Compares two GGUF files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/gguf/value.h"

namespace sluice {

struct Difference {
  enum class Kind : std::uint8_t { kKeyValue, kTensor, kOrder };
  Kind kind = Kind::kKeyValue;
  std::string name;  // of the key or tensor; empty for kOrder
  std::string what;  // "value", "type", "shape", "bytes", "only in A", "only in B", ...
  std::string a;     // what A has, shortened
  std::string b;
  // Of tensors of equal shape whose types hold real numbers: the largest absolute difference of two
  // values; infinite where only one of them is infinite or NaN.
  std::optional<double> largest;
};

// Key-values first, then tensors, in the order of A. An empty list means that the files hold the
// same; padding and alignment do not count. Reads in bounded memory. Errors as of gguf::ReadHead.
Result<std::vector<Difference>> DiffGguf(const std::string& path_a, const std::string& path_b);

// A value with its type, shortened: "u32 7", "arr[3] of str [...]".
[[nodiscard]] std::string TypedText(const gguf::Value& value);

}  // namespace sluice
