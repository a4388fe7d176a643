#pragma once

#include "kernels/eigh/divide_and_conquer/merge.h"
#include "kernels/eigh/implicit_ql.h"

#include <atomic>
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
    const int64_t merges = Merge<T>::workspace_of_vectors(n) + n * Merge<T>::workspace_of_row(n);
    return task_count(n) * Leaves<T>::workspace_size() + padded<T>(n) + merges;
  }
  static constexpr int integers_per_row = Merge<T>::integers_per_row + 3;

  /// `integers` has room for n times `integers_per_row`.
  DivideAndConquer(int n, Memory<T> memory, int* integers, const Tasks& tasks)
      : tasks_(tasks),
        merge_row_(Merge<T>::workspace_of_row(n)),
        leaves_(memory.take(task_count(n) * Leaves<T>::workspace_size())),
        z_(memory.take(padded<T>(n))),
        merges_(memory.take(0)),
        order_(integers),
        sorted_(integers + n),
        support_(integers + static_cast<int64_t>(2) * n),
        lists_(integers + static_cast<int64_t>(3) * n) {}

  /// Decomposes the matrix with the diagonal `d` (n) and the off-diagonal `e` (n - 1), whose largest entry is about 1.
  /// Writes the eigenvalues to `d` and the eigenvectors to the rows of `Z` (n x n), and overwrites `e`. Returns their
  /// ascending order; null if the QL algorithm did not converge.
  const int* operator()(int n, T* d, T* e, T* Z) {
    tasks_(Division{0, n, task_count(n)}, [&](int begin, int end) {
      std::memset(Z + static_cast<int64_t>(begin) * n, 0, sizeof(T) * static_cast<size_t>(end - begin) * n);
    });
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
    if (!decompose_leaves(spectrum, division)) {
      return false;
    }
    for (int half = 1; half < division.parts; half *= 2) {
      merge_parts(spectrum, division, half);
    }
    multiply(d, begin, end, unit);
    return true;
  }

  /// Merges neighbours of `half` parts each. If there are enough of them, each task has its own, otherwise all tasks
  /// work on one.
  void merge_parts(const TridiagonalSpectrum<T>& spectrum, const Division& division, int half) {
    const int count = division.parts / (2 * half);
    const int task_count = simd::task_count(division.end - division.begin);
    const auto merge = [&](int first, int last, const Tasks& tasks) {
      for (int part = 2 * half * first; part < 2 * half * last; part += 2 * half) {
        const Halves halves{division[part], division[part + half], division[part + 2 * half]};
        const Memory<T> memory(merges_ + halves.begin * merge_row_);
        int* lists = lists_ + static_cast<int64_t>(Merge<T>::integers_per_row) * halves.begin;
        Merge<T>(halves.size(), z_, support_, memory, lists, tasks)(spectrum, halves);
      }
    };
    if (count < task_count) {
      merge(0, count, tasks_);
      return;
    }
    tasks_(Division{0, count, task_count}, [&](int first, int last) { merge(first, last, Tasks(run_in_turn)); });
  }

  /// Decomposes all parts. Returns whether the QL algorithm converged.
  bool decompose_leaves(const TridiagonalSpectrum<T>& spectrum, const Division& division) {
    constexpr int W = lane_count<T>;
    const int registers = (division.parts + W - 1) / W;
    const int most_tasks = task_count(division.end - division.begin);
    const Division tasks{0, registers, registers < most_tasks ? registers : most_tasks};
    std::atomic<bool> converged = true;
    tasks_(tasks.parts, [&](int task) {
      Memory<T> memory(leaves_ + task * Leaves<T>::workspace_size());
      const Leaves<T> leaves(memory);
      for (int i = tasks[task]; i < tasks[task + 1]; ++i) {
        if (!decompose_register(spectrum, division, i * W, leaves)) {
          converged = false;
        }
      }
    });
    return converged;
  }

  /// Decomposes parts `first`, `first` + 1, ..., one in each lane; the lanes that are left repeat the last part. Rows
  /// beyond the end of a part are zero.
  static bool decompose_register(
      const TridiagonalSpectrum<T>& spectrum,
      const Division& division,
      int first,
      const Leaves<T>& leaves) {
    constexpr int W = lane_count<T>;
    const int rows = (division.end - division.begin + division.parts - 1) / division.parts;
    const int last = division.parts - 1;
    for (int lane = 0; lane < W; ++lane) {
      const int part = first + lane < last ? first + lane : last;
      const int begin = division[part];
      const int size = division[part + 1] - begin;
      for (int i = 0; i < rows; ++i) {
        leaves.d[i * W + lane] = i < size ? spectrum.d[begin + i] : T(0);
        leaves.e[i * W + lane] = i + 1 < size ? spectrum.e[begin + i] : T(0);
      }
    }
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < rows; ++j) {
        store(leaves.Q + i * leaves.row + j * W, Vec<T>(T(i == j)));
      }
    }
    const Columns<T, 1> columns{leaves.Q, leaves.row, rows};
    const Rotations<T> rotations{leaves.rotations, rows};
    const Vec<T> size[1] = {Vec<T>(T(1))};
    if (!implicit_ql<T, 1, 1>(rows, leaves.d, leaves.e, &columns, &rotations, size)) {
      return false;
    }
    for (int lane = 0; lane < W && first + lane <= last; ++lane) {
      const int begin = division[first + lane];
      const int count = division[first + lane + 1] - begin;
      for (int i = 0; i < count; ++i) {
        spectrum.d[begin + i] = leaves.d[i * W + lane];
        spectrum.order[begin + i] = begin + i;
        T* to = spectrum.eigenvector(begin + i) + begin;
        for (int j = 0; j < count; ++j) {
          to[j] = leaves.Q[j * leaves.row + i * W + lane];
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

  const Tasks& tasks_;
  int64_t merge_row_;
  T* leaves_; // the workspaces of `Leaves`, one for each task
  T* z_;
  T* merges_; // their workspace, of which each row has its part
  int* order_;
  int* sorted_;
  int* support_;
  int* lists_; // of the merges
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
