#include <spectralgrad/orthogonal_procrustes.h>

#include "ops/arguments.h"
#include "ops/polar_factor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <utility>

namespace spectralgrad {

using at::Tensor;

std::tuple<Tensor, Tensor> orthogonal_procrustes(const Tensor& A, const Tensor& B, bool proper) {
  constexpr const char* function = "orthogonal_procrustes";
  ops::check_matrix(function, A);
  ops::check_matrix(function, B, "B");
  const auto wrong = ops::mismatch(A, B, "shape");
  TORCH_CHECK_VALUE(wrong.empty(), "spectralgrad.orthogonal_procrustes: ", wrong);
  TORCH_CHECK_VALUE(
      !(proper && A.is_complex()),
      "spectralgrad.orthogonal_procrustes: Expected real matrices for proper=True, but got ",
      A.scalar_type(),
      "; leave proper out for the nearest unitary matrix");
  auto [R, scale] = ops::polar_factor(function, at::matmul(A.mH(), B), proper);
  return {std::move(R), std::move(scale)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("orthogonal_procrustes(Tensor A, Tensor B, bool proper=False) -> (Tensor R, Tensor scale)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("orthogonal_procrustes", orthogonal_procrustes);
}

} // namespace spectralgrad
