#include "math/pairs/cluster_pairs.h"

#include "core/tolerances.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace spectralgrad::math {
namespace {

using at::Tensor;

int64_t rounds_of(int64_t size) {
  return size < 2 ? 0 : (size % 2 == 0 ? size - 1 : size);
}

/// The largest gap inside a cluster, for ascending `values`.
///
/// Rotating a pair of gap d together with other pairs has an error of about the sum of all their gaps, and a quotient
/// by d has one of eps/d. So pairs are added in the order of their gaps, as long as gap times sum stays below a
/// multiple of eps.
double cluster_width(const double* values, int64_t n, double scale, c10::ScalarType dtype) {
  const auto largest = tolerances::cluster_gap(dtype) * scale;
  std::vector<double> gaps;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n && values[j] - values[i] <= largest; ++j) {
      gaps.push_back(values[j] - values[i]);
    }
  }
  std::sort(gaps.begin(), gaps.end());
  double width = 0;
  double sum = 0;
  for (const auto gap : gaps) {
    sum += gap;
    if ((gap / scale) * (sum / scale) > std::pow(tolerances::cluster_gap(dtype), 2)) {
      break;
    }
    width = gap;
  }
  return width;
}

/// Calls `f(first, size)` for each cluster among the values first <= i < last. Groups wider than `width` are cut at
/// their largest gap.
template <typename F>
void for_each_group(const double* values, int64_t first, int64_t last, double width, const F& f) {
  while (last - first > 1 && !(values[last - 1] - values[first] <= width)) {
    auto cut = first + 1;
    for (auto i = first + 1; i < last; ++i) {
      if (!(values[i] - values[i - 1] <= values[cut] - values[cut - 1])) {
        cut = i;
      }
    }
    for_each_group(values, first, cut, width, f);
    first = cut;
  }
  f(first, last - first);
}

/// Calls `f(matrix, first, size)` for each cluster of eigenvalues.
template <typename F>
void for_each_cluster(const Tensor& eigenvalues, const F& f) {
  const auto n = eigenvalues.size(-1);
  if (eigenvalues.numel() == 0) {
    return;
  }
  const auto on_host = eigenvalues.to(at::kCPU, at::kDouble).contiguous();
  const auto* values = on_host.const_data_ptr<double>();
  const auto dtype = eigenvalues.scalar_type();
  for (int64_t matrix = 0; matrix < on_host.numel() / n; ++matrix, values += n) {
    const auto size = std::max(std::abs(values[0]), std::abs(values[n - 1]));
    const auto scale = size == 0 ? 1.0 : size;
    const auto width = cluster_width(values, n, scale, dtype);
    // Neighbours with a larger gap are always in different groups. Cutting there first keeps the recursion shallow.
    int64_t first = 0;
    for (int64_t i = 1; i <= n; ++i) {
      if (i == n || !(values[i] - values[i - 1] <= width)) {
        for_each_group(values, first, i, width, [&](int64_t begin, int64_t count) { f(matrix, begin, count); });
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
    // The circle method: one player stays and the others move on. With an odd number, the one that stays is a dummy.
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

} // namespace spectralgrad::math
