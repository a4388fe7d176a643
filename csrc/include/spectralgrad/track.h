#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace spectralgrad {

/// Eigenvalues and eigenvectors along a path of matrices, ordered and turned such that they are continuous.
///
/// `L` (*, T, c) and `V` (*, T, m, c), c <= m, are eigenvalues and eigenvectors of T matrices, such as the results of
/// `eigh` for a batch. Returns both in an order in which column i of each matrix continues column i of the matrix
/// before: through crossings, the values are no longer ascending. The first matrix keeps its order.
///
/// Each column goes on in the column with which it has the largest overlap; of all assignments, the one with the
/// largest sum of squared overlaps is taken. Its phase is the one closest to its neighbour: parallel transport. Equal
/// eigenvalues (a cluster, see `canonical_gauge` for `rtol`) get the basis of their eigenspace that is closest to the
/// neighbour's vectors, the polar factor of their overlaps: orthogonal Procrustes. The vectors start at the first
/// matrix with the most different eigenvalues, where they are those of V, and continue from there in both directions.
///
/// Levels that avoid each other are followed as levels if the path is sampled more finely than the gap, and as a
/// crossing otherwise. Around a closed path a vector may return with another phase: Berry's, which is -1 around a
/// conical intersection.
///
/// Differentiable in L and V, with constant assignments and clusters. V' depends on the phases of V at the start, so a
/// loss may depend on these: `track(L, canonical_gauge(L, V))` does not.
///
/// Raises `c10::Error` if shapes or dtypes of L and V do not fit, and `c10::ValueError` if rtol is negative or not
/// finite.
///
/// ```
/// auto t = torch::linspace(-1, 1, 5, torch::kFloat64);
/// auto [L, V] = spectralgrad::eigh(torch::diag_embed(torch::stack({t, -t}, -1))); // a crossing at t = 0
/// auto [curves, vectors] = spectralgrad::track(L, V); // t and -t
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor> track(
    const at::Tensor& L,
    const at::Tensor& V,
    std::optional<double> rtol = std::nullopt);

} // namespace spectralgrad
