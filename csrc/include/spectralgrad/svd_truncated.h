#pragma once

#include <spectralgrad/export.h>
#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad {

/// The largest singular values of A = U diag(sigma) V^H with their singular vectors. The derivative is that of `svd`
/// followed by slicing, at the cost of the kept part.
///
/// `A` is (*, m, n), float32, float64, complex64 or complex128. Returns U (*, m, r), sigma (*, r), real and descending,
/// and V^H (*, r, n). r is `rank`. Without `rank`, or with a tolerance, r is the number of singular values above
/// max(atol, rtol*max(sigma)), but at most `rank`. As in `at::linalg_matrix_rank`, rtol is by default max(m, n)*eps,
/// or 0 if atol > 0. The tolerances decide nothing else. For a batch, r is the largest number that a matrix needs.
///
/// With `keep_multiplets`, a cut between equal singular values (up to round-off) moves outwards, so r may be larger
/// than `rank`. A cut between singular values that are 0 up to round-off does not move. Without `keep_multiplets`, the
/// derivative of a loss that depends on which of the equal ones are kept gives a warning (see `checks.h`).
///
/// `driver`, `rule` and the losses that have a gradient are those of `svd`. Formula and sources are in
/// `csrc/math/svd_truncated.h`. If r depends on the values, it is read from the device.
///
/// Raises the errors of `svd`, `c10::ValueError` if `rank` or a tolerance is negative or not finite, and
/// `c10::NotImplementedError` if r depends on the values of a tensor on the meta device.
///
/// ```
/// auto A = torch::diag(torch::tensor({3.0, 1.0, 1.0, 0.5}, torch::kFloat64)).requires_grad_();
/// auto [U, S, Vh] = spectralgrad::svd_truncated(A, 2); // r is 3: the singular value 1 is repeated
/// U.matmul(Vh)[1][3].backward();
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor, at::Tensor> svd_truncated(
    const at::Tensor& A,
    std::optional<int64_t> rank = std::nullopt,
    std::optional<double> rtol = std::nullopt,
    std::optional<double> atol = std::nullopt,
    bool keep_multiplets = true,
    std::optional<std::string_view> driver = std::nullopt,
    const std::optional<Rule>& rule = std::nullopt);

} // namespace spectralgrad
