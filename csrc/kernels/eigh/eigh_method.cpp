#include "kernels/eigh/eigh_method.h"

#include "kernels/eigh/diagonal_eigh.h"
#include "kernels/eigh/lapack_eigh.h"
#include "kernels/eigh/simd_eigh.h"
#include "kernels/simd/capability.h"

#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <cmath>

namespace spectralgrad::kernels {
namespace {

/// Up to this n, `lanes` is no slower than LAPACK even with one matrix in a register.
constexpr int64_t always_in_lanes = 8;

/// The time that `lanes` takes for a full register of matrices, in units of LAPACK's time for one matrix on one thread.
/// A fit to measurements (docs/measurements.md). A register of AVX2 holds half as many matrices as one of AVX-512.
double time_in_lanes(int64_t n, bool is_complex, bool vectors) {
  const auto size = static_cast<double>(n);
  const double width = simd::capability() == simd::Capability::avx2 ? 0.75 : 1;
  return vectors ? width * size / (is_complex ? 11 : 14) : 1 + size / 45;
}

/// The time that LAPACK takes for one matrix with its own threads, in the same units: Amdahl's law, fitted to
/// measurements (docs/measurements.md).
double time_with_threads(int64_t n, int64_t threads) {
  const auto parallel = static_cast<double>(n) / (static_cast<double>(n) + 250);
  return 1 - parallel + parallel / static_cast<double>(threads);
}

/// Up to this n, the vjp in lanes is faster than matrix products with a pass between them, for any number of matrices.
constexpr int64_t vjp_always_in_lanes = 8;
/// From this n on, the vjp in lanes is never faster.
constexpr int64_t vjp_never_in_lanes = 49;

/// The time of the vjp in microseconds: for a full register of matrices in lanes, and for one matrix by products, which
/// take `vjp_products_overhead` in addition for each call. Fits to measurements (docs/measurements.md).
double vjp_time_in_lanes(int64_t n, bool is_complex) {
  const auto size = static_cast<double>(n);
  return 5 + size * size * size * (is_complex ? 2.8e-3 : 0.9e-3);
}
double vjp_time_by_products(int64_t n, bool is_complex, bool is_double) {
  const auto size = static_cast<double>(n);
  return size * size * (is_complex ? 8e-3 : 2.5e-3) * (is_double ? 2 : 1);
}
constexpr double vjp_products_overhead = 12;

/// Up to this n, a pass in lanes is faster than tensor code even for one matrix. Measurements are in
/// docs/measurements.md.
constexpr int64_t pass_always_in_lanes = 24;
/// Up to this n, a pass in lanes is faster if at least half of a register is used.
constexpr int64_t pass_largest_in_lanes = 64;

/// The number of tasks of the busiest thread.
double rounds(int64_t tasks, int64_t threads) {
  return std::ceil(static_cast<double>(tasks) / static_cast<double>(threads));
}

bool is_double(const at::Tensor& A) {
  return c10::toRealValueType(A.scalar_type()) == at::kDouble;
}

/// Whether `A`, a single matrix, is diagonal; false if it is not contiguous.
bool needs_only_sorting(const at::Tensor& A) {
  if (!A.is_contiguous() || A.is_conj() || A.is_neg()) {
    return false;
  }
  bool result = false;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "eigh", [&] {
    const auto* data = A.const_data_ptr<scalar_t>();
    result = is_diagonal(data, A.size(-1), /*upper=*/false) && is_diagonal(data, A.size(-1), /*upper=*/true);
  });
  return result;
}

int64_t lanes_of(const at::Tensor& A) {
  return is_double(A) ? simd::for_this_machine<simd::EighKernel<double>>().lanes
                      : simd::for_this_machine<simd::EighKernel<float>>().lanes;
}

} // namespace

EighMethod eigh_method(const at::Tensor& A, bool compute_eigenvectors) {
  const auto n = A.size(-1);
  const auto count = c10::multiply_integers(A.sizes().slice(0, A.dim() - 2));
  if (!A.device().is_cpu() || n == 0 || count == 0) {
    return EighMethod::torch;
  }
  // `lanes` and `lapack` each give a matrix the same bits in every batch. The faster one depends on the size of the
  // batch, so under deterministic algorithms n alone decides.
  const bool fits_lanes = n <= simd::largest_n;
  if (n <= always_in_lanes || (fits_lanes && at::globalContext().deterministicAlgorithms())) {
    return EighMethod::lanes;
  }
  if (has_lapack() && at::globalContext().deterministicAlgorithms()) {
    return EighMethod::lapack;
  }
  // If `lanes` is possible, the choice assumes two threads, so that the method does not depend on their actual number.
  // With another number the choice may not be the fastest, but it is no slower than torch. For larger matrices the
  // actual number counts: if they are few, they go to torch, which uses all threads for each.
  const int64_t threads = fits_lanes ? 2 : at::get_num_threads();
  const auto registers = (count + lanes_of(A) - 1) / lanes_of(A);
  const auto in_lanes = rounds(registers, threads) * time_in_lanes(n, A.is_complex(), compute_eigenvectors);
  const auto by_lapack = rounds(count, threads);
  const auto by_torch = static_cast<double>(count) * time_with_threads(n, threads);
  if (fits_lanes && in_lanes < std::min(by_lapack, by_torch)) {
    return EighMethod::lanes;
  }
  // If the two are about equal, torch has an overhead of a tenth. A single diagonal matrix only needs sorting, which
  // gains nothing from threads; torch's check for NaN would be half of the time.
  const bool lapack = by_lapack <= 1.1 * by_torch || (count == 1 && needs_only_sorting(A));
  return has_lapack() && lapack ? EighMethod::lapack : EighMethod::torch;
}

bool vjp_in_lanes(const at::Tensor& eigenvectors) {
  const auto n = eigenvectors.size(-1);
  if (n >= vjp_never_in_lanes || n <= vjp_always_in_lanes || at::globalContext().deterministicAlgorithms()) {
    return n < vjp_never_in_lanes;
  }
  // Assumes two threads, as `eigh_method` does.
  constexpr int64_t threads = 2;
  const auto count = eigenvectors.numel() / (n * n);
  const auto registers = (count + lanes_of(eigenvectors) - 1) / lanes_of(eigenvectors);
  const bool is_complex = eigenvectors.is_complex();
  const auto in_lanes = rounds(registers, threads) * vjp_time_in_lanes(n, is_complex);
  const auto by_products = vjp_products_overhead +
      rounds(count, threads) * vjp_time_by_products(n, is_complex, is_double(eigenvectors));
  return in_lanes <= by_products;
}

bool pass_in_lanes(const at::Tensor& eigenvectors) {
  const auto n = eigenvectors.size(-1);
  return n <= pass_always_in_lanes ||
      (n <= pass_largest_in_lanes &&
       (2 * eigenvectors.numel() / (n * n) >= lanes_of(eigenvectors) || at::globalContext().deterministicAlgorithms()));
}

} // namespace spectralgrad::kernels
