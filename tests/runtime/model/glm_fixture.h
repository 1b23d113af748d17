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

namespace sluice::runtime::testing {

inline std::string TinyPath() { return SLUICE_GOLDEN_DIR "/checkpoints/glm-tiny"; }

inline std::unique_ptr<WeightSource> OpenTiny() {
  Result<Plan> plan = MakePlan(TinyPath(), {});
  EXPECT_TRUE(plan.has_value()) << plan.error().Format();
  return *OpenPlanned(*std::move(plan));
}

inline std::unique_ptr<Glm> LoadTiny(const GlmOptions& options) {
  Result<LoadedModel> loaded = LoadModel(TinyPath(), {options, 1e-6F});
  EXPECT_TRUE(loaded.has_value()) << loaded.error().Format();
  return std::move(loaded->model);
}

// A file of tests/golden that holds floats.
inline std::vector<float> GoldenFloats(const std::string& name) {
  const std::string bytes = sluice::testing::ReadFile(std::string(SLUICE_GOLDEN_DIR "/") + name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace sluice::runtime::testing
