#include "autograd/constant.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"

#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;

// Copies, because an operator may not return its argument.
Tensor constant_kernel(const Tensor& x) {
  return x.clone();
}

constexpr autograd::OperatorHandle<"spectralgrad::constant", constant_kernel> constant_op;

} // namespace

namespace autograd {

bool is_differentiated(const Tensor& x) {
  return autograd::transform_is_active() || autograd::has_tangent(x) || autograd::requires_grad({x});
}

Tensor constant(const Tensor& x) {
  return is_differentiated(x) ? constant_op.call(x) : x;
}

Tensor recorded_constant(const Tensor& x) {
  return constant_op.call(x);
}

} // namespace autograd

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("constant(Tensor x) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("constant", constant_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("constant", constant_op.constant_kernel());
}

} // namespace spectralgrad
