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
#include <cmath>
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
        norms_(static_cast<size_t>(n)) {
    const auto workspace = memory_.place<T>(kernel_.workspace(n_));
    const auto diagonal = memory_.place<T>(n);
    const auto sorted_vectors = memory_.place<T>(n * n);
    const auto integers = memory_.place<int>(kernel_.integers(n_));
    memory_.allocate();
    workspace_ = memory_.at<T>(workspace);
    diagonal_ = memory_.at<T>(diagonal);
    sorted_vectors_ = memory_.at<T>(sorted_vectors);
    integers_ = memory_.at<int>(integers);
  }

  /// Writes the ascending `eigenvalues` (n) and the `eigenvectors` (n, n), one in each row, of a finite matrix that is
  /// not zero. Returns whether the algorithm converged; if not, the results are undefined.
  bool solve(const HermitianMatrix<T>& A, T* eigenvalues, T* eigenvectors) {
    using Limits = std::numeric_limits<T>;
    A.row_norms(norms_);
    const RowOrder order(norms_, /*to_upper=*/true);
    // A power of two, such that it and its inverse are normal numbers.
    const int exponent = std::ilogb(*std::max_element(norms_.begin(), norms_.end()));
    const T unit = std::ldexp(T(1), std::clamp(exponent, Limits::min_exponent - 1, -Limits::min_exponent - 1));
    T* vectors = order.sorts() ? sorted_vectors_ : eigenvectors;
    bool converged = false;
    const auto lead = [&](ThreadTeam& team) {
      const auto run_tasks = [&](int count, ThreadTeam::Task task) {
        team.run_tasks(count, task);
      };
      load(A, order, T(1) / unit, run_tasks);
      converged = kernel_.decompose({n_, workspace_, diagonal_, integers_, eigenvalues, vectors, run_tasks});
    };
    const auto help = [](const auto& serve) {
      const SequentialBlas sequential;
      serve();
    };
    ThreadTeam::run(n_ >= least_shared_size, lead, help);
    if (!converged) {
      return false;
    }
    for (int64_t i = 0; i < n_; ++i) {
      eigenvalues[i] *= unit;
      if (order.sorts()) {
        order.restore(vectors + i * n_, eigenvectors + i * n_);
      }
    }
    return true;
  }

 private:
  void load(const HermitianMatrix<T>& A, const RowOrder& order, T factor, RunTasks run_tasks) {
    const int tasks = n_ < least_shared_size ? 1 : ThreadTeam::most_members;
    run_tasks(tasks, [&](int task) {
      for (int64_t i = n_ * task / tasks; i < n_ * (task + 1) / tasks; ++i) {
        T* row = workspace_ + i * row_;
        for (int64_t j = 0; j < i; ++j) {
          row[j] = factor * (order.sorts() ? order.entry(A, i, j) : A(i, j));
        }
        std::fill(row + i, row + row_, T(0));
        diagonal_[i] = factor * A.diagonal(order.sorts() ? order[i] : i);
      }
    });
  }

  const simd::SingleEighKernel<T>& kernel_;
  int n_;
  int row_;
  std::vector<T> norms_; // of the rows
  Workspace memory_;
  T* workspace_ = nullptr;
  T* diagonal_ = nullptr;
  T* sorted_vectors_ = nullptr;
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
