#include "kernels/eigh_vjp/eigh_vjp.h"

#include "kernels/eigh/method_choice.h"
#include "kernels/eigh_vjp/by_products/eigh_vjp_by_products.h"
#include "kernels/eigh_vjp/column_norms.h"
#include "kernels/eigh_vjp/eigh_vjp_inputs.h"
#include "kernels/eigh_vjp/simd_eigh_vjp.h"
#include "kernels/simd/for_each_register.h"
#include "math/pairs/gauge_report.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// Computes single entries of V^H gV of one matrix.
template <typename scalar_t>
class InnerProducts {
 public:
  InnerProducts(const Inputs& inputs, int64_t matrix) : n_(inputs.n) {
    if (inputs.gV.defined()) {
      V_ = matrices<scalar_t>(inputs.V, matrix);
      gV_ = matrices<scalar_t>(inputs.gV, matrix);
    }
  }

  scalar_t operator()(int64_t i, int64_t j) const {
    scalar_t sum = 0;
    for (int64_t k = 0; k < n_; ++k) {
      sum += conjugate(V_.data[k * V_.down + i * V_.right]) * gV_.data[k * gV_.down + j * gV_.right];
    }
    return sum;
  }

 private:
  int64_t n_;
  simd::Matrices<scalar_t> V_{};
  simd::Matrices<scalar_t> gV_{};
};

Tensor eigh_vjp_in_lanes(const Inputs& inputs, const Rule& rule) {
  const auto count = inputs.count;
  auto result = at::empty_like(inputs.V, at::MemoryFormat::Contiguous);
  const bool judged = checks() != Checks::ignore;
  const auto suspicious = judged ? at::empty({count}, inputs.L.options().dtype(at::kBool)) : Tensor();
  MostSevere most_severe;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(inputs.V.scalar_type(), "eigh_vjp", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    const simd::EighVjpBatch<real_t> batch{
        cotangent_batch<real_t>(inputs, rule, suspicious),
        static_cast<real_t*>(result.mutable_data_ptr())};
    run_in_lanes(batch, count, [&](int64_t begin, int64_t end) {
      for (auto i = begin; judged && i < end; ++i) {
        if (batch.suspicion.found[i]) {
          const auto scale = [&] {
            const auto matrix = inputs.piece(i, i + 1);
            return cotangent_scale<real_t>(matrix, matrix.gV.defined() ? norm_bounds<real_t>(matrix.gV) : Tensor(), 0);
          };
          most_severe.note(judge_matrix<scalar_t>(inputs, i, InnerProducts<scalar_t>(inputs, i), scale), i);
        }
      }
    });
  });
  math::report(most_severe.verdict());
  return result;
}

} // namespace

Tensor eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (eigenvectors.numel() == 0) {
    return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
  }
  const Inputs inputs(eigenvalues_cotangent, eigenvectors_cotangent, eigenvalues, eigenvectors);
  return vjp_in_lanes(batch_traits(inputs.V)) ? eigh_vjp_in_lanes(inputs, rule) : eigh_vjp_by_products(inputs, rule);
}

} // namespace spectralgrad::kernels
