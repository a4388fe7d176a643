#pragma once

#include "kernels/lanes/entry.h"

// Reduction of Hermitian matrices to real tridiagonal form by Householder reflections, from the last row up.
//
// G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., section 8.3.1. A passes through the cache once for each
// reflection: the update by one is made in the same pass as the product with the next.
namespace spectralgrad::kernels::lanes {
inline namespace CPU_CAPABILITY {

/// Memory of one group of matrices, one in each lane; entries of `parts` numbers per lane.
template <typename T, bool is_complex>
struct Group {
  static constexpr int parts = is_complex ? 2 : 1;
  static constexpr int entry = parts * lane_count<T>;

  int n;
  int row; // numbers from one row to the next: not a multiple of a page
  T* A; // the lower triangle; after the reduction, row i holds the reflection's vector
  T* Q; // what is multiplied: n x n
  T* reciprocals; // n: 1/h of H = I - v v^H/h
  T* phases; // n entries, complex only
  T* scratch; // 2n entries

  SPECTRALGRAD_INLINE T* at(T* matrix, int i, int j) const {
    return matrix + i * row + j * entry;
  }
};

/// The reflection H that leaves of row `i` of A, left of the diagonal, the last entry only; v takes the row's place. Returns
/// that entry made real; what makes it so becomes the i-th phase.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Vec<T> reflect(const Group<T, is_complex>& group, int i) {
  using G = Group<T, is_complex>;
  const Vec<T> zero(T(0));
  const Vec<T> one(T(1));
  const Vec<T> nothing(Tolerance<T>::nothing);
  T* x = group.at(group.A, i, 0);
  T* last = group.at(group.A, i, i - 1);
  auto tail = zero;
  for (T* entry = x; entry != last; entry += G::entry) {
    tail = add_squared(load_entry<T, is_complex>(entry), tail);
  }
  // What has a square that may have underflowed is dropped: it is nothing beside the largest entry.
  const auto reflects = nothing < tail;
  for (T* entry = x; entry != last; entry += G::entry) {
    store_entry(entry, where_entry(reflects, conj(load_entry<T, is_complex>(entry))));
  }
  const auto alpha = load_entry<T, is_complex>(last);
  const auto finish = [&](const Vec<T>& size, const Vec<T>& norm) {
    const auto length = norm + size;
    store(group.reciprocals + i * lane_count<T>, where(reflects, one / select(reflects, norm * length, one)));
    return length;
  };
  if constexpr (is_complex) {
    const auto alpha_squared = squared(alpha);
    const auto there = nothing < alpha_squared;
    const auto root = select(there, alpha_squared, one).sqrt();
    const auto size = where(there, root);
    const auto norm = select(reflects, fma(size, size, tail).sqrt(), size);
    const auto inverse = one / root;
    const Complex<T> phase{select(there, alpha.re * inverse, one), where(there, alpha.im * inverse)};
    store_entry(last, where_entry(reflects, scale(conj(phase), finish(size, norm))));
    store_entry(group.phases + i * G::entry, scale(phase, select(reflects, zero - one, one)));
    return norm;
  } else {
    const auto size = alpha.abs();
    const auto norm = select(reflects, fma(size, size, tail).sqrt(), size);
    store(last, where(reflects, with_sign_of(alpha, finish(size, norm))));
    return select(reflects, zero - with_sign_of(alpha, norm), alpha);
  }
}

/// What the passes over A read and write.
template <typename T>
struct Pass {
  const T* v_before; // of the reflection whose update is still to be made
  const T* w_before;
  const T* v; // of the one to multiply by
  T* p; // A v
};

/// Rows `first` ... `first` + rows - 1 of A: A -= v_before w_before^H + w_before v_before^H, and their part of p = A v.
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
    sum[r] = scale(v_row[r], Vec<T>(T(0)));
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
      const auto x = updated(r, first + c, v_before_row[c], w_before_row[c]);
      if (c == r) {
        sum[r] = add_scaled(v_row[r], real(x), sum[r]);
      } else {
        sum[r] = add_product(x, v_row[c], sum[r]);
        sum[c] = add_conj_product(x, v_row[r], sum[c]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    store_entry(pass.p + (first + r) * G::entry, sum[r]);
  }
}

/// The same for the leading i x i block.
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

/// A = Q T Q^H: leaves the reflections in A, the diagonal of T in d and what is beside it in e, n and n - 1 numbers `stride`
/// apart.
template <typename T, bool is_complex>
void tridiagonalize(const Group<T, is_complex>& group, T* d, T* e, int stride) {
  using G = Group<T, is_complex>;
  const auto n = group.n;
  T* w_before = group.scratch;
  T* p = group.scratch + n * G::entry;
  // A -= v w^H + w v^H in row i, which is the next to be read.
  const auto update_row = [&](int i) {
    const T* v_before = group.at(group.A, i + 1, 0);
    const auto v_row = load_entry<T, is_complex>(v_before + i * G::entry);
    const auto w_row = load_entry<T, is_complex>(w_before + i * G::entry);
    for (int c = 0; c <= i; ++c) {
      T* to = group.at(group.A, i, c);
      auto x = load_entry<T, is_complex>(to);
      x = subtract_product_conj(v_row, load_entry<T, is_complex>(w_before + c * G::entry), x);
      store_entry(to, subtract_product_conj(w_row, load_entry<T, is_complex>(v_before + c * G::entry), x));
    }
  };
  for (int i = n - 1; i >= 0; --i) {
    if (i < n - 1) {
      update_row(i);
    }
    store(d + i * stride, real(load_entry<T, is_complex>(group.at(group.A, i, i))));
    if (i == 0) {
      break;
    }
    store(e + (i - 1) * stride, reflect(group, i));
    const Pass<T> pass{group.at(group.A, i + 1 < n ? i + 1 : i, 0), w_before, group.at(group.A, i, 0), p};
    if (i < n - 1) {
      update_and_multiply<T, is_complex, true>(group, pass, i);
    } else {
      update_and_multiply<T, is_complex, false>(group, pass, i);
    }
    const auto reciprocal = load(group.reciprocals + i * lane_count<T>);
    Vec<T> product(T(0));
    for (int c = 0; c < i; ++c) {
      product = add_real_product(
          load_entry<T, is_complex>(pass.v + c * G::entry),
          load_entry<T, is_complex>(p + c * G::entry),
          product);
    }
    const auto half = Vec<T>(T(0.5)) * product * reciprocal * reciprocal;
    for (int c = 0; c < i; ++c) {
      const auto w = scale(load_entry<T, is_complex>(p + c * G::entry), reciprocal);
      store_entry(w_before + c * G::entry, subtract_scaled(load_entry<T, is_complex>(pass.v + c * G::entry), half, w));
    }
  }
}

/// Columns `first` ... of Q become those of H Q, H the reflection of row i.
template <typename T, bool is_complex, int columns>
SPECTRALGRAD_INLINE void reflect_columns(const Group<T, is_complex>& group, int i, int first) {
  using G = Group<T, is_complex>;
  using E = Entry<T, is_complex>;
  const auto reciprocal = load(group.reciprocals + i * lane_count<T>);
  const T* v = group.at(group.A, i, 0);
  E product[columns];
  for (int c = 0; c < columns; ++c) {
    product[c] = scale(load_entry<T, is_complex>(v), Vec<T>(T(0)));
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

/// Q of A = Q T Q^H, from what `tridiagonalize` left.
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
      phase = add_product(phase, turn, Complex<T>{zero, zero});
      for (int r = 0; r < n; ++r) {
        T* to = group.at(group.Q, r, c);
        store_entry(to, add_product(load_entry<T, true>(to), phase, Complex<T>{zero, zero}));
      }
    }
  }
}

} // namespace CPU_CAPABILITY
} // namespace spectralgrad::kernels::lanes
