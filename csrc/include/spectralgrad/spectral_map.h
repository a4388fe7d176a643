#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace spectralgrad {

/// A function of ascending eigenvalues (*, n) and eigenvectors (*, n, n). Returns any number of tensors of any shape.
using SpectralFunction = std::function<std::vector<at::Tensor>(const at::Tensor&, const at::Tensor&)>;

/// Returns `fn(eigenvalues, eigenvectors)` for symmetric or Hermitian matrices `A` (*, n, n). Its first derivative in A
/// is exact at every gap, 0 included, if fn does not depend on the choice of eigenvectors. Sums of several functions of
/// A and projectors are examples. Tensors that fn uses get their gradients, too.
///
/// At degenerate eigenvalues, part of the derivative is invisible to any backward of `eigh`. It is found by calling fn
/// again, at neighbours of A in which pairs of eigenvectors of a cluster are rotated into each other
/// (`csrc/math/rotated_eigenpairs.h`). This takes about 4m more calls if the largest cluster has m eigenvalues (8m for
/// complex matrices). It takes none without clusters (gaps up to 8*sqrt(eps)*max|lambda|), or if A is not
/// differentiated.
///
/// Raises the errors of `eigh`. If fn does depend on the choice of eigenvectors, differentiating it warns
/// (`GaugeReporter::warn`), and such pairs get the gradient of plain `eigh`. At a cluster, a second derivative raises
/// `c10::Error`.
///
/// ```
/// auto A = torch::eye(2, torch::kFloat64).requires_grad_();
/// auto y = spectralgrad::spectral_map(
///     [](const at::Tensor& L, const at::Tensor& V) { return std::vector{at::matmul(V * L.exp(), V.t())}; }, A);
/// y[0][0][1].backward(); // A.grad() is e/2 at (0, 1) and (1, 0)
/// ```
SPECTRALGRAD_API std::vector<at::Tensor> spectral_map(const SpectralFunction& fn, const at::Tensor& A);

} // namespace spectralgrad
