#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::autograd {

/// Whether operations on `x` may be differentiated: it requires grad, carries a tangent, or a torch.func transform runs.
bool is_differentiated(const at::Tensor& x);

/// `x` as a constant of every differentiation in progress: reverse or forward, at every level of nested torch.func
/// transforms. Neither detach() (no rule for the tensors behind is_grads_batched) nor a no-grad guard (seen by the
/// innermost transform only) does that.
at::Tensor constant(const at::Tensor& x);

/// The same also where nothing is differentiated yet, for compositions of operators: a recording of them (torch.export) may be
/// differentiated later.
at::Tensor recorded_constant(const at::Tensor& x);

} // namespace spectralgrad::autograd
