#pragma once

#include "kernels/svd_vjp/lane_cotangents.h"

// A preselection of the losses that math/pairs/judge.h has to examine, from the statistics of
// math/pairs/judge_singular_vectors.h. It finds every loss that `math::judge` reports, and few others.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <typename T, bool is_complex>
class LaneSuspicion {
 public:
  LaneSuspicion(const LaneCotangents<T, is_complex>& all, T gauge, T same_value)
      : all_(all), gauge_(gauge), same_(all.value(0) * Vec<T>(same_value)) {}

  SPECTRALGRAD_INLINE bool found() const {
    const int n = all_.count();
    if (all_.has_vectors() && is_complex && any<T>(phases_matter())) {
      return true;
    }
    auto repeated = all_.value(n - 1) <= same_;
    for (int i = 0; i + 1 < n; ++i) {
      repeated = repeated | (all_.value(i) - all_.value(i + 1) <= same_);
    }
    return any<T>(repeated) && (any_pair_matters() || (all_.has_vectors() && null_spaces_matter()));
  }

 private:
  using Masks = Mask<T>;

  /// Whether the common phase of u_i and v_i matters.
  SPECTRALGRAD_INLINE Masks phases_matter() const {
    Masks result(T(0));
    for (int i = 0; i < all_.count(); ++i) {
      const auto diagonal = load_entry<T, is_complex>(all_.together.at(i, i));
      const auto size = imaginary(diagonal).abs();
      // Twice the real part is a lower bound of N_ii and usually decides.
      if (any<T>(gauge_ * (real(diagonal) + real(diagonal)).abs() < size)) {
        result = result | (gauge_ * all_.magnitude(i, i) < size);
      }
    }
    return result;
  }

  /// Whether the skew-Hermitian part of entries (i, j) and (j, i) is significant, in lanes where `equal` is set.
  SPECTRALGRAD_INLINE bool depends_on_basis(const View<T>& matrix, int i, int j, const Masks& equal) const {
    // Slightly less than 2, because sums are rounded. `abs_lower_bound` may be too small by the factor `root`.
    const Vec<T> nearly(T(1.98));
    const Vec<T> root(abs_lower_bound_factor<T, is_complex>);
    const auto upper = load_entry<T, is_complex>(matrix.at(i, j));
    const auto lower = conj(load_entry<T, is_complex>(matrix.at(j, i)));
    const auto size = root * abs_lower_bound(subtract_scaled(lower, Vec<T>(T(1)), upper));
    const auto maybe = equal & (nearly * gauge_ * all_.least_magnitude(i, j) < size);
    return any<T>(maybe) && any<T>(maybe & (nearly * gauge_ * all_.magnitude(i, j) < size));
  }

  /// Whether the loss depends on the order of equal singular values or on the basis of their vectors.
  __attribute__((noinline)) bool any_pair_matters() const {
    const int n = all_.count();
    Vec<T> largest(T(0));
    for (int i = 0; i < n; ++i) {
      largest = larger(largest, all_.value_cotangent(i).abs());
    }
    for (int i = 0; i < n; ++i) {
      for (int j = i + 1; j < n; ++j) {
        const auto equal = all_.value(i) - all_.value(j) <= same_;
        if (!any<T>(equal)) {
          break;
        }
        const auto difference = (all_.value_cotangent(i) - all_.value_cotangent(j)).abs();
        if (any<T>(equal & (gauge_ * largest < difference)) ||
            (all_.has_vectors() && depends_on_basis(all_.together, i, j, equal))) {
          return true;
        }
      }
    }
    return false;
  }

  /// Whether the loss depends on the bases of the left or the right null space.
  __attribute__((noinline)) bool null_spaces_matter() const {
    const int n = all_.count();
    for (int i = n - 1; i >= 0; --i) {
      const auto zero = all_.value(i) <= same_;
      if (!any<T>(zero)) {
        break;
      }
      for (int j = i; j < n; ++j) {
        if (depends_on_basis(all_.against, i, j, zero & (all_.value(i) + all_.value(j) <= same_))) {
          return true;
        }
      }
      if (all_.has_outer && outer_matters(i, zero)) {
        return true;
      }
    }
    return false;
  }

  SPECTRALGRAD_INLINE bool outer_matters(int column, const Masks& zero) const {
    const Vec<T> root(abs_lower_bound_factor<T, is_complex>);
    for (int r = 0; r < all_.left.rows; ++r) {
      const auto size = root * abs_lower_bound(all_.outer_part(r, column));
      const auto maybe = zero & (gauge_ * abs_lower_bound(all_.left.cotangent(r, column)) < size);
      if (any<T>(maybe) && any<T>(maybe & (gauge_ * all_.left.outer_magnitude(r, column) < size))) {
        return true;
      }
    }
    return false;
  }

  const LaneCotangents<T, is_complex>& all_;
  Vec<T> gauge_;
  Vec<T> same_;
};

/// Whether the loss of a matrix in any lane may have no gradient. `gauge` and `same_value` are those of `SvdVjpBatch`.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE bool is_suspicious(const LaneCotangents<T, is_complex>& all, T gauge, T same_value) {
  return LaneSuspicion<T, is_complex>(all, gauge, same_value).found();
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
