#include "kernels/eigh/method_choice.h"

#include "kernels/eigh/eigh_batch.h"
#include "kernels/eigh/shared_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace spectralgrad::kernels {
namespace {

/// Up to this n, `lanes` is no slower than LAPACK even with one matrix in a register.
constexpr int64_t always_in_lanes = 8;

/// The time that `lanes` takes for a full register of matrices, in units of LAPACK's time for one matrix on one thread.
/// A fit to measurements (docs/measurements.md). A register of AVX2 holds half as many matrices as one of AVX-512.
double time_in_lanes(const BatchTraits& batch, bool vectors) {
  const auto size = static_cast<double>(batch.n);
  const double width = batch.capability == simd::Capability::avx2 ? 0.75 : 1;
  return vectors ? width * size / (batch.is_complex ? 11 : 17) : 1 + size / 45;
}

/// The time that a full register of singular value decompositions takes, in units of LAPACK's time for one. Fits to
/// measurements, for n from 8 to 64 (docs/measurements.md).
double svd_time_in_lanes(const BatchTraits& batch, bool vectors) {
  const auto size = static_cast<double>(batch.n);
  return vectors ? size / (batch.is_complex ? 11 : 18) : size / (batch.is_complex ? 6 : 8);
}

/// The time that LAPACK takes for one matrix with its own threads, in the same units: Amdahl's law, fitted to
/// measurements (docs/measurements.md). Values alone gain less from threads.
double time_with_threads(const BatchTraits& batch, bool vectors) {
  const auto size = static_cast<double>(batch.n);
  const double half = vectors ? 250 : (batch.is_complex ? 700 : 1500);
  const auto parallel = size / (size + half);
  return 1 - parallel + parallel / static_cast<double>(batch.threads);
}

/// The sizes for which divide and conquer was measured, and is faster than LAPACK.
constexpr int64_t least_divided = 16;
constexpr int64_t largest_divided = 2048;

/// The number of tasks of the busiest thread.
double rounds(int64_t tasks, int64_t threads) {
  return std::ceil(static_cast<double>(tasks) / static_cast<double>(threads));
}

/// The time that divide and conquer takes for the batch, in the same units. Fits to measurements
/// (docs/measurements.md).
double time_by_division(const BatchTraits& batch) {
  const auto size = static_cast<double>(batch.n);
  const bool avx2 = batch.capability == simd::Capability::avx2;
  const double growth = avx2 ? size / 800 : std::min(size / (batch.is_double ? 1500 : 1700), 0.45);
  const double alone = (batch.is_double ? 0.42 : 0.33) + 1.5 / size + growth;
  if (!threads_share_matrices(batch.n, batch.count, batch.threads)) {
    return rounds(batch.count, batch.threads) * alone;
  }
  const double parallel = 1 - 85 / size;
  const auto threads = static_cast<double>(std::min<int64_t>(batch.threads, 4)); // tasks of a matrix, for most sizes
  return static_cast<double>(batch.count) * alone * (1 - parallel + parallel / threads);
}

/// The same for the singular value decomposition, where threads gain less, and least for values alone. Before a call of
/// torch, a pass of its own checks A.
double svd_time_with_threads(const BatchTraits& batch, const SvdTask& task) {
  const auto size = std::sqrt(static_cast<double>(batch.n) * static_cast<double>(task.rows));
  const double half = task.vectors ? (batch.is_complex ? 150 : 500) : (batch.is_complex ? 400 : 1500);
  const auto parallel = size / (size + half);
  const auto call = 1.03 + 2 / size;
  return call * (1 - parallel + parallel / static_cast<double>(batch.threads));
}

/// Up to this n, the vjp in lanes is faster than matrix products with a pass between them, for any number of matrices.
constexpr int64_t vjp_always_in_lanes = 8;
/// From this n on, the vjp in lanes is never faster.
constexpr int64_t vjp_never_in_lanes = 49;

/// The time of the vjp in microseconds: for a full register of matrices in lanes, and for one matrix by products, which
/// take `vjp_products_overhead` in addition for each call. Fits to measurements (docs/measurements.md).
double vjp_time_in_lanes(const BatchTraits& V) {
  const auto size = static_cast<double>(V.n);
  const double wide = V.capability == simd::Capability::avx512 ? 1.3 : 1;
  return wide * (V.is_complex ? 4 + size * size * size * 3.8e-3 : 2 + size * size * size * 1.25e-3);
}
double vjp_time_by_products(const BatchTraits& V) {
  const auto entries = static_cast<double>(V.n * V.n);
  const auto in_cache = (V.is_complex ? 1.6 + entries / 50 : 0.5 + entries / 170) * (V.is_double ? 2 : 1);
  // The products and the pass each go through the whole batch.
  const auto bytes = static_cast<double>(V.count) * entries * (V.is_double ? 8 : 4) * (V.is_complex ? 2 : 1);
  constexpr double bytes_of_cache = 4 << 20;
  return bytes > bytes_of_cache ? 1.7 * in_cache : in_cache;
}
constexpr double vjp_products_overhead = 12;

/// Up to this n, a pass in lanes is faster than tensor code even for one matrix. Measurements are in
/// docs/measurements.md.
constexpr int64_t pass_always_in_lanes = 24;
/// Up to this n, a pass in lanes is faster if at least half of a register is used.
constexpr int64_t pass_largest_in_lanes = 64;

/// Up to this n, the vjp of svd in lanes is faster than matrix products for any number of matrices.
constexpr int64_t svd_vjp_always_in_lanes = 16;
/// The largest sizes for which it was measured, and is faster if at least half of a register is used.
constexpr int64_t svd_vjp_largest_in_lanes = 64;
constexpr int64_t svd_vjp_most_rows = 512;

/// Up to this n, generalized problems are reduced in lanes.
constexpr int64_t reduction_largest_in_lanes = 32;
constexpr int64_t generalized_vjp_largest_in_lanes = 48;

} // namespace

EighMethod eigh_method(const BatchTraits& batch, bool compute_eigenvectors, bool is_diagonal) {
  if (!batch.is_on_cpu || batch.n == 0 || batch.count == 0) {
    return EighMethod::torch;
  }
  // `lanes` and `lapack` each give a matrix the same bits in every batch. The faster one depends on the size of the
  // batch, so under deterministic algorithms n alone decides.
  const bool fits_lanes = batch.n <= simd::largest_n;
  if (batch.n <= always_in_lanes || (fits_lanes && batch.deterministic)) {
    return EighMethod::lanes;
  }
  const bool divides = compute_eigenvectors && !batch.is_complex && least_divided <= batch.n &&
      batch.n <= largest_divided;
  if (divides && batch.deterministic) {
    return EighMethod::single;
  }
  if (batch.has_lapack && batch.deterministic) {
    return EighMethod::lapack;
  }
  // If `lanes` is possible, the choice assumes two threads, so that the method does not depend on their actual number.
  // With another number the choice may not be the fastest, but it is no slower than torch. For larger matrices the
  // actual number counts: if they are few, they go to torch, which uses all threads for each.
  auto assumed = batch;
  assumed.threads = fits_lanes ? 2 : batch.threads;
  const auto in_lanes = rounds(batch.registers(), assumed.threads) * time_in_lanes(batch, compute_eigenvectors);
  const auto by_lapack = rounds(batch.count, assumed.threads);
  const auto by_torch = static_cast<double>(batch.count) * time_with_threads(assumed, compute_eigenvectors);
  const auto by_division = divides ? time_by_division(assumed) : std::numeric_limits<double>::infinity();
  if (fits_lanes && in_lanes < std::min({by_lapack, by_torch, by_division})) {
    return EighMethod::lanes;
  }
  if (by_division < std::min(by_lapack, by_torch)) {
    return EighMethod::single;
  }
  // If the two are about equal, torch has an overhead of a tenth. A diagonal matrix only needs sorting, which gains
  // nothing from threads; torch's check for NaN would be half of the time.
  const bool lapack = by_lapack <= 1.1 * by_torch || is_diagonal;
  return batch.has_lapack && lapack ? EighMethod::lapack : EighMethod::torch;
}

bool threads_share_matrices(int64_t n, int64_t count, int64_t threads) {
  return n >= least_shared_size && 2 * count <= threads;
}

bool vjp_in_lanes(const BatchTraits& V) {
  if (V.n >= vjp_never_in_lanes || V.n <= vjp_always_in_lanes || V.deterministic) {
    return V.n < vjp_never_in_lanes;
  }
  // Assumes two threads, as `eigh_method` does.
  constexpr int64_t threads = 2;
  const auto in_lanes = rounds(V.registers(), threads) * vjp_time_in_lanes(V);
  const auto by_products = vjp_products_overhead + rounds(V.count, threads) * vjp_time_by_products(V);
  return in_lanes <= by_products;
}

SvdMethod svd_method(const BatchTraits& batch, const SvdTask& task) {
  if (!batch.is_on_cpu || batch.n == 0 || batch.count == 0) {
    return SvdMethod::torch;
  }
  if (task.fits_lanes && batch.deterministic) {
    return SvdMethod::lanes;
  }
  if (task.has_gesdd && batch.deterministic) {
    return SvdMethod::lapack;
  }
  // Assumes two threads if `lanes` is possible, as `eigh_method` does.
  const int64_t threads = task.fits_lanes ? 2 : batch.threads;
  const auto in_lanes = rounds(batch.registers(), threads) * svd_time_in_lanes(batch, task.vectors);
  const auto by_lapack = rounds(batch.count, threads);
  const auto by_torch = static_cast<double>(batch.count) * svd_time_with_threads(batch, task);
  if (task.fits_lanes && (batch.n <= always_in_lanes || in_lanes <= std::min(by_lapack, by_torch))) {
    return SvdMethod::lanes;
  }
  return task.has_gesdd && by_lapack < by_torch ? SvdMethod::lapack : SvdMethod::torch;
}

bool svd_vjp_in_lanes_is_faster(const BatchTraits& batch, int64_t rows) {
  return batch.is_on_cpu && batch.n <= svd_vjp_largest_in_lanes && rows <= svd_vjp_most_rows &&
      (batch.n <= svd_vjp_always_in_lanes || 2 * batch.count >= batch.lanes || batch.deterministic);
}

bool reduction_in_lanes(int64_t n, at::ScalarType /*dtype*/) {
  return n <= reduction_largest_in_lanes;
}

bool generalized_vjp_in_lanes(const BatchTraits& V) {
  return V.n <= pass_always_in_lanes || (V.n <= generalized_vjp_largest_in_lanes && 2 * V.count >= V.lanes);
}

bool pass_in_lanes(const BatchTraits& V) {
  return V.n <= pass_always_in_lanes || (V.n <= pass_largest_in_lanes && (2 * V.count >= V.lanes || V.deterministic));
}

} // namespace spectralgrad::kernels
