#pragma once

#include "kernels/eigh_vjp/cotangent_batch.h"
#include "kernels/eigh_vjp/gap_quotient.h"
#include "kernels/simd/load_matrices.h"
#include "kernels/simd/pass.h"
#include "math/pairs/clusters.h"

namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The cotangents of one group of matrices, one in each SIMD lane: turns W = V^H gV into diag(g_lambda) + F o S.
/// Implements the formulas of math/eigh.h and math/pairs. `known_n` is n as a compile-time constant, or 0.
///
/// V may have columns that are not orthonormal, as the eigenvectors of a generalized problem. Then `columns_grow` is
/// set, because V^H gV grows with their norms, and `amplification_` is that of math/pairs/amplification.h.
template <typename T, bool is_complex, int known_n, bool columns_grow = false>
class LaneCotangents {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int parts = is_complex ? 2 : 1;
  static constexpr int entry = parts * W;
  using E = Entry<T, is_complex>;
  using A = VectorArithmetic<T>;

  static int64_t cotangents_size(int n) {
    // V, the cotangent, W, the moduli of V and the cotangent, and four rows.
    return static_cast<int64_t>(n) * (n | 1) * (3 * entry + 2 * W) + static_cast<int64_t>(n) * 4 * W;
  }

  LaneCotangents(const CotangentBatch<T>& batch, Memory<T>& memory)
      : batch_(batch), n_(known_n == 0 ? batch.n : known_n) {
    V_ = memory.matrix(n_, entry);
    gV_ = memory.matrix(n_, entry);
    W_ = memory.matrix(n_, entry);
    V_sizes_ = memory.matrix(n_, W);
    gV_sizes_ = memory.matrix(n_, W);
    eigenvalues_ = memory.row(n_);
    cotangents_ = memory.row(n_);
    norms_ = memory.row(n_);
    clusters_ = memory.row(n_);
  }

 protected:
  bool has_eigenvectors_cotangent() const {
    return batch_.eigenvectors_cotangent.data != nullptr;
  }

  /// Loads V, lambda and g_lambda.
  SPECTRALGRAD_INLINE void load_decomposition(const Members& members) {
    load_matrices<T, is_complex, known_n>(batch_.eigenvectors, n_, members, V_);
    load_rows<T, known_n>(batch_.eigenvalues, n_, members, eigenvalues_);
    if (batch_.eigenvalues_cotangent != nullptr) {
      load_rows<T, known_n>(batch_.eigenvalues_cotangent, n_, members, cotangents_);
    }
  }

  /// Loads gV, scales it to about 1, and computes W = V^H gV. Returns the units.
  SPECTRALGRAD_INLINE Scale<T> project(const Members& members) {
    load_matrices<T, is_complex, known_n>(batch_.eigenvectors_cotangent, n_, members, gV_);
    const Scale<T> units(scale_cotangent());
    multiply<T, is_complex, Conjugated::left, Part::all, known_n>(n_, n_, V_.transposed(), gV_, W_);
    have_sizes_ = false;
    return units;
  }

  SPECTRALGRAD_INLINE E at(const View<T>& matrix, int i, int j) const {
    return load_entry<T, is_complex>(matrix.at(i, j));
  }

  /// Scales gV by a power of two so that its largest entry is near 1. Returns the largest entry before scaling.
  SPECTRALGRAD_INLINE Vec<T> scale_cotangent() {
    const auto largest = largest_entry<T, is_complex>(gV_, n_);
    const auto to = Scale<T>(largest).to;
    for (int r = 0; r < n_; ++r) {
      for (int c = 0; c < n_; ++c) {
        store_entry(gV_.at(r, c), scale(at(gV_, r, c), to));
      }
    }
    return largest;
  }

  SPECTRALGRAD_INLINE void find_sizes() {
    if (have_sizes_) {
      return;
    }
    have_sizes_ = true;
    for (int r = 0; r < n_; ++r) {
      for (int c = 0; c < n_; ++c) {
        store(V_sizes_.at(r, c), size_of(at(V_, r, c)));
        store(gV_sizes_.at(r, c), size_of(at(gV_, r, c)));
      }
    }
  }

  /// N_ij = (|V|^T |gV| + its transpose)_ij
  Vec<T> magnitude(int i, int j) {
    find_sizes();
    Vec<T> sum(T(0));
    for (int k = 0; k < n_; ++k) {
      sum = fma(load(V_sizes_.at(k, i)), load(gV_sizes_.at(k, j)), sum);
      sum = fma(load(V_sizes_.at(k, j)), load(gV_sizes_.at(k, i)), sum);
    }
    return sum;
  }

  /// Stores the cluster number of each eigenvalue; eigenvalues are multiplied by the headroom already. Returns whether
  /// any cluster has more than one eigenvalue.
  SPECTRALGRAD_INLINE bool find_clusters(const Vec<T>& step) {
    const auto repeated = math::number_clusters<A>(
        n_,
        step,
        [&](int64_t i) { return load(eigenvalues_ + i * W); },
        [&](int64_t i, const Vec<T>& number) { store(clusters_ + i * W, number); });
    return any<T>(repeated);
  }

  /// The largest norm of a column of V.
  SPECTRALGRAD_INLINE Vec<T> largest_column() {
    find_sizes();
    const auto largest = Scale<T>(largest_entry<T, is_complex>(V_, n_));
    Vec<T> most(T(0));
    for (int i = 0; i < n_; ++i) {
      Vec<T> sum(T(0));
      for (int k = 0; k < n_; ++k) {
        const auto size = load(V_sizes_.at(k, i)) * largest.to;
        sum = fma(size, size, sum);
      }
      most = larger(most, sum);
    }
    return most.sqrt() * largest.from;
  }

  /// Stores upper bounds of what columns of gV contribute to N, and returns M. gV is scaled; `to_units` scales g_lambda
  /// in the same way.
  SPECTRALGRAD_INLINE Vec<T> find_norms(const Vec<T>& largest, const Vec<T>& to_units) {
    Vec<T> most(T(0));
    Vec<T> growth(T(1));
    if constexpr (columns_grow) {
      growth = largest_column();
    }
    for (int i = 0; i < n_; ++i) {
      Vec<T> sum(T(0));
      for (int k = 0; k < n_; ++k) {
        sum = add_squared(at(gV_, k, i), sum);
      }
      auto norm = sum.sqrt();
      if constexpr (columns_grow) {
        norm = norm * growth;
      }
      store(norms_ + i * W, norm);
      most = larger(most, norm);
    }
    if (batch_.eigenvalues_cotangent != nullptr) {
      for (int i = 0; i < n_; ++i) {
        most = larger(most, load(cotangents_ + i * W).abs() * to_units * largest);
      }
    }
    return most;
  }

  /// g_lambda of one eigenvalue.
  SPECTRALGRAD_INLINE Vec<T> value_cotangent(int i) const {
    return batch_.eigenvalues_cotangent == nullptr ? Vec<T>(T(0)) : load(cotangents_ + i * W);
  }

  /// Calls put(i, j, S_ij, gap, inside, quotient) for i < j, after `project`. The noise gate has replaced entries S_ij
  /// by 0. `inside` is the mask of the pairs in one cluster. S is in the units of gV, and gaps are multiplied by the
  /// headroom of `quotient`, as the eigenvalues are from then on.
  template <typename Put>
  SPECTRALGRAD_INLINE void for_each_pair(const Vec<T>& largest, const Scale<T>& units, const Put& put) {
    const Vec<T> zero(T(0));
    GapQuotient<T> quotient(largest, batch_.rule, batch_.gate);
    if constexpr (columns_grow) {
      quotient.gate = quotient.gate.amplified(amplification_, amplification_.sqrt());
    }
    for (int i = 0; i < n_; ++i) {
      store(eigenvalues_ + i * W, load(eigenvalues_ + i * W) * quotient.headroom);
    }
    const auto reach = quotient.gate.reach * quotient.largest;
    auto floor = zero;
    bool clusters = false;
    if (batch_.gates) {
      floor = quotient.gate.cluster_noise * find_norms(largest, units.to);
      clusters = find_clusters(quotient.gate.step * quotient.largest);
    }
    for (int i = 0; i < n_; ++i) {
      const auto here = load(eigenvalues_ + i * W);
      bool clustered = clusters;
      for (int j = i + 1; j < n_; ++j) {
        const auto upper = at(W_, i, j);
        const auto lower = conj(at(W_, j, i));
        auto S = quotient.skew_part(upper, lower);
        const auto gap = math::denominator(math::Denominator::difference, here, load(eigenvalues_ + j * W));
        Mask<T> inside = zero;
        if (batch_.gates) {
          if (clustered) {
            inside = math::in_one_cluster<A>(load(clusters_ + i * W), load(clusters_ + j * W), gap, reach);
            // Eigenvalues are ascending, so later ones are not closer.
            clustered = any<T>(inside);
          }
          const auto norms = load(norms_ + i * W) + load(norms_ + j * W);
          const auto decide = [&](const Mask<T>& undecided, bool is_inside) {
            const auto size = size_of(S);
            const auto N = magnitude(i, j);
            return undecided &
                (is_inside ? quotient.gate.template is_above_limit<A>(size, N)
                           : quotient.gate.template is_dropped_outside<A>(size, N));
          };
          S = quotient.without_noise(S, upper, lower, norms, inside, floor, decide);
        }
        put(i, j, S, gap, inside, quotient);
      }
    }
  }

  /// Turns W = V^H gV into diag(g_lambda) + F o S.
  SPECTRALGRAD_INLINE void divide_by_gaps(const Vec<T>& largest, const Scale<T>& units) {
    const auto put = [&](int i, int j, const E& S, const Vec<T>& gap, const Mask<T>&, const GapQuotient<T>& quotient) {
      // Applies the units and 1/scale last and one after the other, because their product may be out of range.
      const auto divided = quotient.over_unit(scale(quotient(S, gap), units.from * quotient.headroom));
      store_entry(W_.at(i, j), divided);
      store_entry(W_.at(j, i), conj(divided));
    };
    for_each_pair(largest, units, put);
    for (int i = 0; i < n_; ++i) {
      store_entry(W_.at(i, i), real_entry<T, is_complex>(value_cotangent(i)));
    }
  }

  const CotangentBatch<T>& batch_;
  int n_;
  View<T> V_;
  View<T> gV_;
  View<T> W_;
  View<T> V_sizes_;
  View<T> gV_sizes_;
  T* eigenvalues_;
  T* cotangents_;
  T* norms_;
  T* clusters_;
  Vec<T> amplification_{T(1)}; // only read if `columns_grow`
  bool have_sizes_ = false;
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
