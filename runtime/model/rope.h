// Rotary position embedding of neighbouring pairs, with the scaling types of transformers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/json/json.h"

namespace sluice::runtime {

enum class RopeScaling : std::uint8_t { kNone, kLinear, kYarn };

// Names and defaults: transformers, modeling_rope_utils.py.
struct RopeConfig {
  double theta = 10'000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;          // of kLinear and kYarn
  double original_context = 0;  // tokens; of kYarn, with the others below
  double beta_fast = 32.0;      // turns over the original context above which nothing is scaled
  double beta_slow = 1.0;       // turns below which all is
  bool truncate = true;         // round the edges of the ramp to whole dimensions
  double mscale = 0;            // 0: not given
  double mscale_all_dim = 0;    // 0: not given
  std::optional<double>
      attention;  // multiplier of cosine and sine; else it follows from the others

  // Multiplier of the softmax scale.
  [[nodiscard]] double score_factor() const;
};

// "default", "linear" or "yarn" of `rope_parameters`, else `rope_scaling`, of a config.json;
// `theta` and `context` (max_position_embeddings) are known already.
// kUnsupported for other types, kCorrupt for a type without its factor.
Result<RopeConfig> RopeFromConfig(const json::Document& config, double theta, double context);

// What RopeFromConfig and the reader of GGUF key-values share: type by name.
Result<RopeScaling> ParseRopeScaling(std::string_view type);

// Rotates vectors of one width; immutable.
class Rope {
 public:
  // REQUIRES: width is even and not 0.
  Rope(const RopeConfig& config, std::uint32_t width);

  // Cosines, then sines, of a position: width floats.
  void Angles(std::uint32_t position, std::span<float> angles) const;

 private:
  std::vector<float> frequencies_;  // of each pair, in radians a position
  float multiplier_ = 1;
};

// Rotates each pair (x[2 j], x[2 j + 1]) by angle j. REQUIRES: equally long spans.
void RotatePairs(std::span<const float> angles, std::span<float> x);

}  // namespace sluice::runtime
