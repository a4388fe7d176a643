#pragma once

#include "kernels/eigh/flush_underflow.h"
#include "kernels/eigh/jacobi.h"
#include "kernels/eigh/lane_findings.h"
#include "kernels/simd/exchange.h"

// The decomposition of matrices with n <= 4, in registers.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <typename T, bool is_complex, int n>
struct Small {
  Vec<T> diagonal[n];
  Entry<T, is_complex> off[n * (n - 1) / 2 + 1];
  Entry<T, is_complex> vectors[n][n];
};

// Not inlined, so that the compiler moves no arithmetic out of the scope of `FlushUnderflow`.
template <typename T, bool is_complex, int n, bool compute_vectors>
__attribute__((noinline)) bool solve(Small<T, is_complex, n>& small, const Vec<T>& size) {
  auto local = small;
  const bool converged = jacobi<T, is_complex, n, compute_vectors>(local.diagonal, local.off, local.vectors, size);
  small = local;
  return converged;
}

template <typename T, bool is_complex, int n, bool compute_vectors>
void decompose_small(const EighBatch<T>& batch, int64_t begin, int64_t end, EighFindings& findings) {
  constexpr int W = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  const Vec<T> zero(T(0));
  alignas(64) T entries[n][n][parts][W];
  alignas(64) T values[n][W];
  for (auto first = begin; first < end; first += W) {
    const Members members{first, static_cast<int>(end - first < W ? end - first : W)};
    load_triangle<T, is_complex>(batch.matrices, n, batch.upper, members, [&](int i, int j) {
      return &entries[i][j][0][0];
    });
    Small<T, is_complex, n> small;
    Extent<T> extent;
    for (int i = 0; i < n; ++i) {
      small.diagonal[i] = load(&entries[i][i][0][0]);
      extent.add(small.diagonal[i]);
      for (int j = 0; j < i; ++j) {
        const auto entry = load_entry<T, is_complex>(&entries[i][j][0][0]);
        extent.add(entry);
        small.off[above<n>(j, i)] = conj(entry);
      }
    }
    const auto finite = extent.finite();
    const Scale<T> units(where(finite, extent.largest));
    for (int i = 0; i < n; ++i) {
      small.diagonal[i] = where(finite, small.diagonal[i] * units.to);
    }
    for (int i = 0; i < n * (n - 1) / 2; ++i) {
      small.off[i] = where_entry(finite, scale(small.off[i], units.to));
    }
    bool converged = false;
    {
      const FlushUnderflow flush;
      converged = solve<T, is_complex, n, compute_vectors>(small, units.size);
    }
    if (!converged) {
      lower(findings.not_converged, first);
    }
    note<T>(negation<T>(finite), members, findings.not_finite);
    // NaN in lanes with non-finite matrices, zero in the others. Adding it also turns -0 into 0.
    const auto nan_or_zero = extent.zeros * zero;
    for (int i = 0; i < n; ++i) {
      store(values[i], fma(small.diagonal[i], units.from, nan_or_zero));
      for (int j = 0; compute_vectors && j < n; ++j) {
        if constexpr (is_complex) {
          store(entries[j][i][0], small.vectors[i][j].re + nan_or_zero);
          store(entries[j][i][1], small.vectors[i][j].im + nan_or_zero);
        } else {
          store(entries[j][i][0], small.vectors[i][j] + nan_or_zero);
        }
      }
    }
    T* to_values = batch.eigenvalues + first * n;
    for (int lane = 0; lane < members.count; ++lane) {
      for (int i = 0; i < n; ++i) {
        *to_values++ = values[i][lane];
      }
    }
    if constexpr (compute_vectors) {
      T* to = batch.eigenvectors + first * n * n * parts;
      const T* from = &entries[0][0][0][0];
      for (int lane = 0; lane < members.count; ++lane) {
        for (int i = 0; i < n * n * parts; ++i) {
          *to++ = from[i * W + lane];
        }
      }
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
