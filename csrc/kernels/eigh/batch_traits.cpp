#include "kernels/eigh/batch_traits.h"

#include "kernels/blas/syevd.h"
#include "kernels/eigh/simd_eigh.h"
#include "kernels/simd/capability.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/accumulate.h>

namespace spectralgrad::kernels {

BatchTraits batch_traits(const at::Tensor& A) {
  const bool is_double = c10::toRealValueType(A.scalar_type()) == at::kDouble;
  return {
      .n = A.size(-1),
      .count = c10::multiply_integers(A.sizes().slice(0, A.dim() - 2)),
      .is_complex = A.is_complex(),
      .is_double = is_double,
      .is_on_cpu = A.device().is_cpu(),
      .capability = simd::capability(),
      .lanes = is_double ? simd::for_this_machine<simd::EighKernel<double>>().lanes
                         : simd::for_this_machine<simd::EighKernel<float>>().lanes,
      .threads = at::get_num_threads(),
      .deterministic = at::globalContext().deterministicAlgorithms(),
      .has_lapack = has_lapack()};
}

} // namespace spectralgrad::kernels
