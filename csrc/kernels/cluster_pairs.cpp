#include "kernels/cluster_pairs.h"

#include "derivatives/tolerances.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

int64_t rounds_of(int64_t size) {
  return size < 2 ? 0 : (size % 2 == 0 ? size - 1 : size);
}

/// Calls `f(matrix, first, size)` for each run of eigenvalues that are no further apart than a cluster's.
template <typename F>
void for_each_cluster(const Tensor& eigenvalues, const F& f) {
  const auto n = eigenvalues.size(-1);
  if (eigenvalues.numel() == 0) {
    return;
  }
  const auto on_host = eigenvalues.to(at::kCPU, at::kDouble).contiguous();
  const auto* values = on_host.const_data_ptr<double>();
  const auto relative = tolerances::cluster_gap(eigenvalues.scalar_type());
  for (int64_t matrix = 0; matrix < on_host.numel() / n; ++matrix, values += n) {
    const auto width = relative * std::max(std::abs(values[0]), std::abs(values[n - 1]));
    int64_t first = 0;
    for (int64_t i = 1; i <= n; ++i) {
      if (i == n || !(values[i] - values[i - 1] <= width)) {
        f(matrix, first, i - first);
        first = i;
      }
    }
  }
}

} // namespace

int64_t rounds_of_largest_cluster(const Tensor& eigenvalues) {
  int64_t largest = 0;
  for_each_cluster(eigenvalues, [&](int64_t, int64_t, int64_t size) { largest = std::max(largest, size); });
  return rounds_of(largest);
}

Tensor partners(const Tensor& eigenvalues, int64_t rounds) {
  const auto n = eigenvalues.size(-1);
  auto shape = eigenvalues.sizes().vec();
  shape.insert(shape.end() - 1, rounds);
  const auto result = at::empty(shape, at::kLong);
  auto* data = result.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; n > 0 && row < result.numel() / n; ++row) {
    std::iota(data + row * n, data + (row + 1) * n, 0);
  }
  for_each_cluster(eigenvalues, [&](int64_t matrix, int64_t first, int64_t size) {
    // The circle method: one stays, the others move on; with an odd number, the one that stays is nobody.
    const auto places = size + size % 2;
    for (int64_t round = 0; round < std::min(rounds, rounds_of(size)); ++round) {
      auto* partner = data + (matrix * rounds + round) * n + first;
      const auto who = [&](int64_t place) {
        return place == places - 1 ? place : (place + round) % (places - 1);
      };
      for (int64_t place = 0; place < places / 2; ++place) {
        const auto a = who(place);
        const auto b = who(places - 1 - place);
        if (a < size && b < size) {
          partner[a] = first + b;
          partner[b] = first + a;
        }
      }
    }
  });
  return result.to(eigenvalues.device());
}

Tensor successors(const Tensor& eigenvalues) {
  const auto n = eigenvalues.size(-1);
  const auto result = at::empty(eigenvalues.sizes(), at::kLong);
  auto* data = result.mutable_data_ptr<int64_t>();
  for_each_cluster(eigenvalues, [&](int64_t matrix, int64_t first, int64_t size) {
    for (int64_t i = 0; i < size; ++i) {
      data[matrix * n + first + i] = first + (i + 1) % size;
    }
  });
  return result.to(eigenvalues.device());
}

} // namespace spectralgrad::kernels
