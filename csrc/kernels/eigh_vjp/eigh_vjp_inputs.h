#pragma once

#include "core/tolerances.h"
#include "kernels/eigh_vjp/cotangent_batch.h"
#include "kernels/eigh_vjp/cotangent_magnitude.h"
#include "kernels/simd/batch_layout.h"
#include "math/pairs/broadening.h"
#include "math/pairs/judge.h"
#include "math/pairs/noise_gate.h"

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <mutex>

// Shared by the two implementations of the vjp of eigh.
namespace spectralgrad::kernels {

/// Keeps the most severe verdict on the matrices of a batch. Thread-safe.
class MostSevere {
 public:
  void note(math::Verdict verdict, int64_t matrix) {
    verdict.matrix = matrix;
    if (verdict.finding != math::Finding::none) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (verdict.is_more_severe_than(verdict_)) {
        verdict_ = verdict;
      }
    }
  }
  const math::Verdict& verdict() const {
    return verdict_;
  }

 private:
  math::Verdict verdict_;
  std::mutex mutex_;
};

/// The arguments of the vjp, in layouts that the kernels can read. Missing cotangents stay undefined.
struct Inputs {
  at::Tensor gL; // (*, n), row-major
  at::Tensor gV; // (*, n, n), row-major or column-major
  at::Tensor L; // (*, n), row-major
  at::Tensor V; // (*, n, n), row-major or column-major
  int64_t n;
  int64_t count;

  Inputs(const at::Tensor& gL, const at::Tensor& gV, const at::Tensor& L, const at::Tensor& V)
      : gL(gL.defined() ? by_rows(gL) : gL),
        gV(gV.defined() ? by_rows_or_columns(gV) : gV),
        L(by_rows(L)),
        V(by_rows_or_columns(V)),
        n(V.size(-1)),
        count(V.numel() / (n * n)) {}

  /// The matrices begin <= i < end, with one batch dimension.
  Inputs piece(int64_t begin, int64_t end) const {
    const auto size = end - begin;
    const auto vectors = [&](const at::Tensor& x) {
      return x.defined() ? x.as_strided({size, n}, {n, 1}, x.storage_offset() + begin * n) : x;
    };
    const auto square = [&](const at::Tensor& x) {
      if (!x.defined()) {
        return x;
      }
      const bool by_rows = x.is_contiguous();
      return x.as_strided({size, n, n}, {n * n, by_rows ? n : 1, by_rows ? 1 : n}, x.storage_offset() + begin * n * n);
    };
    return {vectors(gL), square(gV), vectors(L), square(V)};
  }
};

/// The inputs as a SIMD kernel reads them. It notes in `found` (count), of type bool, which matrices to judge. Without
/// `found`, none are.
template <typename real_t>
simd::CotangentBatch<real_t> cotangent_batch(const Inputs& inputs, const Rule& rule, const at::Tensor& found = {}) {
  constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  return {
      static_cast<int>(inputs.n),
      inputs.V.is_complex(),
      inputs.L.const_data_ptr<real_t>(),
      row<real_t>(inputs.gL, 0, inputs.n),
      matrices<real_t>(inputs.V),
      inputs.gV.defined() ? matrices<real_t>(inputs.gV) : simd::Matrices<real_t>{},
      math::broadening_rule<real_t>(rule),
      rule.gates(),
      math::noise_gate<real_t>(rule),
      {found.defined() ? found.mutable_data_ptr<bool>() : nullptr,
       static_cast<real_t>(tolerances::gauge(dtype)),
       static_cast<real_t>(tolerances::same_eigenvalue * tolerances::eps(dtype))}};
}

/// The gap up to which pairs are not resolved, in units of max|lambda|; negative for rules without a noise gate.
template <typename real_t>
real_t close_gap(const Rule& rule) {
  constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
  return static_cast<real_t>(rule.gates() ? tolerances::close_gap * tolerances::eps(dtype) : -1);
}

/// M of one matrix: the largest norm of a column of gV, or max|lambda| max|g_lambda| if that is larger. `norms` (count,
/// n) are upper bounds of the norms; undefined if gV is.
template <typename real_t>
real_t cotangent_scale(const Inputs& inputs, const at::Tensor& norms, int64_t matrix) {
  const auto n = inputs.n;
  return std::max(
      largest_size(row<real_t>(norms, matrix, n), n),
      largest_size(row<real_t>(inputs.L, matrix, n), n) * largest_size(row<real_t>(inputs.gL, matrix, n), n));
}

/// Runs `math::judge` on one matrix. `W(i, j)` returns an entry of V^H gV and is not called if gV is undefined.
/// `scale()` returns M and is called only if needed. `amplification` is that of math/pairs/amplification.h.
template <typename scalar_t, typename Entries, typename Scale>
math::Verdict judge_matrix(
    const Inputs& inputs,
    int64_t matrix,
    const Entries& W,
    const Scale& scale,
    typename RealOf<scalar_t>::type amplification = 1) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = inputs.n;
  const auto* L = row<real_t>(inputs.L, matrix, n);
  const auto* gL = row<real_t>(inputs.gL, matrix, n);
  if (!inputs.gV.defined()) {
    return math::judge<scalar_t>(n, L, gL, false, W, [](auto, auto) { return real_t(0); }, scale, amplification);
  }
  CotangentMagnitude<scalar_t> magnitude(inputs.V, inputs.gV, matrix);
  const auto N = [&](int64_t i, int64_t j) {
    return magnitude(i, j);
  };
  return math::judge<scalar_t>(n, L, gL, true, W, N, scale, amplification);
}

} // namespace spectralgrad::kernels
