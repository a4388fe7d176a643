#pragma once

#include "math/divided_differences.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace spectralgrad::math {

/// The positions of k arguments among ascending eigenvalues, k tensors of one shape. Sorted: first <= second <= ...
using Positions = std::vector<at::Tensor>;

/// Divided differences of one order with a bound on the round-off of each.
struct Estimated {
  at::Tensor value;
  at::Tensor error;
};

/// Expansions of differences f[x_0 ... x_m] between near eigenvalues x_0 <= ... <= x_m. A difference is the mean of f^(m) over the
/// simplex of its arguments, divided by m! (Hermite and Genocchi). Here f^(m) is replaced by the polynomial that has its value and
/// its known derivatives at both ends, x_0 and x_m (Hermite's interpolation). Nothing is subtracted that is nearly equal.
class Expansion {
 public:
  /// m from 1 to 3; `jets` (*, K+1, n) with K >= m.
  Expansion(int64_t m, const at::Tensor& x, const at::Tensor& jets);

  /// At sorted positions, m + 1 of them: with the estimated error of the expansion.
  Estimated at(const Positions& positions) const;

  /// The gradient, in the shape of the jets, of a sum of such differences with `weights`, (*, T) for positions (T).
  at::Tensor transposed(const Positions& positions, const at::Tensor& weights) const;

 private:
  std::vector<at::Tensor> simplex_means(const Positions& positions) const;

  int64_t m_;
  at::Tensor x_;
  at::Tensor jets_;
  std::vector<at::Tensor> coefficients_; // of each power of (t - x_0)/(x_m - x_0), over all pairs of ends, (*, n^2)
  at::Tensor error_; // (*, n^2)
};

/// f[x_i, x_j, x_k, x_l] of the eigenvalues at any four positions. Relative errors are 1e-11 at most (float64) where f has a closed
/// form or six known derivatives. With jets of the fourth order they are below 1e-9.
///
/// Square roots and the pseudo-inverse have closed forms. All else is a quotient of second differences or an expansion, whichever errs less.
class ThirdDifferences {
 public:
  ThirdDifferences(const ScalarFunction& f, const at::Tensor& eigenvalues);

  /// At `positions`, four tensors of one shape in any order: (*, *shape).
  at::Tensor at(const Positions& positions) const;

 private:
  ScalarFunction f_;
  DifferenceArguments arguments_;
  std::vector<Expansion> expansions_; // of second and third differences; none of "steps"
  Estimated second_; // of all sorted triples
};

/// The transpose of jets -> second differences: the gradient of sum_ijk C_ijk f[x_i, x_j, x_k] in jets (*, K+1, n), where `weights`
/// (*, T) are the sums of C over the permutations of each sorted triple, in the order of `triple_index`.
at::Tensor second_differences_transposed(
    const ScalarFunction& f,
    const at::Tensor& eigenvalues,
    const at::Tensor& weights);

/// How many sorted triples of n positions there are, and the place of a sorted one among them.
int64_t triple_count(int64_t n);
at::Tensor triple_index(const Positions& sorted);

/// Positions in ascending order, entry by entry.
Positions sorted(const Positions& positions);

} // namespace spectralgrad::math
