// Somebody who wants to know what a model's matrices are multiplied with.
#pragma once

#include "runtime/kernels/matrix.h"

namespace sluice::runtime {

class ActivationObserver {
 public:
  virtual ~ActivationObserver() = default;
  // Called once for each product of a whole matrix of weights, which the address of its data tells
  // apart. One call at a time, in an order that does not depend on the number of threads; `inputs`
  // are valid during the call.
  virtual void OnProduct(const Matrix& weights, const FloatRows& inputs) = 0;
};

}  // namespace sluice::runtime
