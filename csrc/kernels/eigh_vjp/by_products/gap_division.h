#pragma once

#include "kernels/eigh_vjp/by_products/batch_gate.h"
#include "kernels/eigh_vjp/by_products/columns.h"
#include "kernels/eigh_vjp/by_products/gap_pass.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "math/pairs/broadening.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

// Division by eigenvalue gaps, the step between the matrix products of the vjp of eigh. For large matrices.
namespace spectralgrad::kernels {

/// Replaces W = V^H gV by diag(g_lambda) + F o S, S the skew-Hermitian part of W. W may have only the columns
/// `columns`; the rows of eigenvalues that have no column there become twice F o S.
template <typename scalar_t>
class GapDivision {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  /// The gate must live as long as this object.
  GapDivision(
      const Inputs& inputs,
      const Rule& rule,
      const BatchGate<real_t>& gate,
      const at::Tensor& norms,
      const Columns& columns)
      : inputs_(inputs),
        rule_(math::broadening_rule<real_t>(rule)),
        gate_(gate),
        columns_(columns),
        k_(columns.size()),
        eigenvalues_(gather_columns(inputs.L)),
        cotangent_(inputs.gL.defined() ? gather_columns(inputs.gL) : at::Tensor()),
        norms_(rule.gates() ? gather_columns(norms) : at::Tensor()),
        column_clusters_(gate.clusters().defined() ? gather_columns(gate.clusters()) : at::Tensor()) {}

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
        gate_.of(matrix),
        row<real_t>(norms_, matrix, k_),
        row<real_t>(column_clusters_, matrix, k_),
        gate_.floor(matrix),
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
        gate_.of(matrix),
        [&](int64_t i, int64_t j) { return std::pair(columns_[i], columns_[j]); },
        [&](int64_t i, int64_t j) { square[i * k_ + j] = square[j * k_ + i] = 0; });
  }

  void divide_rows(scalar_t* rows, int64_t matrix, const bool* has_column, int64_t begin, int64_t end) const {
    Undecided<scalar_t> undecided;
    simd::for_this_machine<simd::GapPassKernel<real_t>>().divide_rows(
        pass(rows, matrix, undecided),
        row<real_t>(inputs_.L, matrix, inputs_.n),
        row<real_t>(gate_.clusters(), matrix, inputs_.n),
        has_column,
        begin,
        end);
    undecided.decide(
        inputs_,
        matrix,
        gate_.of(matrix),
        [&](int64_t i, int64_t j) { return std::pair(i, columns_[j]); },
        [&](int64_t i, int64_t j) { rows[i * k_ + j] = 0; });
  }

  const Inputs& inputs_;
  math::BroadeningRule<real_t> rule_;
  const BatchGate<real_t>& gate_;
  const Columns& columns_;
  int64_t k_;
  at::Tensor eigenvalues_;
  at::Tensor cotangent_;
  at::Tensor norms_;
  at::Tensor column_clusters_;
};

} // namespace spectralgrad::kernels
