// Speed of the quantization encoders, one thread: for each type the scalar codec and the fast
// encoder on each SIMD target, without and with importance.
//
// Rows of normally distributed values; few enough to stay in the caches. Counters: elements a
// second, and bytes of F32 input for each tick of the CPU's invariant clock (not core cycles: the
// ratio to them is the turbo clock's). Each run first compares its bytes with the scalar codec's.
#include <benchmark/benchmark.h>
#include <hwy/nanobenchmark.h>
#include <hwy/targets.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "formats/gguf/types.h"
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

void EncodeScalar(const quant::Codec& codec, std::span<const float> importance, std::byte* out) {
  const std::span<const float> rows(TheInput().rows);
  for (std::size_t at = 0; at < rows.size(); at += kRowLength) {
    codec.encode(rows.subspan(at, kRowLength), importance, true, out);
    out += *gguf::TensorBytes(codec.type, kRowLength);
  }
}

void Run(benchmark::State& state, const quant::Codec& codec, std::int64_t target, bool weighted) {
  const std::span<const float> rows(TheInput().rows);
  const std::span<const float> importance =
      weighted ? std::span<const float>(TheInput().importance) : std::span<const float>();
  std::vector<std::byte> out(*gguf::TensorBytes(codec.type, rows.size()));
  std::vector<std::byte> expected(out.size());
  const auto encode = [&] {
    if (target == kScalar) return EncodeScalar(codec, importance, out.data());
    kernels::EncodeRows(codec.type, rows, kRowLength, importance, true, out.data());
  };
  if (target != kScalar) hwy::SetSupportedTargetsForTest(target);
  EncodeScalar(codec, importance, expected.data());
  encode();
  if (out != expected) state.SkipWithError("other bytes than the scalar codec's");
  for (auto _ : state) {
    encode();
    benchmark::ClobberMemory();
  }
  hwy::SetSupportedTargetsForTest(0);
  const auto elements = static_cast<double>(rows.size()) * static_cast<double>(state.iterations());
  state.counters["elements/s"] = benchmark::Counter(elements, benchmark::Counter::kIsRate);
  state.counters["bytes/tick"] =
      benchmark::Counter(elements * sizeof(float) / hwy::platform::InvariantTicksPerSecond(),
                         benchmark::Counter::kIsRate);
}

void RegisterType(const quant::Codec& codec) {
  const auto add = [&](std::int64_t target, const char* name, bool weighted) {
    const std::string full_name =
        std::string(gguf::InfoOf(codec.type).name) + (weighted ? "/importance/" : "/plain/") + name;
    benchmark::RegisterBenchmark(full_name.c_str(), [&codec, target, weighted](auto& state) {
      Run(state, codec, target, weighted);
    });
  };
  for (const bool weighted : {false, true}) {
    if (weighted && codec.importance == quant::Importance::kIgnored) continue;
    if (!weighted && codec.importance == quant::Importance::kRequired) continue;
    add(kScalar, "scalar", weighted);
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      add(target, hwy::TargetName(target), weighted);
    }
  }
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  for (const sluice::quant::Codec* codec : sluice::quant::Codecs()) {
    if (sluice::kernels::HasFastEncoder(codec->type)) sluice::RegisterType(*codec);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
