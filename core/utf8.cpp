#include "core/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace sluice {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

bool IsContinuation(char byte) { return (static_cast<std::uint8_t>(byte) & 0xC0U) == 0x80U; }

// Bytes of the character that a lead byte announces; 0 for a byte that starts none.
std::size_t AnnouncedBytes(std::uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// Second bytes that would make an overlong form, a surrogate or a value above U+10FFFF.
bool SecondByteFits(std::uint8_t lead, std::uint8_t second) {
  if (lead == 0xE0) return second >= 0xA0;
  if (lead == 0xED) return second < 0xA0;
  if (lead == 0xF0) return second >= 0x90;
  if (lead == 0xF4) return second < 0x90;
  return true;
}

// The first character of `text`, as far as it goes.
struct Character {
  std::size_t bytes = 0;  // of the maximal part that is or could become a character; at least 1
  enum { kWhole, kIncomplete, kInvalid } state = kInvalid;
};
Character FirstCharacter(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  const std::size_t announced = AnnouncedBytes(lead);
  if (announced == 0) return {1, Character::kInvalid};
  std::size_t bytes = 1;
  while (bytes < announced) {
    if (bytes == text.size()) return {bytes, Character::kIncomplete};
    if (!IsContinuation(text[bytes])) return {bytes, Character::kInvalid};
    if (bytes == 1 && !SecondByteFits(lead, static_cast<std::uint8_t>(text[1]))) {
      return {1, Character::kInvalid};
    }
    ++bytes;
  }
  return {bytes, Character::kWhole};
}

struct Range {
  char32_t first;
  char32_t last;
};
constexpr std::array kBlanks{
    Range{0x09, 0x0D},     Range{0x1C, 0x20},     Range{0x85, 0x85},     Range{0xA0, 0xA0},
    Range{0x1680, 0x1680}, Range{0x2000, 0x200A}, Range{0x2028, 0x2029}, Range{0x202F, 0x202F},
    Range{0x205F, 0x205F}, Range{0x3000, 0x3000},
};

// Control characters (C0, delete, C1), and those that set the direction of writing.
constexpr std::array kControls{
    Range{0x00, 0x1F},
    Range{0x7F, 0x9F},
    Range{0x202A, 0x202E},
    Range{0x2066, 0x2069},
};

// REQUIRES: `text` begins with a whole character.
bool BeginsWithOneOf(std::string_view text, std::span<const Range> ranges) {
  const char32_t value = FirstCodePoint(text).value;
  return std::any_of(ranges.begin(), ranges.end(), [&](const Range& range) {
    return value >= range.first && value <= range.last;
  });
}

}  // namespace

std::size_t ValidUtf8Prefix(std::string_view text) {
  std::size_t valid = 0;
  while (valid < text.size()) {
    const Character character = FirstCharacter(text.substr(valid));
    if (character.state != Character::kWhole) break;
    valid += character.bytes;
  }
  return valid;
}

std::string_view Utf8Prefix(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

std::string AsciiLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string PrintableLines(std::string_view text) {
  std::string shown;
  while (true) {
    const std::size_t end = text.find_first_of("\n\t");
    shown += Printable(text.substr(0, end));
    if (end == std::string_view::npos) return shown;
    shown += text[end];
    text.remove_prefix(end + 1);
  }
}

std::string Printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const Character character = FirstCharacter(text);
    const std::string_view bytes = text.substr(0, character.bytes);
    if (bytes == "\n") {
      shown += "\\n";
    } else if (character.state == Character::kWhole && !BeginsWithOneOf(bytes, kControls)) {
      shown += bytes;
    } else {
      for (const char byte : bytes) {
        shown += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(byte));
      }
    }
    text.remove_prefix(bytes.size());
  }
  return shown;
}

std::string Utf8Stream::Push(std::string_view bytes) {
  held_ += bytes;
  std::string text;
  std::size_t at = 0;
  while (at < held_.size()) {
    const std::string_view rest = std::string_view(held_).substr(at);
    const Character character = FirstCharacter(rest);
    if (character.state == Character::kIncomplete) break;
    text += character.state == Character::kWhole ? rest.substr(0, character.bytes) : kReplacement;
    at += character.bytes;
  }
  held_.erase(0, at);
  return text;
}

std::string Utf8Stream::Finish() {
  const bool dangling = !held_.empty();
  held_.clear();
  return std::string(dangling ? kReplacement : "");
}

CodePoint FirstCodePoint(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  const std::size_t bytes = AnnouncedBytes(lead);
  if (bytes == 1) return {lead, 1};
  constexpr std::array<std::uint32_t, 5> kLeadBits{0, 0x7F, 0x1F, 0x0F, 0x07};
  char32_t value = lead & kLeadBits[bytes];
  for (std::size_t i = 1; i < bytes; ++i) {
    value = (value << 6U) | (static_cast<std::uint8_t>(text[i]) & 0x3FU);
  }
  return {value, bytes};
}

std::string_view TrimLeft(std::string_view text) {
  while (!text.empty()) {
    const Character first = FirstCharacter(text);
    if (first.state != Character::kWhole || !BeginsWithOneOf(text, kBlanks)) break;
    text.remove_prefix(first.bytes);
  }
  return text;
}

std::string_view TrimRight(std::string_view text) {
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && IsContinuation(text[start])) --start;
    const std::string_view last = text.substr(start);
    const Character character = FirstCharacter(last);
    if (character.state != Character::kWhole || character.bytes != last.size() ||
        !BeginsWithOneOf(last, kBlanks)) {
      break;
    }
    text = text.substr(0, start);
  }
  return text;
}

std::string_view Trim(std::string_view text) { return TrimRight(TrimLeft(text)); }

}  // namespace sluice
