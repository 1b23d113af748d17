#include "runtime/text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <queue>
#include <tuple>
#include <utility>

#include "core/utf8.h"

namespace sluice::runtime {
namespace {

constexpr char32_t kFirstSubstitute = 0x100;

bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

// The bytes that are written as U+0100, U+0101, ...
constexpr std::size_t kNumSubstitutes = 68;
std::array<char, kNumSubstitutes> SubstitutedBytes() {
  std::array<char, kNumSubstitutes> bytes{};
  std::size_t count = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!StandsForItself(byte)) bytes[count++] = static_cast<char>(byte);
  }
  return bytes;
}

std::uint64_t PairKey(TokenId left, TokenId right) { return (std::uint64_t{left} << 32U) | right; }

// A token of the piece so far; a list in order of position.
struct Symbol {
  TokenId id = 0;
  std::size_t previous = 0;
  std::size_t next = 0;
  bool alive = true;
};
constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

// A merge that could be made at a position, when both tokens still stand there.
struct Candidate {
  std::uint32_t rank = 0;
  std::size_t left = 0;
  std::size_t right = 0;
  std::uint64_t pair = 0;  // PairKey of the tokens that it was found for
  TokenId merged = 0;

  bool operator>(const Candidate& other) const {
    return std::tie(rank, left) > std::tie(other.rank, other.left);
  }
};

}  // namespace

std::string BytesOfToken(std::string_view token) {
  static const std::array<char, kNumSubstitutes> kSubstituted = SubstitutedBytes();
  if (ValidUtf8Prefix(token) != token.size()) return std::string(token);
  std::string bytes;
  for (std::string_view rest = token; !rest.empty();) {
    const CodePoint point = FirstCodePoint(rest);
    rest.remove_prefix(point.bytes);
    if (point.value < kFirstSubstitute && StandsForItself(point.value)) {
      bytes += static_cast<char>(point.value);
    } else if (point.value >= kFirstSubstitute &&
               point.value - kFirstSubstitute < kNumSubstitutes) {
      bytes += kSubstituted[point.value - kFirstSubstitute];
    } else {
      return std::string(token);
    }
  }
  return bytes;
}

Result<BytePairEncoder> BytePairEncoder::Make(const gguf::Array& tokens,
                                              const std::vector<bool>& matched_by_bytes,
                                              const gguf::Array& merges, bool ignore_merges) {
  BytePairEncoder encoder;
  encoder.byte_ids_.assign(256, -1);
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(tokens.size());
  for (TokenId id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens.StringAt(id);
    ids.emplace(token, id);
    if (!matched_by_bytes[id]) continue;
    std::string bytes = BytesOfToken(token);
    if (bytes.size() == 1) encoder.byte_ids_[static_cast<std::uint8_t>(bytes[0])] = id;
    if (ignore_merges) encoder.whole_.emplace(std::move(bytes), id);
  }
  encoder.merges_.reserve(merges.size());
  for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
    SLUICE_TRY(encoder.AddMerge(merges.StringAt(rank), rank, ids));
  }
  return encoder;
}

Status BytePairEncoder::AddMerge(std::string_view text, std::uint32_t rank,
                                 const std::unordered_map<std::string_view, TokenId>& ids) {
  // A part may begin with a space of its own, but no part is empty.
  const std::size_t space = text.find(' ', 1);
  const auto corrupt = [&](std::string_view why) {
    return MakeError(ErrorCode::kCorrupt, fmt::format("merge {} {}", rank, why)).Actual(text);
  };
  if (space == std::string_view::npos) return corrupt("is not two parts");
  const auto left = ids.find(text.substr(0, space));
  const auto right = ids.find(text.substr(space + 1));
  if (left == ids.end() || right == ids.end()) return corrupt("has a part that is no token");
  const std::string joined = std::string(left->first) + std::string(right->first);
  const auto merged = ids.find(joined);
  if (merged == ids.end()) return corrupt("gives no token");
  merges_.emplace(PairKey(left->second, right->second), Merge{rank, merged->second});
  return Ok();
}

const BytePairEncoder::Merge* BytePairEncoder::Find(TokenId left, TokenId right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

Status BytePairEncoder::Encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (const auto found = whole_.find(piece); found != whole_.end()) {
    ids.push_back(found->second);
    return Ok();
  }
  std::vector<Symbol> symbols(piece.size());
  for (std::size_t i = 0; i < piece.size(); ++i) {
    const std::int64_t id = byte_ids_[static_cast<std::uint8_t>(piece[i])];
    if (id < 0) {
      return MakeError(ErrorCode::kUnsupported,
                       fmt::format("the vocabulary has no token for the byte 0x{:02X}",
                                   static_cast<std::uint8_t>(piece[i])));
    }
    symbols[i] = {static_cast<TokenId>(id), i == 0 ? kNone : i - 1,
                  i + 1 == piece.size() ? kNone : i + 1};
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](std::size_t left, std::size_t right) {
    if (left == kNone || right == kNone) return;
    const Merge* merge = Find(symbols[left].id, symbols[right].id);
    if (merge == nullptr) return;
    candidates.push(
        {merge->rank, left, right, PairKey(symbols[left].id, symbols[right].id), merge->merged});
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(i, i + 1);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbols[best.left];
    Symbol& right = symbols[best.right];
    const bool stands = left.alive && right.alive && left.next == best.right &&
                        PairKey(left.id, right.id) == best.pair;
    if (!stands) continue;
    left.id = best.merged;
    left.next = right.next;
    right.alive = false;
    if (left.next != kNone) symbols[left.next].previous = best.left;
    consider(left.previous, best.left);
    consider(best.left, left.next);
  }
  for (std::size_t at = 0; at < symbols.size() && at != kNone; at = symbols[at].next) {
    ids.push_back(symbols[at].id);
  }
  return Ok();
}

}  // namespace sluice::runtime
