// Symbolic dimensions: what a shape is made of before a checkpoint gives the numbers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "arch/hparams.h"

namespace sluice::arch {

// coefficient * factors[0] * factors[1] * ...; a coefficient of 0 is no term at all.
struct Term {
  static constexpr std::size_t kMaxFactors = 3;

  std::uint32_t coefficient = 0;
  std::array<Hp, kMaxFactors> factors{};  // ascending, kNone first

  constexpr bool operator==(const Term&) const = default;
};

// A sum of at most two terms, in a normal form: equal sums compare equal. `valid` is false for a
// sum or product that does not fit, which arch/spec_check.h rejects at compile time.
struct Extent {
  static constexpr std::size_t kMaxTerms = 2;

  std::array<Term, kMaxTerms> terms{};
  bool valid = true;

  constexpr Extent() = default;
  constexpr Extent(Hp hp) : terms{Term{1, {Hp::kNone, Hp::kNone, hp}}} {}  // NOLINT(*-explicit-*)
  constexpr Extent(int number)                                             // NOLINT(*-explicit-*)
      : terms{Term{static_cast<std::uint32_t>(number), {}}} {}

  [[nodiscard]] constexpr bool IsZero() const { return terms[0].coefficient == 0; }
  constexpr bool operator==(const Extent&) const = default;
};

inline constexpr std::uint32_t kMaxCoefficient = 0xFFFF'FFFF;

constexpr Term Product(const Term& a, const Term& b, bool& fits) {
  const std::uint64_t coefficient = std::uint64_t{a.coefficient} * b.coefficient;
  if (coefficient == 0) return {};
  if (coefficient > kMaxCoefficient) fits = false;
  Term product{static_cast<std::uint32_t>(coefficient), a.factors};
  for (const Hp factor : b.factors) {
    if (factor == Hp::kNone) continue;
    if (product.factors[0] != Hp::kNone) fits = false;
    product.factors[0] = factor;
    std::sort(product.factors.begin(), product.factors.end());
  }
  return product;
}

constexpr Extent operator+(const Extent& a, const Extent& b) {
  Extent sum = a;
  sum.valid = a.valid && b.valid;
  for (const Term& term : b.terms) {
    if (term.coefficient == 0) continue;
    auto slot = std::find_if(sum.terms.begin(), sum.terms.end(), [&](const Term& held) {
      return held.coefficient == 0 || held.factors == term.factors;
    });
    if (slot == sum.terms.end()) {
      sum.valid = false;
      continue;
    }
    slot->factors = term.factors;
    if (slot->coefficient > kMaxCoefficient - term.coefficient) sum.valid = false;
    slot->coefficient += term.coefficient;
  }
  if (sum.terms[1].coefficient != 0 && sum.terms[1].factors < sum.terms[0].factors) {
    std::swap(sum.terms[0], sum.terms[1]);
  }
  return sum;
}

constexpr Extent operator*(const Extent& a, const Extent& b) {
  Extent product;
  product.valid = a.valid && b.valid;
  for (const Term& x : a.terms) {
    for (const Term& y : b.terms) {
      Extent part;
      part.terms[0] = Product(x, y, product.valid);
      if (part.terms[0].coefficient != 0) product = product + part;
    }
  }
  return product;
}

constexpr Extent operator*(Hp a, Hp b) { return Extent(a) * Extent(b); }
constexpr Extent operator+(Hp a, Hp b) { return Extent(a) + Extent(b); }

// a / b where b is a single factor that every term of a contains; nullopt otherwise.
constexpr std::optional<Extent> Quotient(const Extent& a, const Extent& b) {
  const Hp divisor = b.terms[0].factors[Term::kMaxFactors - 1];
  if (b != Extent(divisor) || divisor == Hp::kNone) return std::nullopt;
  Extent quotient = a;
  for (Term& term : quotient.terms) {
    if (term.coefficient == 0) continue;
    auto found = std::find(term.factors.begin(), term.factors.end(), divisor);
    if (found == term.factors.end()) return std::nullopt;
    *found = Hp::kNone;
    std::sort(term.factors.begin(), term.factors.end());
  }
  return Extent() + quotient;  // brings the terms into order
}

// The number of a symbolic extent; nullopt when it passes 64 bits.
// REQUIRES: every factor is a count that is present in `hparams`.
[[nodiscard]] std::optional<std::uint64_t> Evaluate(const Extent& extent, const HParams& hparams);

// The shape of a tensor, outermost dimension first.
struct Shape {
  static constexpr std::size_t kMaxRank = 4;

  std::array<Extent, kMaxRank> extents{};
  std::size_t rank = 0;

  constexpr Shape() = default;
  template <typename... E>
  requires(sizeof...(E) > 0 &&
           sizeof...(E) <= kMaxRank) constexpr Shape(E... extent)  // NOLINT(*-explicit-*)
      : extents{Extent(extent)...}, rank(sizeof...(E)) {}

  constexpr bool operator==(const Shape&) const = default;
};

}  // namespace sluice::arch
