#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <functional>

// Functions f(A) = V f(Lambda) V^H of symmetric or Hermitian matrices. Their first three derivatives are exact at
// degenerate eigenvalues, which is impossible for a function written with the eigenvectors of `eigh`. The derivative is
// that of Daleckii and Krein (1965), V (f[lambda_i, lambda_j] o V^H dA V) V^H with divided differences f[a,b]; see
// Higham (2008), "Functions of Matrices", chapter 3.
//
// All take `A` (*, n, n), float32, float64, complex64 or complex128, and read its lower triangle only. They return a
// Hermitian matrix of A's shape and dtype. The gradient is exactly Hermitian. Reverse and forward mode work three
// times; a fourth derivative raises `c10::Error`. Errors are those of `eigh`, and `c10::LinAlgError` if f is not
// defined at an eigenvalue (under `Checks::ignore` that matrix of a batch is NaN).
namespace spectralgrad {

/// exp(A).
///
/// ```
/// auto A = torch::eye(2, torch::kFloat64).requires_grad_();
/// spectralgrad::expm(A)[0][1].backward(); // A.grad() is [[0, e/2], [e/2, 0]]
/// ```
SPECTRALGRAD_API at::Tensor expm(const at::Tensor& A);

/// The logarithm of a positive definite matrix.
SPECTRALGRAD_API at::Tensor logm(const at::Tensor& A);

/// The square root of a positive semidefinite matrix. Eigenvalues up to n*eps*max|lambda| count as 0. At a singular
/// matrix the derivatives are those among matrices of the same rank. The derivative is infinite along directions inside
/// the null space; this part is left out, with a warning. No warning is given if the cotangent is a multiple of the
/// identity inside the null space, like that of a trace.
SPECTRALGRAD_API at::Tensor sqrtm(const at::Tensor& A);

/// tr sqrt(A), (*), real. Its gradient is A^(-1/2)/2 on the range of A, and 0 on the null space. For A = F^T F it is
/// the nuclear norm of F.
SPECTRALGRAD_API at::Tensor trace_sqrtm(const at::Tensor& A);

/// The inverse of the square root of a positive definite matrix.
SPECTRALGRAD_API at::Tensor invsqrtm(const at::Tensor& A);

/// A^p. A must be positive semidefinite if p is not an integer (a singular A is treated as in `sqrtm`), and invertible
/// if p < 0.
SPECTRALGRAD_API at::Tensor powm(const at::Tensor& A, double p);

/// A^p with an exponent for each matrix. It is differentiable in `p`, too. `p` is real or of integers, of shape (*) or
/// (*, 1), and broadcasts with the batch of A. The derivative in p is log(A) A^p. Zero eigenvalues add nothing to it,
/// and negative ones make it NaN. Raises `c10::TypeError` or `c10::ValueError` if p is complex, boolean or not finite.
SPECTRALGRAD_API at::Tensor powm(const at::Tensor& A, const at::Tensor& p);

/// An elementwise function of a real tensor, written with differentiable operations.
using ElementwiseFunction = std::function<at::Tensor(const at::Tensor&)>;

/// f(A) for a real function f. Its derivatives are `df`, `d2f` and `d3f`; missing ones are found by automatic
/// differentiation of the last one given. The k-th derivative in A takes k derivatives of f. Tensors that f uses get
/// their gradients, too. Raises `c10::ValueError` if f, df, d2f or d3f does not return a tensor of its argument's
/// shape, and `c10::LinAlgError` if f is NaN at an eigenvalue.
///
/// Some functions have a value at 0 and none below, or an infinite slope at 0 (sqrt, special_entr). For these,
/// eigenvalues with |lambda| <= n*eps*max|lambda| count as 0, and derivatives are those among matrices of the same
/// rank, as for `sqrtm`. Infinite derivatives of f at 0 then count as 0; `trace_funm` does not warn about this.
///
/// ```
/// auto A = torch::eye(2, torch::kFloat64).requires_grad_();
/// spectralgrad::funm(A, [](const at::Tensor& x) { return x.tanh(); })[0][1].backward();
/// ```
SPECTRALGRAD_API at::Tensor funm(
    const at::Tensor& A,
    const ElementwiseFunction& f,
    const ElementwiseFunction& df = nullptr,
    const ElementwiseFunction& d2f = nullptr,
    const ElementwiseFunction& d3f = nullptr);

/// tr f(A) = sum_i f(lambda_i), (*), computed without f(A). Its gradient is f'(A). Its Hessian is exact at degenerate
/// eigenvalues, unlike that of a sum over `eigvalsh`.
SPECTRALGRAD_API at::Tensor trace_funm(
    const at::Tensor& A,
    const ElementwiseFunction& f,
    const ElementwiseFunction& df = nullptr,
    const ElementwiseFunction& d2f = nullptr,
    const ElementwiseFunction& d3f = nullptr);

} // namespace spectralgrad
