#include "math/positions.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/stack.h>

namespace spectralgrad::math {

using at::Tensor;

Tensor at_positions(const Tensor& x, const Tensor& positions) {
  auto shape = x.sizes().slice(0, x.dim() - 1).vec();
  shape.insert(shape.end(), positions.sizes().begin(), positions.sizes().end());
  return x.index_select(-1, positions.flatten()).reshape(shape);
}

Tensor difference(const Tensor& x, const Tensor& i, const Tensor& j) {
  return at_positions(x, i) - at_positions(x, j);
}

Tensor all_positions(int64_t n, const at::Device& device) {
  return at::arange(n, at::TensorOptions(device).dtype(at::kLong));
}

Positions sorted(const Positions& positions) {
  return std::get<0>(at::stack(positions, 0).sort(0)).unbind(0);
}

SortedPairs::SortedPairs(int64_t n, const at::Device& device) {
  const auto all = all_positions(n, device);
  const auto row = all.unsqueeze(-1).expand({n, n});
  const auto column = all.unsqueeze(0).expand({n, n});
  const auto ascending = row <= column;
  i = row.masked_select(ascending);
  j = column.masked_select(ascending);
  const auto low = at::minimum(row, column);
  const auto high = at::maximum(row, column);
  // Counts row by row, each row from the diagonal on.
  place = low * n - (low * (low - 1)).floor_divide(2) + high - low;
}

int64_t triple_count(int64_t n) {
  return n * (n + 1) * (n + 2) / 6;
}

Tensor triple_index(const Positions& sorted) {
  const auto& i = sorted[0];
  const auto& j = sorted[1];
  const auto& k = sorted[2];
  return (k * (k + 1) * (k + 2)).floor_divide(6) + (j * (j + 1)).floor_divide(2) + i;
}

Positions all_triples(int64_t n, const at::Device& device) {
  const auto all = all_positions(n, device);
  const auto high = all.view({n, 1, 1}).expand({n, n, n});
  const auto middle = all.view({1, n, 1}).expand({n, n, n});
  const auto low = all.view({1, 1, n}).expand({n, n, n});
  const auto ascending = (low <= middle).logical_and(middle <= high);
  return {low.masked_select(ascending), middle.masked_select(ascending), high.masked_select(ascending)};
}

} // namespace spectralgrad::math
