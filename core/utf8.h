// UTF-8: what text of files, prompts and answers needs of it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// Bytes at the start of `text` that are whole, valid characters; text.size() when all of it is.
[[nodiscard]] std::size_t ValidUtf8Prefix(std::string_view text);
[[nodiscard]] inline bool IsUtf8(std::string_view text) {
  return ValidUtf8Prefix(text) == text.size();
}

// At most `max_bytes` of the start of `text`, without cutting a character apart.
[[nodiscard]] std::string_view Utf8Prefix(std::string_view text, std::size_t max_bytes);

// The letters A to Z in lower case, whatever the locale.
[[nodiscard]] std::string AsciiLower(std::string_view text);

// Text from elsewhere as part of one line of ours: what could move a terminal's cursor, pass for
// another line or reverse the order of letters, and bytes that are no UTF-8, become \n or \x1b.
[[nodiscard]] std::string Printable(std::string_view text);

// The same for text of several lines: \n and \t stay.
[[nodiscard]] std::string PrintableLines(std::string_view text);

// Makes text of bytes that arrive in pieces of any size: holds back a character until it is whole.
// Bytes that no continuation can make valid become U+FFFD, one for each maximal part of a
// character (Unicode standard, section 3.9).
class Utf8Stream {
 public:
  // The characters that `bytes` completes.
  std::string Push(std::string_view bytes);
  // What is still held, as U+FFFD; the stream is as new afterwards.
  std::string Finish();

 private:
  std::string held_;
};

// The code point of the character that `text` begins with, and its bytes.
// REQUIRES: `text` is valid and not empty.
struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;
};
[[nodiscard]] CodePoint FirstCodePoint(std::string_view text);

// `text` without blanks at its start or end. Blanks are Unicode white space and U+001C to U+001F,
// the characters that Python's str.strip takes away. Invalid bytes are no blanks.
[[nodiscard]] std::string_view TrimLeft(std::string_view text);
[[nodiscard]] std::string_view TrimRight(std::string_view text);
[[nodiscard]] std::string_view Trim(std::string_view text);

}  // namespace sluice
