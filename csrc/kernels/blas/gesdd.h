#pragma once

#include "core/scalar_traits.h"

#include <cstdint>

namespace spectralgrad::kernels {

/// Whether LibTorch contains LAPACK's gesdd.
bool has_gesdd();

/// The shape of a matrix, and how many singular vectors are wanted.
struct GesddProblem {
  char job; // 'N': none, 'S': the first min(m, n), 'A': all
  int m;
  int n;

  bool has_vectors() const {
    return job != 'N';
  }
  int count() const {
    return m < n ? m : n;
  }
  int columns_of_U() const {
    return job == 'A' ? m : count();
  }
  int rows_of_Vh() const {
    return job == 'A' ? n : count();
  }
  /// The numbers of entries of gesdd's workspaces `reals` and `integers`.
  int64_t reals(bool is_complex) const;
  int64_t integers() const {
    return 8 * static_cast<int64_t>(count());
  }
};

/// Calls LAPACK's gesdd with column-major matrices: A (m, n), which it overwrites, U and Vh. Only complex matrices use
/// `reals`. With `work_size` -1, only writes the size that it needs to `work`. Returns `info`. Only if `has_gesdd()`.
template <typename scalar_t, typename real_t = typename RealOf<scalar_t>::type>
int gesdd(
    const GesddProblem& problem,
    scalar_t* A,
    real_t* singular_values,
    scalar_t* U,
    scalar_t* Vh,
    scalar_t* work,
    int work_size,
    real_t* reals,
    int* integers);

} // namespace spectralgrad::kernels
