#pragma once

#include "kernels/eigh_vjp/by_products/block_pairs.h"
#include "kernels/simd/capability.h"
#include "math/pairs/broadening.h"
#include "math/pairs/noise_gate.h"

#include <cstdint>

namespace spectralgrad::kernels::simd {

/// Divides n columns of W = V^H gV by eigenvalue gaps. Complex numbers are pairs of real ones.
template <typename T>
struct GapPass {
  int64_t n;
  bool is_complex;
  T* W; // row-major; overwritten
  const T* eigenvalues; // (n), those of the columns
  const T* eigenvalues_cotangent; // (n), or null
  math::BroadeningRule<T> rule;
  T largest; // max|lambda| over all eigenvalues of the matrix
  // `gate` to `floor` are zero or null unless the rule has a noise gate.
  math::NoiseGate<T> gate;
  const T* norms; // (n), upper bounds of the norms of gV's columns
  const T* clusters; // (n), the cluster number of each eigenvalue; null if every cluster has one eigenvalue
  T floor; // round-off of the whole matrix: inside clusters, entries up to this are dropped
  /// Called for each entry that the bounds of N neither keep nor drop, with its position, the absolute value of its
  /// skew-Hermitian part, and whether its two eigenvalues are in one cluster. The pass keeps the entry.
  void (*undecided)(void* context, int64_t i, int64_t j, T size, bool inside_cluster);
  void* context;
};

template <typename T>
struct GapPassKernel {
  /// Replaces W (n x n) by diag(g_lambda) + F o S, S the skew-Hermitian part of W, for one pair of blocks. Blocks begin
  /// at multiples of 16.
  void (*divide)(const GapPass<T>&, const BlockPair&);
  /// For W with only some of the columns: replaces the rows begin <= i < end with `has_column[i]` false by twice F o S.
  /// Such a row has no entries across the diagonal; they count as zero.
  void (*divide_rows)(
      const GapPass<T>&,
      const T* eigenvalues_of_rows,
      const T* clusters_of_rows, // (n), or null if `GapPass::clusters` is
      const bool* has_column,
      int64_t begin,
      int64_t end);

  SPECTRALGRAD_FOR_EACH_CAPABILITY(GapPassKernel)
};

} // namespace spectralgrad::kernels::simd
