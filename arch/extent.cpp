#include "arch/extent.h"

#include "core/checked.h"

namespace sluice::arch {

std::optional<std::uint64_t> Evaluate(const Extent& extent, const HParams& hparams) {
  std::uint64_t sum = 0;
  for (const Term& term : extent.terms) {
    std::optional<std::uint64_t> product = term.coefficient;
    for (const Hp factor : term.factors) {
      if (factor != Hp::kNone && product) product = CheckedMul(*product, hparams.Count(factor));
    }
    const auto next = product ? CheckedAdd(sum, *product) : std::nullopt;
    if (!next) return std::nullopt;
    sum = *next;
  }
  return sum;
}

}  // namespace sluice::arch
