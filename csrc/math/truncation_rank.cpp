#include "math/truncation_rank.h"

#include "core/tolerances.h"
#include "math/pairs/clusters.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

namespace spectralgrad::math {
namespace {

/// How many of k descending `values` are kept according to `rank` and the tolerances.
int64_t number_needed(const double* values, int64_t k, const Truncation& truncation, double default_rtol) {
  const auto at_most = std::min(truncation.rank.value_or(k), k);
  if (truncation.rank && !truncation.rtol && !truncation.atol) {
    return at_most;
  }
  const auto atol = truncation.atol.value_or(0);
  const auto threshold = std::max(atol, truncation.rtol.value_or(atol > 0 ? 0 : default_rtol) * values[0]);
  return std::count_if(values, values + at_most, [&](double x) { return x > threshold; });
}

} // namespace

int64_t truncation_rank(const at::Tensor& singular_values, const Truncation& truncation, int64_t larger_side) {
  const auto k = singular_values.size(-1);
  if (singular_values.numel() == 0) {
    return truncation.rank ? std::min(*truncation.rank, k) : 0;
  }
  const auto dtype = singular_values.scalar_type();
  const auto on_host = singular_values.to(at::kCPU, at::kDouble).contiguous();
  const auto* const values = on_host.const_data_ptr<double>();
  const auto count = on_host.numel() / k;
  const auto zero = tolerances::zero_eigenvalue(dtype, larger_side);
  int64_t result = 0;
  for (int64_t matrix = 0; matrix < count; ++matrix) {
    result = std::max(result, number_needed(values + matrix * k, k, truncation, zero));
  }
  if (!truncation.keep_multiplets || result == 0) {
    return result;
  }
  const auto step = tolerances::same_eigenvalue * tolerances::eps(dtype);
  const auto is_cut = [&](const double* sigma) {
    return sigma[result] > zero * sigma[0] && !begins_cluster(sigma[result - 1] - sigma[result], step * sigma[0]);
  };
  // Each step may cut another matrix of the batch.
  for (int64_t matrix = 0, uncut = 0; result < k && uncut < count; matrix = (matrix + 1) % count) {
    const auto before = result;
    while (result < k && is_cut(values + matrix * k)) {
      ++result;
    }
    uncut = result == before ? uncut + 1 : 1;
  }
  return result;
}

} // namespace spectralgrad::math
