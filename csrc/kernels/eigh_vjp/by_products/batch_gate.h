#pragma once

#include "core/arithmetic.h"
#include "kernels/eigh_vjp/by_products/columns.h"
#include "kernels/eigh_vjp/cotangent_magnitude.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "math/pairs/clusters.h"
#include "math/pairs/noise_gate.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

// The noise gate in passes over large matrices.
namespace spectralgrad::kernels {

/// The data of the noise gate for each matrix of a batch. It has no effect for rules that have no gate.
template <typename real_t>
class BatchGate {
 public:
  /// `norms` (count, n) are upper bounds of the norms of gV's columns. `amplification` (count) is that of
  /// math/pairs/amplification.h; empty means 1.
  BatchGate(const Inputs& inputs, const Rule& rule, const at::Tensor& norms, std::vector<real_t> amplification = {})
      : gate_(rule.gates() ? math::noise_gate<real_t>(rule) : math::NoiseGate<real_t>{}),
        amplification_(std::move(amplification)),
        floors_(static_cast<size_t>(inputs.count)) {
    if (rule.gates()) {
      for (int64_t i = 0; i < inputs.count; ++i) {
        floors_[static_cast<size_t>(i)] = of(i).cluster_noise * cotangent_scale<real_t>(inputs, norms, i);
      }
      clusters_ = find_clusters(inputs);
    }
  }

  math::NoiseGate<real_t> of(int64_t matrix) const {
    if (amplification_.empty()) {
      return gate_;
    }
    const auto amplification = amplification_[static_cast<size_t>(matrix)];
    return gate_.amplified(amplification, std::sqrt(amplification));
  }

  /// Round-off of the whole matrix: inside clusters, entries up to this are dropped.
  real_t floor(int64_t matrix) const {
    return floors_[static_cast<size_t>(matrix)];
  }

  /// The cluster number of each eigenvalue, (count, n); an undefined tensor if every cluster has one eigenvalue.
  const at::Tensor& clusters() const {
    return clusters_;
  }

 private:
  at::Tensor find_clusters(const Inputs& inputs) const {
    const auto n = inputs.n;
    bool any = false;
    const auto result = at::empty_like(inputs.L);
    for (int64_t matrix = 0; matrix < inputs.count; ++matrix) {
      const auto* L = row<real_t>(inputs.L, matrix, n);
      auto* numbers = result.template mutable_data_ptr<real_t>() + matrix * n;
      // Differences of halves do not overflow.
      const bool repeated = math::number_clusters<NumberArithmetic<real_t>>(
          n,
          of(matrix).step * (std::max(std::abs(L[0]), std::abs(L[n - 1])) / 2),
          [&](int64_t i) { return L[i] / 2; },
          [&](int64_t i, real_t number) { numbers[i] = number; });
      any = any || repeated;
    }
    return any ? result : at::Tensor();
  }

  math::NoiseGate<real_t> gate_;
  std::vector<real_t> amplification_;
  std::vector<real_t> floors_;
  at::Tensor clusters_;
};

/// Collects the entries of one matrix that bounds of N cannot distinguish from round-off. They are compared with N
/// itself.
template <typename scalar_t>
class Undecided {
 public:
  using real_t = typename RealOf<scalar_t>::type;
  using Gate = math::NoiseGate<real_t>;

  static void note(void* undecided, int64_t i, int64_t j, real_t size, bool inside_cluster) {
    static_cast<Undecided*>(undecided)->entries_.push_back({i, j, size, inside_cluster});
  }

  /// Calls drop(i, j) for each entry that the noise gate drops. `columns(i, j)` returns the two eigenvectors that the
  /// entry belongs to, as columns of V.
  template <typename ColumnsOf, typename Drop>
  void decide(const Inputs& inputs, int64_t matrix, const Gate& gate, const ColumnsOf& columns, const Drop& drop)
      const {
    if (entries_.empty()) {
      return;
    }
    CotangentMagnitude<scalar_t> magnitude(inputs.V, inputs.gV, matrix);
    magnitude.prepare(columns_of(columns, inputs.n));
    using A = NumberArithmetic<real_t>;
    for (const auto& entry : entries_) {
      const auto [first, second] = columns(entry.i, entry.j);
      const auto is_dropped = [&](real_t N) {
        return entry.inside_cluster ? gate.template is_above_limit<A>(entry.size, N)
                                    : gate.template is_dropped_outside<A>(entry.size, N);
      };
      // A larger N drops more entries outside clusters and fewer inside them.
      const bool if_large = !entry.inside_cluster;
      const bool is_decided = is_dropped(magnitude.lower_bound(first, second)) == if_large;
      if (is_decided ? if_large : is_dropped(magnitude(first, second))) {
        drop(entry.i, entry.j);
      }
    }
  }

 private:
  struct Entry {
    int64_t i;
    int64_t j;
    real_t size;
    bool inside_cluster;
  };

  template <typename ColumnsOf>
  std::vector<int64_t> columns_of(const ColumnsOf& columns, int64_t n) const {
    std::vector<bool> asked(static_cast<size_t>(n));
    for (const auto& entry : entries_) {
      const auto [first, second] = columns(entry.i, entry.j);
      asked[static_cast<size_t>(first)] = asked[static_cast<size_t>(second)] = true;
    }
    return selected(asked);
  }

  std::vector<Entry> entries_;
};

} // namespace spectralgrad::kernels
