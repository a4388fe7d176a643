#pragma once

#include "kernels/simd/load_matrices.h"
#include "kernels/simd/memory.h"
#include "kernels/svd_vjp/svd_vjp_batch.h"

// The cotangents of singular vectors, one matrix in each lane, and the sizes that the noise gate and the checks of the
// loss compare with (math/svd.h, math/pairs/noise_gate.h).
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The singular vectors X of one side, their cotangent gX, and the size of W = X^H gX.
template <typename T, bool is_complex>
class LaneSide {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;
  using E = Entry<T, is_complex>;

  static int64_t workspace_size(int rows, int columns) {
    // X and gX, their moduli, |X|^T |gX| and the norms.
    return (static_cast<int64_t>(rows) * (2 * entry + 2 * W) + static_cast<int64_t>(columns) * W) * (columns | 1) +
        static_cast<int64_t>(columns) * W;
  }

  LaneSide(int rows, int columns, bool has_cotangent, Memory<T>& memory)
      : rows(rows),
        columns(columns),
        has_cotangent(has_cotangent),
        X(rectangle(memory, rows, entry)),
        gX(rectangle(memory, rows, entry)),
        norms(memory.row(columns)),
        X_sizes_(rectangle(memory, rows, W)),
        gX_sizes_(rectangle(memory, rows, W)),
        products_(rectangle(memory, columns, W)) {}

  /// Loads `rows` x `columns` matrices, or their conjugates; `known_count` is the number of their entries, or 0.
  template <int known_count>
  SPECTRALGRAD_INLINE void load(
      const SingularVectorBatch<T>& from,
      bool conjugated,
      const Members& members,
      const View<T>& to) {
    constexpr int parts = is_complex ? 2 : 1;
    const int numbers = rows * columns * parts;
    const Cursor<T, is_complex> to_numbers(from.by_rows ? to : to.transposed(), from.by_rows ? columns : rows);
    load_numbers<T, known_count * parts>(from.data, numbers, numbers, members, to_numbers);
    if (is_complex && conjugated) {
      for_each([&](int r, int c) { store_entry(to.at(r, c), conj(load_entry<T, is_complex>(to.at(r, c)))); });
    }
    has_products_ = false;
  }

  SPECTRALGRAD_INLINE E cotangent(int r, int c) const {
    return load_entry<T, is_complex>(gX.at(r, c));
  }

  /// A lower bound of the largest |gX_ij|, no less than 1/sqrt(2) of it.
  SPECTRALGRAD_INLINE Vec<T> largest_cotangent() const {
    Vec<T> largest(T(0));
    for_each([&](int r, int c) { largest = larger(largest, abs_lower_bound(cotangent(r, c))); });
    return largest;
  }

  SPECTRALGRAD_INLINE void scale_cotangent(const Vec<T>& factor) const {
    for_each([&](int r, int c) { store_entry(gX.at(r, c), scale(cotangent(r, c), factor)); });
  }

  /// Stores the norms of gX's columns, and returns the largest.
  SPECTRALGRAD_INLINE Vec<T> find_norms() const {
    Vec<T> most(T(0));
    for (int c = 0; c < columns; ++c) {
      Vec<T> sum(T(0));
      for (int r = 0; has_cotangent && r < rows; ++r) {
        sum = add_squared(cotangent(r, c), sum);
      }
      const auto norm = sum.sqrt();
      store(norms + c * W, norm);
      most = larger(most, norm);
    }
    return most;
  }

  /// N_ij of W, (|X|^T |gX| + its transpose)_ij.
  SPECTRALGRAD_INLINE Vec<T> magnitude(int i, int j) {
    if (!has_cotangent) {
      return Vec<T>(T(0));
    }
    find_products();
    return simd::load(products_.at(i, j)) + simd::load(products_.at(j, i));
  }

  /// N_rc of gX - X W, (|gX| + |X| |X|^T |gX|)_rc.
  SPECTRALGRAD_INLINE Vec<T> outer_magnitude(int r, int c) {
    find_products();
    auto sum = simd::load(gX_sizes_.at(r, c));
    for (int k = 0; k < columns; ++k) {
      sum = fma(simd::load(X_sizes_.at(r, k)), simd::load(products_.at(k, c)), sum);
    }
    return sum;
  }

  int rows;
  int columns;
  bool has_cotangent;
  View<T> X;
  View<T> gX;
  T* norms; // of the columns of gX, after `find_norms`

  static View<T> rectangle(Memory<T>& memory, int rows, int columns, int numbers) {
    const int64_t row = static_cast<int64_t>(columns | 1) * numbers;
    return {memory.take(rows * row), row, numbers};
  }

 private:
  View<T> rectangle(Memory<T>& memory, int count, int numbers) const {
    return rectangle(memory, count, columns, numbers);
  }

  template <typename F>
  SPECTRALGRAD_INLINE void for_each(const F& f) const {
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < columns; ++c) {
        f(r, c);
      }
    }
  }

  /// Computes |X|^T |gX|, which is needed only where bounds of N do not decide.
  SPECTRALGRAD_INLINE void find_products() {
    if (!has_products_) {
      compute_products();
    }
  }
  __attribute__((noinline)) void compute_products() {
    has_products_ = true;
    for_each([&](int r, int c) {
      store(X_sizes_.at(r, c), size_of(load_entry<T, is_complex>(X.at(r, c))));
      store(gX_sizes_.at(r, c), size_of(cotangent(r, c)));
    });
    multiply<T, false, Conjugated::none, Part::all>(columns, rows, X_sizes_.transposed(), gX_sizes_, products_);
  }

  View<T> X_sizes_;
  View<T> gX_sizes_;
  View<T> products_;
  bool has_products_ = false;
};

/// The cotangents of the decompositions in the lanes. L has m rows, R has n rows and columns.
template <typename T, bool is_complex>
struct LaneCotangents {
  static constexpr int W = lane_count<T>;
  using E = Entry<T, is_complex>;

  LaneSide<T, is_complex>& left;
  LaneSide<T, is_complex>& right;
  View<T> together; // W_L + W_R, n x n
  View<T> against; // W_L - W_R
  View<T> outer; // L W_L, m x n; only if `has_outer`
  bool has_outer; // whether L has a cotangent outside its range
  T* values; // sigma, descending
  T* values_cotangent;

  bool has_vectors() const {
    return left.has_cotangent || right.has_cotangent;
  }
  int count() const {
    return right.columns;
  }
  SPECTRALGRAD_INLINE Vec<T> value(int i) const {
    return load(values + i * W);
  }
  SPECTRALGRAD_INLINE Vec<T> value_cotangent(int i) const {
    return load(values_cotangent + i * W);
  }
  /// N_ij
  SPECTRALGRAD_INLINE Vec<T> magnitude(int i, int j) const {
    return left.magnitude(i, j) + right.magnitude(i, j);
  }
  /// A lower bound of N_ij, which usually decides. For a loss of U V^H, W_L + W_R is round-off, and W_L - W_R is not.
  SPECTRALGRAD_INLINE Vec<T> least_magnitude(int i, int j) const {
    const auto size = [](const View<T>& matrix, int r, int c) {
      return abs_lower_bound(load_entry<T, is_complex>(matrix.at(r, c)));
    };
    return larger(size(together, i, j), size(against, i, j)) + larger(size(together, j, i), size(against, j, i));
  }
  /// An entry of the part of gL outside the range of L.
  SPECTRALGRAD_INLINE E outer_part(int r, int c) const {
    return subtract_scaled(load_entry<T, is_complex>(outer.at(r, c)), Vec<T>(T(1)), left.cotangent(r, c));
  }
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
