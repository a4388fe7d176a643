#pragma once

#include "math/polynomial.h"

#include <spectralgrad/density_matrix.h>

#include <cstddef>

namespace spectralgrad::math {

inline Polynomial scaled(Polynomial p, double factor) {
  for (auto& c : p) {
    c *= factor;
  }
  return p;
}

/// The polynomial Q = P' - 2zP, with which (P(z) e^(-z^2))' = Q(z) e^(-z^2).
inline Polynomial derivative_of_weighted(const Polynomial& p) {
  Polynomial q(p.size() + 1, 0.0);
  for (size_t k = 0; k < p.size(); ++k) {
    q[k + 1] -= 2 * p[k];
    if (k > 0) {
      q[k - 1] += static_cast<double>(k) * p[k];
    }
  }
  return q;
}

/// The coefficients of f = erfc(z)/2 + p(z) e^(-z^2) and s = entropy(z) e^(-z^2), z = x + shift; see math/smearing.h.
struct GaussianSmearing {
  double shift = 0;
  Polynomial p;
  Polynomial entropy;

  explicit GaussianSmearing(Smearing smearing) {
    if (smearing == Smearing::methfessel_paxton) {
      p = {0, -half_over_root_pi};
      entropy = {half_over_root_pi / 2, 0, -half_over_root_pi};
    } else if (smearing == Smearing::cold) {
      shift = root_half;
      p = {2 * half_over_root_pi * root_half};
      entropy = {0, 2 * half_over_root_pi * root_half};
    } else {
      p = {0};
      entropy = {half_over_root_pi};
    }
  }

  /// The polynomial u with -f' = u(z) e^(-z^2).
  Polynomial slope() const {
    auto u = scaled(derivative_of_weighted(p), -1);
    u[0] += 2 * half_over_root_pi;
    return u;
  }

 private:
  static constexpr double half_over_root_pi = 0.28209479177387814347;
  static constexpr double root_half = 0.70710678118654752440;
};

} // namespace spectralgrad::math
