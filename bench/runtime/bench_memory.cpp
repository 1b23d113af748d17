// Measures how fast the cores together read memory: the bound of generation, which reads every
// weight it uses once for each token. Prints bytes per second.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

#include "core/machine.h"

namespace {

// Far more than any cache holds.
constexpr std::size_t kWordsOfThread = std::size_t{64} << 20;  // 512 MiB

using Words = std::vector<std::uint64_t>;

// Several sums, so that none waits for another.
std::uint64_t Sum(const Words& words) {
  std::array<std::uint64_t, 16> sums{};
  for (std::size_t i = 0; i < words.size(); i += sums.size()) {
    for (std::size_t lane = 0; lane < sums.size(); ++lane) sums[lane] += words[i + lane];
  }
  std::uint64_t all = 0;
  for (const std::uint64_t sum : sums) all += sum;
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : sluice::AllowedCores();
  const std::vector<Words> words(static_cast<std::size_t>(std::max(threads, 1)),
                                 Words(kWordsOfThread, 1));
  double best = 0;
  std::uint64_t sum = 0;
  for (int run = 0; run < 7; ++run) {
    std::vector<std::uint64_t> sums(words.size());
    const auto start = std::chrono::steady_clock::now();
    {
      std::vector<std::jthread> readers;
      for (std::size_t t = 0; t < words.size(); ++t) {
        readers.emplace_back([&, t] { sums[t] = Sum(words[t]); });
      }
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    for (const std::uint64_t part : sums) sum += part;
    const std::size_t bytes = words.size() * kWordsOfThread * sizeof(std::uint64_t);
    best = std::max(best, static_cast<double>(bytes) / seconds.count());
  }
  fmt::print("{:.0f}\n", best);
  return sum == 7 * words.size() * kWordsOfThread ? 0 : 1;
}
