// How much of a growing text must wait because a mark may have begun at its end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace sluice::runtime {

// Bytes of the longest end of `text` that is a beginning of `mark`, but not all of it.
[[nodiscard]] inline std::size_t HeldSuffix(std::string_view text, std::string_view mark) {
  if (mark.empty()) return 0;
  for (std::size_t bytes = std::min(text.size(), mark.size() - 1); bytes > 0; --bytes) {
    if (mark.starts_with(text.substr(text.size() - bytes))) return bytes;
  }
  return 0;
}

}  // namespace sluice::runtime
