#include "runtime/text/windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace sluice::runtime {
namespace {

// The token that every text begins with, if there is one.
std::optional<TokenId> FirstToken(const gguf::Metadata& metadata) {
  const bool* const adds = metadata.Get<bool>("tokenizer.ggml.add_bos_token");
  const auto* const id = metadata.Get<std::uint32_t>("tokenizer.ggml.bos_token_id");
  if (adds == nullptr || !*adds || id == nullptr) return std::nullopt;
  return *id;
}

}  // namespace

Result<Windows> Windows::Cut(std::vector<TokenId> tokens, const gguf::Metadata& metadata,
                             std::uint32_t length, std::uint32_t max_count) {
  Windows windows;
  windows.first_ = FirstToken(metadata);
  if (windows.first_) tokens.insert(tokens.begin(), *windows.first_);
  if (tokens.size() < length) {
    return MakeError(ErrorCode::kUsage, "a text too short")
        .Expected(fmt::format("at least one window of {} tokens", length))
        .Actual(fmt::format("{}", tokens.size()))
        .Advice("give more text, or a smaller --context");
  }
  const std::size_t most = max_count > 0 ? max_count : std::numeric_limits<std::uint32_t>::max();
  windows.count_ = static_cast<std::uint32_t>(std::min(tokens.size() / length, most));
  windows.length_ = length;
  windows.tokens_ = std::move(tokens);
  return windows;
}

std::vector<TokenId> Windows::At(std::uint32_t index) const {
  const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(std::size_t{index} * length_);
  std::vector<TokenId> window(begin, begin + length_);
  if (first_) window.front() = *first_;
  return window;
}

}  // namespace sluice::runtime
