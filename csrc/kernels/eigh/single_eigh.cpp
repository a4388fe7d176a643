#include "kernels/eigh/single_eigh.h"

#include "core/thread_team.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/blas/workspace.h"
#include "kernels/eigh/method_choice.h"
#include "kernels/eigh/one_by_one.h"
#include "kernels/eigh/row_order.h"
#include "kernels/eigh/simd_single_eigh.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;
using simd::EighFindings;

/// Decomposes matrices of one size, one at a time. Each thread has its own solver, with its own workspace.
template <typename T>
class SingleSolver {
 public:
  SingleSolver(int64_t n, bool /*vectors*/)
      : kernel_(simd::for_this_machine<simd::SingleEighKernel<T>>()),
        n_(static_cast<int>(n)),
        row_(kernel_.row(n_)),
        tasks_(n_ < least_shared_size ? 1 : ThreadTeam::most_members),
        norms_of_tasks_(static_cast<size_t>(n) * static_cast<size_t>(tasks_)) {
    const auto workspace = memory_.place<T>(kernel_.workspace(n_));
    const auto diagonal = memory_.place<T>(n);
    const auto vectors = memory_.place<T>(n * n);
    const auto integers = memory_.place<int>(kernel_.integers(n_));
    memory_.allocate();
    workspace_ = memory_.at<T>(workspace);
    diagonal_ = memory_.at<T>(diagonal);
    vectors_ = memory_.at<T>(vectors);
    integers_ = memory_.at<int>(integers);
  }

  /// Writes the ascending `eigenvalues` (n) and the `eigenvectors` (n, n), one in each row.
  Outcome solve(const HermitianMatrix<T>& A, T* eigenvalues, T* eigenvectors) {
    auto outcome = Outcome::not_finite;
    const auto lead = [&](ThreadTeam& team) {
      const auto run_tasks = [&](int count, ThreadTeam::Task task) {
        team.run_tasks(count, task);
      };
      if (find_norms(A, run_tasks)) {
        outcome = solve_finite(A, eigenvalues, eigenvectors, run_tasks);
      }
    };
    const auto help = [](const auto& serve) {
      const SequentialBlas sequential;
      serve();
    };
    ThreadTeam::run(n_ >= least_shared_size, lead, help);
    return outcome;
  }

 private:
  /// Runs f(task, i) for each row. A task has every `tasks_`-th one, because only a triangle of the matrix is read.
  template <typename F>
  void for_each_row(RunTasks run_tasks, const F& f) const {
    run_tasks(tasks_, [&](int task) {
      for (int64_t i = task; i < n_; i += tasks_) {
        f(task, i);
      }
    });
  }

  /// Computes `norms_`. Returns whether the matrix is finite.
  bool find_norms(const HermitianMatrix<T>& A, RunTasks run_tasks) {
    std::fill(norms_of_tasks_.begin(), norms_of_tasks_.end(), T(0));
    std::atomic<bool> finite = true;
    for_each_row(run_tasks, [&](int task, int64_t i) {
      if (!A.is_finite(i)) {
        finite = false;
      }
      A.add_to_norms(i, norms_of_tasks_.data() + task * n_);
    });
    const auto* next = norms_of_tasks_.data();
    norms_.assign(next, next + n_);
    for (int task = 1; task < tasks_; ++task) {
      next += n_;
      std::transform(norms_.begin(), norms_.end(), next, norms_.begin(), [](T a, T b) { return std::max(a, b); });
    }
    return finite;
  }

  Outcome solve_finite(const HermitianMatrix<T>& A, T* eigenvalues, T* eigenvectors, RunTasks run_tasks) {
    using Limits = std::numeric_limits<T>;
    const RowOrder order(norms_, /*to_upper=*/true);
    // A power of two, such that it and its inverse are normal numbers.
    const int exponent = std::ilogb(*std::max_element(norms_.begin(), norms_.end()));
    const T unit = std::ldexp(T(1), std::clamp(exponent, Limits::min_exponent - 1, -Limits::min_exponent - 1));
    const bool in_place = !order.sorts() && reinterpret_cast<uintptr_t>(eigenvectors) % 64 == 0;
    T* vectors = in_place ? eigenvectors : vectors_;
    load(A, order, T(1) / unit, run_tasks);
    if (!kernel_.decompose({n_, workspace_, diagonal_, integers_, eigenvalues, vectors, run_tasks})) {
      return Outcome::not_converged;
    }
    for (int64_t i = 0; i < n_; ++i) {
      eigenvalues[i] *= unit;
      if (order.sorts()) {
        order.restore(vectors + i * n_, eigenvectors + i * n_);
      }
    }
    if (!order.sorts() && !in_place) {
      std::copy_n(vectors, int64_t(n_) * n_, eigenvectors);
    }
    return Outcome::decomposed;
  }

  void load(const HermitianMatrix<T>& A, const RowOrder& order, T factor, RunTasks run_tasks) {
    for_each_row(run_tasks, [&](int, int64_t i) {
      T* row = workspace_ + i * row_;
      for (int64_t j = 0; j < i; ++j) {
        row[j] = factor * (order.sorts() ? order.entry(A, i, j) : A(i, j));
      }
      std::fill(row + i, row + row_, T(0));
      diagonal_[i] = factor * A.diagonal(order.sorts() ? order[i] : i);
    });
  }

  const simd::SingleEighKernel<T>& kernel_;
  int n_;
  int row_;
  int tasks_;
  std::vector<T> norms_; // of the rows
  std::vector<T> norms_of_tasks_; // the same, without the rows of other tasks
  Workspace memory_;
  T* workspace_ = nullptr;
  T* diagonal_ = nullptr;
  T* vectors_ = nullptr; // for those whose place is not aligned, or whose rows are sorted
  int* integers_ = nullptr;
};

} // namespace

std::tuple<Tensor, Tensor, EighFindings> single_eigh(const Tensor& A, bool upper) {
  EighResults results(A, /*compute_eigenvectors=*/true);
  const bool in_turn = threads_share_matrices(results.n, results.count, at::get_num_threads());
  AT_DISPATCH_FLOATING_TYPES(A.scalar_type(), "single_eigh", [&] {
    decompose_one_by_one<SingleSolver<scalar_t>, scalar_t>(results, upper, in_turn);
  });
  return results.finish();
}

} // namespace spectralgrad::kernels
