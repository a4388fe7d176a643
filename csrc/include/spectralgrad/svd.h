#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad {

/// Singular value decomposition A = U diag(sigma) V^H, differentiable also where singular values are equal (degenerate)
/// or zero. It can replace `at::linalg_svd`: it takes the same arguments, and a rule.
///
/// `A` is (*, m, n), float32, float64, complex64 or complex128. With k = min(m, n), returns U (*, m, k), sigma (*, k),
/// real and descending, and V^H (*, k, n); with `full_matrices`, U is (*, m, m) and V^H (*, n, n). U and V have
/// orthonormal columns and A's dtype. `driver` names a cuSOLVER method, on CUDA only. With `Rule::split`, singular
/// values that are closer than its width are moved apart.
///
/// The pair (u_i, v_i) is defined up to one phase. Those of a repeated singular value may be turned by one unitary
/// matrix, and the left and right null spaces by one each. A loss that depends on these choices has no gradient (see
/// `checks.h`). Losses of U V^H, of the projectors onto whole singular subspaces and, with `full_matrices`, of the
/// projectors onto the null spaces have one. Formula and sources are in `csrc/math/svd.h`.
///
/// Raises `c10::Error` if A has fewer than 2 dimensions or `driver` is given on the CPU, `c10::NotImplementedError` for
/// another dtype or layout, `c10::LinAlgError` if A is not finite or the algorithm does not converge, and `GaugeError`
/// in the backward of a complex loss that depends on phases.
///
/// ```
/// auto A = torch::eye(3, torch::kFloat64).requires_grad_();
/// auto [U, S, Vh] = spectralgrad::svd(A);
/// (S.sum() + U.matmul(Vh)[0][1]).backward(); // U V^H is the nearest orthogonal matrix; torch's gradient is NaN
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor, at::Tensor> svd(
    const at::Tensor& A,
    bool full_matrices = true,
    std::optional<std::string_view> driver = std::nullopt,
    const std::optional<Rule>& rule = std::nullopt);

/// Like `svd`, but writes the results to existing tensors. They must have the dtypes and devices of the results and are
/// resized as torch does. Not differentiable.
SPECTRALGRAD_API std::tuple<at::Tensor&, at::Tensor&, at::Tensor&> svd_out(
    at::Tensor& U,
    at::Tensor& S,
    at::Tensor& Vh,
    const at::Tensor& A,
    bool full_matrices = true,
    std::optional<std::string_view> driver = std::nullopt,
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
