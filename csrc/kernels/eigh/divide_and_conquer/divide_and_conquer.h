#pragma once

#include "kernels/eigh/divide_and_conquer/merge.h"
#include "kernels/eigh/implicit_ql.h"

#include <cmath>
#include <cstdint>
#include <cstring>

// Divide and conquer for a real symmetric tridiagonal matrix. The smallest parts are decomposed by the QL algorithm,
// one part in each SIMD lane.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The largest size of a part that is not divided further, and the same for a block of up to `short_block` rows, where
/// more lanes are free. Measurements are in docs/measurements.md.
inline constexpr int largest_leaf = 16;
inline constexpr int largest_leaf_of_short_block = 12;
inline constexpr int short_block = 96;

/// The workspace of the QL algorithm.
template <typename T>
struct Leaves {
  static constexpr int row = (largest_leaf | 1) * lane_count<T>;
  T* d;
  T* e;
  T* Q;
  T* rotations;

  static constexpr int64_t workspace_size() {
    return 2 * largest_leaf * lane_count<T> + static_cast<int64_t>(largest_leaf) * row +
        Rotations<T>::workspace_size(largest_leaf);
  }
  explicit Leaves(Memory<T>& memory)
      : d(memory.row(largest_leaf)),
        e(memory.row(largest_leaf)),
        Q(memory.take(static_cast<int64_t>(largest_leaf) * row)),
        rotations(memory.take(Rotations<T>::workspace_size(largest_leaf))) {}
};

template <typename T>
class DivideAndConquer {
 public:
  static int64_t workspace_size(int n) {
    return Leaves<T>::workspace_size() + Merge<T>::workspace_size(n);
  }
  static constexpr int integers_per_row = Merge<T>::integers_per_row + 2;

  /// `integers` has room for n times `integers_per_row`.
  DivideAndConquer(int n, Memory<T>& memory, int* integers, const Tasks& tasks)
      : leaves_(memory),
        merge_(n, memory, integers + static_cast<int64_t>(2) * n, tasks),
        order_(integers),
        sorted_(integers + n) {}

  /// Decomposes the matrix with the diagonal `d` (n) and the off-diagonal `e` (n - 1), whose largest entry is about 1.
  /// Writes the eigenvalues to `d` and the eigenvectors to the rows of `Z` (n x n), and overwrites `e`. Returns their
  /// ascending order; null if the QL algorithm did not converge.
  const int* operator()(int n, T* d, T* e, T* Z) {
    std::memset(Z, 0, sizeof(T) * static_cast<size_t>(n) * static_cast<size_t>(n));
    const TridiagonalSpectrum<T> spectrum{n, d, e, Z, order_};
    int end = 0;
    for (int begin = 0; begin < n; begin = end) {
      for (end = begin + 1; end < n && !is_negligible(d, e, end - 1); ++end) {
      }
      if (!decompose(spectrum, e, begin, end)) {
        return nullptr;
      }
      merge_orders(d, order_, order_ + begin, order_ + begin, order_ + end, sorted_);
      std::memcpy(order_, sorted_, sizeof(int) * static_cast<size_t>(end));
    }
    return order_;
  }

 private:
  /// Whether entry `i` of the off-diagonal is negligible, so that it divides T into independent blocks.
  static bool is_negligible(const T* d, const T* e, int i) {
    const T beside = std::sqrt(std::abs(d[i])) * std::sqrt(std::abs(d[i + 1]));
    return std::abs(e[i]) <= tolerances::off_diagonal<T> * beside + tolerances::negligible<T>;
  }

  /// Decomposes a block of T. It may be small beside others, so it has a unit of its own.
  bool decompose(const TridiagonalSpectrum<T>& spectrum, T* e, int begin, int end) {
    T* d = spectrum.d;
    if (end - begin == 1) {
      spectrum.eigenvector(begin)[begin] = T(1);
      spectrum.order[begin] = begin;
      return true;
    }
    T largest = 0;
    for (int i = begin; i < end; ++i) {
      largest = larger_of(largest, std::abs(d[i]));
      largest = i + 1 < end ? larger_of(largest, std::abs(e[i])) : largest;
    }
    const int exponent = std::ilogb(largest);
    const T unit = std::ldexp(T(1), exponent);
    multiply(d, begin, end, T(1) / unit);
    multiply(e, begin, end - 1, T(1) / unit);
    Division division{begin, end, 1};
    const int largest_part = end - begin <= short_block ? largest_leaf_of_short_block : largest_leaf;
    while (end - begin > division.parts * largest_part) {
      division.parts *= 2;
    }
    for (int part = 1; part < division.parts; ++part) {
      const int i = division[part];
      d[i - 1] -= std::abs(e[i - 1]);
      d[i] -= std::abs(e[i - 1]);
    }
    for (int first = 0; first < division.parts; first += lane_count<T>) {
      if (!decompose_leaves(spectrum, division, first)) {
        return false;
      }
    }
    for (int half = 1; half < division.parts; half *= 2) {
      for (int part = 0; part < division.parts; part += 2 * half) {
        merge_(spectrum, {division[part], division[part + half], division[part + 2 * half]});
      }
    }
    multiply(d, begin, end, unit);
    return true;
  }

  /// Decomposes parts `first`, `first` + 1, ..., one in each lane; the lanes that are left repeat the last part. Rows
  /// beyond the end of a part are zero.
  bool decompose_leaves(const TridiagonalSpectrum<T>& spectrum, const Division& division, int first) {
    constexpr int W = lane_count<T>;
    const int rows = (division.end - division.begin + division.parts - 1) / division.parts;
    const int last = division.parts - 1;
    for (int lane = 0; lane < W; ++lane) {
      const int part = first + lane < last ? first + lane : last;
      const int begin = division[part];
      const int size = division[part + 1] - begin;
      for (int i = 0; i < rows; ++i) {
        leaves_.d[i * W + lane] = i < size ? spectrum.d[begin + i] : T(0);
        leaves_.e[i * W + lane] = i + 1 < size ? spectrum.e[begin + i] : T(0);
      }
    }
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < rows; ++j) {
        store(leaves_.Q + i * leaves_.row + j * W, Vec<T>(T(i == j)));
      }
    }
    const Columns<T, 1> columns{leaves_.Q, leaves_.row, rows};
    const Rotations<T> rotations{leaves_.rotations, rows};
    const Vec<T> size[1] = {Vec<T>(T(1))};
    if (!implicit_ql<T, 1, 1>(rows, leaves_.d, leaves_.e, &columns, &rotations, size)) {
      return false;
    }
    for (int lane = 0; lane < W && first + lane <= last; ++lane) {
      const int begin = division[first + lane];
      const int count = division[first + lane + 1] - begin;
      for (int i = 0; i < count; ++i) {
        spectrum.d[begin + i] = leaves_.d[i * W + lane];
        spectrum.order[begin + i] = begin + i;
        T* to = spectrum.eigenvector(begin + i) + begin;
        for (int j = 0; j < count; ++j) {
          to[j] = leaves_.Q[j * leaves_.row + i * W + lane];
        }
      }
      sort_order(spectrum.d, spectrum.order + begin, count);
    }
    return true;
  }

  static void multiply(T* x, int begin, int end, T factor) {
    for (int i = begin; i < end; ++i) {
      x[i] *= factor;
    }
  }

  Leaves<T> leaves_;
  Merge<T> merge_;
  int* order_;
  int* sorted_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
