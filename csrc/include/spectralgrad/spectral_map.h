#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace spectralgrad {

/// Of eigenvalues (*, n), ascending, and eigenvectors (*, n, n); any number of tensors of any shape.
using SpectralFunction = std::function<std::vector<at::Tensor>(const at::Tensor&, const at::Tensor&)>;

/// `fn(eigenvalues, eigenvectors)` of symmetric or Hermitian matrices `A` (*, n, n), with its exact first derivative in
/// A at every gap, 0 included, for any fn that does not depend on the choice of eigenvectors: sums of several functions
/// of A, projectors, or both. Tensors that fn is made of get their gradients, too.
///
/// What a backward of `eigh` cannot see is found by calling fn again, at neighbours of A whose eigenvectors are turned
/// into each other, pair by pair of a cluster (`csrc/math/rotated_eigenpairs.h`): for a largest cluster of m about 4m
/// calls more, 8m for complex matrices, and none without clusters (gaps up to 8*sqrt(eps)*max|lambda|) or without a
/// derivative to come.
///
/// Raises as `eigh`. Where fn does depend on the choice, `GaugeReporter::warn` says so when it is differentiated, and
/// those pairs keep what `eigh` gives. At a cluster a second derivative raises `c10::Error`.
///
/// ```
/// auto A = torch::eye(2, torch::kFloat64).requires_grad_();
/// auto y = spectralgrad::spectral_map(
///     [](const at::Tensor& L, const at::Tensor& V) { return std::vector{at::matmul(V * L.exp(), V.t())}; }, A);
/// y[0][0][1].backward(); // A.grad() is e/2 at (0, 1) and (1, 0)
/// ```
SPECTRALGRAD_API std::vector<at::Tensor> spectral_map(const SpectralFunction& fn, const at::Tensor& A);

} // namespace spectralgrad
