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

/// Up to this n one matrix in a register is not slower than by LAPACK.
constexpr int64_t always_in_lanes = 8;

/// Time for a register full of matrices, in units of LAPACK's for one matrix on one thread.
///
/// Measured on a Xeon with AVX-512, real and complex: with eigenvectors 1.1 and 1.4 for n = 16, 1.9 and 2.2 for n = 32, 3.5 and
/// 3.7 ... 4.8 for n = 64; without 1.3, 1.7 and 2.2. Registers of AVX2, half as wide, take 0.6 to 0.8 of that with eigenvectors.
double time_in_lanes(int64_t n, bool is_complex, bool vectors) {
  const auto size = static_cast<double>(n);
  const double width = simd::capability() == simd::Capability::avx2 ? 0.75 : 1;
  return vectors ? width * size / (is_complex ? 11 : 14) : 1 + size / 45;
}

/// Time for one matrix by LAPACK with its own threads, in the same units: Amdahl's law.
///
/// Measured on two cores: 0.9 at n = 64, 0.8 at 256, 0.65 at 512.
double time_with_threads(int64_t n, int64_t threads) {
  const auto parallel = static_cast<double>(n) / (static_cast<double>(n) + 250);
  return 1 - parallel + parallel / static_cast<double>(threads);
}

/// Up to this n a pass over a register of matrices is faster than products of each of them with a pass between.
constexpr int64_t vjp_always_in_lanes = 8;
/// And from here on never.
constexpr int64_t vjp_never_in_lanes = 49;

/// Microseconds for the vjp of a register full of matrices, and of one matrix by products, beside the fixed cost.
///
/// Measured on a Xeon with AVX-512, float32, float64, complex64: in lanes 10, 10, 19 for n = 16, 37, 39, 100 for n = 32, 102, 104, 300
/// for n = 48; by products 0.7, 1.0, 1.6; 2.3, 4.3, 7; 6, 11, 21, and 12 for each call.
double vjp_time_in_lanes(int64_t n, bool is_complex) {
  const auto size = static_cast<double>(n);
  return 5 + size * size * size * (is_complex ? 2.8e-3 : 0.9e-3);
}
double vjp_time_by_products(int64_t n, bool is_complex, bool is_double) {
  const auto size = static_cast<double>(n);
  return size * size * (is_complex ? 8e-3 : 2.5e-3) * (is_double ? 2 : 1);
}
constexpr double vjp_products_overhead = 12;

/// Up to this n a pass over a register is faster than tensor code even for one matrix, and up to the other where half of it is used.
///
/// Measured on a Xeon with AVX-512, one thread, a register against tensor code for one matrix in us: the jvp, n = 8 5 and 40, n = 24 20
/// and 45 (complex: 42 and 53), n = 32 38 and 49 (86 and 62), n = 48 107 and 63 (250 and 90); functions are alike. Of full
/// registers of n = 64 passes are twice as fast.
constexpr int64_t pass_always_in_lanes = 24;
constexpr int64_t pass_largest_in_lanes = 64;

/// Tasks one after the other, if each thread takes its part.
double rounds(int64_t tasks, int64_t threads) {
  return std::ceil(static_cast<double>(tasks) / static_cast<double>(threads));
}

bool is_double(const at::Tensor& A) {
  return c10::toRealValueType(A.scalar_type()) == at::kDouble;
}

/// Whether one matrix, row by row, is diagonal.
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
  // These two give the same bits in every batch; which of them is best depends on its size.
  const bool fits_lanes = n <= simd::largest_n;
  if (n <= always_in_lanes || (fits_lanes && at::globalContext().deterministicAlgorithms())) {
    return EighMethod::lanes;
  }
  if (lapack_is_there() && at::globalContext().deterministicAlgorithms()) {
    return EighMethod::lapack;
  }
  // Where there is a choice between results, it does not depend on the number of threads: it is the one for two. With one, and with
  // many, it is not always the best, and not behind torch. Large matrices, if they are few, are left to torch and its threads.
  const int64_t threads = fits_lanes ? 2 : at::get_num_threads();
  const auto registers = (count + lanes_of(A) - 1) / lanes_of(A);
  const auto in_lanes = rounds(registers, threads) * time_in_lanes(n, A.is_complex(), compute_eigenvectors);
  const auto by_lapack = rounds(count, threads);
  const auto by_torch = static_cast<double>(count) * time_with_threads(n, threads);
  if (fits_lanes && in_lanes < std::min(by_lapack, by_torch)) {
    return EighMethod::lanes;
  }
  // torch's way has a tenth of overhead where the two are alike; and nothing is to be gained from its threads where a single matrix
  // need only be sorted: the look that torch's way takes for NaN would be half of the time.
  const bool lapack = by_lapack <= 1.1 * by_torch || (count == 1 && needs_only_sorting(A));
  return lapack_is_there() && lapack ? EighMethod::lapack : EighMethod::torch;
}

bool vjp_in_lanes(const at::Tensor& eigenvectors) {
  const auto n = eigenvectors.size(-1);
  if (n >= vjp_never_in_lanes || n <= vjp_always_in_lanes || at::globalContext().deterministicAlgorithms()) {
    return n < vjp_never_in_lanes;
  }
  // For two threads, as above.
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
