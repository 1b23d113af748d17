// Progress of a running conversion on stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "pipeline/graph.h"

namespace sluice::cli {

// kAuto: a line that rewrites itself on a terminal, nothing elsewhere. kPlain: a line every few
// seconds. kJson: one object a line, see docs/json.md.
enum class ProgressMode : std::uint8_t { kAuto, kPlain, kJson, kNone };

// Used by one thread at a time.
class ProgressPrinter {
 public:
  explicit ProgressPrinter(ProgressMode mode);
  // Prints if it is time to.
  void Update(const Progress& progress);
  // Clears the line that rewrites itself.
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;
  void PrintLine(const Progress& progress, double seconds);

  ProgressMode mode_;
  bool on_terminal_ = false;
  bool line_is_open_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
};

}  // namespace sluice::cli
