#include "core/dtype.h"

#include <array>

namespace sluice {
namespace {

struct DtypeInfo {
  std::string_view name;
  std::uint32_t bytes;
  bool is_float;
};

// Indexed by Dtype.
constexpr std::array kInfo{
    DtypeInfo{"BOOL", 1, false},   DtypeInfo{"U8", 1, false},     DtypeInfo{"I8", 1, false},
    DtypeInfo{"F8_E5M2", 1, true}, DtypeInfo{"F8_E4M3", 1, true}, DtypeInfo{"F8_E8M0", 1, false},
    DtypeInfo{"I16", 2, false},    DtypeInfo{"U16", 2, false},    DtypeInfo{"F16", 2, true},
    DtypeInfo{"BF16", 2, true},    DtypeInfo{"I32", 4, false},    DtypeInfo{"U32", 4, false},
    DtypeInfo{"F32", 4, true},     DtypeInfo{"F64", 8, true},     DtypeInfo{"I64", 8, false},
    DtypeInfo{"U64", 8, false},
};

}  // namespace

std::optional<Dtype> ParseDtype(std::string_view name) {
  for (std::size_t i = 0; i < kInfo.size(); ++i) {
    if (kInfo[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

std::string_view DtypeName(Dtype dtype) { return kInfo[static_cast<std::size_t>(dtype)].name; }

std::uint32_t DtypeBytes(Dtype dtype) { return kInfo[static_cast<std::size_t>(dtype)].bytes; }

bool IsFloat(Dtype dtype) { return kInfo[static_cast<std::size_t>(dtype)].is_float; }

}  // namespace sluice
