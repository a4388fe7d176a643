#include "kernels/eigh_method.h"

#include "kernels/lanes/batch_eigh.h"
#include "kernels/lapack_eigh.h"

#include <ATen/Context.h>
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
/// 3.7 ... 4.8 for n = 64; without 1.3, 1.7 and 2.2.
double time_in_lanes(int64_t n, bool is_complex, bool vectors) {
  const auto size = static_cast<double>(n);
  return vectors ? size / (is_complex ? 11 : 14) : 1 + size / 45;
}

/// Time for one matrix by LAPACK with its own threads, in the same units: Amdahl's law.
///
/// Measured on two cores: 0.9 at n = 64, 0.8 at 256, 0.65 at 512.
double time_with_threads(int64_t n, int64_t threads) {
  const auto parallel = static_cast<double>(n) / (static_cast<double>(n) + 250);
  return 1 - parallel + parallel / static_cast<double>(threads);
}

/// Tasks one after the other, if each thread takes its part.
double rounds(int64_t tasks, int64_t threads) {
  return std::ceil(static_cast<double>(tasks) / static_cast<double>(threads));
}

int64_t lanes_of(const at::Tensor& A) {
  return c10::toRealValueType(A.scalar_type()) == at::kDouble
      ? lanes::for_this_machine<lanes::EighKernel<double>>().lanes
      : lanes::for_this_machine<lanes::EighKernel<float>>().lanes;
}

} // namespace

EighMethod eigh_method(const at::Tensor& A, bool compute_eigenvectors) {
  const auto n = A.size(-1);
  const auto count = c10::multiply_integers(A.sizes().slice(0, A.dim() - 2));
  if (!A.device().is_cpu() || n == 0 || count == 0) {
    return EighMethod::torch;
  }
  // These two give the same bits in every batch; which of them is best depends on its size.
  const bool fits_lanes = n <= lanes::largest_n;
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
  // torch's way has a tenth of overhead where the two are alike.
  return lapack_is_there() && by_lapack <= 1.1 * by_torch ? EighMethod::lapack : EighMethod::torch;
}

} // namespace spectralgrad::kernels
