#pragma once

#include "kernels/eigh/householder.h"

// Reduction of Hermitian matrices to real tridiagonal form by Householder reflections, from the last row up.
//
// G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., section 8.3.1. Each reflection takes one pass over A:
// the pass that applies the update of the previous reflection also computes the product A v for the current one.
//
// The round-off of single entries averages out, but the diagonal is rounded by every update, and it stays large if A is
// nearly diagonal. So the diagonal is kept in two words.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The vectors that a pass over A reads and writes.
template <typename T>
struct Pass {
  const T* v_before; // v and w of the previous reflection, whose update this pass applies
  const T* w_before;
  const T* v; // v of the current reflection
  T* p; // A v
};

/// Applies A -= v w^H + w v^H to diagonal entry (i, i), given the i-th entries of v and w. The entry is kept in two
/// words; the low word lies at (i, i + 1), in the unused upper triangle. Returns the high word. Without `update`, only
/// sets the low word to zero.
template <typename T, bool is_complex, bool update>
SPECTRALGRAD_INLINE Vec<T> update_diagonal(
    const Group<T, is_complex>& group,
    int i,
    const Entry<T, is_complex>& v,
    const Entry<T, is_complex>& w) {
  T* high = group.at(group.A, i, i);
  T* low = group.at(group.A, i, i + 1);
  const auto x = load(high);
  if constexpr (update) {
    const auto product = add_real_product(v, w, Vec<T>(T(0)));
    const auto change = product + product;
    const auto sum = x - change;
    // Two-sum: D. E. Knuth, The Art of Computer Programming, vol. 2, section 4.2.2, theorem B.
    const auto taken = x - sum;
    store(low, load(low) + ((x - (sum + taken)) - (change - taken)));
    store(high, sum);
    return sum;
  } else {
    store(low, Vec<T>(T(0)));
    return x;
  }
}

/// Applies A -= v_before w_before^H + w_before v_before^H, if `update`, to `rows` rows of the lower triangle from
/// `first` on, and adds their contribution to p = A v. Rows must come in ascending order.
template <typename T, bool is_complex, int rows, bool update>
SPECTRALGRAD_INLINE void update_and_multiply(const Group<T, is_complex>& group, const Pass<T>& pass, int first) {
  using G = Group<T, is_complex>;
  using E = Entry<T, is_complex>;
  const auto at = [](const T* x, int c) {
    return load_entry<T, is_complex>(x + c * G::entry);
  };
  E v_row[rows];
  E v_before_row[rows];
  E w_before_row[rows];
  E sum[rows];
  for (int r = 0; r < rows; ++r) {
    v_row[r] = at(pass.v, first + r);
    sum[r] = zero_entry<T, is_complex>();
    if constexpr (update) {
      v_before_row[r] = at(pass.v_before, first + r);
      w_before_row[r] = at(pass.w_before, first + r);
    }
  }
  T* A = group.at(group.A, first, 0);
  const auto updated = [&](int r, int c, const E& v_before, const E& w_before) {
    T* to = A + r * group.row + c * G::entry;
    auto x = load_entry<T, is_complex>(to);
    if constexpr (update) {
      x = subtract_product_conj(v_before_row[r], w_before, x);
      x = subtract_product_conj(w_before_row[r], v_before, x);
      store_entry(to, x);
    }
    return x;
  };
  for (int c = 0; c < first; ++c) {
    const auto v = at(pass.v, c);
    E v_before = v;
    E w_before = v;
    if constexpr (update) {
      v_before = at(pass.v_before, c);
      w_before = at(pass.w_before, c);
    }
    auto column = at(pass.p, c);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const auto x = updated(r, c, v_before, w_before);
      sum[r] = add_product(x, v, sum[r]);
      column = add_conj_product(x, v_row[r], column);
    }
    store_entry(pass.p + c * G::entry, column);
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c <= r; ++c) {
      if (c == r) {
        const auto x = update_diagonal<T, is_complex, update>(group, first + r, v_before_row[r], w_before_row[r]);
        sum[r] = add_scaled(v_row[r], x, sum[r]);
      } else {
        const auto x = updated(r, first + c, v_before_row[c], w_before_row[c]);
        sum[r] = add_product(x, v_row[c], sum[r]);
        sum[c] = add_conj_product(x, v_row[r], sum[c]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    store_entry(pass.p + (first + r) * G::entry, sum[r]);
  }
}

/// Does the same for all rows of the leading i x i block.
template <typename T, bool is_complex, bool update>
SPECTRALGRAD_INLINE void update_and_multiply(const Group<T, is_complex>& group, const Pass<T>& pass, int i) {
  constexpr int rows = is_complex ? 2 : 4;
  int first = 0;
  for (; first + rows <= i; first += rows) {
    update_and_multiply<T, is_complex, rows, update>(group, pass, first);
  }
  for (; first < i; ++first) {
    update_and_multiply<T, is_complex, 1, update>(group, pass, first);
  }
}

/// Reduces the matrices to real tridiagonal form, A = Q T Q^H. Leaves the reflections in `group`. Writes the diagonal
/// of T to `d` (n vectors) and the off-diagonal to `e` (n - 1 vectors), with successive vectors `stride` numbers apart.
template <typename T, bool is_complex>
void tridiagonalize(const Group<T, is_complex>& group, T* d, T* e, int stride) {
  using G = Group<T, is_complex>;
  const auto n = group.n;
  T* w_before = group.scratch;
  T* p = group.scratch + n * G::entry;
  // Applies the previous update to row i, because the next reflection reads that row.
  const auto update_row = [&](int i) {
    const T* v_before = group.at(group.A, i + 1, 0);
    const auto v_row = load_entry<T, is_complex>(v_before + i * G::entry);
    const auto w_row = load_entry<T, is_complex>(w_before + i * G::entry);
    for (int c = 0; c < i; ++c) {
      T* to = group.at(group.A, i, c);
      auto x = load_entry<T, is_complex>(to);
      x = subtract_product_conj(v_row, load_entry<T, is_complex>(w_before + c * G::entry), x);
      store_entry(to, subtract_product_conj(w_row, load_entry<T, is_complex>(v_before + c * G::entry), x));
    }
    update_diagonal<T, is_complex, true>(group, i, v_row, w_row);
  };
  // Rows that are negligible beside the diagonal, by LAPACK's criterion, are not reflected until the diagonal changes:
  // a reflection would round exact entries. The criterion for row i uses |a_ii| and the smallest |a_jj|, j < i. The
  // thresholds are stored in the place of the reciprocals until those are computed.
  auto least = load(group.at(group.A, 0, 0)).abs();
  for (int i = 1; i < n; ++i) {
    constexpr T little = tolerances::unreflected_row<T>;
    const auto here = load(group.at(group.A, i, i)).abs();
    store(group.reciprocal(i), here * Vec<T>(little * little) * least);
    least = smaller(least, here);
  }
  auto unchanged = negation<T>(Mask<T>(T(0)));
  for (int i = n - 1; i >= 0; --i) {
    if (i < n - 1) {
      update_row(i);
      store(d + i * stride, load(group.at(group.A, i, i)) + load(group.at(group.A, i, i + 1)));
    } else {
      store(d + i * stride, load(group.at(group.A, i, i)));
    }
    if (i == 0) {
      break;
    }
    const auto reflection = reflect(group, i, where(unchanged, load(group.reciprocal(i))));
    store(e + (i - 1) * stride, reflection.entry);
    const auto reciprocal = load(group.reciprocal(i));
    const auto reciprocal_low = load(group.reciprocal_low(i));
    unchanged = unchanged & (reciprocal == Vec<T>(T(0)));
    const Pass<T> pass{group.at(group.A, i + 1 < n ? i + 1 : i, 0), w_before, group.at(group.A, i, 0), p};
    if (i < n - 1) {
      update_and_multiply<T, is_complex, true>(group, pass, i);
    } else {
      update_and_multiply<T, is_complex, false>(group, pass, i);
    }
    // The upper bound: |v^H p| <= |A| |v|^2, and |A| <= 4n because real and imaginary parts are below 2, except for
    // entries close to overflow (see `Scale`).
    LongSum<T> product(reflection.squared_length * Vec<T>(T(4 * n)));
    add_dot<T, is_complex>(pass.v, p, i, product);
    // w = p/h - v v^H p/(2 h^2)
    const auto quotient = (product.high() + product.low()) * reciprocal;
    const auto half = Vec<T>(T(0.5)) * fma(quotient, reciprocal, (quotient + quotient) * reciprocal_low);
    for (int c = 0; c < i; ++c) {
      const auto p_c = load_entry<T, is_complex>(p + c * G::entry);
      const auto w = add_scaled(p_c, reciprocal, scale(p_c, reciprocal_low));
      store_entry(w_before + c * G::entry, subtract_scaled(load_entry<T, is_complex>(pass.v + c * G::entry), half, w));
    }
  }
}

/// Replaces `columns` columns of Q, from `first` on, by those of H Q, where H is the reflection of row i.
template <typename T, bool is_complex, int columns>
SPECTRALGRAD_INLINE void reflect_columns(const Group<T, is_complex>& group, int i, int first) {
  using G = Group<T, is_complex>;
  using E = Entry<T, is_complex>;
  const auto reciprocal = load(group.reciprocal(i));
  const T* v = group.at(group.A, i, 0);
  E product[columns];
  for (int c = 0; c < columns; ++c) {
    product[c] = zero_entry<T, is_complex>();
  }
  for (int r = 0; r < i; ++r) {
    const auto v_row = load_entry<T, is_complex>(v + r * G::entry);
#pragma GCC unroll 8
    for (int c = 0; c < columns; ++c) {
      product[c] = add_conj_product(v_row, load_entry<T, is_complex>(group.at(group.Q, r, first + c)), product[c]);
    }
  }
  for (int c = 0; c < columns; ++c) {
    product[c] = scale(product[c], reciprocal);
  }
  for (int r = 0; r < i; ++r) {
    const auto v_row = load_entry<T, is_complex>(v + r * G::entry);
#pragma GCC unroll 8
    for (int c = 0; c < columns; ++c) {
      T* to = group.at(group.Q, r, first + c);
      store_entry(to, subtract_product(v_row, product[c], load_entry<T, is_complex>(to)));
    }
  }
}

/// Forms Q of A = Q T Q^H from the reflections and phases that `tridiagonalize` left in `group`.
template <typename T, bool is_complex>
void form_q(const Group<T, is_complex>& group) {
  using G = Group<T, is_complex>;
  const auto n = group.n;
  const Vec<T> zero(T(0));
  for (int r = 0; r < n; ++r) {
    for (int c = 0; c < n * G::parts; ++c) {
      store(group.at(group.Q, r, 0) + c * lane_count<T>, zero);
    }
    store(group.at(group.Q, r, r), Vec<T>(T(1)));
  }
  constexpr int columns = is_complex ? 4 : 8;
  for (int i = 2; i < n; ++i) {
    int first = 0;
    for (; first + columns <= i; first += columns) {
      reflect_columns<T, is_complex, columns>(group, i, first);
    }
    for (; first < i; ++first) {
      reflect_columns<T, is_complex, 1>(group, i, first);
    }
  }
  if constexpr (is_complex) {
    Complex<T> phase{Vec<T>(T(1)), zero};
    for (int c = 1; c < n; ++c) {
      const auto turn = load_entry<T, true>(group.phases + c * G::entry);
      phase = add_product(phase, turn, zero_entry<T, true>());
      for (int r = 0; r < n; ++r) {
        T* to = group.at(group.Q, r, c);
        store_entry(to, add_product(load_entry<T, true>(to), phase, zero_entry<T, true>()));
      }
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
