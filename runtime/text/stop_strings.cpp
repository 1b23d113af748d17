#include "runtime/text/stop_strings.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/text/held_suffix.h"

namespace sluice::runtime {

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  strings_.erase(std::remove(strings_.begin(), strings_.end(), ""), strings_.end());
}

std::string StopStrings::Push(std::string_view text) {
  held_ += text;
  std::size_t first_end = std::numeric_limits<std::size_t>::max();
  std::size_t start = 0;
  std::size_t waiting = 0;
  for (const std::string& string : strings_) {
    const std::size_t found = held_.find(string);
    if (found != std::string::npos) {
      const std::size_t end = found + string.size();
      if (end < first_end || (end == first_end && found < start)) {
        first_end = end;
        start = found;
      }
    }
    waiting = std::max(waiting, HeldSuffix(held_, string));
  }
  stopped_ = first_end != std::numeric_limits<std::size_t>::max();
  std::string certain = held_.substr(0, stopped_ ? start : held_.size() - waiting);
  held_.erase(0, stopped_ ? held_.size() : certain.size());
  return certain;
}

std::string StopStrings::Finish() { return std::exchange(held_, {}); }

}  // namespace sluice::runtime
