#pragma once

#include "core/arithmetic.h"
#include "core/scalar_traits.h"
#include "kernels/eigh_vjp/by_products/batch_gate.h"
#include "kernels/eigh_vjp/by_products/gap_inverse.h"
#include "kernels/eigh_vjp/column_norms.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "kernels/simd/batch_layout.h"
#include "math/pairs/clusters.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

// Passes over all pairs of eigenvalues that need the derivatives of the quotients F o S, for large matrices.
namespace spectralgrad::kernels {

/// The results of `math::differentiate_quotient` for one pair.
template <typename scalar_t>
struct PairQuotient {
  scalar_t quotient; // F_ij S_ij
  typename RealOf<scalar_t>::type factor; // F_ij, or 0 if the derivative with respect to S_ij is dropped
  scalar_t slope; // F'_ij S_ij times the unit of gaps, or 0 where F is a constant
};

/// The pairs i < j of one matrix, given W = V^H gV (n x n, row-major).
template <typename scalar_t>
class GapPairs {
 public:
  using real_t = typename RealOf<scalar_t>::type;
  using A = NumberArithmetic<real_t>;

  /// Square tiles of a matrix keep the transposed entries in the cache.
  static constexpr int64_t tile = 16;

  /// The number of rows of tiles of an n x n matrix.
  static int64_t tiles(int64_t n) {
    return (n + tile - 1) / tile;
  }

  GapPairs(
      const Inputs& inputs,
      const Rule& rule,
      const BatchGate<real_t>& gate,
      const at::Tensor& norms,
      int64_t matrix,
      const scalar_t* W)
      : inputs_(inputs),
        matrix_(matrix),
        n_(inputs.n),
        inverse_(row<real_t>(inputs.L, matrix, n_), n_, rule),
        close_(close_gap<real_t>(rule)),
        has_gate_(rule.gates()),
        gate_(gate.of(matrix)),
        reach_(gate_.reach * (largest_size(row<real_t>(inputs.L, matrix, n_), n_) / inverse_.unit())),
        floor_(gate.floor(matrix)),
        clusters_(row<real_t>(gate.clusters(), matrix, n_)),
        norms_(row<real_t>(norms, matrix, n_)),
        W_(W) {}

  /// The unit of gaps.
  real_t unit() const {
    return inverse_.unit();
  }

  /// Calls put(i, j, pair) for the pairs whose smaller index is in a row of tile number `number`.
  template <typename Put>
  void for_tile_row(int64_t number, const Put& put) {
    asked_.clear();
    Undecided<scalar_t> undecided;
    const auto first = number * tile;
    const auto last = std::min(first + tile, n_);
    for (auto left = first; left < n_; left += tile) {
      const auto right = std::min(left + tile, n_);
      for (auto i = first; i < last; ++i) {
        for (auto j = std::max(left, i + 1); j < right; ++j) {
          const auto already = asked_.size();
          const auto S = skew_part(i, j, undecided);
          if (asked_.size() == already) {
            put(i, j, quotient(i, j, S));
          }
        }
      }
    }
    drop(undecided);
    for (const auto& entry : asked_) {
      put(entry.i, entry.j, quotient(entry.i, entry.j, entry.S));
    }
  }

 private:
  struct Entry {
    int64_t i;
    int64_t j;
    scalar_t S;
  };

  bool in_one_cluster(int64_t i, int64_t j, real_t gap) const {
    return clusters_ != nullptr && math::in_one_cluster<A>(clusters_[i], clusters_[j], gap, reach_);
  }

  /// S_ij, or zero if the noise gate drops it. Entries on which bounds of N do not decide are noted.
  scalar_t skew_part(int64_t i, int64_t j, Undecided<scalar_t>& undecided) {
    const auto upper = W_[i * n_ + j];
    const auto lower = conjugate(W_[j * n_ + i]);
    const auto S = (upper - lower) * real_t(0.5);
    if (!has_gate_) {
      return S;
    }
    const auto exact = std::abs(S);
    const math::Bounds<real_t> size{exact, exact};
    const math::Bounds<real_t> N{std::abs(upper) + std::abs(lower), norms_[i] + norms_[j]};
    const bool inside = in_one_cluster(i, j, inverse_.gap(i, j));
    const auto ask_later = [&](bool) {
      asked_.push_back({i, j, S});
      Undecided<scalar_t>::note(&undecided, i, j, exact, inside);
      return false;
    };
    const bool dropped = inside ? gate_.template is_dropped_in_cluster<A>(size, N, floor_, true, ask_later)
                                : gate_.template is_dropped_outside<A>(size, N, true, ask_later);
    return dropped ? scalar_t(0) : S;
  }

  /// Sets S of the entries that were noted to zero if N decides so.
  void drop(const Undecided<scalar_t>& undecided) {
    auto entry = asked_.begin();
    undecided.decide(
        inputs_,
        matrix_,
        gate_,
        [](int64_t i, int64_t j) { return std::pair(i, j); },
        [&](int64_t i, int64_t j) {
          // Both lists have one order.
          entry = std::find_if(entry, asked_.end(), [&](const Entry& x) { return x.i == i && x.j == j; });
          entry->S = scalar_t(0);
        });
  }

  PairQuotient<scalar_t> quotient(int64_t i, int64_t j, scalar_t S) const {
    const auto gap = inverse_.gap(i, j);
    const auto inverse = inverse_.inverse(gap);
    const bool is_close = std::abs(gap) <= close_ || in_one_cluster(i, j, gap);
    return {
        inverse_.over_unit(S, inverse),
        is_close && S == scalar_t(0) ? real_t(0) : inverse_.over_unit(real_t(1), inverse),
        is_close ? scalar_t(0) : inverse_.over_unit(S, inverse_.derivative(gap))};
  }

  const Inputs& inputs_;
  int64_t matrix_;
  int64_t n_;
  GapInverse<real_t> inverse_;
  real_t close_;
  bool has_gate_;
  math::NoiseGate<real_t> gate_;
  real_t reach_; // in the unit of gaps
  real_t floor_;
  const real_t* clusters_;
  const real_t* norms_;
  const scalar_t* W_;
  std::vector<Entry> asked_;
};

/// The place of a pair i < j in a batch of n x n matrices.
struct PairPlace {
  int64_t matrix;
  int64_t i;
  int64_t j;
  int64_t above; // the position of (i, j) in the batch
  int64_t below; // the position of (j, i)
};

/// Returns Q = diag(g_lambda) + F o S (count, n, n) and the unit of gaps (count, 1, 1). For each pair, calls put(place,
/// factor, slope) with the other members of `PairQuotient`. Runs in parallel over rows of tiles: one thread has all
/// pairs i < j whose i is in one row of tiles.
template <typename scalar_t, typename Put>
std::pair<at::Tensor, at::Tensor> for_gap_pairs(
    const Inputs& inputs,
    const Rule& rule,
    const at::Tensor& W,
    const Put& put) {
  using Pairs = GapPairs<scalar_t>;
  using real_t = typename Pairs::real_t;
  const auto n = inputs.n;
  const auto norms = rule.gates() ? norm_bounds<real_t>(inputs.gV) : at::Tensor();
  const BatchGate<real_t> gate(inputs, rule, norms);
  const auto Q = at::empty_like(W);
  const auto unit = at::empty({inputs.count, 1, 1}, inputs.L.options());
  const auto* entries = W.template const_data_ptr<scalar_t>();
  auto* to_Q = Q.template mutable_data_ptr<scalar_t>();
  auto* to_unit = unit.template mutable_data_ptr<real_t>();
  for_each_part(inputs.count, Pairs::tiles(n), Pairs::tile * n, [&](int64_t matrix, int64_t first, int64_t last) {
    const auto base = matrix * n * n;
    Pairs pairs(inputs, rule, gate, norms, matrix, entries + base);
    for (auto number = first; number < last; ++number) {
      pairs.for_tile_row(number, [&](int64_t i, int64_t j, const PairQuotient<scalar_t>& pair) {
        const PairPlace place{matrix, i, j, base + i * n + j, base + j * n + i};
        to_Q[place.above] = pair.quotient;
        to_Q[place.below] = conjugate(pair.quotient);
        put(place, pair.factor, pair.slope);
      });
    }
    const auto* gL = row<real_t>(inputs.gL, matrix, n);
    for (auto i = first * Pairs::tile; i < std::min(n, last * Pairs::tile); ++i) {
      to_Q[base + i * n + i] = gL == nullptr ? real_t(0) : gL[i];
    }
    if (first == 0) {
      to_unit[matrix] = pairs.unit();
    }
  });
  return {Q, unit};
}

} // namespace spectralgrad::kernels
