// Result<T>: a value or an Error, with the names of C++23's std::expected (GCC 12 has none in
// C++20).
#pragma once

#include <type_traits>
#include <utility>
#include <variant>

#include "core/error.h"

namespace sluice {

struct Unit {};

// Implicitly built from a T or from an Error. REQUIRES for operator*, operator->: has_value();
// for error(): !has_value().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(*-explicit-*)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(*-explicit-*)

  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  [[nodiscard]] T& operator*() & { return *std::get_if<0>(&state_); }
  [[nodiscard]] const T& operator*() const& { return *std::get_if<0>(&state_); }
  [[nodiscard]] T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  [[nodiscard]] T* operator->() { return std::get_if<0>(&state_); }
  [[nodiscard]] const T* operator->() const { return std::get_if<0>(&state_); }

  [[nodiscard]] const Error& error() const& { return *std::get_if<1>(&state_); }
  [[nodiscard]] Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value, or an Error.
using Status = Result<Unit>;
inline Status Ok() { return Unit{}; }

}  // namespace sluice

#define SLUICE_CONCAT_INNER(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_INNER(a, b)

// Returns the Error of `expr` to the caller, or goes on.
#define SLUICE_TRY(expr)                               \
  do {                                                 \
    if (auto sluice_status = (expr); !sluice_status) { \
      return std::move(sluice_status).error();         \
    }                                                  \
  } while (false)

// Declares or assigns `target` from the value of `expr`, or returns its Error to the caller.
#define SLUICE_ASSIGN(target, expr) \
  SLUICE_ASSIGN_INNER(SLUICE_CONCAT(sluice_result_, __LINE__), target, expr)
#define SLUICE_ASSIGN_INNER(result, target, expr) \
  auto result = (expr);                           \
  if (!result) return std::move(result).error();  \
  target = *std::move(result)
