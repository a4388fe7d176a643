#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::autograd {

/// Whether operations on `x` may be differentiated: `x` requires grad, has a tangent, or a torch.func transform is
/// running.
bool is_differentiated(const at::Tensor& x);

/// Returns `x` as a constant for every differentiation in progress: reverse or forward, at every level of nested
/// torch.func transforms. detach() cannot do this, because it has no rule for the tensors behind is_grads_batched. A
/// no-grad guard cannot either, because only the innermost transform sees it.
at::Tensor constant(const at::Tensor& x);

/// Like `constant`, but also calls the operator if no differentiation is in progress. For compositions of operators:
/// torch.export may record them now and the recording may be differentiated later.
at::Tensor recorded_constant(const at::Tensor& x);

} // namespace spectralgrad::autograd
