#pragma once

#include "kernels/eigh_vjp/lane_cotangents.h"

// A preselection of the losses that math/pairs/judge.h has to examine. It finds every loss that `math::judge` reports,
// and few others.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The cotangents of one group of matrices, which can also find losses without a gradient.
template <typename T, bool is_complex, int known_n, bool columns_grow = false>
class JudgedLaneCotangents : protected LaneCotangents<T, is_complex, known_n, columns_grow> {
 public:
  using Base = LaneCotangents<T, is_complex, known_n, columns_grow>;
  using Base::Base;
  using Base::cotangents_size;
  using Base::entry;
  using Base::W;

 protected:
  using Base::amplification_;
  using Base::batch_;
  using Base::cotangents_;
  using Base::eigenvalues_;
  using Base::n_;
  using Base::W_;

  bool judges() const {
    return batch_.suspicion.found != nullptr;
  }

  /// The lanes whose loss may have no gradient. After `project`, if there is a cotangent of the eigenvectors.
  SPECTRALGRAD_INLINE Mask<T> suspicious(const Vec<T>& largest) {
    auto found = equal_eigenvalues_matter(largest);
    if constexpr (is_complex) {
      if (this->has_eigenvectors_cotangent()) {
        found = found | phases_matter();
      }
    }
    return found;
  }

 private:
  /// Whether the cotangents depend on the order of equal (degenerate) eigenvalues or on the basis of their
  /// eigenvectors.
  SPECTRALGRAD_INLINE Mask<T> equal_eigenvalues_matter(const Vec<T>& largest) {
    auto same = largest * Vec<T>(batch_.suspicion.same_eigenvalue);
    Vec<T> gauge(batch_.suspicion.gauge);
    if constexpr (columns_grow) {
      same = same * amplification_;
      gauge = gauge * amplification_;
    }
    const Mask<T> none(T(0));
    auto repeated = none;
    for (int i = 0; i + 1 < n_; ++i) {
      repeated = repeated | (load(eigenvalues_ + (i + 1) * W) - load(eigenvalues_ + i * W) <= same);
    }
    return any<T>(repeated) ? repeated & any_pair_matters(same, gauge) : none;
  }

  __attribute__((noinline)) Mask<T> any_pair_matters(const Vec<T>& same, const Vec<T>& gauge) {
    // Slightly less than 2, because sums are rounded. `abs_lower_bound` may be too small by the factor `root`.
    const Vec<T> nearly(T(1.98));
    const Vec<T> root(abs_lower_bound_factor<T, is_complex>);
    const Vec<T> zero(T(0));
    Mask<T> result(T(0));
    auto largest = zero;
    if (batch_.eigenvalues_cotangent != nullptr) {
      for (int i = 0; i < n_; ++i) {
        largest = larger(largest, load(cotangents_ + i * W).abs());
      }
    }
    for (int i = 0; i < n_; ++i) {
      for (int j = i + 1; j < n_; ++j) {
        const auto equal = load(eigenvalues_ + j * W) - load(eigenvalues_ + i * W) <= same;
        if (!any<T>(equal)) {
          break;
        }
        if (batch_.eigenvalues_cotangent != nullptr) {
          const auto difference = (load(cotangents_ + i * W) - load(cotangents_ + j * W)).abs();
          result = result | (equal & (gauge * largest < difference));
        }
        if (batch_.eigenvectors_cotangent.data == nullptr) {
          continue;
        }
        const auto upper = this->at(W_, i, j);
        const auto lower = conj(this->at(W_, j, i));
        const auto size = root * abs_lower_bound(subtract_scaled(lower, Vec<T>(T(1)), upper));
        // |upper| + |lower| is a lower bound of N and usually decides.
        const auto maybe = equal & (nearly * gauge * (abs_lower_bound(upper) + abs_lower_bound(lower)) < size);
        if (any<T>(maybe)) {
          result = result | (maybe & (nearly * gauge * this->magnitude(i, j) < size));
        }
      }
    }
    return result;
  }

  /// Whether the loss depends on the phases of the eigenvectors.
  SPECTRALGRAD_INLINE Mask<T> phases_matter() {
    const Vec<T> gauge(batch_.suspicion.gauge);
    Mask<T> result(T(0));
    for (int i = 0; i < n_; ++i) {
      const auto diagonal = this->at(W_, i, i);
      const auto size = imaginary(diagonal).abs();
      // Twice the real part is a lower bound of N_ii and usually decides.
      if (any<T>(gauge * (real(diagonal) + real(diagonal)).abs() < size)) {
        result = result | (gauge * this->magnitude(i, i) < size);
      }
    }
    return result;
  }
};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
