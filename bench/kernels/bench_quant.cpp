// Speed of the quantization encoders, one thread: for each type the scalar codec and the fast
// encoder on each SIMD target, without and with importance.
//
//     sluice-bench-quant --benchmark_counters_tabular=true --benchmark_filter='^Q4_K/'
//
// Rows of normally distributed values; few enough to stay in the caches. Counters, of processor
// time: million elements a second, bytes of F32 input for each cycle of the CPU's invariant clock
// (which is not that of its cores), and the speed as a multiple of the scalar codec's in the same
// run. Each run first compares its bytes with the scalar codec's.
#include <benchmark/benchmark.h>
#include <hwy/nanobenchmark.h>
#include <hwy/targets.h>

#include <cstdint>
#include <cstdio>
#include <ctime>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf/types.h"
#include "formats/quant/codebook.h"
#include "formats/quant/codec.h"
#include "stages/kernels/quant/encode.h"

namespace sluice {
namespace {

constexpr std::size_t kRowLength = 2048;
constexpr std::size_t kNumRows = 8;
constexpr std::int64_t kScalar = 0;  // in the place of a SIMD target

struct Input {
  std::vector<float> rows;
  std::vector<float> importance;
};

const Input& TheInput() {
  static const Input kInput = [] {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal(0, 0.02F);
    std::uniform_real_distribution<float> uniform(0, 1);
    Input input;
    for (std::size_t i = 0; i < kNumRows * kRowLength; ++i) input.rows.push_back(normal(random));
    for (std::size_t i = 0; i < kRowLength; ++i) input.importance.push_back(uniform(random));
    return input;
  }();
  return kInput;
}

// What is encoded, and how fast the scalar codec does it.
struct Case {
  const quant::Codec& codec;
  bool weighted;
  double scalar_speed = 0;  // elements a second; 0 before it has run

  [[nodiscard]] std::span<const float> importance() const {
    return weighted ? std::span<const float>(TheInput().importance) : std::span<const float>();
  }
};

void EncodeScalar(const Case& test, std::byte* out) {
  const std::span<const float> rows(TheInput().rows);
  for (std::size_t at = 0; at < rows.size(); at += kRowLength) {
    test.codec.encode(rows.subspan(at, kRowLength), test.importance(), true, out);
    out += *gguf::TensorBytes(test.codec.type, kRowLength);
  }
}

void Run(benchmark::State& state, Case& test, std::int64_t target) {
  const std::span<const float> rows(TheInput().rows);
  std::vector<std::byte> out(*gguf::TensorBytes(test.codec.type, rows.size()));
  std::vector<std::byte> expected(out.size());
  const auto encode = [&] {
    if (target == kScalar) return EncodeScalar(test, out.data());
    kernels::EncodeRows(test.codec.type, rows, kRowLength, test.importance(), true, out.data());
  };
  if (target != kScalar) hwy::SetSupportedTargetsForTest(target);
  EncodeScalar(test, expected.data());
  encode();
  if (out != expected) state.SkipWithError("other bytes than the scalar codec's");
  const std::clock_t start = std::clock();
  for (auto _ : state) {
    encode();
    benchmark::ClobberMemory();
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  hwy::SetSupportedTargetsForTest(0);
  static const double kCyclesPerSecond = hwy::platform::InvariantTicksPerSecond();
  const auto elements = static_cast<double>(rows.size()) * static_cast<double>(state.iterations());
  const double speed = elements / seconds;
  if (target == kScalar) test.scalar_speed = speed;
  state.counters["Melements/s"] = speed / 1e6;
  state.counters["bytes/cycle"] = speed * sizeof(float) / kCyclesPerSecond;
  if (test.scalar_speed > 0) state.counters["x scalar"] = speed / test.scalar_speed;
}

void Register(Case& test) {
  const auto add = [&](std::int64_t target, const char* name) {
    const std::string full_name = std::string(gguf::InfoOf(test.codec.type).name) +
                                  (test.weighted ? "/importance/" : "/plain/") + name;
    benchmark::RegisterBenchmark(full_name.c_str(),
                                 [&test, target](auto& state) { Run(state, test, target); });
  };
  add(kScalar, "scalar");
  if (!kernels::HasFastEncoder(test.codec.type)) return;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    add(target, hwy::TargetName(target));
  }
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const quant::Codec* codec : quant::Codecs()) {
    if (codec->importance != quant::Importance::kRequired) cases.push_back({*codec, false});
    if (codec->importance != quant::Importance::kIgnored) cases.push_back({*codec, true});
  }
  return cases;
}

// The first use of each codebook builds its lists of nearest points.
void TimeCodebooks() {
  const std::clock_t start = std::clock();
  for (const auto book : {quant::Iq1Book, quant::Iq2SBook, quant::Iq2XsBook, quant::Iq2XxsBook,
                          quant::Iq3SBook, quant::Iq3XxsBook}) {
    book();
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::fprintf(stderr, "All codebooks with their neighbour tables: %.3f s of CPU time\n", seconds);
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  std::vector<sluice::Case> cases = sluice::AllCases();
  for (sluice::Case& test : cases) sluice::Register(test);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  sluice::TimeCodebooks();
  benchmark::RunSpecifiedBenchmarks();
}
