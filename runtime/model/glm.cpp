#include "runtime/model/glm.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <numeric>

#include "core/machine.h"
#include "runtime/kernels/multiply.h"
#include "runtime/kernels/vector_ops.h"
#include "runtime/parallel/products.h"

namespace sluice::runtime {
namespace {

// Tokens of a pass: enough that every expert's weights serve several of them, few enough that
// activations stay small.
constexpr std::uint32_t kPassTokens = 512;

Queries LastOfEach(std::span<const Slice> slices, std::span<const std::uint32_t> counts) {
  Queries queries;
  for (std::size_t s = 0; s < slices.size(); ++s) {
    const std::uint32_t end = slices[s].first + slices[s].count;
    const std::uint64_t first = queries.rows.size();
    for (std::uint32_t row = end - counts[s]; row < end; ++row) queries.rows.push_back(row);
    queries.of_slice.push_back({first, queries.rows.size()});
  }
  return queries;
}

}  // namespace

Glm::Glm(std::unique_ptr<WeightSource> source, Weights weights, const Config& config,
         const GlmOptions& options)
    : source_(std::move(source)),
      config_(config),
      weights_(std::move(weights)),
      rope_(config_.rope_config, config_.rope),
      workers_(options.threads > 0 ? options.threads : AllowedCores()),
      cache_({config_.layers, config_.cache_width(), options.cache_type}),
      attention_(config_, options.form, workers_, cache_),
      feed_forward_(config_, workers_) {}

Result<std::unique_ptr<Glm>> Glm::Load(std::unique_ptr<WeightSource> source, Config config,
                                       const GlmOptions& options) {
  SLUICE_ASSIGN(Weights weights, LoadWeights(*source, config));
  SLUICE_TRY(source->CheckIntact());
  return std::unique_ptr<Glm>(new Glm(std::move(source), std::move(weights), config, options));
}

Result<SequenceId> Glm::CreateSequence() {
  const auto unused = std::find(sequences_.begin(), sequences_.end(), std::nullopt);
  const auto id = static_cast<SequenceId>(unused - sequences_.begin());
  if (unused == sequences_.end()) sequences_.emplace_back();
  sequences_[id].emplace();
  return id;
}

void Glm::ReleaseSequence(SequenceId sequence) {
  cache_.Truncate(*sequences_[sequence], 0);
  sequences_[sequence].reset();
}

void Glm::TruncateSequence(SequenceId sequence, std::uint32_t length) {
  cache_.Truncate(*sequences_[sequence], length);
}

Status Glm::Forward(std::span<const SequenceInput> batch) {
  std::vector<Part> parts;
  for (const SequenceInput& input : batch) {
    parts.push_back({&*sequences_[input.sequence], input.tokens, input.logits.empty() ? 0U : 1U,
                     input.logits.data()});
  }
  return RunParts(parts);
}

Status Glm::ForwardAll(SequenceId sequence, std::span<const TokenId> tokens,
                       std::span<float> logits) {
  const Part part{&*sequences_[sequence], tokens, static_cast<std::uint32_t>(tokens.size()),
                  logits.data()};
  return RunParts({&part, 1});
}

Status Glm::CheckInputs(std::span<const Part> parts) const {
  for (const Part& part : parts) {
    const std::uint64_t length = part.sequence->length() + part.tokens.size();
    if (length > config_.context) {
      return MakeError(ErrorCode::kUsage, "more tokens than the model's context")
          .Expected(fmt::format("at most {}", config_.context))
          .Actual(fmt::format("{}", length));
    }
    for (const TokenId token : part.tokens) {
      if (token < vocab_size()) continue;
      return MakeError(ErrorCode::kUsage, "token outside the vocabulary")
          .Expected(fmt::format("an id below {}", vocab_size()))
          .Actual(fmt::format("{}", token));
    }
  }
  return Ok();
}

Status Glm::RunParts(std::span<const Part> parts) {
  SLUICE_TRY(CheckInputs(parts));
  const auto run = [&]() -> Status {
    std::vector<Part> pass;
    std::uint32_t room = kPassTokens;
    for (Part rest : parts) {
      while (!rest.tokens.empty()) {
        const std::size_t count = std::min<std::size_t>(room, rest.tokens.size());
        const std::size_t after = rest.tokens.size() - count;
        Part now = rest;
        now.tokens = rest.tokens.first(count);
        now.wanted = rest.wanted > after ? rest.wanted - static_cast<std::uint32_t>(after) : 0;
        pass.push_back(now);
        rest.tokens = rest.tokens.subspan(count);
        rest.wanted -= now.wanted;
        rest.logits += std::size_t{now.wanted} * vocab_size();
        room -= static_cast<std::uint32_t>(count);
        if (room > 0) continue;
        SLUICE_TRY(RunPass(pass));
        pass.clear();
        room = kPassTokens;
      }
    }
    if (!pass.empty()) SLUICE_TRY(RunPass(pass));
    return source_->CheckIntact();
  };
  try {
    return workers_.Run(run);
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kResource, "out of memory");
  }
}

Pass Glm::Place(std::span<const Part> parts) {
  Pass pass;
  for (const Part& part : parts) {
    const auto count = static_cast<std::uint32_t>(part.tokens.size());
    const auto slice = static_cast<std::uint32_t>(pass.slices.size());
    pass.slices.push_back({part.sequence, pass.num_rows, count, part.sequence->length()});
    pass.slice_of.insert(pass.slice_of.end(), count, slice);
    pass.num_rows += count;
    cache_.Grow(*part.sequence, count);
  }
  pass.angles.resize(std::size_t{pass.num_rows} * config_.rope);
  workers_.ForRows(pass.num_rows, [&](std::size_t r) {
    rope_.Angles(pass.SliceOf(r).PositionOf(r),
                 std::span(pass.angles).subspan(r * config_.rope, config_.rope));
  });
  return pass;
}

void Glm::Embed(std::span<const Part> parts) {
  std::vector<TokenId> tokens;
  for (const Part& part : parts) {
    tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
  }
  float* const states = states_.Reserve(tokens.size() * config_.hidden);
  workers_.ForRows(tokens.size(), [&](std::size_t r) {
    const std::uint64_t row = tokens[r];
    DecodeRows(weights_.embedding, {row, row + 1}, states + r * config_.hidden);
  });
}

void Glm::NormRows(std::size_t count, std::span<const float> weight) {
  const std::size_t hidden = config_.hidden;
  float* const normed = normed_.Reserve(count * hidden);
  workers_.ForRows(count, [&](std::size_t r) {
    RmsNorm({states_.data() + r * hidden, hidden}, weight, config_.rms_eps, normed + r * hidden);
  });
}

// The residual stream holds the rows of the pass before, those of the queries after.
void Glm::RunLayer(std::uint32_t layer, const Pass& pass, const Queries& queries) {
  const std::size_t hidden = config_.hidden;
  const LayerWeights& weights = weights_.layers[layer];
  NormRows(pass.num_rows, weights.attention.norm);
  float* const changes = changes_.Reserve(queries.rows.size() * hidden);
  attention_.Run(weights.attention, layer, pass, queries, normed_.data(), changes);
  if (queries.rows.empty()) return;
  float* const states = states_.data();
  for (std::size_t i = 0; i < queries.rows.size(); ++i) {  // rows only move to the front
    if (queries.rows[i] != i)
      std::copy_n(states + queries.rows[i] * hidden, hidden, states + i * hidden);
  }
  workers_.ForRows(queries.rows.size(), [&](std::size_t i) {
    AddScaled({changes + i * hidden, hidden}, 1.0F, states + i * hidden);
  });
  NormRows(queries.rows.size(), weights.feed_forward.norm);
  feed_forward_.Run(weights.feed_forward, queries.rows.size(), normed_.data(), states);
}

Status Glm::Logits(std::span<const Part> parts, const Queries& queries) {
  const std::size_t count = queries.rows.size();
  const std::size_t vocab = vocab_size();
  NormRows(count, weights_.norm);
  const auto wants = [](const Part& part) { return part.wanted > 0; };
  const bool together = std::count_if(parts.begin(), parts.end(), wants) > 1;
  float* const logits = together ? logits_.Reserve(count * vocab)
                                 : std::find_if(parts.begin(), parts.end(), wants)->logits;
  const Product product{weights_.output, {normed_.data(), config_.hidden, count}, logits, vocab};
  MultiplyAll(workers_, {&product, 1});
  if (!AllFinite({logits, count * vocab})) {
    return MakeError(ErrorCode::kCorrupt, "logits are not finite")
        .Advice("the weights hold NaN or infinite values: sluice inspect FILE --tensor NAME");
  }
  const float* from = logits;
  for (const Part& part : parts) {
    const std::size_t floats = part.wanted * vocab;
    if (together) std::copy_n(from, floats, part.logits);
    from += floats;
  }
  return Ok();
}

Status Glm::RunPass(std::span<const Part> parts) {
  const Pass pass = Place(parts);
  std::vector<std::uint32_t> all;
  std::vector<std::uint32_t> wanted;
  for (const Part& part : parts) {
    all.push_back(static_cast<std::uint32_t>(part.tokens.size()));
    wanted.push_back(part.wanted);
  }
  const Queries every = LastOfEach(pass.slices, all);
  // The last layer computes what leads to logits; the cache gets the rows of all tokens.
  const Queries last = LastOfEach(pass.slices, wanted);
  Embed(parts);
  for (std::uint32_t layer = 0; layer < config_.layers; ++layer) {
    RunLayer(layer, pass, layer + 1 < config_.layers ? every : last);
  }
  return last.rows.empty() ? Ok() : Logits(parts, last);
}

}  // namespace sluice::runtime
