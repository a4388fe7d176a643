#pragma once

#include <ATen/core/Tensor.h>

// Inverses without torch's LU decomposition, which for a batch of large matrices on the CPU calls MKL's getrf in
// several threads at once. If torch.set_num_threads was called, that hangs or returns wrong results (PyTorch's issues
// 141358 and 142815). So large matrices on the CPU are decomposed by QR.
namespace spectralgrad::math {

/// The inverses of matrices (*, n, n), as differentiable tensor code. The inverse of a singular matrix is meaningless
/// or not finite.
at::Tensor inverse(const at::Tensor& A);

/// Whether the determinants of real orthogonal matrices (*, n, n) are negative: (*), bool.
at::Tensor is_improper(const at::Tensor& W);

} // namespace spectralgrad::math
