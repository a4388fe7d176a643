#include "math/fermi.h"

#include "autograd/constant.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <vector>

namespace spectralgrad::math {

using at::Tensor;
using autograd::recorded_constant;

Tensor log_fermi(const Tensor& x) {
  return at::log_sigmoid(-x);
}

Tensor fermi(const Tensor& x) {
  // PyTorch's derivative of a sigmoid is s (1 - s), which is zero where s is rounded to 1.
  return at::where(x < 0, 1 - at::sigmoid(x), at::sigmoid(-x));
}

Tensor fermi_jets(const Tensor& f, const Tensor& u, const Tensor& v, int64_t order) {
  std::vector<Tensor> rows{f, -u, u * v, u * (2 * u - v * v), u * v * (v * v - 8 * u)};
  if (order > 4) {
    const auto vv = v * v;
    rows.push_back(u * (vv * (22 * u - vv) - 16 * u * u));
    rows.push_back(u * v * (vv * (vv - 52 * u) + 136 * u * u));
  }
  rows.resize(order + 1);
  return at::stack(rows, -2);
}

Tensor fermi_jets(const Tensor& x) {
  const auto f = fermi(x);
  const auto u = f * fermi(-x);
  const auto v = fermi(-x) - f;
  return fermi_jets(f, u, v, 4);
}

Tensor fermi_entropy_jets(const Tensor& x) {
  const auto f = fermi(x);
  const auto rest = fermi(-x);
  const auto u = f * rest;
  const auto v = rest - f;
  const auto w = u * v;
  return at::stack(
      {-(f * log_fermi(x) + rest * log_fermi(-x)),
       -x * u,
       x * w - u,
       2 * w + x * u * (2 * u - v * v),
       u * (6 * u - 3 * v * v) + x * w * (v * v - 8 * u)},
      -2);
}

OccupationSlope fermi_slope(const Tensor& x) {
  const auto logarithm = log_fermi(x) + log_fermi(-x);
  const auto at_x = recorded_constant(logarithm);
  const auto scale = x.sym_size(-1) == 0 ? at_x.sum({-1}, /*keepdim=*/true) : at_x.amax({-1}, /*keepdim=*/true);
  const auto scaled = at::exp(logarithm - scale);
  const auto u = at::exp(logarithm);
  const auto v = fermi(-x) - fermi(x);
  return {
      at::stack({scaled, -scaled * v, scaled * (v * v - 2 * u), scaled * v * (8 * u - v * v)}, -2),
      scale.squeeze(-1)};
}

} // namespace spectralgrad::math
