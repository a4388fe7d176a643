#pragma once

#include <ATen/core/Tensor.h>

// The linear equations that derivatives of the polar decomposition A = W P consist of, as tensor code.
//
// P = V diag(p) V^H is Hermitian (*, n, n), with real `values` p (*, n) and `vectors` V (*, n, n). P is semidefinite,
// or has one negative value: the last one, if the determinant of W is prescribed. `divide_tangent` allows that.
//
// In the basis V the equations divide by p_i + p_j or by p_j. So they are as accurate at degenerate values as
// elsewhere. Denominators that are round-off contribute zero. Higham (2008), "Functions of Matrices", chapter 8.
namespace spectralgrad::math {

/// Returns the solution X (*, n, n) of the Sylvester equation P X + X P = K.
at::Tensor solve_sylvester(const at::Tensor& K, const at::Tensor& values, const at::Tensor& vectors);

/// Returns X = K P^-1 for K (*, r, n).
at::Tensor divide_from_the_right(const at::Tensor& K, const at::Tensor& values, const at::Tensor& vectors);

} // namespace spectralgrad::math
