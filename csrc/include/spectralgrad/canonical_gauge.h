#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad {

/// Eigenvectors with deterministic signs, phases, and bases of the eigenspaces: V' (*, m, c), with the spans of V.
///
/// `V` (*, m, c), c <= m, has the eigenvectors in its columns, and `L` (*, c) their eigenvalues, equal ones side by
/// side: the results of `eigh` or `eigh_subset`. Eigenvalues are equal if neighbours are at most `rtol`*max|L| apart,
/// by default 8 eps. float32, float64, complex64 or complex128; L is real, in the precision of V.
///
/// In each column, the first entry whose squared modulus is at least 0.77 of the largest one is made real and positive.
/// The basis of a cluster of equal eigenvalues is a pivoted Cholesky factor of its projector P: its first vector is the
/// column of P at the first diagonal entry that is at least 0.77 of the largest one, normalised, and so on in the rest
/// of the subspace. So V' depends on the eigenspaces only, and is a smooth function of A until a pivot or a cluster
/// changes. No rule is smooth everywhere: around a conical intersection every eigenvector changes its sign somewhere.
///
/// Differentiable in V, to any order, with constant pivots and clusters. The cotangent that reaches V does not depend
/// on its gauge, so a loss of V' has an exact gradient through `eigh`, also at repeated eigenvalues.
/// `csrc/math/canonical_gauge.h` has the formula.
///
/// Raises `c10::Error` if shapes or dtypes of L and V do not fit, and `c10::ValueError` if rtol is negative or not
/// finite.
///
/// ```
/// auto A = torch::ones({3, 3}, torch::kFloat64).requires_grad_(); // eigenvalues 0, 0 and 3
/// auto [L, V] = spectralgrad::eigh(A);
/// spectralgrad::canonical_gauge(L, V)[0][2].backward();
/// ```
SPECTRALGRAD_API at::Tensor canonical_gauge(
    const at::Tensor& L,
    const at::Tensor& V,
    std::optional<double> rtol = std::nullopt);

} // namespace spectralgrad
