#pragma once

#include "core/arithmetic.h"
#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/eigh_vjp/by_products/columns.h"
#include "kernels/eigh_vjp/by_products/gap_pass.h"
#include "kernels/eigh_vjp/cotangent_magnitude.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "math/pairs/broadening.h"
#include "math/pairs/clusters.h"
#include "math/pairs/noise_gate.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

// Division by eigenvalue gaps, the step between the matrix products of the vjp of eigh. For large matrices.
namespace spectralgrad::kernels {

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

/// Replaces W = V^H gV by diag(g_lambda) + F o S, S the skew-Hermitian part of W. W may have only the columns
/// `columns`; the rows of eigenvalues that have no column there become twice F o S.
template <typename scalar_t>
class GapDivision {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  /// `amplification` (count) is that of math/pairs/amplification.h; empty means 1.
  GapDivision(
      const Inputs& inputs,
      const Rule& rule,
      const at::Tensor& norms,
      const Columns& columns,
      std::vector<real_t> amplification = {})
      : inputs_(inputs),
        rule_(math::broadening_rule<real_t>(rule)),
        gate_(rule.gates() ? math::noise_gate<real_t>(rule) : math::NoiseGate<real_t>{}),
        columns_(columns),
        k_(columns.size()),
        eigenvalues_(gather_columns(inputs.L)),
        cotangent_(inputs.gL.defined() ? gather_columns(inputs.gL) : at::Tensor()),
        norms_(rule.gates() ? gather_columns(norms) : at::Tensor()),
        amplification_(std::move(amplification)),
        floors_(static_cast<size_t>(inputs.count)) {
    if (rule.gates()) {
      for (int64_t i = 0; i < inputs.count; ++i) {
        floors_[static_cast<size_t>(i)] = gate_of(i).cluster_noise * cotangent_scale<real_t>(inputs, norms, i);
      }
      clusters_ = find_clusters();
      column_clusters_ = clusters_.defined() ? gather_columns(clusters_) : clusters_;
    }
  }

  void run(const at::Tensor& W) const {
    const auto pairs = pairs_of_pass(k_);
    const auto n = inputs_.n;
    const std::unique_ptr<bool[]> has_column(new bool[static_cast<size_t>(n)]);
    for (int64_t i = 0; i < n; ++i) {
      has_column[static_cast<size_t>(i)] = columns_.place(i) >= 0;
    }
    // The rows that have a column form a square matrix with a diagonal.
    const auto squares = columns_.gather_rows(W);
    for_each_part(inputs_.count, n, k_, [&](int64_t matrix, int64_t begin, int64_t end) {
      auto* square = squares.template mutable_data_ptr<scalar_t>() + matrix * squares.stride(0);
      const auto to_block_row = [&](int64_t i) {
        return (i * pairs.rows() + n - 1) / n;
      };
      divide(square, matrix, pairs, to_block_row(begin), to_block_row(end));
      if (k_ < n) {
        divide_rows(entries(W, matrix), matrix, has_column.get(), begin, end);
      }
    });
    columns_.put_rows(W, squares);
  }

 private:
  math::NoiseGate<real_t> gate_of(int64_t matrix) const {
    if (amplification_.empty()) {
      return gate_;
    }
    const auto amplification = amplification_[static_cast<size_t>(matrix)];
    return gate_.amplified(amplification, std::sqrt(amplification));
  }

  /// The cluster number of each eigenvalue, (count, n); an undefined tensor if every cluster has one eigenvalue.
  at::Tensor find_clusters() const {
    const auto n = inputs_.n;
    bool any = false;
    const auto result = at::empty_like(inputs_.L);
    for (int64_t matrix = 0; matrix < inputs_.count; ++matrix) {
      const auto* L = row<real_t>(inputs_.L, matrix, n);
      auto* numbers = result.template mutable_data_ptr<real_t>() + matrix * n;
      // Differences of halves do not overflow.
      const bool repeated = math::number_clusters<NumberArithmetic<real_t>>(
          n,
          gate_of(matrix).step * (std::max(std::abs(L[0]), std::abs(L[n - 1])) / 2),
          [&](int64_t i) { return L[i] / 2; },
          [&](int64_t i, real_t number) { numbers[i] = number; });
      any = any || repeated;
    }
    return any ? result : at::Tensor();
  }

  at::Tensor gather_columns(const at::Tensor& x) const {
    return columns_.of(x).contiguous();
  }

  scalar_t* entries(const at::Tensor& W, int64_t matrix) const {
    return W.template mutable_data_ptr<scalar_t>() + matrix * inputs_.n * k_;
  }

  simd::GapPass<real_t> pass(scalar_t* W, int64_t matrix, Undecided<scalar_t>& undecided) const {
    const auto* L = row<real_t>(inputs_.L, matrix, inputs_.n);
    return {
        k_,
        parts_of<scalar_t> == 2,
        reinterpret_cast<real_t*>(W),
        row<real_t>(eigenvalues_, matrix, k_),
        row<real_t>(cotangent_, matrix, k_),
        rule_,
        std::max(std::abs(L[0]), std::abs(L[inputs_.n - 1])),
        gate_of(matrix),
        row<real_t>(norms_, matrix, k_),
        row<real_t>(column_clusters_, matrix, k_),
        floors_[static_cast<size_t>(matrix)],
        Undecided<scalar_t>::note,
        &undecided};
  }

  void divide(scalar_t* square, int64_t matrix, const BlockPairs& pairs, int64_t begin, int64_t end) const {
    const auto& kernel = simd::for_this_machine<simd::GapPassKernel<real_t>>();
    Undecided<scalar_t> undecided;
    const auto of_matrix = pass(square, matrix, undecided);
    for (auto i = begin; i < end; ++i) {
      pairs.for_row(i, [&](const BlockPair& pair) { kernel.divide(of_matrix, pair); });
    }
    undecided.decide(
        inputs_,
        matrix,
        gate_of(matrix),
        [&](int64_t i, int64_t j) { return std::pair(columns_[i], columns_[j]); },
        [&](int64_t i, int64_t j) { square[i * k_ + j] = square[j * k_ + i] = 0; });
  }

  void divide_rows(scalar_t* rows, int64_t matrix, const bool* has_column, int64_t begin, int64_t end) const {
    Undecided<scalar_t> undecided;
    simd::for_this_machine<simd::GapPassKernel<real_t>>().divide_rows(
        pass(rows, matrix, undecided),
        row<real_t>(inputs_.L, matrix, inputs_.n),
        row<real_t>(clusters_, matrix, inputs_.n),
        has_column,
        begin,
        end);
    undecided.decide(
        inputs_,
        matrix,
        gate_of(matrix),
        [&](int64_t i, int64_t j) { return std::pair(i, columns_[j]); },
        [&](int64_t i, int64_t j) { rows[i * k_ + j] = 0; });
  }

  const Inputs& inputs_;
  math::BroadeningRule<real_t> rule_;
  math::NoiseGate<real_t> gate_;
  const Columns& columns_;
  int64_t k_;
  at::Tensor eigenvalues_;
  at::Tensor cotangent_;
  at::Tensor norms_;
  std::vector<real_t> amplification_;
  std::vector<real_t> floors_;
  at::Tensor clusters_;
  at::Tensor column_clusters_;
};

} // namespace spectralgrad::kernels
