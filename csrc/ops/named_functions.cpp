#include <spectralgrad/funm.h>

#include "ops/spectral_function.h"

#include <ATen/ops/real.h>
#include <torch/library.h>

// The functions of a matrix that have closed forms.
namespace spectralgrad {
namespace {

using at::Tensor;
using ops::Domain;

Tensor apply(const char* function, const Tensor& A, std::string_view domain, const math::ScalarFunction& f) {
  return ops::spectral_function(f, ops::eigenpairs(function, A, domain));
}

} // namespace

Tensor expm(const Tensor& A) {
  return apply("expm", A, Domain::all, {"exp", {}, {}});
}

Tensor logm(const Tensor& A) {
  return apply("logm", A, Domain::positive, {"log", {}, {}});
}

Tensor sqrtm(const Tensor& A) {
  return apply("sqrtm", A, Domain::nonnegative, {"sqrt", {}, {}});
}

Tensor trace_sqrtm(const Tensor& A) {
  const auto root = apply("trace_sqrtm", A, Domain::nonnegative, {"sqrt", {}, {}});
  return at::real(root.diagonal(0, -2, -1)).sum(-1);
}

Tensor invsqrtm(const Tensor& A) {
  return apply("invsqrtm", A, Domain::positive, {"invsqrt", {}, {}});
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("expm(Tensor A) -> Tensor");
  library.def("logm(Tensor A) -> Tensor");
  library.def("sqrtm(Tensor A) -> Tensor");
  library.def("invsqrtm(Tensor A) -> Tensor");
  library.def("trace_sqrtm(Tensor A) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("expm", expm);
  library.impl("logm", logm);
  library.impl("sqrtm", sqrtm);
  library.impl("invsqrtm", invsqrtm);
  library.impl("trace_sqrtm", trace_sqrtm);
}

} // namespace spectralgrad
