#include <spectralgrad/polar.h>

#include "math/hermitian_part.h"
#include "ops/arguments.h"
#include "ops/polar_factor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

namespace spectralgrad {

using at::Tensor;

std::tuple<Tensor, Tensor> polar(const Tensor& A, std::string_view side) {
  ops::check_matrix("polar", A);
  TORCH_CHECK_VALUE(
      side == "left" || side == "right",
      "spectralgrad.polar: Expected side to be 'left' or 'right', but got '",
      side,
      "'");
  const auto U = ops::polar_factor("polar", A).W;
  return {U, math::hermitian_part(side == "right" ? at::matmul(U.mH(), A) : at::matmul(A, U.mH()))};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("polar(Tensor A, str side=\"right\") -> (Tensor U, Tensor P)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("polar", polar);
}

} // namespace spectralgrad
