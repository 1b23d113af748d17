// The golden checkpoint glm-tiny, loaded in various ways.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/plan.h"
#include "runtime/model/load.h"
#include "runtime/model/weight_source.h"
#include "test_files.h"

namespace sluice::testing {

inline std::string TinyPath() { return SLUICE_GOLDEN_DIR "/checkpoints/glm-tiny"; }

inline std::unique_ptr<runtime::WeightSource> OpenTiny() {
  Result<Plan> plan = MakePlan(TinyPath(), {});
  EXPECT_TRUE(plan.has_value()) << plan.error().Format();
  return *runtime::OpenPlanned(*std::move(plan));
}

inline std::unique_ptr<runtime::Glm> LoadTiny(const runtime::GlmOptions& options) {
  Result<runtime::LoadedModel> loaded = runtime::LoadModel(TinyPath(), {options, 1e-6F});
  EXPECT_TRUE(loaded.has_value()) << loaded.error().Format();
  return std::move(loaded->model);
}

// A file of tests/golden that holds floats.
inline std::vector<float> GoldenFloats(const std::string& name) {
  const std::string bytes = ReadFile(std::string(SLUICE_GOLDEN_DIR "/") + name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace sluice::testing
