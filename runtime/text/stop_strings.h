// Ends a text at the first of some strings, wherever the pieces it arrives in are cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::runtime {

class StopStrings {
 public:
  // Empty strings stop nothing.
  explicit StopStrings(std::vector<std::string> strings);

  // The text that is certain to stand before any stop string; what could be the beginning of one
  // waits. Of several stop strings the one that is complete first counts.
  // REQUIRES: !stopped().
  std::string Push(std::string_view text);

  // What still waits, when the text ends without a stop string.
  std::string Finish();

  [[nodiscard]] bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace sluice::runtime
