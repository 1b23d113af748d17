#include "runtime/logit_stream.h"

#include <algorithm>

namespace sluice::runtime {
namespace {

// Enough rows to make good use of the weights that are read for them; 80 MB of logits for a
// vocabulary of 150000.
constexpr std::size_t kRows = 128;

}  // namespace

LogitStream::~LogitStream() {
  if (sequence_) model_.ReleaseSequence(*sequence_);
}

Status LogitStream::Start() {
  if (sequence_) return Ok();
  SLUICE_ASSIGN(sequence_, model_.CreateSequence());
  return Ok();
}

Status LogitStream::Skip(std::size_t count) {
  if (count == 0) return Ok();
  SLUICE_TRY(Start());
  const SequenceInput input{*sequence_, rest_.first(count), {}};
  rest_ = rest_.subspan(count);
  return model_.Forward({&input, 1});
}

Result<std::span<const float>> LogitStream::Next() {
  const std::size_t count = std::min(kRows, rest_.size());
  if (count == 0) return std::span<const float>();
  SLUICE_TRY(Start());
  logits_.resize(count * model_.vocab_size());
  SLUICE_TRY(model_.ForwardAll(*sequence_, rest_.first(count), logits_));
  rest_ = rest_.subspan(count);
  return std::span<const float>(logits_);
}

}  // namespace sluice::runtime
