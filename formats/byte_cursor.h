// A position in bytes that refuses to pass their end.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "core/result.h"

namespace sluice {

// The bytes must outlive the cursor.
class ByteCursor {
 public:
  // `cut_off`, `advice`: what the error says when the bytes end too early.
  ByteCursor(std::span<const std::byte> bytes, std::string_view cut_off, std::string_view advice)
      : bytes_(bytes), cut_off_(cut_off), advice_(advice) {}

  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  [[nodiscard]] std::uint64_t remaining() const { return bytes_.size() - offset_; }

  Result<std::span<const std::byte>> Take(std::uint64_t count) {
    if (count > remaining()) {
      return MakeError(ErrorCode::kCorrupt, cut_off_)
          .AtOffset(offset_)
          .Expected(fmt::format("{} more bytes", count))
          .Actual(fmt::format("{}", remaining()))
          .Advice(advice_);
    }
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

  // In the byte order of this machine, little endian.
  template <typename T>
  Result<T> Number() {
    SLUICE_ASSIGN(const auto bytes, Take(sizeof(T)));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  Result<std::string_view> Text(std::uint64_t length) {
    SLUICE_ASSIGN(const auto bytes, Take(length));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view cut_off_;
  std::string_view advice_;
  std::uint64_t offset_ = 0;
};

}  // namespace sluice
