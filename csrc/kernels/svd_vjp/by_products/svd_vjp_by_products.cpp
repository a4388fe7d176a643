#include "kernels/svd_vjp/by_products/svd_vjp_by_products.h"

#include "core/interruptible.h"
#include "core/scalar_traits.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/svd_vjp/by_products/matrix_vjp.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>

#include <atomic>
#include <utility>

namespace spectralgrad::kernels {

SvdGradient svd_vjp_by_products(const SvdVjpInputs& inputs, const Rule& rule) {
  const auto count = inputs.left.size(0);
  const auto m = inputs.left.size(1);
  const auto n = inputs.left.size(2);
  auto gradient = inputs.empty_gradient();
  const bool judges = checks() != Checks::ignore;
  std::atomic<bool> suspicious = false;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(inputs.left.scalar_type(), "svd_vjp", [&] {
    const auto run = [&](int64_t begin, int64_t end) {
      MatrixVjp<scalar_t> vjp(inputs, rule);
      for (auto i = begin; i < end; ++i) {
        vjp.run(i, gradient.mutable_data_ptr<scalar_t>() + i * m * n);
        if (judges && vjp.is_suspicious()) {
          suspicious = true;
        }
      }
    };
    if (count == 1) {
      // All threads share each product.
      run(0, 1);
    } else {
      interruptible_parallel_for(count, 6 * m * n * n, [&](int64_t begin, int64_t end) {
        const SequentialBlas sequential;
        run(begin, end);
      });
    }
  });
  return {std::move(gradient), suspicious};
}

} // namespace spectralgrad::kernels
