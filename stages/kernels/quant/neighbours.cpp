#include "stages/kernels/quant/neighbours.h"

namespace sluice::kernels {

NeighbourCodes::NeighbourCodes(const quant::Codebook& book) : book_(book) {
  const std::uint32_t num_codes = book.dimensions() == 8 ? 1U << 16 : 1U << 12;
  first_.reserve(num_codes + 1);
  for (std::uint32_t code = 0; code < num_codes; ++code) {
    first_.push_back(static_cast<std::uint32_t>(codes_.size()));
    for (const std::uint16_t point : book.Neighbours(code)) {
      codes_.push_back(static_cast<std::uint16_t>(book.CodeOf(book.LevelsAt(point))));
    }
  }
  first_.push_back(static_cast<std::uint32_t>(codes_.size()));
  codes_.resize(codes_.size() + kLoadable);
}

}  // namespace sluice::kernels
