#include <spectralgrad/track.h>

#include "ops/eigenvector_arguments.h"
#include "ops/path_order.h"
#include "ops/polar_factor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <vector>

namespace spectralgrad {
namespace {

using at::Tensor;

/// The vectors X (*, m, c) of one matrix, turned inside each cluster to be as close as possible to those of a
/// neighbour.
Tensor turned_to(const Tensor& neighbour, const Tensor& X, const Tensor& clusters) {
  const auto overlaps = at::matmul(X.mH(), neighbour);
  const auto inside = clusters.unsqueeze(-1) == clusters.unsqueeze(-2);
  const auto Q = ops::polar_factor("track", at::where(inside, overlaps, at::zeros_like(overlaps))).W;
  return at::matmul(X, Q);
}

} // namespace

std::tuple<Tensor, Tensor> track(const Tensor& L, const Tensor& V, std::optional<double> rtol) {
  ops::check_eigenvectors("track", L, V, rtol);
  TORCH_CHECK(
      V.dim() >= 3,
      "spectralgrad.track: Expected V to be the eigenvectors of a path of matrices, with at least 3 dimensions, but it "
      "has ",
      V.dim());
  const auto T = V.size(-3);
  if (T == 0) {
    return {L.clone(), V.clone()};
  }
  const auto order = ops::path_order(L, V, rtol);
  const auto columns = order.columns.unsqueeze(-2).expand_symint(V.sym_sizes());
  const auto X = V.gather(-1, columns).unbind(-3);
  const auto clusters = order.clusters.unbind(-2);
  const auto start = order.start.unsqueeze(-1).unsqueeze(-1);
  std::vector<Tensor> vectors(X.begin(), X.end());
  for (int64_t t = 1; t < T; ++t) {
    vectors[t] = at::where(start < t, turned_to(vectors[t - 1], X[t], clusters[t]), X[t]);
  }
  for (int64_t t = T - 2; t >= 0; --t) {
    vectors[t] = at::where(start > t, turned_to(vectors[t + 1], X[t], clusters[t]), vectors[t]);
  }
  return {L.gather(-1, order.columns), at::stack(vectors, -3)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("track(Tensor L, Tensor V, float? rtol=None) -> (Tensor eigenvalues, Tensor eigenvectors)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeImplicitAutograd, library) {
  library.impl("track", track);
}

} // namespace spectralgrad
