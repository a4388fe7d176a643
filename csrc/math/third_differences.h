#pragma once

#include "math/divided_differences.h"
#include "math/hermite_expansion.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace spectralgrad::math {

/// f[x_i, x_j, x_k, x_l] for the eigenvalues at any four positions. Relative errors are 1e-11 at most (float64) if f
/// has a closed form or six known derivatives, and below 1e-9 with four.
///
/// Square roots and the pseudo-inverse have closed forms. Other differences are a quotient of second differences or an
/// expansion, whichever is more accurate.
class ThirdDifferences {
 public:
  ThirdDifferences(const ScalarFunction& f, const at::Tensor& eigenvalues);

  /// The differences (*, *shape) at `positions`, four tensors of one shape, in any order.
  at::Tensor at(const Positions& positions) const;

 private:
  ScalarFunction f_;
  DifferenceArguments arguments_;
  std::vector<Expansion> expansions_; // of second and third differences; none of "steps"
  Estimated second_; // of all sorted triples
};

/// The transpose of the map from jets to second differences: the gradient of sum_ijk C_ijk f[x_i, x_j, x_k] with
/// respect to the jets (*, K+1, n). `weights` (*, T) are the sums of C over the permutations of each sorted triple, in
/// the order of `triple_index`.
at::Tensor second_differences_transposed(
    const ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& weights);

} // namespace spectralgrad::math
