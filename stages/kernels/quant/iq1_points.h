// Points for the groups of an IQ1 sub-block.
#pragma once

#include <cstddef>
#include <span>

#include "formats/quant/iq1_search.h"

namespace sluice::kernels {

// quant::ChoosePoints, with the errors of a group's levels computed once for all its neighbours.
quant::Iq1Choice ChooseIq1Points(const quant::Iq1Split& split, std::span<const std::size_t> order,
                                 std::span<const float> x, std::span<const float> weights);

}  // namespace sluice::kernels
