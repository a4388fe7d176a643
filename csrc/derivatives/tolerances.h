#pragma once

#include <c10/core/ScalarType.h>

#include <cmath>
#include <cstdint>
#include <limits>

// Every default tolerance of the library, with its reason. All are multiples of powers of eps, the unit round-off gap
// of the real dtype, so that they follow the dtype; none is in the units of the data, so that they follow its scale.
namespace spectralgrad::tolerances {

inline double eps(c10::ScalarType dtype) {
  return c10::toRealValueType(dtype) == c10::ScalarType::Double ? std::numeric_limits<double>::epsilon()
                                                                : std::numeric_limits<float>::epsilon();
}

/// Entries of a matrix up to this fraction of the largest are nothing to a decomposition: their squares, with which it works,
/// come near to underflow, and they are nothing beside eps. In float32 3e-17, in float64 1e-140.
template <typename T>
inline constexpr T negligible = sizeof(T) == 4 ? T(3e-17) : T(1e-140);

/// The typical round-off of an entry of skew(V^H gV), as a fraction of N. Measured up to n = 512 with several thousand entries
/// for each n: about 0.1 eps on average. The largest was 0.77 eps in float64, and 0.44 to 0.71 eps in float32.
inline double product_rounding(c10::ScalarType dtype) {
  return (c10::toRealValueType(dtype) == c10::ScalarType::Double ? 0.2 : 0.125) * eps(dtype);
}

/// The noise gate drops entries up to this many times their typical round-off.
inline constexpr double gate_noise = 4.0;

/// A quarter of the round-off threshold inside a cluster, as a fraction of M. N is at most 2 M, so the threshold is above that of
/// the product. Round-off that the loss itself has left in gV is less: 0.34 eps*N of the largest N (measured for tr(A P(A)),
/// n = 3 ... 256).
inline double cluster_rounding(c10::ScalarType dtype) {
  return 0.5 * eps(dtype);
}

/// Half-width of the gate's Lorentzian, in units of eps*max|lambda|: the backward error of a computed eigenvalue.
/// n*eps*max|lambda| measurably hurts float32.
inline constexpr double gate_width = 2.0;

/// Gaps up to this many eps*max|lambda| are rounding noise: their eigenvectors are an arbitrary basis. Forward mode has
/// nothing else to tell noise from signal, and derivatives of F are not formed there (F' = 1/eta^2 swallows the rest).
inline constexpr double close_gap = 16.0;

/// Consecutive eigenvalues up to this many eps*max|lambda| apart count as equal. Measured on eigenvalues that are equal before
/// rounding, n = 3 ... 256: 99 % of such gaps are below 8 and the largest is 10.
inline constexpr double same_eigenvalue = 8.0;

/// Eigenvalues linked by such gaps are one cluster to the noise gate, as far as they are no more than this many eps*max|lambda|
/// apart. Computed eigenvalues of an 85-fold one (n = 256) spread over 26.
inline constexpr double cluster_reach = 64.0;

/// A statistic is a finding only above this many eps*M: the round-off of the whole matrix. Columns that are pure round-off
/// reach about 0.3 eps*M, and a genuine dependence is of order N.
inline constexpr double finding_floor = 100.0;

/// Cotangents up to this fraction of max|lambda| may be nothing but round-off of A, and are then no finding. Measured for
/// tr(V^T A V) over the kernel of A, n = 12: about 1 eps*max|lambda|. In float32 genuine losses are as small, so there is none.
inline double cancelled_cotangent(c10::ScalarType dtype) {
  return c10::toRealValueType(dtype) == c10::ScalarType::Double ? 8 * eps(dtype) : 0;
}

/// Above this fraction of N a dependence on phases or on the basis inside an eigenspace is the loss's own. Measured:
/// well-posed losses stay below 1e-14 (float64) and 3e-6 (float32), ill-posed ones above 3e-3; sqrt(eps) separates both.
inline double gauge(c10::ScalarType dtype) {
  return std::sqrt(eps(dtype));
}

/// Splitting errs by about width + eps/width in first derivatives and width + eps/width^2 in second ones: these widths
/// make the two parts equal.
inline double split_width(c10::ScalarType dtype, int order) {
  return order == 2 ? std::cbrt(eps(dtype)) : std::sqrt(eps(dtype));
}

/// Two formulas for a divided difference agree if they differ by no more than this many times the rounding of the worse one:
/// f as it is given may carry a few eps of its own.
inline constexpr double agreement = 16.0;

/// An expansion that was chosen for f itself is used for any function (a gradient in the parameters of f) only where the gap is at
/// most this fraction of the eigenvalues, because the other function may be singular at 0. With four derivatives it errs by 1e-12.
inline constexpr double reach_of_any_expansion = 0.1;

/// Closer than this, in the units of f's own scale, every function is expanded. A quotient at that gap errs by 1e-11 in float64.
inline constexpr double always_expanded_gap = 1e-5;

/// Eigenvalues of a semidefinite matrix up to this fraction of max|lambda| cannot be told from 0: LAPACK's backward error.
/// Square roots take them for 0 in their derivatives, and negative ones in their values.
inline double zero_eigenvalue(c10::ScalarType dtype, int64_t n) {
  return static_cast<double>(n) * eps(dtype);
}

/// Eigenvalues up to this fraction of max|lambda| apart are a cluster to the spectral map: a quotient by their gap errs by
/// eps/gap, evaluations about it by its square or, with several pairs at a time, by a fraction of the gap (measured: 0.02). Both
/// are 2e-9 at worst in float64.
inline double cluster_gap(c10::ScalarType dtype) {
  return 8 * std::sqrt(eps(dtype));
}

/// What the spectral map finds of a pair is checked against what it expects up to this fraction of it: for functions that
/// vary over a tenth of the gap of a cluster it finds nothing true, either.
inline constexpr double pair_mismatch = 0.25;

/// For Newton's method between bounds that are halved where it fails: more than halving alone takes.
inline constexpr int largest_number_of_iterations = 200;

} // namespace spectralgrad::tolerances
