#include <spectralgrad/track.h>

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
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
/// neighbour. `inside` is the mask of the pairs in one cluster.
Tensor turned_to(const Tensor& neighbour, const Tensor& X, const Tensor& inside) {
  const auto overlaps = at::matmul(X.mH(), neighbour);
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
  // Other dimensions stay symbolic: size(), like unbind(), would make all of them numbers.
  const auto T = V.sym_size(-3).guard_int(__FILE__, __LINE__);
  if (T == 0) {
    return {L.clone(), V.clone()};
  }
  const auto order = ops::path_order(L, V, rtol);
  const auto columns = order.columns.unsqueeze(-2).expand_symint(V.sym_sizes());
  const auto in_order = V.gather(-1, columns);
  // Forward mode needs no such care, and torch.compile cannot trace it there.
  const auto fixed = autograd::has_tangent(V) ? Tensor() : autograd::constant(V).gather(-1, columns);
  const auto start = order.start.unsqueeze(-1).unsqueeze(-1);
  const auto turned = [&](int64_t t, const Tensor& neighbour) {
    const auto clusters = order.clusters.select(-2, t);
    const auto inside = clusters.unsqueeze(-1) == clusters.unsqueeze(-2);
    const auto given = in_order.select(-3, t);
    // Turned to themselves first. That changes values by round-off only, but the result then does not depend on
    // rotations inside a cluster, in any order of derivatives. Otherwise their cotangents would be the round-off of all
    // that follows, and the small gaps of the cluster would amplify it.
    const auto itself = fixed.defined() ? turned_to(fixed.select(-3, t), given, inside) : given;
    return turned_to(neighbour, itself, inside);
  };
  std::vector<Tensor> vectors;
  for (int64_t t = 0; t < T; ++t) {
    const auto given = in_order.select(-3, t);
    vectors.push_back(t == 0 ? given : at::where(start < t, turned(t, vectors.back()), given));
  }
  for (int64_t t = T - 2; t >= 0; --t) {
    vectors[t] = at::where(start > t, turned(t, vectors[t + 1]), vectors[t]);
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
