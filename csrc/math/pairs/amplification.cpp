#include "math/pairs/amplification.h"

#include "autograd/constant.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>

namespace spectralgrad::math {

at::Tensor amplification(const at::Tensor& B_diagonal, const at::Tensor& R) {
  if (R.sym_size(-1) == 0) {
    return {};
  }
  // The roots are multiplied first, because B may be near the ends of the range.
  const auto rows = autograd::constant(R).abs() * autograd::constant(B_diagonal).sqrt().unsqueeze(-1);
  // Subtracting 1 leaves large values as they are, and makes the values near 1 exactly 1.
  return (rows.square().sum(-1).amax(-1) - 1).clamp_min(1);
}

} // namespace spectralgrad::math
