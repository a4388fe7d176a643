#pragma once

#include "math/positions.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace spectralgrad::math {

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

} // namespace spectralgrad::math
