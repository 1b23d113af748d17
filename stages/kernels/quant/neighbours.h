// A codebook's neighbour lists as the fast search reads them: the codes of the points, not their
// indices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/quant/codebook.h"

namespace sluice::kernels {

class NeighbourCodes {
 public:
  // So many codes may be loaded from any place in a list on.
  static constexpr std::size_t kLoadable = 8;

  explicit NeighbourCodes(const quant::Codebook& book);

  [[nodiscard]] const quant::Codebook& book() const { return book_; }
  // In the order of quant::Codebook::Neighbours; empty for the code of a point.
  [[nodiscard]] std::span<const std::uint16_t> Of(std::uint32_t code) const {
    return {codes_.data() + first_[code], first_[code + 1] - first_[code]};
  }

 private:
  const quant::Codebook& book_;
  std::vector<std::uint32_t> first_;  // by code: where its list begins
  std::vector<std::uint16_t> codes_;
};

}  // namespace sluice::kernels
