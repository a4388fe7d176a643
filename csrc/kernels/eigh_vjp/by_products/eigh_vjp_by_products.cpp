#include "kernels/eigh_vjp/by_products/eigh_vjp_by_products.h"

#include "core/interruptible.h"
#include "kernels/blas/multiply.h"
#include "kernels/eigh_vjp/by_products/batch_gate.h"
#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/eigh_vjp/by_products/columns.h"
#include "kernels/eigh_vjp/by_products/gap_division.h"
#include "kernels/eigh_vjp/by_products/hermitian_pass.h"
#include "kernels/eigh_vjp/by_products/hermitian_product.h"
#include "kernels/eigh_vjp/by_products/parallel_products.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/column_norms.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "math/pairs/gauge_report.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <complex>
#include <cstdint>
#include <utility>
#include <vector>

// The steps are in the order in which `vjp_of_batch`, below them, takes them.
namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// Whether columns without a cotangent are searched for. For smaller n, products of all columns take less time. The
/// used columns depend on the whole batch, so they are not searched for if results must not depend on it.
bool skips_columns(int64_t n) {
  return n >= 128 && !is_deterministic();
}

/// The columns that the products use: all of them, unless at least half have no cotangent.
template <typename real_t>
Columns columns_to_use(const Inputs& inputs, const Tensor& norms) {
  const auto n = inputs.n;
  if (skips_columns(n)) {
    auto used = used_columns<real_t>(norms, inputs.gL);
    if (2 * static_cast<int64_t>(used.size()) <= n) {
      return {std::move(used), n};
    }
  }
  return {selected(std::vector<bool>(static_cast<size_t>(n), true)), n};
}

/// Returns W = V^H gV (count, n, k), restricted to k columns.
template <typename scalar_t>
Tensor product_with_cotangent(const Inputs& inputs, const Columns& columns) {
  const auto n = inputs.n;
  const auto k = columns.size();
  const auto W = at::empty({inputs.count, n, k}, inputs.V.options());
  if (k == n) {
    product_into(W, inputs.V.mH(), inputs.gV);
    return W;
  }
  // The conjugate of V^T conj(gV).
  const auto conj_gV = conjugate_copy(columns.of(inputs.gV));
  auto* to = W.template mutable_data_ptr<scalar_t>();
  for_each_row_block(inputs.count, n, [&](int64_t i, int64_t begin, int64_t end) {
    auto* rows = to + (i * n + begin) * k;
    const auto V_T = transposed(strided_matrix<scalar_t>(inputs.V, i));
    multiply(end - begin, k, n, part_of(V_T, begin, 0), strided_matrix<scalar_t>(conj_gV, i), rows, k);
    if constexpr (parts_of<scalar_t> == 2) {
      std::transform(rows, rows + (end - begin) * k, rows, [](scalar_t z) { return std::conj(z); });
    }
  });
  return W;
}

/// Returns the most severe finding about the loss in any matrix. W is undefined if gV is.
template <typename scalar_t>
math::Verdict judge(const Inputs& inputs, const Tensor& norms, const Columns& columns, const Tensor& W) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = inputs.n;
  MostSevere most_severe;
  for_each_part(checks() == Checks::ignore ? 0 : inputs.count, 1, n * n, [&](int64_t matrix, int64_t, int64_t) {
    const auto k = columns.size();
    const auto* entries = W.defined() ? W.template const_data_ptr<scalar_t>() + matrix * n * k : nullptr;
    const auto entry = [&](int64_t i, int64_t j) {
      const auto place = columns.place(j);
      return place < 0 ? scalar_t(0) : entries[i * k + place];
    };
    const auto scale = [&] {
      return cotangent_scale<real_t>(inputs, norms, matrix);
    };
    most_severe.note(judge_matrix<scalar_t>(inputs, matrix, entry, scale), matrix);
  });
  return most_severe.verdict();
}

/// Returns V inner V^H (count, n, n) as the Hermitian part of V B U^H. B (count, n, k) are the columns of `inner` as
/// `GapDivision` computes them: rows without a column are doubled. U (count, n, k) are the same columns of V.
template <typename scalar_t>
Tensor hermitian_product_of_columns(const Tensor& V, const Tensor& U, const Tensor& B) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto count = B.size(0);
  const auto n = B.size(1);
  const auto k = B.size(2);
  const auto VB = at::empty(B.sizes(), B.options());
  auto* to_VB = VB.template mutable_data_ptr<scalar_t>();
  for_each_row_block(count, n, [&](int64_t i, int64_t begin, int64_t end) {
    const auto V_i = strided_matrix<scalar_t>(V, i);
    multiply(end - begin, k, n, part_of(V_i, begin, 0), strided_matrix<scalar_t>(B, i), to_VB + (i * n + begin) * k, k);
  });
  const auto conj_U = conjugate_copy(U);
  auto result = at::empty({count, n, n}, B.options());
  auto* to = result.template mutable_data_ptr<scalar_t>();
  const auto& kernel = simd::for_this_machine<simd::HermitianPassKernel<real_t>>();
  // Each thread makes the blocks Hermitian that it has just written, because moving them to another thread's cache
  // takes as long as computing them.
  const int64_t blocks = n < 512 ? 4 : n < 2048 ? 8 : 16;
  const BlockPairs pairs(n, (n + 16 * blocks - 1) / (16 * blocks) * 16);
  for_each_product(count, pairs.rows(), [&](int64_t i, int64_t part) {
    const auto P = strided_matrix<scalar_t>(VB, i);
    const auto U_H = transposed(strided_matrix<scalar_t>(conj_U, i));
    auto* X = to + i * n * n;
    const auto product = [&, k](int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
      const auto rows = part_of(P, row, 0);
      multiply(row_end - row, column_end - column, k, rows, part_of(U_H, 0, column), X + row * n + column, n);
    };
    pairs.for_row(part, [&](const BlockPair& pair) {
      product(pair.row, pair.row_end, pair.column, pair.column_end);
      // The transposed blocks, without the part that the first product has computed.
      const auto below = std::max(pair.column, pair.row_end);
      if (below < pair.column_end) {
        product(below, pair.column_end, pair.row, pair.row_end);
      }
      kernel.make_hermitian(reinterpret_cast<real_t*>(X), n, parts_of<scalar_t> == 2, false, pair);
    });
  });
  return result;
}

/// `eigh_vjp_by_products` for inputs with one batch dimension, (count, n, n).
template <typename scalar_t>
Tensor vjp_of_batch(const Inputs& inputs, const Rule& rule) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto& V = inputs.V;
  if (!inputs.gV.defined()) {
    math::report(judge<scalar_t>(inputs, Tensor(), Columns(), Tensor()));
    auto result = at::empty(V.sizes(), V.options());
    hermitian_product(V * inputs.gL.unsqueeze(-2), V, result);
    return result;
  }
  const bool needs_norms = rule.gates() || checks() != Checks::ignore || skips_columns(inputs.n);
  const auto norms = needs_norms ? norm_bounds<real_t>(inputs.gV) : Tensor();
  const auto columns = columns_to_use<real_t>(inputs, norms);
  if (columns.size() == 0) {
    return at::zeros(V.sizes(), V.options());
  }
  auto W = product_with_cotangent<scalar_t>(inputs, columns);
  math::report(judge<scalar_t>(inputs, norms, columns, W));
  const BatchGate<real_t> gate(inputs, rule, norms);
  GapDivision<scalar_t>(inputs, rule, gate, norms, columns).run(W);
  if (columns.size() < inputs.n) {
    return hermitian_product_of_columns<scalar_t>(V, columns.of(V), W);
  }
  // Overwrites W, which saves memory.
  hermitian_product(product(V, W), V, W);
  return W;
}

} // namespace

Tensor eigh_vjp_by_products(const Inputs& inputs, const Rule& rule) {
  // Pieces of about a tenth of a second, at least one matrix each.
  constexpr int64_t operations_per_piece = int64_t(1) << 33;
  const auto n = inputs.n;
  const auto piece = std::max<int64_t>(1, operations_per_piece / (6 * n * n * n));
  const auto vjp = [&](int64_t begin, int64_t end) {
    return AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(inputs.V.scalar_type(), "eigh_vjp", [&] {
      return vjp_of_batch<scalar_t>(inputs.piece(begin, end), rule);
    });
  };
  if (inputs.count <= piece) {
    return vjp(0, inputs.count).view(inputs.V.sizes());
  }
  auto result = at::empty(inputs.V.sizes(), inputs.V.options());
  const auto pieces = result.view({inputs.count, n, n});
  for (int64_t begin = 0; begin < inputs.count; begin += piece) {
    check_interrupt();
    const auto end = std::min(inputs.count, begin + piece);
    pieces.slice(0, begin, end).copy_(vjp(begin, end));
  }
  return result;
}

} // namespace spectralgrad::kernels
