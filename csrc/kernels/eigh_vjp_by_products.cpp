#include "kernels/eigh_vjp_by_products.h"

#include "derivatives/gaps.h"
#include "derivatives/tolerances.h"
#include "kernels/interruptible.h"
#include "kernels/lanes/gap_pass.h"

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

constexpr int64_t entries_per_task = 1 << 13;

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

/// Calls f(matrix, begin, end) for blocks of rows of each matrix, in parallel. Products within are on one thread: LibTorch's own, of
/// matrices with few columns, wait for each other half of the time.
template <typename F>
void for_each_row_block(int64_t count, int64_t n, const F& f) {
  const int64_t rows = n < 512 ? 128 : 256;
  const auto blocks = (n + rows - 1) / rows;
  at::parallel_for(0, count * blocks, 1, [&](int64_t begin, int64_t end) {
    // Of each thread.
    const at::AutoDispatchBelowADInplaceOrView guard;
    for (auto i = begin; i < end; ++i) {
      f(i / blocks, i % blocks * rows, std::min(n, (i % blocks + 1) * rows));
    }
  });
}

/// (X + X^H)/2, or with `from_lower` the Hermitian matrix that has X's lower triangle, in place.
void make_hermitian(const Tensor& X, bool from_lower) {
  const auto n = X.size(-1);
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(X.scalar_type()), "eigh_vjp", [&] {
    auto* data = static_cast<scalar_t*>(X.mutable_data_ptr());
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<scalar_t>>();
    const auto numbers = n * n * (X.is_complex() ? 2 : 1);
    const auto tiles = (n + kernel.rows - 1) / kernel.rows;
    for_each_part(X.size(0), tiles, n * kernel.rows, [&](int64_t matrix, int64_t begin, int64_t end) {
      kernel.make_hermitian(data + matrix * numbers, n, X.is_complex(), from_lower, begin, end);
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
    make_hermitian(result, /*from_lower=*/false);
    return;
  }
  const int64_t blocks = n < 1024 ? 4 : 8;
  const auto rows = (n + blocks - 1) / blocks / 16 * 16 + 16;
  for (int64_t begin = 0; begin < n; begin += rows) {
    const auto end = std::min(n, begin + rows);
    product_into(result.slice(-2, begin, end).slice(-1, 0, end), X.slice(-2, begin, end), V.slice(-2, 0, end).mH());
  }
  make_hermitian(result, /*from_lower=*/true);
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

  Tensor of(const Tensor& x, int64_t dim) const {
    return adjacent_ ? x.narrow(dim, which_.empty() ? 0 : which_.front(), size()) : x.index_select(dim, index(x));
  }
  void put(const Tensor& x, int64_t dim, const Tensor& part) const {
    if (adjacent_) {
      of(x, dim).copy_(part);
    } else {
      x.index_copy_(dim, index(x), part);
    }
  }

 private:
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
  const auto norms = at::empty({2, count, n}, gV.options().dtype(c10::CppTypeToScalarType<real_t>::value));
  auto* data = norms.template mutable_data_ptr<real_t>();
  const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
  constexpr int64_t columns = 128;
  for_each_part(count, (n + columns - 1) / columns, columns * n, [&](int64_t i, int64_t begin, int64_t end) {
    const auto last = std::min(n, end * columns);
    auto* to = data + i * n;
    kernel.norm_bounds(matrices<real_t>(gV, i), n, gV.is_complex(), begin * columns, last, to, to + count * n);
  });
  return norms[0];
}

/// The columns that a cotangent has anything in, of any matrix of the batch.
template <typename real_t>
std::vector<int64_t> used_columns(const Tensor& norms, const Tensor& gL) {
  const auto n = norms.size(-1);
  std::vector<int64_t> used;
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < norms.size(0); ++i) {
      if (row<real_t>(norms, i, n)[j] != 0 || (gL.defined() && row<real_t>(gL, i, n)[j] != 0)) {
        used.push_back(j);
        break;
      }
    }
  }
  return used;
}

// --- the pass between the products ----------------------------------------------------------------------------------------------

/// Entries of which only N itself tells whether they are rounding, of each matrix of a batch.
template <typename scalar_t>
class Undecided {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  struct Entry {
    int64_t i;
    int64_t j;
    real_t size;
  };
  using Entries = std::vector<Entry>;

  explicit Undecided(int64_t count) : entries_(static_cast<size_t>(count)) {}

  static void note(void* context, int64_t i, int64_t j, real_t size) {
    static_cast<Entries*>(context)->push_back({i, j, size});
  }

  /// From several threads.
  void add(int64_t matrix, const Entries& entries) {
    if (!entries.empty()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto& all = entries_[static_cast<size_t>(matrix)];
      all.insert(all.end(), entries.begin(), entries.end());
    }
  }

  /// Calls drop(matrix, i, j) for those that are no more than `noise` N; `columns(entry)` are the columns of the two matrices that
  /// an entry belongs to.
  template <typename ColumnsOf, typename Drop>
  void decide(const Inputs& inputs, real_t noise, const ColumnsOf& columns, const Drop& drop) const {
    for_each_matrix(static_cast<int64_t>(entries_.size()), inputs.n, [&](int64_t matrix) {
      const auto& entries = entries_[static_cast<size_t>(matrix)];
      if (entries.empty()) {
        return;
      }
      CotangentMagnitude<scalar_t> magnitude(inputs.V, inputs.gV, matrix);
      magnitude.prepare(columns_of(entries, columns, inputs.n));
      for (const auto& entry : entries) {
        const auto [first, second] = columns(entry.i, entry.j);
        // NaN and Inf are never noise: comparisons with NaN fail.
        if (entry.size < std::numeric_limits<real_t>::infinity() &&
            (magnitude.is_surely_at_least(entry.size / noise, first, second) ||
             entry.size <= noise * magnitude(first, second))) {
          drop(matrix, entry.i, entry.j);
        }
      }
    });
  }

 private:
  template <typename ColumnsOf>
  static std::vector<int64_t> columns_of(const Entries& entries, const ColumnsOf& columns, int64_t n) {
    std::vector<bool> asked(static_cast<size_t>(n));
    for (const auto& entry : entries) {
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

  std::vector<Entries> entries_;
  std::mutex mutex_;
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
    if (all_) {
      divide(W);
      return;
    }
    const auto square = columns_.of(W, -2).contiguous();
    divide(square);
    divide_rows(W);
    columns_.put(W, -2, square);
  }

 private:
  static constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  static constexpr auto parts = parts_of<scalar_t>;

  Tensor of_columns(const Tensor& x) const {
    return all_ ? x : columns_.of(x, -1).contiguous();
  }

  lanes::GapPass<real_t> pass(const Tensor& W, int64_t matrix, typename Undecided<scalar_t>::Entries& undecided) const {
    const auto* L = row<real_t>(inputs_.L, matrix, inputs_.n);
    return {
        k_,
        parts == 2,
        static_cast<real_t*>(W.mutable_data_ptr()) + matrix * W.size(-2) * k_ * parts,
        row<real_t>(eigenvalues_, matrix, k_),
        row<real_t>(cotangent_, matrix, k_),
        gap_rule_,
        std::max(std::abs(L[0]), std::abs(L[inputs_.n - 1])),
        noise_,
        row<real_t>(norms_, matrix, k_),
        Undecided<scalar_t>::note,
        &undecided};
  }

  void divide(const Tensor& square) const {
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
    Undecided<scalar_t> undecided(inputs_.count);
    const auto tiles = (k_ + kernel.rows - 1) / kernel.rows;
    for_each_part(inputs_.count, tiles, k_ * kernel.rows, [&](int64_t matrix, int64_t begin, int64_t end) {
      typename Undecided<scalar_t>::Entries found;
      kernel.divide(pass(square, matrix, found), begin, end);
      undecided.add(matrix, found);
    });
    auto* entries = square.template mutable_data_ptr<scalar_t>();
    undecided.decide(
        inputs_,
        noise_,
        [&](int64_t i, int64_t j) { return std::pair(columns_[i], columns_[j]); },
        [&](int64_t matrix, int64_t i, int64_t j) {
          entries[(matrix * k_ + i) * k_ + j] = 0;
          entries[(matrix * k_ + j) * k_ + i] = 0;
        });
  }

  void divide_rows(const Tensor& W) const {
    const auto n = inputs_.n;
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
    Undecided<scalar_t> undecided(inputs_.count);
    const std::unique_ptr<bool[]> has_column(new bool[static_cast<size_t>(n)]);
    for (int64_t i = 0; i < n; ++i) {
      has_column[static_cast<size_t>(i)] = columns_.place(i) >= 0;
    }
    for_each_part(inputs_.count, n, k_, [&](int64_t matrix, int64_t begin, int64_t end) {
      typename Undecided<scalar_t>::Entries found;
      kernel.divide_rows(pass(W, matrix, found), row<real_t>(inputs_.L, matrix, n), has_column.get(), begin, end);
      undecided.add(matrix, found);
    });
    auto* entries = W.template mutable_data_ptr<scalar_t>();
    undecided.decide(
        inputs_,
        noise_,
        [&](int64_t i, int64_t j) { return std::pair(i, columns_[j]); },
        [&](int64_t matrix, int64_t i, int64_t j) { entries[(matrix * n + i) * k_ + j] = 0; });
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
      const auto used_gV = columns.of(gV, -1);
      for_each_row_block(inputs.count, n, [&](int64_t i, int64_t begin, int64_t end) {
        auto rows = W[i].slice(0, begin, end);
        at::mm_out(rows, V[i].mH().slice(0, begin, end), used_gV[i]);
      });
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
    // V inner V^H is the Hermitian part of V B V_used^H, B the used columns, those entries twice that have no partner among them.
    result = at::empty({inputs.count, n, n}, V.options());
    const auto used_V = columns.of(V, -1);
    for_each_row_block(inputs.count, n, [&](int64_t i, int64_t begin, int64_t end) {
      auto rows = result[i].slice(0, begin, end);
      at::mm_out(rows, at::mm(V[i].slice(0, begin, end), W[i]), used_V[i].mH());
    });
    make_hermitian(result, /*from_lower=*/false);
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
