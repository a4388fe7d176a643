#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace spectralgrad::math {

/// The positions of k arguments among the ascending eigenvalues: k tensors of one shape. "Sorted" means first <= second
/// <= ...
using Positions = std::vector<at::Tensor>;

/// Divided differences of one order, and a bound on the round-off of each.
struct Estimated {
  at::Tensor value;
  at::Tensor error;
};

/// Expansions of differences f[x_0 ... x_m] between near eigenvalues x_0 <= ... <= x_m. A difference is the mean of
/// f^(m) over the simplex of its arguments, divided by m! (Hermite and Genocchi). Here f^(m) is replaced by the
/// polynomial with the same value and the same known derivatives at both ends, x_0 and x_m (Hermite interpolation).
/// Nearly equal numbers are never subtracted.
class Expansion {
 public:
  /// m is 1, 2 or 3; `jets` is (*, K+1, n) with K >= m.
  Expansion(int64_t m, const at::Tensor& x, const at::Tensor& jets);

  /// The expansions at m + 1 sorted positions, with their estimated errors.
  Estimated at(const Positions& positions) const;

  /// The gradient, with respect to the jets, of the sum of such differences times `weights` (*, T), for positions (T).
  at::Tensor transposed(const Positions& positions, const at::Tensor& weights) const;

 private:
  std::vector<at::Tensor> simplex_means(const Positions& positions) const;

  int64_t m_;
  at::Tensor x_;
  at::Tensor jets_;
  std::vector<at::Tensor> coefficients_; // of each power of (t - x_0)/(x_m - x_0), over all pairs of ends, (*, n^2)
  at::Tensor error_; // (*, n^2)
};

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

/// The number of sorted triples of n positions, and the index of a sorted triple among them.
int64_t triple_count(int64_t n);
at::Tensor triple_index(const Positions& sorted);

/// Sorts positions in ascending order, entry by entry.
Positions sorted(const Positions& positions);

} // namespace spectralgrad::math
