#include "kernels/eigh_vjp/by_products/hermitian_product.h"

#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/eigh_vjp/by_products/hermitian_pass.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/parallel_parts.h"

#include <ATen/Dispatch.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

using at::Tensor;

void make_hermitian(const Tensor& X, bool from_upper) {
  const auto n = X.size(-1);
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(X.scalar_type()), "eigh_vjp", [&] {
    auto* data = static_cast<scalar_t*>(X.mutable_data_ptr());
    const auto& kernel = simd::for_this_machine<simd::HermitianPassKernel<scalar_t>>();
    const auto numbers = n * n * (X.is_complex() ? 2 : 1);
    const auto pairs = pairs_of_pass(n);
    for_each_part(X.size(0), pairs.rows(), n * n / pairs.rows(), [&](int64_t matrix, int64_t begin, int64_t end) {
      for (auto i = begin; i < end; ++i) {
        pairs.for_row(i, [&](const BlockPair& pair) {
          kernel.make_hermitian(data + matrix * numbers, n, X.is_complex(), from_upper, pair);
        });
      }
    });
  });
}

void upper_product(const Tensor& X, const Tensor& V, const Tensor& result) {
  const auto n = V.size(-1);
  const int64_t blocks = n < 1024 ? 4 : 8;
  const auto rows = (n + blocks - 1) / blocks / 16 * 16 + 16;
  for (int64_t begin = 0; begin < n; begin += rows) {
    const auto end = std::min(n, begin + rows);
    product_into(result.slice(-2, begin, end).slice(-1, begin, n), X.slice(-2, begin, end), V.slice(-2, begin, n).mH());
  }
}

void hermitian_product(const Tensor& X, const Tensor& V, const Tensor& result) {
  if (V.size(-1) < least_for_upper_product) {
    product_into(result, X, V.mH());
    make_hermitian(result, /*from_upper=*/false);
  } else {
    upper_product(X, V, result);
    make_hermitian(result, /*from_upper=*/true);
  }
}

} // namespace spectralgrad::kernels
