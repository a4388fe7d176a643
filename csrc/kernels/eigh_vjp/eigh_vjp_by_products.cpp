#include "kernels/eigh_vjp/eigh_vjp_by_products.h"

#include "core/interruptible.h"
#include "kernels/blas/multiply.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/eigh_vjp/block_pairs.h"
#include "kernels/eigh_vjp/gap_division.h"
#include "kernels/eigh_vjp/gap_pass.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "kernels/eigh_vjp/used_columns.h"
#include "math/pairs/gauge_report.h"

#include <spectralgrad/checks.h>

#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// Whether results must not depend on a matrix's place in the batch. The round-off of BLAS depends on the alignment of
/// its data, and consecutive n x n matrices have different alignments. Copies that begin at cache lines cost time, so
/// they are made only on request (docs/measurements.md).
bool is_deterministic() {
  return at::globalContext().deterministicAlgorithms();
}

constexpr int64_t cache_line = 64;

bool begins_lines(const Tensor& x) {
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % cache_line == 0 &&
      x.stride(0) * x.element_size() % cache_line == 0;
}

/// Allocates a batch of row-major matrices, each of which begins at a cache line.
Tensor empty_in_lines(int64_t count, int64_t rows, int64_t columns, const at::TensorOptions& options) {
  const auto line = cache_line / static_cast<int64_t>(options.dtype().itemsize());
  const auto matrix = (rows * columns + line - 1) / line * line;
  return at::empty({count * matrix}, options).as_strided({count, rows, columns}, {matrix, columns, 1});
}

/// Returns `x` with each matrix at the beginning of a cache line; row-major or column-major as before.
Tensor in_lines(const Tensor& x) {
  const auto plain = x.resolve_conj();
  if (begins_lines(plain)) {
    return plain;
  }
  const bool by_rows = plain.stride(-1) == 1;
  const auto rows = plain.size(by_rows ? -2 : -1);
  const auto columns = plain.size(by_rows ? -1 : -2);
  const auto result = empty_in_lines(plain.size(0), rows, columns, plain.options());
  return (by_rows ? result : result.mT()).copy_(plain);
}

void product_into(Tensor result, const Tensor& a, const Tensor& b) {
  if (is_deterministic()) {
    auto to = begins_lines(result) ? result
                                   : empty_in_lines(result.size(0), result.size(1), result.size(2), result.options());
    at::bmm_out(to, in_lines(a), in_lines(b));
    if (!to.is_same(result)) {
      result.copy_(to);
    }
  } else if (a.size(0) == 1) {
    // All threads share a single product.
    auto one = result[0];
    at::mm_out(one, a[0], b[0]);
  } else {
    at::bmm_out(result, a, b);
  }
}

Tensor product(const Tensor& a, const Tensor& b) {
  const auto result = is_deterministic() ? empty_in_lines(a.size(0), a.size(1), b.size(2), a.options())
                                         : at::empty({a.size(0), a.size(1), b.size(2)}, a.options());
  product_into(result, a, b);
  return result;
}

template <typename scalar_t>
simd::Matrices<scalar_t> strided_matrix(const Tensor& x, int64_t matrix) {
  return {x.const_data_ptr<scalar_t>() + matrix * x.stride(0), x.stride(1), x.stride(2)};
}

/// Calls f(matrix, part) for each of `parts` parts of each matrix, in parallel. BLAS calls in `f` use one thread,
/// because LibTorch's parallel products of matrices with few columns spend half of the time waiting for other threads.
template <typename F>
void for_each_product(int64_t count, int64_t parts, const F& f) {
  at::parallel_for(0, count * parts, 1, [&](int64_t begin, int64_t end) {
    const SequentialBlas sequential;
    for (auto i = begin; i < end; ++i) {
      f(i / parts, i % parts);
    }
  });
}

/// Calls f(matrix, begin, end) for blocks of rows begin <= i < end of each n x n matrix, in parallel.
template <typename F>
void for_each_row_block(int64_t count, int64_t n, const F& f) {
  const int64_t rows = n < 512 ? 128 : 256;
  for_each_product(count, (n + rows - 1) / rows, [&](int64_t matrix, int64_t block) {
    f(matrix, block * rows, std::min(n, (block + 1) * rows));
  });
}

/// Replaces X (count, n, n) by (X + X^H)/2. `from_upper`: copies the upper triangle to the lower one instead, except in
/// tiles on the diagonal.
void make_hermitian(const Tensor& X, bool from_upper) {
  const auto n = X.size(-1);
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(X.scalar_type()), "eigh_vjp", [&] {
    auto* data = static_cast<scalar_t*>(X.mutable_data_ptr());
    const auto& kernel = simd::for_this_machine<simd::GapPassKernel<scalar_t>>();
    const auto numbers = n * n * (X.is_complex() ? 2 : 1);
    const auto pairs = pairs_of_pass(n);
    for_each_part(X.size(0), pairs.rows(), n * n / pairs.rows(), [&](int64_t matrix, int64_t begin, int64_t end) {
      for (auto i = begin; i < end; ++i) {
        pairs.for_row(i, [&](const BlockPair& pair) {
          kernel.make_hermitian(data + matrix * numbers, n, X.is_complex(), from_upper, pair);
        });
      }
    });
  });
}

/// Writes X V^H, which must be Hermitian, to `result`. For large n, computes little more than half of it.
void hermitian_product(const Tensor& X, const Tensor& V, const Tensor& result) {
  const auto n = V.size(-1);
  // Computing half of the result only pays for large n (docs/measurements.md).
  constexpr int64_t large = 256;
  if (n < large) {
    product_into(result, X, V.mH());
    make_hermitian(result, /*from_upper=*/false);
    return;
  }
  const int64_t blocks = n < 1024 ? 4 : 8;
  const auto rows = (n + blocks - 1) / blocks / 16 * 16 + 16;
  for (int64_t begin = 0; begin < n; begin += rows) {
    const auto end = std::min(n, begin + rows);
    product_into(result.slice(-2, begin, end).slice(-1, begin, n), X.slice(-2, begin, end), V.slice(-2, begin, n).mH());
  }
  make_hermitian(result, /*from_upper=*/true);
}

/// Returns the conjugate of `x`, stored explicitly, because BLAS can conjugate only matrices that it also transposes.
Tensor conjugate(const Tensor& x) {
  return x.is_complex() ? x.conj().resolve_conj() : x;
}

/// Writes V^H X to W (count, n, k).
template <typename scalar_t>
void products_with_columns(const Tensor& V, const Tensor& X, const Tensor& W) {
  const auto n = W.size(1);
  const auto k = W.size(2);
  // The conjugate of V^T conj(X).
  const auto conj_X = conjugate(X);
  auto* to = W.template mutable_data_ptr<scalar_t>();
  for_each_row_block(W.size(0), n, [&](int64_t i, int64_t begin, int64_t end) {
    auto* rows = to + (i * n + begin) * k;
    const auto V_T = transposed(strided_matrix<scalar_t>(V, i));
    multiply(end - begin, k, n, part_of(V_T, begin, 0), strided_matrix<scalar_t>(conj_X, i), rows, k);
    if constexpr (parts_of<scalar_t> == 2) {
      std::transform(rows, rows + (end - begin) * k, rows, [](scalar_t z) { return std::conj(z); });
    }
  });
}

/// Returns V inner V^H (count, n, n) as the Hermitian part of V B U^H. B (count, n, k) are the columns of `inner` as
/// `GapDivision` computes them: rows without a column are doubled. U (count, n, k) are the same columns of V.
template <typename scalar_t>
Tensor product_of_columns(const Tensor& V, const Tensor& U, const Tensor& B) {
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
  const auto conj_U = conjugate(U);
  auto result = at::empty({count, n, n}, B.options());
  auto* to = result.template mutable_data_ptr<scalar_t>();
  const auto& kernel = simd::for_this_machine<simd::GapPassKernel<real_t>>();
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
Tensor vjp_of_batch(const Inputs& inputs, const Rule& rule) {
  const auto n = inputs.n;
  const auto& V = inputs.V;
  const auto& gV = inputs.gV;
  MostSevere most_severe;
  Tensor result;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(V.scalar_type(), "eigh_vjp", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    const bool judged = checks() != Checks::ignore;
    Tensor norms;
    const auto judge_all = [&](const auto& entries) {
      for_each_matrix(judged ? inputs.count : 0, n, [&](int64_t i) {
        const auto scale = [&] {
          return cotangent_scale<real_t>(inputs, norms, i);
        };
        most_severe.note(judge_matrix<scalar_t>(inputs, i, entries(i), scale), i);
      });
    };
    if (!gV.defined()) {
      judge_all([](int64_t) {
        return [](int64_t, int64_t) {
          return scalar_t(0);
        };
      });
      result = at::empty(V.sizes(), V.options());
      hermitian_product(V * inputs.gL.unsqueeze(-2), V, result);
      return;
    }
    // For smaller n, products of all columns take less time than the search for used columns.
    constexpr int64_t large = 128;
    // The used columns depend on the whole batch, so they are not searched if results must not depend on it.
    const bool worth_looking = n >= large && !is_deterministic();
    if (rule.gates() || judged || worth_looking) {
      norms = norm_bounds<real_t>(gV);
    }
    std::vector<int64_t> used;
    if (worth_looking) {
      used = used_columns<real_t>(norms, inputs.gL);
      if (used.empty()) {
        result = at::zeros(V.sizes(), V.options());
        return;
      }
    }
    if (!worth_looking || 2 * static_cast<int64_t>(used.size()) > n) {
      used.resize(static_cast<size_t>(n));
      std::iota(used.begin(), used.end(), 0);
    }
    const Columns columns(std::move(used), n);
    const auto k = columns.size();
    const auto W = at::empty({inputs.count, n, k}, V.options());
    if (k == n) {
      product_into(W, V.mH(), gV);
    } else {
      products_with_columns<scalar_t>(V, columns.of(gV), W);
    }
    const auto* entries = W.template const_data_ptr<scalar_t>();
    judge_all([&](int64_t matrix) {
      return [&, of_matrix = entries + matrix * n * k](int64_t i, int64_t j) {
        const auto place = columns.place(j);
        return place < 0 ? scalar_t(0) : of_matrix[i * k + place];
      };
    });
    GapDivision<scalar_t>(inputs, rule, norms, columns).run(W);
    if (k == n) {
      // Overwrites W, which saves memory.
      result = W;
      hermitian_product(product(V, W), V, result);
      return;
    }
    result = product_of_columns<scalar_t>(V, columns.of(V), W);
  });
  math::report(most_severe.verdict());
  return result;
}

} // namespace

Tensor eigh_vjp_by_products(const Inputs& inputs, const Rule& rule) {
  // Pieces of about a tenth of a second, at least one matrix each.
  constexpr int64_t operations_per_piece = int64_t(1) << 33;
  const auto n = inputs.n;
  const auto piece = std::max<int64_t>(1, operations_per_piece / (6 * n * n * n));
  if (inputs.count <= piece) {
    return vjp_of_batch(inputs.piece(0, inputs.count), rule).view(inputs.V.sizes());
  }
  auto result = at::empty(inputs.V.sizes(), inputs.V.options());
  const auto pieces = result.view({inputs.count, n, n});
  for (int64_t begin = 0; begin < inputs.count; begin += piece) {
    check_interrupt();
    const auto end = std::min(inputs.count, begin + piece);
    pieces.slice(0, begin, end).copy_(vjp_of_batch(inputs.piece(begin, end), rule));
  }
  return result;
}

} // namespace spectralgrad::kernels
