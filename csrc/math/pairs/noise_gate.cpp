#include "math/pairs/noise_gate.h"

#include "core/tolerances.h"

#include <spectralgrad/rule.h>

#include <limits>

namespace spectralgrad::math {

NoiseGate<double> noise_gate(const Rule& rule, c10::ScalarType dtype) {
  const auto eps = tolerances::eps(dtype);
  const auto limit = rule.noise() > 0 ? tolerances::gauge(dtype) : std::numeric_limits<double>::infinity();
  return {
      rule.noise() * tolerances::product_rounding(dtype),
      rule.noise() * tolerances::cluster_rounding(dtype),
      limit,
      tolerances::same_eigenvalue * eps,
      tolerances::cluster_reach * eps};
}

} // namespace spectralgrad::math
