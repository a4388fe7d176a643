#pragma once

#include "math/pairs/near_defective.h"

#include <ATen/core/Tensor.h>
#include <c10/util/complex.h>

#include <cmath>
#include <cstdint>
#include <vector>

// The search for eigenvalues of general matrices that are nearly defective.
namespace spectralgrad::math {

/// A cluster of eigenvalues with nearly parallel eigenvectors.
using Cluster = std::vector<int64_t>;

/// One matrix, in double precision, with the round-off of `real_t`.
template <typename real_t>
struct NearDefectiveProblem {
  at::Tensor A; // (n, n)
  at::Tensor V; // (n, n), columns of norm 1
  const c10::complex<double>* values; // (n)
  const c10::complex<double>* cotangents; // (n)
  std::vector<double> conditions; // kappa (n)
  double largest; // the size of A
  int64_t n;

  EigenvaluePair<real_t> pair(int64_t i, int64_t j) const {
    return {
        static_cast<real_t>(std::abs(values[i] - values[j])),
        static_cast<real_t>(largest),
        static_cast<real_t>(conditions[i]),
        static_cast<real_t>(conditions[j])};
  }
};

/// The clusters that have at least two eigenvectors which are nearly parallel. A cluster is a set linked by such pairs,
/// and by pairs that are equal to working precision, if an eigenvector of these is nearly parallel to any other.
template <typename real_t>
std::vector<Cluster> near_defective_clusters(const NearDefectiveProblem<real_t>& problem);

} // namespace spectralgrad::math
