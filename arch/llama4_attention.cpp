#include "arch/llama4_attention.h"

#include <algorithm>
#include <limits>

namespace sluice::arch {
namespace {

using enum Hp;

// What both readers take when no key says otherwise, and what transformers does.
constexpr std::uint64_t kUsualInterval = 4;
constexpr std::uint64_t kUsualChunk = 8192;  // tokens
constexpr double kUsualScale = 0.1;
constexpr double kUsualFloor = 8192;  // tokens

constexpr std::string_view kFull = "full_attention";

bool ListsRotation(const HParams& hparams) {
  return hparams.Has(kNoRopeLayers) && !hparams.Integers(kNoRopeLayers).empty();
}

// REQUIRES: NoRopeLayersFit found nothing.
bool Rotates(const HParams& hparams, std::uint64_t block) {
  if (ListsRotation(hparams)) return hparams.Integers(kNoRopeLayers)[block] != 0;
  return (block + 1) % hparams.Count(kNoRopeInterval) != 0;
}

// Every how many blocks one does not rotate; one more than there are blocks where all do. nullopt
// for a list that no such number gives.
std::optional<std::uint64_t> IntervalOf(const HParams& hparams) {
  const std::uint64_t blocks = hparams.Count(kBlocks);
  if (!ListsRotation(hparams)) return std::min(hparams.Count(kNoRopeInterval), blocks + 1);
  if (NoRopeLayersFit(hparams)) return std::nullopt;
  std::uint64_t interval = 1;
  while (interval <= blocks && Rotates(hparams, interval - 1)) ++interval;
  for (std::uint64_t block = 0; block < blocks; ++block) {
    if (Rotates(hparams, block) != ((block + 1) % interval != 0)) return std::nullopt;
  }
  return interval;
}

bool IsInterval(const HParams& hparams, std::uint64_t interval) {
  return IntervalOf(hparams) == std::min(interval, hparams.Count(kBlocks) + 1);
}

bool AttendsToAll(const HParams& hparams) { return NoSlidingWindow(hparams).index() != 0; }

// Readers attend to chunks in the blocks that rotate.
bool ChunksAreRotated(const HParams& hparams) {
  if (!hparams.Has(kLayerTypes)) return true;
  const std::vector<std::string>& types = hparams.Texts(kLayerTypes);
  if (types.size() != hparams.Count(kBlocks)) return false;
  if (NoRopeLayersFit(hparams)) return false;
  for (std::uint64_t block = 0; block < types.size(); ++block) {
    if ((types[block] != kFull) != Rotates(hparams, block)) return false;
  }
  return true;
}

// Tokens; 0 stands for chunks without an end.
std::uint64_t ChunkOf(const HParams& hparams) {
  const std::uint64_t chunk = hparams.Count(kChunk);
  return chunk == 0 ? std::numeric_limits<std::uint64_t>::max() : chunk;
}

Finding Differs(std::string text) {
  return {FindingKind::kWarning, std::move(text) + " will differ from the original model"};
}

Finding ChunksElsewhere() {
  return Differs(
      "layer_types has chunks elsewhere than in the layers that rotate, where readers have them: "
      "logits");
}

}  // namespace

HpValue NoRopeInterval(const HParams& hparams) {
  const auto interval = IntervalOf(hparams);
  if (!interval || IsInterval(hparams, kUsualInterval)) return {};
  return *interval;
}
HpValue TemperatureTuning(const HParams& hparams) {
  return hparams.Flag(kAttentionTuning) ? HpValue() : HpValue(false);
}
HpValue AttentionScale(const HParams& hparams) {
  const double scale = hparams.Real(kAttentionScale);
  return scale == kUsualScale ? HpValue() : HpValue(scale);
}
HpValue FloorScale(const HParams& hparams) {
  const double floor = hparams.Real(kFloorScale);
  return floor == kUsualFloor ? HpValue() : HpValue(floor);
}

HpValue NoSlidingWindow(const HParams& hparams) {
  if (!hparams.Has(kLayerTypes)) return {};
  for (const std::string& type : hparams.Texts(kLayerTypes)) {
    if (type != kFull) return {};
  }
  return std::uint64_t{0};
}

std::optional<Finding> NoRopeLayersFit(const HParams& hparams) {
  if (!ListsRotation(hparams) || hparams.Integers(kNoRopeLayers).size() >= hparams.Count(kBlocks)) {
    return std::nullopt;
  }
  return Finding{FindingKind::kInvalid, "no_rope_layers has not one entry for each layer"};
}

std::optional<Finding> LlamaCppRotatesTheSameBlocks(const HParams& hparams) {
  // Without chunks, the loader takes the number of blocks for the interval.
  const bool all = AttendsToAll(hparams);
  if (IsInterval(hparams, all ? hparams.Count(kBlocks) : kUsualInterval)) return std::nullopt;
  return Differs(std::string("no_rope_layers is not what llama.cpp does, which rotates in all "
                             "layers but ") +
                 (all ? "the last" : "every 4th") + ": logits");
}

std::optional<Finding> LlamaCppTakesTheSameChunks(const HParams& hparams) {
  if (AttendsToAll(hparams)) return std::nullopt;
  if (!ChunksAreRotated(hparams)) return ChunksElsewhere();
  const std::uint64_t shorter = std::min(ChunkOf(hparams), kUsualChunk);
  if (ChunkOf(hparams) == kUsualChunk || shorter >= hparams.Count(kContext)) return std::nullopt;
  return Differs("attention_chunk_size is " + std::to_string(hparams.Count(kChunk)) +
                 ", but llama.cpp always takes 8192: from token " + std::to_string(shorter) +
                 " on, logits");
}

std::optional<Finding> LlamaCppTunesAlike(const HParams& hparams) {
  const bool tuned = hparams.Flag(kAttentionTuning);
  const double floor = hparams.Real(kFloorScale);
  if (tuned && floor == kUsualFloor && hparams.Real(kAttentionScale) == kUsualScale) {
    return std::nullopt;
  }
  // Neither scales earlier tokens.
  const double first = tuned ? std::min(floor, kUsualFloor) : kUsualFloor;
  if (first > static_cast<double>(hparams.Count(kContext))) return std::nullopt;
  return Differs(
      "attn_temperature_tuning, attn_scale or floor_scale is not what llama.cpp always takes "
      "(true, 0.1, 8192): in long texts, logits");
}

std::optional<Finding> OllamaRotatesTheSameBlocks(const HParams& hparams) {
  if (IntervalOf(hparams)) return std::nullopt;
  return Differs("no_rope_layers follows no interval, and Ollama knows only an interval: logits");
}

std::optional<Finding> OllamaTakesTheSameChunks(const HParams& hparams) {
  const bool chunks_matter = ChunkOf(hparams) < hparams.Count(kContext);
  if (!chunks_matter || ChunksAreRotated(hparams)) return std::nullopt;
  return ChunksElsewhere();
}

}  // namespace sluice::arch
