#pragma once

#include "kernels/eigh/batch_traits.h"

// The choices between methods that give the same results up to round-off. They are pure functions.
namespace spectralgrad::kernels {

/// The methods to decompose Hermitian matrices.
enum class EighMethod {
  /// kernels/eigh/batch_eigh.h: one matrix in each lane of a SIMD register.
  lanes,
  /// kernels/eigh/single_eigh.h: one matrix on each thread, or on all threads if matrices are few, with SIMD
  /// instructions inside it. Only for eigenvalues with eigenvectors of real matrices.
  single,
  /// kernels/eigh/lapack_eigh.h: one matrix on each thread.
  lapack,
  /// torch.linalg.eigh: one matrix at a time, on all threads. The only method for devices other than the CPU.
  torch,
};

/// The fastest method to decompose the batch; under deterministic algorithms, one that does not depend on the size of
/// the batch if possible. `is_diagonal`: whether the batch is a single diagonal matrix.
EighMethod eigh_method(const BatchTraits& batch, bool compute_eigenvectors, bool is_diagonal);

/// Whether `single` decomposes the matrices one after the other, with all threads for each.
bool threads_share_matrices(int64_t n, int64_t count, int64_t threads);

/// Whether the vjp for eigenvectors `V` should be computed in SIMD lanes rather than by matrix products.
bool vjp_in_lanes(const BatchTraits& V);

/// Whether generalized problems should be reduced in SIMD lanes rather than by LAPACK. By n and dtype alone, so that
/// every part of a batch has factors of one kind.
bool reduction_in_lanes(int64_t n, at::ScalarType dtype);

/// Whether the vjp of a generalized problem should be computed in SIMD lanes rather than by tensor code.
bool generalized_vjp_in_lanes(const BatchTraits& V);

/// Whether the jvp, or a function of a matrix, should be computed in SIMD lanes rather than by tensor code.
bool pass_in_lanes(const BatchTraits& V);

/// The methods of the singular value decomposition.
enum class SvdMethod {
  /// kernels/svd/batch_svd.h: one matrix in each lane of a SIMD register.
  lanes,
  /// kernels/svd/lapack_svd.h: one matrix on each thread.
  lapack,
  /// torch.linalg.svd: one matrix at a time, on all threads. The only method for devices other than the CPU.
  torch,
};

/// The outputs of a singular value decomposition that are computed, and its kernels.
struct SvdTask {
  int64_t rows; // max(m, n)
  bool vectors;
  bool fits_lanes; // whether the kernel in lanes supports it
  bool has_gesdd;
};

/// The fastest method for a batch of matrices (m, k) or (k, m), k = `batch.n` <= m; under deterministic algorithms, one
/// that does not depend on the size of the batch if possible.
SvdMethod svd_method(const BatchTraits& batch, const SvdTask& task);

/// Whether the vjp of svd should be computed in lanes rather than by matrix products, for such a batch. `rows` is m.
bool svd_vjp_in_lanes_is_faster(const BatchTraits& batch, int64_t rows);

} // namespace spectralgrad::kernels
