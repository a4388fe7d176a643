#include "kernels/eig_vjp/eig_vjp.h"

#include "core/interruptible.h"
#include "kernels/blas/sequential_blas.h"
#include "kernels/eig_vjp/matrix_eig_vjp.h"
#include "kernels/simd/batch_layout.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <mutex>
#include <optional>

namespace spectralgrad::kernels {

using at::Tensor;

bool supports_eig_vjp(const Tensor& V) {
  return V.numel() > 0 && has_getrf();
}

EigGradient eig_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& A,
    const Rule& rule) {
  const bool is_real = !A.is_complex();
  const auto n = eigenvalues.size(-1);
  const auto count = eigenvalues.numel() / n;
  const auto V = by_rows_or_columns(eigenvectors);
  const auto L = by_rows(eigenvalues);
  const auto gL = eigenvalues_cotangent.defined() ? by_rows(eigenvalues_cotangent) : Tensor();
  const auto gV = eigenvectors_cotangent.defined() ? by_rows_or_columns(eigenvectors_cotangent) : Tensor();
  const auto sizes = math::size_of_matrix(A.resolve_conj(), L).contiguous();
  const auto dtype = c10::toRealValueType(V.scalar_type());
  EigGradient result{at::empty(V.sizes(), V.options().dtype(is_real ? dtype : V.scalar_type())), {}};
  // Read here, because the other threads do not know the settings of this one.
  const bool judges = checks() != Checks::ignore;
  math::GeneralFindings findings;
  std::mutex mutex;
  AT_DISPATCH_FLOATING_TYPES(dtype, "eig_vjp", [&] {
    using complex_t = c10::complex<scalar_t>;
    auto* gradient = static_cast<scalar_t*>(result.gradient.mutable_data_ptr());
    const auto part = [&](const Tensor& x, int64_t offset) {
      return x.defined() ? x.const_data_ptr<complex_t>() + offset : nullptr;
    };
    const bool V_by_columns = !V.is_contiguous();
    const bool gV_by_columns = gV.defined() && !gV.is_contiguous();
    interruptible_parallel_for(count, 30 * n * n * n + 200, [&](int64_t begin, int64_t end) {
      std::optional<SequentialBlas> one_thread;
      if (count > 1) {
        one_thread.emplace();
      }
      MatrixEigVjp<scalar_t> vjp(n, rule, is_real, judges);
      math::GeneralFindings found;
      std::vector<int64_t> left_out;
      for (auto i = begin; i < end; ++i) {
        const EigCotangents<scalar_t> inputs{
            part(gL, i * n),
            part(gV, i * n * n),
            gV_by_columns,
            part(L, i * n),
            sizes.const_data_ptr<scalar_t>()[i],
            part(V, i * n * n),
            V_by_columns};
        auto* to = gradient + i * n * n * (is_real ? 1 : 2);
        const auto write = [&](int64_t row, int64_t column, complex_t x) {
          const auto position = row * n + column;
          if (is_real) {
            to[position] = x.real();
          } else {
            to[2 * position] = x.real();
            to[2 * position + 1] = x.imag();
          }
        };
        if (!vjp.compute(inputs, i, write, found)) {
          left_out.push_back(i);
        }
      }
      const std::lock_guard<std::mutex> lock(mutex);
      findings.include(found);
      result.left_out.insert(result.left_out.end(), left_out.begin(), left_out.end());
    });
  });
  std::sort(result.left_out.begin(), result.left_out.end());
  findings.report();
  return result;
}

} // namespace spectralgrad::kernels
