#include "kernels/eigh_vjp_by_products.h"

#include "derivatives/gaps.h"
#include "derivatives/tolerances.h"
#include "kernels/block_pairs.h"
#include "kernels/interruptible.h"
#include "kernels/lanes/gap_pass.h"
#include "kernels/multiply.h"
#include "kernels/sequential_blas.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

constexpr int64_t entries_per_task = 1 << 12;

template <typename F>
void for_each_matrix(int64_t count, int64_t n, const F& f) {
  at::parallel_for(0, count, entries_per_task / (n * n) + 1, [&](int64_t begin, int64_t end) {
    for (auto i = begin; i < end; ++i) {
      f(i);
    }
  });
}

/// Calls f(matrix, begin, end) for all of `units` units of each matrix, `entries` entries each.
template <typename F>
void for_each_part(int64_t count, int64_t units, int64_t entries, const F& f) {
  at::parallel_for(0, count * units, entries_per_task / entries + 1, [&](int64_t begin, int64_t end) {
    for (auto i = begin; i < end;) {
      const auto matrix = i / units;
      const auto first = i % units;
      const auto last = std::min(units, first + end - i);
      f(matrix, first, last);
      i += last - first;
    }
  });
}

// --- products of batches (count, n, m) ----------------------------------------------------------------------------------------

Tensor product(const Tensor& a, const Tensor& b) {
  // Of one pair every thread takes its part.
  return a.size(0) == 1 ? at::mm(a[0], b[0]).unsqueeze(0) : at::bmm(a, b);
}

void product_into(Tensor result, const Tensor& a, const Tensor& b) {
  if (a.size(0) == 1) {
    auto one = result[0];
    at::mm_out(one, a[0], b[0]);
  } else {
    at::bmm_out(result, a, b);
  }
}

template <typename scalar_t>
lanes::Matrices<scalar_t> as_it_lies(const Tensor& x, int64_t matrix) {
  return {x.const_data_ptr<scalar_t>() + matrix * x.stride(0), x.stride(1), x.stride(2)};
}

/// Calls f(matrix, part) for all of `parts` parts of each matrix, in parallel. Products within are on one thread: LibTorch's own, of
/// matrices with few columns, wait for each other half of the time.
template <typename F>
void for_each_product(int64_t count, int64_t parts, const F& f) {
  at::parallel_for(0, count * parts, 1, [&](int64_t begin, int64_t end) {
    const SequentialBlas sequential;
    for (auto i = begin; i < end; ++i) {
      f(i / parts, i % parts);
    }
  });
}

/// f(matrix, begin, end), for blocks of rows.
template <typename F>
void for_each_row_block(int64_t count, int64_t n, const F& f) {
  const int64_t rows = n < 512 ? 128 : 256;
  for_each_product(count, (n + rows - 1) / rows, [&](int64_t matrix, int64_t block) {
    f(matrix, block * rows, std::min(n, (block + 1) * rows));
  });
}

/// Of an n x n matrix that takes one pass: of small ones too there is something for each of a few threads.
BlockPairs pairs_of_pass(int64_t n) {
  return {n, std::clamp<int64_t>(n / 8, 16, 128) / 16 * 16};
}

/// (X + X^H)/2, or with `from_upper` the Hermitian matrix that has X's upper triangle, in place.
void make_hermitian(const Tensor& X, bool from_upper) {
  const auto n = X.size(-1);
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(X.scalar_type()), "eigh_vjp", [&] {
    auto* data = static_cast<scalar_t*>(X.mutable_data_ptr());
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<scalar_t>>();
    const auto numbers = n * n * (X.is_complex() ? 2 : 1);
    const auto pairs = pairs_of_pass(n);
    for_each_part(X.size(0), pairs.size(), n * n / pairs.size(), [&](int64_t matrix, int64_t begin, int64_t end) {
      for (auto i = begin; i < end; ++i) {
        kernel.make_hermitian(data + matrix * numbers, n, X.is_complex(), from_upper, pairs[i]);
      }
    });
  });
}

/// X V^H, of which it is known that it is Hermitian, to `result`: of a large one, little more than half is computed.
void hermitian_product(const Tensor& X, const Tensor& V, const Tensor& result) {
  const auto n = V.size(-1);
  // Measured: two thirds of the time at n = 512 ... 2048, none gained at 128.
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

// --- columns ------------------------------------------------------------------------------------------------------------------

/// Some of n columns.
class Columns {
 public:
  Columns(std::vector<int64_t> which, int64_t n)
      : which_(std::move(which)),
        place_(static_cast<size_t>(n), -1),
        adjacent_(which_.empty() || which_.back() - which_.front() + 1 == size()) {
    for (int64_t i = 0; i < size(); ++i) {
      place_[static_cast<size_t>(which_[static_cast<size_t>(i)])] = i;
    }
  }

  int64_t size() const {
    return static_cast<int64_t>(which_.size());
  }
  int64_t operator[](int64_t i) const {
    return which_[static_cast<size_t>(i)];
  }
  /// Where among them a column is, or -1.
  int64_t place(int64_t column) const {
    return place_[static_cast<size_t>(column)];
  }

  /// Of a tensor that has all columns: a view if they are adjacent.
  Tensor of(const Tensor& x) const {
    return part(x, -1);
  }
  /// As many rows.
  Tensor of_rows(const Tensor& x) const {
    return part(x, -2);
  }
  void put_rows(const Tensor& x, const Tensor& rows) const {
    if (!adjacent_) {
      x.index_copy_(-2, index(x), rows);
    }
  }

 private:
  Tensor part(const Tensor& x, int64_t dim) const {
    return adjacent_ ? x.narrow(dim, which_.empty() ? 0 : which_.front(), size()) : x.index_select(dim, index(x));
  }
  Tensor index(const Tensor& x) const {
    auto result = at::empty({size()}, x.options().dtype(at::kLong));
    std::copy(which_.begin(), which_.end(), result.mutable_data_ptr<int64_t>());
    return result;
  }

  std::vector<int64_t> which_;
  std::vector<int64_t> place_;
  bool adjacent_;
};

/// Bounds of the norms of gV's columns (count, n), zero for those that have none.
template <typename real_t>
Tensor norm_bounds(const Tensor& gV) {
  const auto count = gV.size(0);
  const auto n = gV.size(-1);
  const auto bytes = n * n * gV.element_size();
  // Of rows, as the threads that gV was filled by have them in their caches.
  const auto parts = std::clamp<int64_t>(bytes >> 17, 1, 16);
  const auto rows = (n + parts - 1) / parts;
  const auto options = gV.options().dtype(c10::CppTypeToScalarType<real_t>::value);
  const auto sums = at::empty({2, count, parts, n}, options);
  const auto norms = at::empty({count, n}, options);
  auto* sum = sums.template mutable_data_ptr<real_t>();
  auto* largest = sum + count * parts * n;
  const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
  // Reading takes little beside what else is done with an entry.
  for_each_part(count, parts, bytes / parts / 16, [&](int64_t i, int64_t begin, int64_t end) {
    for (auto part = begin; part < end; ++part) {
      const auto at = (i * parts + part) * n;
      const auto row = std::min(n, part * rows);
      const auto row_end = std::min(n, row + rows);
      kernel.column_sums(matrices<real_t>(gV, i), n, gV.is_complex(), row, row_end, sum + at, largest + at);
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    const auto at = i * parts * n;
    auto* to = norms.template mutable_data_ptr<real_t>() + i * n;
    kernel.norm_bounds(sum + at, largest + at, parts, n, gV.is_complex(), to);
  }
  return norms;
}

/// The columns that a cotangent has anything in, of any matrix of the batch.
template <typename real_t>
std::vector<int64_t> used_columns(const Tensor& norms, const Tensor& gL) {
  const auto n = norms.size(-1);
  const auto count = norms.size(0);
  std::vector<bool> is_used(static_cast<size_t>(n));
  for (int64_t i = 0; i < count; ++i) {
    const auto* of_gV = row<real_t>(norms, i, n);
    const auto* of_gL = row<real_t>(gL, i, n);
    for (int64_t j = 0; j < n; ++j) {
      if (of_gV[j] != 0 || (of_gL != nullptr && of_gL[j] != 0)) {
        is_used[static_cast<size_t>(j)] = true;
      }
    }
  }
  std::vector<int64_t> used;
  for (int64_t j = 0; j < n; ++j) {
    if (is_used[static_cast<size_t>(j)]) {
      used.push_back(j);
    }
  }
  return used;
}

// --- the pass between the products ----------------------------------------------------------------------------------------------

/// Entries of one matrix of which only N itself tells whether they are rounding.
template <typename scalar_t>
class Undecided {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  static void note(void* undecided, int64_t i, int64_t j, real_t size) {
    static_cast<Undecided*>(undecided)->entries_.push_back({i, j, size});
  }

  /// Calls drop(i, j) for those that are no more than `noise` N; `columns(i, j)` are the columns of the two matrices that an entry
  /// belongs to.
  template <typename ColumnsOf, typename Drop>
  void decide(const Inputs& inputs, int64_t matrix, real_t noise, const ColumnsOf& columns, const Drop& drop) const {
    if (entries_.empty()) {
      return;
    }
    CotangentMagnitude<scalar_t> magnitude(inputs.V, inputs.gV, matrix);
    magnitude.prepare(columns_of(columns, inputs.n));
    for (const auto& entry : entries_) {
      const auto [first, second] = columns(entry.i, entry.j);
      // NaN and Inf are never noise: comparisons with NaN fail.
      if (entry.size < std::numeric_limits<real_t>::infinity() &&
          (magnitude.is_surely_at_least(entry.size / noise, first, second) ||
           entry.size <= noise * magnitude(first, second))) {
        drop(entry.i, entry.j);
      }
    }
  }

 private:
  struct Entry {
    int64_t i;
    int64_t j;
    real_t size;
  };

  template <typename ColumnsOf>
  std::vector<int64_t> columns_of(const ColumnsOf& columns, int64_t n) const {
    std::vector<bool> asked(static_cast<size_t>(n));
    for (const auto& entry : entries_) {
      const auto [first, second] = columns(entry.i, entry.j);
      asked[static_cast<size_t>(first)] = asked[static_cast<size_t>(second)] = true;
    }
    std::vector<int64_t> all;
    for (int64_t i = 0; i < n; ++i) {
      if (asked[static_cast<size_t>(i)]) {
        all.push_back(i);
      }
    }
    return all;
  }

  std::vector<Entry> entries_;
};

/// W = V^H gV, or the given columns of it, turned into diag(g_lambda) + F o S, in place; rows without a column into twice that.
template <typename scalar_t>
class Division {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  Division(const Inputs& inputs, const Rule& rule, const Tensor& norms, const Columns& columns)
      : inputs_(inputs),
        gap_rule_(derivatives::gap_rule<real_t>(rule)),
        noise_(rule.gates() ? static_cast<real_t>(rule.noise() * tolerances::eps(dtype)) : real_t(0)),
        columns_(columns),
        k_(columns.size()),
        all_(k_ == inputs.n),
        eigenvalues_(of_columns(inputs.L)),
        cotangent_(inputs.gL.defined() ? of_columns(inputs.gL) : Tensor()),
        norms_(rule.gates() ? of_columns(norms) : Tensor()) {}

  void run(const Tensor& W) const {
    const auto pairs = pairs_of_pass(k_);
    if (all_) {
      for_each_part(
          inputs_.count,
          pairs.size(),
          k_ * k_ / pairs.size(),
          [&](int64_t matrix, int64_t begin, int64_t end) { divide(entries(W, matrix), matrix, pairs, begin, end); });
      return;
    }
    const auto n = inputs_.n;
    const std::unique_ptr<bool[]> has_column(new bool[static_cast<size_t>(n)]);
    for (int64_t i = 0; i < n; ++i) {
      has_column[static_cast<size_t>(i)] = columns_.place(i) >= 0;
    }
    // Rows that have a column are a square.
    const auto squares = columns_.of_rows(W);
    for_each_part(inputs_.count, n, k_, [&](int64_t matrix, int64_t begin, int64_t end) {
      auto* square = squares.template mutable_data_ptr<scalar_t>() + matrix * squares.stride(0);
      const auto to_pair = [&](int64_t i) {
        return (i * pairs.size() + n - 1) / n;
      };
      divide(square, matrix, pairs, to_pair(begin), to_pair(end));
      divide_rows(entries(W, matrix), matrix, has_column.get(), begin, end);
    });
    columns_.put_rows(W, squares);
  }

 private:
  static constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;

  Tensor of_columns(const Tensor& x) const {
    return all_ ? x : columns_.of(x).contiguous();
  }

  scalar_t* entries(const Tensor& W, int64_t matrix) const {
    return W.template mutable_data_ptr<scalar_t>() + matrix * inputs_.n * k_;
  }

  lanes::GapPass<real_t> pass(scalar_t* W, int64_t matrix, Undecided<scalar_t>& undecided) const {
    const auto* L = row<real_t>(inputs_.L, matrix, inputs_.n);
    return {
        k_,
        parts_of<scalar_t> == 2,
        reinterpret_cast<real_t*>(W),
        row<real_t>(eigenvalues_, matrix, k_),
        row<real_t>(cotangent_, matrix, k_),
        gap_rule_,
        std::max(std::abs(L[0]), std::abs(L[inputs_.n - 1])),
        noise_,
        row<real_t>(norms_, matrix, k_),
        Undecided<scalar_t>::note,
        &undecided};
  }

  void divide(scalar_t* square, int64_t matrix, const BlockPairs& pairs, int64_t begin, int64_t end) const {
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
    Undecided<scalar_t> undecided;
    const auto of_matrix = pass(square, matrix, undecided);
    for (auto i = begin; i < end; ++i) {
      kernel.divide(of_matrix, pairs[i]);
    }
    undecided.decide(
        inputs_,
        matrix,
        noise_,
        [&](int64_t i, int64_t j) { return std::pair(columns_[i], columns_[j]); },
        [&](int64_t i, int64_t j) { square[i * k_ + j] = square[j * k_ + i] = 0; });
  }

  void divide_rows(scalar_t* rows, int64_t matrix, const bool* has_column, int64_t begin, int64_t end) const {
    Undecided<scalar_t> undecided;
    lanes::for_this_machine<lanes::GapPassKernel<real_t>>()
        .divide_rows(pass(rows, matrix, undecided), row<real_t>(inputs_.L, matrix, inputs_.n), has_column, begin, end);
    undecided.decide(
        inputs_,
        matrix,
        noise_,
        [&](int64_t i, int64_t j) { return std::pair(i, columns_[j]); },
        [&](int64_t i, int64_t j) { rows[i * k_ + j] = 0; });
  }

  const Inputs& inputs_;
  derivatives::GapRule<real_t> gap_rule_;
  real_t noise_;
  const Columns& columns_;
  int64_t k_;
  bool all_;
  Tensor eigenvalues_;
  Tensor cotangent_;
  Tensor norms_;
};

/// BLAS conjugates nothing that it does not transpose.
Tensor conjugate(const Tensor& x) {
  return x.is_complex() ? x.conj().resolve_conj() : x;
}

/// V^H X (n x k) to W.
template <typename scalar_t>
void products_with_columns(const Tensor& V, const Tensor& X, const Tensor& W) {
  const auto n = W.size(1);
  const auto k = W.size(2);
  // The conjugate of V^T conj(X).
  const auto conj_X = conjugate(X);
  auto* to = W.template mutable_data_ptr<scalar_t>();
  for_each_row_block(W.size(0), n, [&](int64_t i, int64_t begin, int64_t end) {
    auto* rows = to + (i * n + begin) * k;
    const auto V_T = transposed(as_it_lies<scalar_t>(V, i));
    multiply(end - begin, k, n, part_of(V_T, begin, 0), as_it_lies<scalar_t>(conj_X, i), rows, k);
    if constexpr (parts_of<scalar_t> == 2) {
      std::transform(rows, rows + (end - begin) * k, rows, [](scalar_t z) { return std::conj(z); });
    }
  });
}

/// V inner V^H from what `Division` makes of columns of it, B (n x k), and those of V, U: it is the Hermitian part of V B U^H.
template <typename scalar_t>
Tensor product_of_columns(const Tensor& V, const Tensor& U, const Tensor& B) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto count = B.size(0);
  const auto n = B.size(1);
  const auto k = B.size(2);
  const auto VB = at::empty(B.sizes(), B.options());
  auto* to_VB = VB.template mutable_data_ptr<scalar_t>();
  for_each_row_block(count, n, [&](int64_t i, int64_t begin, int64_t end) {
    const auto V_i = as_it_lies<scalar_t>(V, i);
    multiply(end - begin, k, n, part_of(V_i, begin, 0), as_it_lies<scalar_t>(B, i), to_VB + (i * n + begin) * k, k);
  });
  const auto conj_U = conjugate(U);
  auto result = at::empty({count, n, n}, B.options());
  auto* to = result.template mutable_data_ptr<scalar_t>();
  const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
  // Each thread makes Hermitian what it has just written: between their caches, entries take as long as to compute them.
  const BlockPairs pairs(n, n < 512 ? 64 : 128);
  for_each_product(count, pairs.size(), [&](int64_t i, int64_t pair) {
    const auto [row, row_end, column, column_end] = pairs[pair];
    const auto P = as_it_lies<scalar_t>(VB, i);
    const auto U_H = transposed(as_it_lies<scalar_t>(conj_U, i));
    auto* X = to + i * n * n;
    const auto block = [&, k](int64_t at, int64_t at_end, int64_t from, int64_t from_end) {
      multiply(at_end - at, from_end - from, k, part_of(P, at, 0), part_of(U_H, 0, from), X + at * n + from, n);
    };
    block(row, row_end, column, column_end);
    if (row != column) {
      block(column, column_end, row, row_end);
    }
    kernel.make_hermitian(reinterpret_cast<real_t*>(X), n, parts_of<scalar_t> == 2, false, pairs[pair]);
  });
  return result;
}

/// Of a batch (count, n, n).
Tensor vjp_of_batch(const Inputs& inputs, const Rule& rule) {
  const auto n = inputs.n;
  const auto& V = inputs.V;
  const auto& gV = inputs.gV;
  Gravest gravest;
  Tensor result;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(V.scalar_type(), "eigh_vjp", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    const bool judged = checks() != Checks::ignore;
    const auto judge_all = [&](const auto& entries) {
      for_each_matrix(judged ? inputs.count : 0, n, [&](int64_t i) {
        gravest.note(judge_matrix<scalar_t>(inputs, i, entries(i)), i);
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
    // Below, products of all columns take less than looking for those that are used.
    constexpr int64_t worth_looking = 128;
    const auto norms = rule.gates() || n >= worth_looking ? norm_bounds<real_t>(gV) : Tensor();
    std::vector<int64_t> used;
    if (n >= worth_looking) {
      used = used_columns<real_t>(norms, inputs.gL);
    }
    if (n < worth_looking || 2 * static_cast<int64_t>(used.size()) > n) {
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
    Division<scalar_t>(inputs, rule, norms, columns).run(W);
    if (k == n) {
      // In the place of W, which costs no new memory.
      result = W;
      hermitian_product(product(V, W), V, result);
      return;
    }
    result = product_of_columns<scalar_t>(V, columns.of(V), W);
  });
  act_on(gravest.verdict());
  return result;
}

} // namespace

Tensor eigh_vjp_by_products(const Inputs& inputs, const Rule& rule) {
  // A tenth of a second, or one matrix.
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
