#include "kernels/eigh_jvp/eigh_jvp_by_products.h"

#include "core/interruptible.h"
#include "core/scalar_traits.h"
#include "kernels/eigh_vjp/by_products/gap_inverse.h"
#include "kernels/eigh_vjp/by_products/hermitian_product.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// The quotients of one matrix.
template <typename T>
class GapQuotients {
 public:
  GapQuotients(const T* eigenvalues, int64_t n, const Rule& rule)
      : inverse_(eigenvalues, n, rule), close_(close_gap<T>(rule)) {}

  /// x/(lambda_j - lambda_i) by the rule.
  template <typename scalar_t>
  scalar_t operator()(int64_t i, int64_t j, scalar_t x) const {
    const auto gap = inverse_.gap(i, j);
    return std::abs(gap) <= close_ ? scalar_t(0) : inverse_.over_unit(x, inverse_.inverse(gap));
  }

 private:
  GapInverse<T> inverse_;
  T close_;
};

constexpr int64_t tile = 16;

/// V^H E V, E the Hermitian part of the tangent.
struct TangentProduct {
  /// (*, n, n), row-major. Its Hermitian part is the product.
  Tensor Y;
  /// Whether only its upper triangle is known. Then it belongs to the product.
  bool from_upper;
};

TangentProduct tangent_product(const Tensor& tangent, const Tensor& V) {
  const auto n = V.size(-1);
  if (n < least_for_upper_product || tangent.sizes() != V.sizes()) {
    return {at::matmul(V.mH(), at::matmul(tangent, V)).resolve_conj().contiguous(), false};
  }
  const auto E = tangent.reshape({-1, n, n}).clone(at::MemoryFormat::Contiguous).resolve_conj().resolve_neg();
  make_hermitian(E, /*from_upper=*/false);
  const auto matrices = V.reshape({-1, n, n});
  const auto EV = product(E, matrices);
  upper_product(matrices.mH(), EV.mH(), E);
  return {E.view(V.sizes()), true};
}

/// Replaces the rows from `first` on, and the columns with these numbers, by F o X, X the Hermitian part of `Y` (n x n)
/// or what `from_upper` says. Writes the diagonal of X to `tangents`. Square tiles keep the transposed entries in the
/// cache.
template <typename T, typename scalar_t>
void divide_rows(const GapQuotients<T>& quotient, int64_t first, int64_t n, bool from_upper, scalar_t* Y, T* tangents) {
  const auto last = std::min(first + tile, n);
  for (auto left = first; left < n; left += tile) {
    const auto right = std::min(left + tile, n);
    for (auto i = first; i < last; ++i) {
      for (auto j = std::max(left, i + 1); j < right; ++j) {
        const auto upper = Y[i * n + j];
        const auto x = from_upper ? upper : upper * T(0.5) + conjugate(Y[j * n + i]) * T(0.5);
        const auto divided = quotient(i, j, x);
        Y[i * n + j] = divided;
        Y[j * n + i] = -conjugate(divided);
      }
    }
  }
  for (auto i = first; i < last; ++i) {
    tangents[i] = std::real(Y[i * n + i]);
    Y[i * n + i] = scalar_t(0);
  }
}

template <typename T, typename scalar_t>
void divide_by_gaps(const Tensor& L, const Rule& rule, TangentProduct& product, Tensor& dL) {
  auto& Y = product.Y;
  const auto n = Y.size(-1);
  const auto tiles = (n + tile - 1) / tile;
  const auto* eigenvalues = L.const_data_ptr<T>();
  auto* entries = Y.mutable_data_ptr<scalar_t>();
  auto* tangents = dL.mutable_data_ptr<T>();
  interruptible_parallel_for(dL.numel() / n * tiles, 4 * tile * n, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const auto matrix = begin / tiles;
      const auto stop = std::min(end, (matrix + 1) * tiles);
      const GapQuotients<T> quotient(eigenvalues + matrix * n, n, rule);
      for (; begin < stop; ++begin) {
        divide_rows(
            quotient,
            begin % tiles * tile,
            n,
            product.from_upper,
            entries + matrix * n * n,
            tangents + matrix * n);
      }
    }
  });
}

} // namespace

std::pair<Tensor, Tensor> eigh_jvp_by_products(
    const Tensor& tangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  const auto V = eigenvectors.resolve_conj().resolve_neg();
  auto product = tangent_product(tangent, V);
  const auto& Y = product.Y;
  const auto L = by_rows(eigenvalues.expand(Y.sizes().slice(0, Y.dim() - 1)));
  auto dL = at::empty(L.sizes(), L.options());
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(Y.scalar_type(), "eigh_jvp", [&] {
    divide_by_gaps<c10::scalar_value_type<scalar_t>::type, scalar_t>(L, rule, product, dL);
  });
  // As a transposed product, dV has the layout in which LAPACK leaves V.
  auto dV = V.is_contiguous() ? at::matmul(V, Y) : at::matmul(Y.mT(), V.mT()).mT();
  return {std::move(dL), std::move(dV)};
}

} // namespace spectralgrad::kernels
