#pragma once

#include "kernels/blas/multiply.h"
#include "kernels/eigh/divide_and_conquer/deflation.h"
#include "kernels/eigh/divide_and_conquer/lanes.h"
#include "kernels/eigh/divide_and_conquer/secular_equation.h"
#include "kernels/eigh/divide_and_conquer/tasks.h"

#include <cmath>
#include <cstdint>
#include <cstring>

// The step of divide and conquer: the spectrum of a tridiagonal matrix from those of its two halves.
//
// J. J. M. Cuppen, A divide and conquer method for the symmetric tridiagonal eigenproblem, Numer. Math. 36, 177-195
// (1981).
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// Merges the spectra of two halves: deflates, solves the secular equation, and multiplies the eigenvectors of the
/// halves by those of diag(d) + rho z z^T.
template <typename T>
class Merge {
 public:
  /// The workspace for vectors, and for each row of a block in a matrix of `n` rows. Blocks with at most half of the
  /// rows need only the latter.
  static int64_t workspace_of_vectors(int n) {
    return static_cast<int64_t>(7) * padded<T>(n);
  }
  static int64_t workspace_of_row(int n) {
    return static_cast<int64_t>(2) * padded<T>(n);
  }
  static constexpr int integers_per_row = Deflation<T>::integers_per_row + 1;

  /// For a block of `size` rows. `z` and `support` are those of `Deflation`.
  Merge(int size, T* z, int* support, Memory<T> memory, int* integers, const Tasks& tasks)
      : tasks_(tasks),
        deflation_(size, z, support, integers),
        poles_(memory.take(padded<T>(size))),
        squares_(memory.take(padded<T>(size))),
        left_(memory.take(padded<T>(size))),
        right_(memory.take(padded<T>(size))),
        roots_(memory.take(padded<T>(size))),
        dropped_values_(memory.take(padded<T>(size))),
        sizes_(memory.take(padded<T>(size))),
        factors_(memory.take(static_cast<int64_t>(size) * padded<T>(size))),
        rows_(memory.take(static_cast<int64_t>(size) * size)),
        place_(integers + static_cast<int64_t>(Deflation<T>::integers_per_row) * size) {}

  /// Replaces the spectra of the two halves by the spectrum of the block.
  void operator()(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    deflation_(spectrum, halves);
    move_rows_out(spectrum, halves);
    if (deflation_.kept_count > 0) {
      solve();
      find_factors();
      multiply_rows(spectrum, halves);
    }
    move_dropped_rows_back(spectrum, halves);
  }

 private:
  /// Copies the eigenvectors of the halves to `rows_`: the first halves of kept ones, the second halves, and whole
  /// dropped ones. Kept ones are sorted by their support; `place_` says where each one is.
  void move_rows_out(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const auto& [rho, z, support, kept_count, dropped_count, kept, dropped, merged] = deflation_;
    int counts[3] = {0, 0, 0};
    for (int k = 0; k < kept_count; ++k) {
      ++counts[support[kept[k]]];
    }
    first_only_ = counts[first_half];
    in_first_ = first_only_ + counts[both_halves];
    int next[3] = {0, first_only_, in_first_};
    const auto row_of = [](T* rows, int row, int size) {
      return rows + static_cast<int64_t>(row) * size;
    };
    T* second_rows = row_of(rows_, in_first_, halves.first_size());
    T* dropped_rows = row_of(second_rows, kept_count - first_only_, halves.second_size());
    for (int k = 0; k < kept_count; ++k) {
      const int i = kept[k];
      place_[k] = next[support[i]]++;
      poles_[k] = spectrum.d[i];
      squares_[k] = z[i] * z[i];
    }
    tasks_(Division{0, kept_count, task_count(kept_count)}, [&](int begin, int end) {
      for (int k = begin; k < end; ++k) {
        const int to = place_[k];
        const T* from = spectrum.eigenvector(deflation_.kept[k]);
        if (to < in_first_) {
          copy(from + halves.begin, halves.first_size(), row_of(rows_, to, halves.first_size()));
        }
        if (to >= first_only_) {
          copy(from + halves.middle, halves.second_size(), row_of(second_rows, to - first_only_, halves.second_size()));
        }
      }
    });
    for (int k = 0; k < dropped_count; ++k) {
      const T* from = spectrum.eigenvector(dropped[k]);
      dropped_values_[k] = spectrum.d[dropped[k]];
      copy(from + halves.begin, halves.size(), row_of(dropped_rows, k, halves.size()));
    }
    second_rows_ = second_rows;
    dropped_rows_ = dropped_rows;
  }

  void solve() {
    const int count = deflation_.kept_count;
    row_ = padded<T>(count);
    T sum = 0;
    for (int k = 0; k < count; ++k) {
      sum += squares_[k];
    }
    for (int k = 0; k < row_; ++k) {
      const int i = k < count ? k : count - 1;
      left_[k] = poles_[i];
      right_[k] = i + 1 < count ? poles_[i + 1] : poles_[i] + deflation_.rho * sum;
    }
    for (int k = count; k < row_; ++k) {
      poles_[k] = T(0);
    }
    const SecularEquation<T> equation{count, T(1) / deflation_.rho, poles_, squares_, left_, right_};
    for_registers([&](int first) { solve_secular_equation(equation, first, roots_, factors_, row_, place_); });
    tasks_(Division{0, count, task_count(count)}, [&](int begin, int end) {
      for (int k = begin; k < end; ++k) {
        const T size = size_for_roots(equation, k, factors_ + static_cast<int64_t>(place_[k]) * row_);
        sizes_[k] = std::copysign(size, deflation_.z[deflation_.kept[k]]);
      }
    });
  }

  /// Runs f(first) for each register of `row_` numbers, which begins with number `first`.
  template <typename F>
  void for_registers(const F& f) const {
    constexpr int W = lane_count<T>;
    tasks_(Division{0, row_ / W, task_count(row_)}, [&](int begin, int end) {
      for (int i = begin; i < end; ++i) {
        f(i * W);
      }
    });
  }

  /// Replaces the differences d_j - x in `factors_` by the eigenvectors of diag(d) + rho z z^T, z_j/(d_j - x).
  void find_factors() {
    const int count = deflation_.kept_count;
    const Vec<T> one(T(1));
    // The squares of a column are summed in groups, so that round-off does not grow with their number.
    constexpr int group = 16;
    for_registers([&](int first) {
      T* column = factors_ + first;
      const auto row_of = [&](int j) {
        return column + static_cast<int64_t>(place_[j]) * row_;
      };
      Vec<T> sum(T(0));
      for (int begin = 0; begin < count; begin += group) {
        Vec<T> part(T(0));
        const int end = begin + group < count ? begin + group : count;
        for_groups<T>(begin, end, [&](int j, auto at_once) {
          Vec<T> entries[at_once];
          for (int k = 0; k < at_once; ++k) {
            entries[k] = load(row_of(j + k));
          }
          invert<T>(entries);
          for (int k = 0; k < at_once; ++k) {
            entries[k] = Vec<T>(sizes_[j + k]) * entries[k];
            part = fma(entries[k], entries[k], part);
            store(row_of(j + k), entries[k]);
          }
        });
        sum = sum + part;
      }
      const auto inverse_norm = one / sum.sqrt();
      for (int j = 0; j < count; ++j) {
        T* x = column + static_cast<int64_t>(j) * row_;
        store(x, load(x) * inverse_norm);
      }
    });
  }

  /// Writes the new eigenvalues and eigenvectors to the first rows of the block.
  void multiply_rows(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const int n = spectrum.n;
    tasks_(Division{0, deflation_.kept_count, task_count(deflation_.kept_count)}, [&](int begin, int end) {
      T* to = spectrum.eigenvector(halves.begin + begin);
      const auto multiply_part = [&](int first_factor, int count, const T* rows, int column, int width) {
        if (count > 0) {
          const Matrices<T> factors{factors_ + static_cast<int64_t>(first_factor) * row_ + begin, 1, row_};
          kernels::multiply<T>(end - begin, width, count, factors, {rows, width, 1}, to + column, n);
          return;
        }
        for (int k = 0; k < end - begin; ++k) {
          std::memset(to + static_cast<int64_t>(k) * n + column, 0, sizeof(T) * static_cast<size_t>(width));
        }
      };
      multiply_part(0, in_first_, rows_, halves.begin, halves.first_size());
      multiply_part(
          first_only_,
          deflation_.kept_count - first_only_,
          second_rows_,
          halves.middle,
          halves.second_size());
    });
    copy(roots_, deflation_.kept_count, spectrum.d + halves.begin);
  }

  void move_dropped_rows_back(const TridiagonalSpectrum<T>& spectrum, const Halves& halves) {
    const int kept = deflation_.kept_count;
    const int first = halves.begin + kept;
    for (int k = 0; k < deflation_.dropped_count; ++k) {
      const T* from = dropped_rows_ + static_cast<int64_t>(k) * halves.size();
      copy(from, halves.size(), spectrum.eigenvector(first + k) + halves.begin);
    }
    copy(dropped_values_, deflation_.dropped_count, spectrum.d + first);
    // Kept values are in order already, and dropped ones nearly.
    int* order = deflation_.merged;
    for (int k = 0; k < halves.size(); ++k) {
      order[k] = halves.begin + k;
    }
    sort_order(spectrum.d, order + kept, deflation_.dropped_count);
    const int* dropped = order + kept;
    merge_orders(spectrum.d, order, dropped, dropped, order + halves.size(), spectrum.order + halves.begin);
  }

  static void copy(const T* from, int count, T* to) {
    std::memcpy(to, from, sizeof(T) * static_cast<size_t>(count));
  }

  const Tasks& tasks_;
  Deflation<T> deflation_;
  int first_only_ = 0; // kept eigenvectors of the first half alone
  int in_first_ = 0; // kept eigenvectors that are not zero in the first half
  int row_ = 0; // distance between rows of `factors_`

  T* poles_; // by position in the list of kept eigenvalues, as the arrays below and `place_`
  T* squares_;
  T* left_;
  T* right_;
  T* roots_;
  T* dropped_values_; // by position in the list of dropped ones
  T* sizes_;
  /// Differences d_j - x of a root in each column, then eigenvectors of diag(d) + rho z z^T. Row place_[j] belongs
  /// to pole j.
  T* factors_;
  T* rows_;
  const T* second_rows_ = nullptr;
  const T* dropped_rows_ = nullptr;
  int* place_;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
