#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "core/utf8.h"

namespace sluice::cli {
namespace {

constexpr std::chrono::milliseconds kTerminalInterval(100);
constexpr std::chrono::seconds kLineInterval(2);
constexpr std::size_t kBarCells = 24;

constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

std::size_t TerminalColumns() {
  constexpr std::size_t kFallback = 80;
  struct winsize size {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kFallback;
  return size.ws_col;
}

std::string Duration(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

// "[######......]  42 %  1.10 GB of 2.64 GB  2.31 GB/s  ETA 0:01  blk.1.ffn_up_exps.weight"
// The bar takes what `columns` leave; the last words go first where even those do not fit.
std::string Line(const Progress& progress, double seconds, std::size_t columns) {
  const double share = progress.bytes_total == 0 ? 1.0
                                                 : static_cast<double>(progress.bytes_done) /
                                                       static_cast<double>(progress.bytes_total);
  const double speed = seconds > 0 ? static_cast<double>(progress.bytes_done) / seconds : 0;
  const auto left = static_cast<double>(progress.bytes_total - progress.bytes_done);
  const std::string words = fmt::format(
      "{:3.0f} %  {} of {}  {}/s  ETA {}  {}", 100 * share, HumanBytes(progress.bytes_done),
      HumanBytes(progress.bytes_total), HumanBytes(static_cast<std::uint64_t>(speed)),
      speed > 0 ? Duration(left / speed) : "-:--", Printable(progress.tensor));
  constexpr std::size_t kAroundBar = 3;
  constexpr std::size_t kFewestCells = 4;
  if (columns < words.size() + kAroundBar + kFewestCells) return words.substr(0, columns);
  const std::size_t cells = std::min(kBarCells, columns - words.size() - kAroundBar);
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(cells));
  return fmt::format("[{:#<{}}{:.<{}}] {}", "", filled, "", cells - filled, words);
}

}  // namespace

ProgressPrinter::ProgressPrinter(ProgressMode mode)
    : mode_(mode), on_terminal_(::isatty(STDERR_FILENO) == 1) {
  if (mode_ == ProgressMode::kAuto && !on_terminal_) mode_ = ProgressMode::kNone;
}

void ProgressPrinter::PrintLine(const Progress& progress, double seconds) {
  if (mode_ == ProgressMode::kJson) {
    const nlohmann::ordered_json line{{"format", 1},
                                      {"event", "progress"},
                                      {"bytes_done", progress.bytes_done},
                                      {"bytes_total", progress.bytes_total},
                                      {"seconds", seconds},
                                      {"tensor", progress.tensor}};
    Say("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else if (mode_ == ProgressMode::kPlain) {
    Say("{}\n", Line(progress, seconds, kUnlimited));
  } else {
    // Return to the line's start, print, erase what a longer line has left.
    Say("\r{}\x1b[K", Line(progress, seconds, TerminalColumns() - 1));
    std::fflush(stderr);
    line_is_open_ = true;
  }
}

void ProgressPrinter::Update(const Progress& progress) {
  if (mode_ == ProgressMode::kNone) return;
  const Clock::time_point now = Clock::now();
  const Clock::duration interval =
      mode_ == ProgressMode::kAuto ? Clock::duration(kTerminalInterval) : kLineInterval;
  if (now - last_ < interval && progress.bytes_done < progress.bytes_total) return;
  last_ = now;
  PrintLine(progress, std::chrono::duration<double>(now - start_).count());
}

void ProgressPrinter::Finish() {
  if (!line_is_open_) return;
  Say("\r\x1b[K");
  line_is_open_ = false;
}

}  // namespace sluice::cli
