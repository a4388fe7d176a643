#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad {

/// Returns tr(A^2), (*), of symmetric or Hermitian matrices `A` (*, n, n). Only the lower triangle is read. Raises the
/// errors of `eigh`.
///
/// ```
/// auto A = torch::eye(2).requires_grad_();
/// spectralgrad::purity(A).backward(); // A.grad() is 2 I
/// ```
SPECTRALGRAD_API at::Tensor purity(const at::Tensor& A);

} // namespace spectralgrad
