#include <spectralgrad/purity.h>

#include "ops/eigenpairs.h"
#include "ops/spectral_trace.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

namespace spectralgrad {

at::Tensor purity(const at::Tensor& A) {
  const auto pairs = ops::eigenpairs("purity", A);
  const auto& x = pairs.eigenvalues;
  const auto zero = at::zeros_like(x);
  return ops::spectral_trace(pairs, at::stack({x.square(), 2 * x, at::full_like(x, 2), zero, zero}, -2));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("purity(Tensor A) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("purity", purity);
}

} // namespace spectralgrad
