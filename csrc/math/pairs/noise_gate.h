#pragma once

#include "core/arithmetic.h"

#include <c10/core/ScalarType.h>

namespace spectralgrad {
class Rule;
} // namespace spectralgrad

// The noise gate decides which entries of a cotangent are round-off that a division by a small denominator would
// amplify. Templates for tensors, for one entry in each SIMD lane, and for single numbers.
//
// S_ij is an entry of the skew-Hermitian part of W = V^H gV. If the loss does not depend on the basis inside an
// eigenspace, S_ij = d_ij g_ij with a smooth g, so for degenerate eigenvalues S_ij is round-off. The gate compares it
// with two sizes (math/pairs/pairs.h computes them):
//     N_ij, the sum of the absolute values of all terms in W_ij and W_ji; their round-off is proportional to it,
//     M, the size of the whole cotangent.
// - Outside clusters, entries up to the round-off of the product V^H gV, a fraction of N_ij, are dropped. That costs no
//   more accuracy than their noise would have.
// - Inside a cluster, entries up to the round-off of the whole matrix, a fraction of M, are dropped. There gV itself
//   may be round-off left by an earlier cancellation: the energy tr(A P(A)) has gV = 2 A v = 2 lambda v, and N_ij does
//   not contain the size of A.
// - Inside a cluster, entries above sqrt(eps)*N_ij are dropped, too. A loss that does not depend on the basis has no
//   such entries, so they are round-off or meaningless.
// NaN and Inf are never dropped.
namespace spectralgrad::math {

/// A number that is known to be between two others.
template <typename Number>
struct Bounds {
  Number least;
  Number most;
};

/// The thresholds of the noise gate and its decisions. T is a real type or a SIMD register.
template <typename T>
struct NoiseGate {
  T noise; // outside clusters, entries up to this fraction of N are dropped
  T cluster_noise; // inside clusters, entries up to this fraction of M are dropped
  T cluster_limit; // and also entries above this fraction of N
  T step; // the largest gap between neighbours in a cluster, as a fraction of max|lambda|
  T reach; // the largest gap of any pair in a cluster, as a fraction of max|lambda|

  template <typename U>
  SPECTRALGRAD_INLINE NoiseGate<U> to() const {
    return {U(noise), U(cluster_noise), U(cluster_limit), U(step), U(reach)};
  }

  /// The gate of a generalized problem (math/pairs/amplification.h); `root` is the square root of `amplification`.
  SPECTRALGRAD_INLINE NoiseGate amplified(const T& amplification, const T& root) const {
    return {
        noise * root,
        cluster_noise * root,
        cluster_limit * amplification,
        step * amplification,
        reach * amplification};
  }

  /// Whether an entry with |S| = `size` is dropped if its pair is not in one cluster.
  template <Arithmetic A>
  SPECTRALGRAD_INLINE typename A::Mask is_dropped_outside(const typename A::Number& size, const typename A::Number& N)
      const {
    return (size <= noise * N) & A::is_finite(size);
  }

  /// Whether it is dropped if its pair is in one cluster. `floor` is `cluster_noise`*M.
  template <Arithmetic A>
  SPECTRALGRAD_INLINE typename A::Mask is_dropped_in_cluster(
      const typename A::Number& size,
      const typename A::Number& N,
      const typename A::Number& floor) const {
    return ((size <= floor) | (cluster_limit * N < size)) & A::is_finite(size);
  }

  /// The part of `is_dropped_in_cluster` that depends on N.
  template <Arithmetic A>
  SPECTRALGRAD_INLINE typename A::Mask is_above_limit(const typename A::Number& size, const typename A::Number& N)
      const {
    return (cluster_limit * N < size) & A::is_finite(size);
  }

  /// `is_dropped_outside` for the entries in `outside`, from bounds of |S| and N, which nearly always decide. For the
  /// entries in which they do not, `decide(undecided)` compares |S| with N itself.
  template <Arithmetic A, typename Decide>
  SPECTRALGRAD_INLINE typename A::Mask is_dropped_outside(
      const Bounds<typename A::Number>& size,
      const Bounds<typename A::Number>& N,
      const typename A::Mask& outside,
      const Decide& decide) const {
    // These factors allow for the round-off of the bounds.
    const auto above = A::number_like(1.01, size.least);
    const auto below = A::number_like(0.99, size.least);
    const auto maybe = outside & (size.least <= above * noise * N.most);
    if (!A::any(maybe)) {
      return maybe;
    }
    auto result = maybe & (size.most <= below * noise * N.least);
    const auto undecided = maybe & A::negation(result);
    if (A::any(undecided)) {
      result = result | decide(undecided);
    }
    return result & A::is_finite(size.least);
  }

  /// `is_dropped_in_cluster` for the entries in `inside`, from bounds. For the entries that they leave undecided,
  /// `decide(undecided)` compares |S| with N itself, as `is_above_limit` does.
  template <Arithmetic A, typename Decide>
  SPECTRALGRAD_INLINE typename A::Mask is_dropped_in_cluster(
      const Bounds<typename A::Number>& size,
      const Bounds<typename A::Number>& N,
      const typename A::Number& floor,
      const typename A::Mask& inside,
      const Decide& decide) const {
    const auto above = A::number_like(1.01, size.least);
    const auto below = A::number_like(0.99, size.least);
    auto result = inside & ((size.most <= floor) | (above * cluster_limit * N.most < size.least));
    const auto within = size.most <= below * cluster_limit * N.least;
    const auto undecided = inside & A::negation(result | within);
    if (A::any(undecided)) {
      result = result | decide(undecided);
    }
    return result & A::is_finite(size.least);
  }
};

/// The thresholds of a rule with a noise gate, for values of type `dtype`.
NoiseGate<double> noise_gate(const Rule& rule, c10::ScalarType dtype);

template <typename T>
NoiseGate<T> noise_gate(const Rule& rule) {
  return noise_gate(rule, c10::CppTypeToScalarType<T>::value).template to<T>();
}

} // namespace spectralgrad::math
