#pragma once

#include "kernels/blas/multiply.h"
#include "kernels/eigh/divide_and_conquer/secular_equation.h"
#include "kernels/eigh/divide_and_conquer/tridiagonal_spectrum.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>

// The step of divide and conquer: the spectrum of a tridiagonal matrix from those of its two halves.
//
// J. J. M. Cuppen, A divide and conquer method for the symmetric tridiagonal eigenproblem, Numer. Math. 36, 177-195
// (1981); deflation as in LAPACK: J. D. Rutter, A serial implementation of Cuppen's divide and conquer algorithm for the
// symmetric eigenvalue problem, LAPACK Working Note 69 (1994).
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The rows where the two halves of a block begin and end.
struct Halves {
  int begin;
  int middle;
  int end;
};

template <typename T>
class Merge {
 public:
  static int64_t workspace_size(int n) {
    const int64_t row = padded_row(n);
    return 8 * row + 2 * n * row + static_cast<int64_t>(n) * n;
  }
  static constexpr int integers_per_row = 5;

  Merge(int n, Memory<T>& memory, int* integers)
      : z_(memory.take(padded_row(n))),
        poles_(memory.take(padded_row(n))),
        squares_(memory.take(padded_row(n))),
        left_(memory.take(padded_row(n))),
        right_(memory.take(padded_row(n))),
        roots_(memory.take(padded_row(n))),
        dropped_values_(memory.take(padded_row(n))),
        sizes_(memory.take(padded_row(n))),
        differences_(memory.take(n * padded_row(n))),
        factors_(memory.take(n * padded_row(n))),
        rows_(memory.take(static_cast<int64_t>(n) * n)),
        support_(integers),
        kept_(integers + n),
        dropped_(integers + 2 * n),
        place_(integers + 3 * n),
        merged_(integers + 4 * n) {}

  /// Replaces the spectra of the two halves by the spectrum of the block.
  void operator()(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const T beta = spectrum.e[halves.middle - 1];
    rho_ = 2 * std::abs(beta);
    find_z(spectrum, halves, beta < 0);
    deflate(spectrum, halves);
    move_rows_out(spectrum, halves);
    if (kept_count_ > 0) {
      solve();
      find_factors();
      multiply_rows(spectrum, halves);
    }
    move_dropped_rows_back(spectrum, halves);
  }

 private:
  /// The part of a block in which an eigenvector is not zero.
  enum Support { first_half, both_halves, second_half };

  static int64_t padded_row(int n) {
    constexpr int W = lane_count<T>;
    return static_cast<int64_t>(n + W - 1) / W * W;
  }

  /// In the basis of the eigenvectors of the halves, the block is diag(d) + rho z z^T, |z| = 1.
  void find_z(const TridiagonalSpectrum<T>& spectrum, const Halves& halves, bool is_negative) {
    const T first = static_cast<T>(std::numbers::sqrt2 / 2);
    const T second = is_negative ? -first : first;
    for (int i = halves.begin; i < halves.middle; ++i) {
      z_[i] = first * spectrum.eigenvector(i)[halves.middle - 1];
      support_[i] = first_half;
    }
    for (int i = halves.middle; i < halves.end; ++i) {
      z_[i] = second * spectrum.eigenvector(i)[halves.middle];
      support_[i] = second_half;
    }
  }

  /// Finds the eigenvalues that the halves share with the block, up to round-off: those with a negligible entry of z,
  /// and one of two that are so close that a rotation of their eigenvectors makes its entry zero. The others are kept.
  void deflate(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const auto [begin, middle, end] = halves;
    T* d = spectrum.d;
    T largest = 0;
    for (int i = begin; i < end; ++i) {
      largest = larger_of(larger_of(largest, std::abs(d[i])), std::abs(z_[i]));
    }
    const T negligible = tolerances::deflation<T> * largest;
    const int* order = spectrum.order;
    merge_orders(d, order + begin, order + middle, order + middle, order + end, merged_);
    kept_count_ = 0;
    dropped_count_ = 0;
    int before = -1; // the last one that may be kept
    for (int k = 0; k < end - begin; ++k) {
      const int i = merged_[k];
      if (rho_ * std::abs(z_[i]) <= negligible) {
        dropped_[dropped_count_++] = i;
        continue;
      }
      if (before >= 0) {
        const T size = std::sqrt(z_[i] * z_[i] + z_[before] * z_[before]);
        const T cosine = z_[i] / size;
        const T sine = -z_[before] / size;
        if (std::abs((d[i] - d[before]) * cosine * sine) <= negligible) {
          z_[i] = size;
          rotate(spectrum, halves, before, i, cosine, sine);
          dropped_[dropped_count_++] = before;
        } else {
          kept_[kept_count_++] = before;
        }
      }
      before = i;
    }
    if (before >= 0) {
      kept_[kept_count_++] = before;
    }
  }

  void rotate(const TridiagonalSpectrum<T>& spectrum, const Halves& halves, int a, int b, T cosine, T sine) {
    support_[b] = support_[a] == support_[b] ? support_[b] : static_cast<int>(both_halves);
    T* x = spectrum.eigenvector(a);
    T* y = spectrum.eigenvector(b);
    for (int j = halves.begin; j < halves.end; ++j) {
      const T old = x[j];
      x[j] = cosine * old + sine * y[j];
      y[j] = cosine * y[j] - sine * old;
    }
    T* d = spectrum.d;
    const T cosine_squared = cosine * cosine;
    const T sine_squared = sine * sine;
    const T d_a = d[a];
    d[a] = d_a * cosine_squared + d[b] * sine_squared;
    d[b] = d_a * sine_squared + d[b] * cosine_squared;
  }

  /// Copies the eigenvectors of the halves to `rows_`: the first halves of kept ones, the second halves, and whole
  /// dropped ones. Kept ones are sorted by their support; `place_` says where each one is.
  void move_rows_out(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const auto [begin, middle, end] = halves;
    int counts[3] = {0, 0, 0};
    for (int k = 0; k < kept_count_; ++k) {
      ++counts[support_[kept_[k]]];
    }
    first_only_ = counts[first_half];
    in_first_ = first_only_ + counts[both_halves];
    int next[3] = {0, first_only_, in_first_};
    T* second_rows = rows_ + static_cast<int64_t>(in_first_) * (middle - begin);
    T* dropped_rows = second_rows + static_cast<int64_t>(kept_count_ - first_only_) * (end - middle);
    for (int k = 0; k < kept_count_; ++k) {
      const int i = kept_[k];
      const T* from = spectrum.eigenvector(i);
      const int to = next[support_[i]]++;
      place_[k] = to;
      if (to < in_first_) {
        copy(from + begin, middle - begin, rows_ + static_cast<int64_t>(to) * (middle - begin));
      }
      if (to >= first_only_) {
        copy(from + middle, end - middle, second_rows + static_cast<int64_t>(to - first_only_) * (end - middle));
      }
      poles_[k] = spectrum.d[i];
      squares_[k] = z_[i] * z_[i];
    }
    for (int k = 0; k < dropped_count_; ++k) {
      dropped_values_[k] = spectrum.d[dropped_[k]];
      copy(
          spectrum.eigenvector(dropped_[k]) + begin,
          end - begin,
          dropped_rows + static_cast<int64_t>(k) * (end - begin));
    }
    second_rows_ = second_rows;
    dropped_rows_ = dropped_rows;
  }

  void solve() {
    const int count = kept_count_;
    row_ = static_cast<int>(padded_row(count));
    T sum = 0;
    for (int k = 0; k < count; ++k) {
      sum += squares_[k];
    }
    for (int k = 0; k < row_; ++k) {
      const int i = k < count ? k : count - 1;
      left_[k] = poles_[i];
      right_[k] = i + 1 < count ? poles_[i + 1] : poles_[i] + rho_ * sum;
    }
    for (int k = count; k < row_; ++k) {
      poles_[k] = T(0);
    }
    const SecularEquation<T> equation{count, T(1) / rho_, poles_, squares_, left_, right_};
    for (int first = 0; first < count; first += lane_count<T>) {
      solve_secular_equation(equation, first, roots_, differences_, row_);
    }
    for (int k = 0; k < count; ++k) {
      const T size = size_for_roots(equation, k, differences_ + static_cast<int64_t>(k) * row_);
      sizes_[k] = std::copysign(size, z_[kept_[k]]);
    }
  }

  /// Writes the eigenvectors of diag(d) + rho z z^T, z_j/(d_j - x), as the columns of `factors_`.
  void find_factors() {
    const int count = kept_count_;
    const Vec<T> one(T(1));
    // The squares of a column are summed in groups, so that round-off does not grow with their number.
    constexpr int group = 16;
    for (int first = 0; first < row_; first += lane_count<T>) {
      const T* from = differences_ + first;
      T* to = factors_ + first;
      Vec<T> sum(T(0));
      for (int begin = 0; begin < count; begin += group) {
        Vec<T> part(T(0));
        const int end = begin + group < count ? begin + group : count;
        int j = begin;
        for (; j + 2 <= end; j += 2) {
          const auto a = load(from + static_cast<int64_t>(j) * row_);
          const auto b = load(from + static_cast<int64_t>(j + 1) * row_);
          const auto inverse = one / (a * b);
          const auto x = Vec<T>(sizes_[j]) * (inverse * b);
          const auto y = Vec<T>(sizes_[j + 1]) * (inverse * a);
          part = fma(y, y, fma(x, x, part));
          store(to + static_cast<int64_t>(place_[j]) * row_, x);
          store(to + static_cast<int64_t>(place_[j + 1]) * row_, y);
        }
        if (j < end) {
          const auto x = Vec<T>(sizes_[j]) / load(from + static_cast<int64_t>(j) * row_);
          part = fma(x, x, part);
          store(to + static_cast<int64_t>(place_[j]) * row_, x);
        }
        sum = sum + part;
      }
      const auto inverse_norm = one / sum.sqrt();
      for (int j = 0; j < count; ++j) {
        T* x = to + static_cast<int64_t>(j) * row_;
        store(x, load(x) * inverse_norm);
      }
    }
  }

  /// Writes the new eigenvalues and eigenvectors to the first rows of the block.
  void multiply_rows(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const int n = spectrum.n;
    T* to = spectrum.eigenvector(halves.begin);
    const auto multiply_part = [&](int first_factor, int count, const T* rows, int column, int width) {
      if (count > 0) {
        const Matrices<T> factors{factors_ + static_cast<int64_t>(first_factor) * row_, 1, row_};
        kernels::multiply<T>(kept_count_, width, count, factors, {rows, width, 1}, to + column, n);
        return;
      }
      for (int k = 0; k < kept_count_; ++k) {
        std::memset(to + static_cast<int64_t>(k) * n + column, 0, sizeof(T) * static_cast<size_t>(width));
      }
    };
    multiply_part(0, in_first_, rows_, halves.begin, halves.middle - halves.begin);
    multiply_part(first_only_, kept_count_ - first_only_, second_rows_, halves.middle, halves.end - halves.middle);
    copy(roots_, kept_count_, spectrum.d + halves.begin);
  }

  void move_dropped_rows_back(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const int width = halves.end - halves.begin;
    const int first = halves.begin + kept_count_;
    for (int k = 0; k < dropped_count_; ++k) {
      copy(dropped_rows_ + static_cast<int64_t>(k) * width, width, spectrum.eigenvector(first + k) + halves.begin);
    }
    copy(dropped_values_, dropped_count_, spectrum.d + first);
    // Kept values are in order already, and dropped ones nearly.
    for (int k = 0; k < width; ++k) {
      merged_[k] = halves.begin + k;
    }
    int* dropped = merged_ + kept_count_;
    sort_order(spectrum.d, dropped, dropped_count_);
    merge_orders(spectrum.d, merged_, dropped, dropped, merged_ + width, spectrum.order + halves.begin);
  }

  static void copy(const T* from, int count, T* to) {
    std::memcpy(to, from, sizeof(T) * static_cast<size_t>(count));
  }

  T rho_ = 0;
  int kept_count_ = 0;
  int dropped_count_ = 0;
  int first_only_ = 0; // kept eigenvectors of the first half alone
  int in_first_ = 0; // kept eigenvectors that are not zero in the first half
  int row_ = 0; // distance between rows of `differences_` and `factors_`

  T* z_; // by index, as `support_`
  T* poles_; // by position in `kept_`, as `squares_` to `sizes_` and `place_`
  T* squares_;
  T* left_;
  T* right_;
  T* roots_;
  T* dropped_values_;
  T* sizes_;
  T* differences_;
  T* factors_;
  T* rows_;
  const T* second_rows_ = nullptr;
  const T* dropped_rows_ = nullptr;
  int* support_;
  int* kept_;
  int* dropped_;
  int* place_;
  int* merged_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
