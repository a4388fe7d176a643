#include "kernels/eigh_jvp/eigh_jvp_by_products.h"

#include "core/scalar_traits.h"
#include "kernels/eigh_jvp/tangent_pass.h"
#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/eigh_vjp/by_products/hermitian_product.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include <cstdint>
#include <utility>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// V^H E V, E the Hermitian part of the tangent.
struct TangentProduct {
  /// (*, n, n), row-major. Its Hermitian part is the product.
  Tensor Y;
  /// Whether only its upper triangle is known. Then it belongs to the product.
  bool from_upper;
  /// (count, n, n), row-major, and free for the next product; undefined unless `from_upper`. New memory takes longer.
  Tensor free;
};

TangentProduct tangent_product(const Tensor& tangent, const Tensor& V) {
  const auto n = V.size(-1);
  if (n < least_for_upper_product || tangent.sizes() != V.sizes()) {
    return {at::matmul(V.mH(), at::matmul(tangent, V)).resolve_conj().contiguous(), false, Tensor()};
  }
  const auto E = tangent.reshape({-1, n, n}).clone(at::MemoryFormat::Contiguous).resolve_conj().resolve_neg();
  make_hermitian(E, /*from_upper=*/false);
  const auto matrices = V.reshape({-1, n, n});
  const auto EV = product(E, matrices);
  upper_product(matrices.mH(), EV.mH(), E);
  return {E.view(V.sizes()), true, EV};
}

template <typename scalar_t>
void divide_by_gaps(const Tensor& L, const Rule& rule, const TangentProduct& product, const Tensor& dL) {
  using T = typename RealOf<scalar_t>::type;
  const auto n = L.size(-1);
  const auto& kernel = simd::for_this_machine<simd::TangentPassKernel<T>>();
  const auto formula = math::broadening_rule<T>(rule);
  const auto pairs = pairs_of_pass(n);
  const auto* eigenvalues = L.const_data_ptr<T>();
  auto* entries = reinterpret_cast<T*>(product.Y.mutable_data_ptr<scalar_t>());
  auto* tangents = dL.mutable_data_ptr<T>();
  for_each_part(L.numel() / n, pairs.rows(), n * n / pairs.rows(), [&](int64_t matrix, int64_t begin, int64_t end) {
    const simd::TangentPass<T> pass{
        n,
        parts_of<scalar_t> == 2,
        product.from_upper,
        entries + matrix * n * n * parts_of<scalar_t>,
        eigenvalues + matrix * n,
        formula,
        close_gap<T>(rule),
        tangents + matrix * n};
    for (auto i = begin; i < end; ++i) {
      pairs.for_row(i, [&](const BlockPair& pair) { kernel.divide(pass, pair); });
    }
  });
}

/// V Y. The result has the layout in which LAPACK leaves V, unless V is row-major.
Tensor eigenvectors_tangent(const Tensor& V, const TangentProduct& product) {
  const auto& Y = product.Y;
  const bool by_rows = V.is_contiguous();
  if (!product.from_upper) {
    return by_rows ? at::matmul(V, Y) : at::matmul(Y.mT(), V.mT()).mT();
  }
  const auto& result = product.free;
  const auto y = Y.view(result.sizes());
  const auto v = V.reshape(result.sizes());
  by_rows ? product_into(result, v, y) : product_into(result, y.mT(), v.mT());
  const auto dV = result.view(V.sizes());
  return by_rows ? dV : dV.mT();
}

} // namespace

std::pair<Tensor, Tensor> eigh_jvp_by_products(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  const auto V = eigenvectors.resolve_conj().resolve_neg();
  const auto product = tangent_product(tangent, V);
  const auto& Y = product.Y;
  const auto L = by_rows(eigenvalues.expand(Y.sizes().slice(0, Y.dim() - 1)));
  auto dL = at::empty(L.sizes(), L.options());
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(Y.scalar_type(), "eigh_jvp", [&] {
    divide_by_gaps<scalar_t>(L, rule, product, dL);
  });
  return {std::move(dL), eigenvectors_tangent(V, product)};
}

} // namespace spectralgrad::kernels
