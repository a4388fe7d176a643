#include <spectralgrad/canonical_gauge.h>

#include "ops/canonical_frame.h"
#include "ops/eigenvector_arguments.h"

#include <torch/library.h>

namespace spectralgrad {

using at::Tensor;

Tensor canonical_gauge(const Tensor& L, const Tensor& V, std::optional<double> rtol) {
  ops::check_eigenvectors("canonical_gauge", L, V, rtol);
  return ops::in_canonical_gauge(V, ops::canonical_frame(L, V, rtol));
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("canonical_gauge(Tensor L, Tensor V, float? rtol=None) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("canonical_gauge", canonical_gauge);
}

} // namespace spectralgrad
