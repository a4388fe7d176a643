#include <spectralgrad/spectral_projector.h>

#include "ops/fill_levels.h"
#include "ops/spectral_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

namespace spectralgrad {

using at::Tensor;

Tensor spectral_projector(const Tensor& A, int64_t start, int64_t stop) {
  const auto pairs = ops::eigenpairs("spectral_projector", A);
  const auto n = A.sym_size(-1);
  TORCH_CHECK_VALUE(
      0 <= start && start <= stop && n >= stop,
      "spectralgrad.spectral_projector: Expected 0 <= start <= stop <= ",
      n,
      ", but got start=",
      start,
      " and stop=",
      stop);
  const auto below = [&](int64_t border, const char* argument) {
    const auto filling = at::zeros_like(pairs.eigenvalues).sum(-1) + static_cast<double>(border);
    return ops::fill_levels(pairs.eigenvalues, filling, {}, "spectral_projector", argument, 1, /*share=*/false);
  };
  const auto steps = below(stop, "stop") - below(start, "start");
  return ops::spectral_function({"steps", {}, steps.unsqueeze(-2)}, pairs);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("spectral_projector(Tensor A, int start, int stop) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("spectral_projector", spectral_projector);
}

} // namespace spectralgrad
