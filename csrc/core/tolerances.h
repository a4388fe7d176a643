#pragma once

#include <c10/core/ScalarType.h>

#include <cmath>
#include <cstdint>
#include <limits>

// Every default tolerance of the library, with its reason. The measurements behind them are in docs/measurements.md.
//
// Most are multiples of powers of eps, the distance from 1 to the next larger number of the real dtype, so that they
// follow the dtype. All are relative, so that they follow the scale of the data.
//
// N and M are the sizes that the noise gate compares with, see math/pairs/noise_gate.h.
namespace spectralgrad::tolerances {

inline double eps(c10::ScalarType dtype) {
  return c10::toRealValueType(dtype) == c10::ScalarType::Double ? std::numeric_limits<double>::epsilon()
                                                                : std::numeric_limits<float>::epsilon();
}

/// Entries of a matrix up to this fraction of the largest one are negligible for a decomposition: they are far below
/// eps, and their squares, which it computes, come near underflow.
template <typename T>
inline constexpr T negligible = sizeof(T) == 4 ? T(3e-17) : T(1e-140);

/// An off-diagonal entry is negligible up to this fraction of the geometric mean of the diagonal entries in its row and
/// its column: LAPACK's criterion.
template <typename T>
inline constexpr T off_diagonal = std::numeric_limits<T>::epsilon() / 2;

/// In a late sweep, an off-diagonal entry is also negligible up to this fraction of the largest entry. An entry that is
/// still not negligible by then is round-off that no sweep makes smaller.
template <typename T>
inline constexpr T late_off_diagonal = std::numeric_limits<T>::epsilon() / 10;

/// A row is not reflected if it is negligible beside the diagonal, by LAPACK's criterion with this fraction. It is
/// smaller than `off_diagonal`, because it applies to each entry of a row.
template <typename T>
inline constexpr T unreflected_row = std::numeric_limits<T>::epsilon() / 16;

/// The lower bound of squared off-diagonal entries in a Sturm sequence, beside a norm of about 1. It is far below eps,
/// so it does not change a count. Without it, a zero would make all later minors zero.
template <typename T>
inline constexpr T sturm_floor = std::numeric_limits<T>::epsilon() / 4 * (std::numeric_limits<T>::epsilon() / 4);

/// A computed eigenvalue moves until the eigenvalue of the same index, by Sturm counts, is at most this fraction of the
/// norm away. With a smaller fraction, more eigenvalues would move.
template <typename T>
inline constexpr T sturm_radius = 3 * std::numeric_limits<T>::epsilon();

/// Divide and conquer drops an entry up to this fraction of the norm: LAPACK's criterion.
template <typename T>
inline constexpr T deflation = 4 * std::numeric_limits<T>::epsilon();

/// A root of the secular equation is found when its value is at most this many times the bound of its round-off.
template <typename T>
inline constexpr T secular_equation = std::numeric_limits<T>::epsilon();

/// The typical round-off of an entry of skew(V^H gV), as a fraction of N. Chosen from measurements up to n = 512.
inline double product_rounding(c10::ScalarType dtype) {
  return (c10::toRealValueType(dtype) == c10::ScalarType::Double ? 0.2 : 0.125) * eps(dtype);
}

/// Outside clusters the noise gate drops entries up to this many times `product_rounding`, inside clusters up to this
/// many times `cluster_rounding`.
inline constexpr double gate_noise = 4.0;

/// The typical round-off inside a cluster, as a fraction of M. With `gate_noise` the threshold is 2 eps*M. N is at
/// most 2 M, so this is above the threshold outside clusters, and above the round-off that the loss leaves in gV.
inline double cluster_rounding(c10::ScalarType dtype) {
  return 0.5 * eps(dtype);
}

/// The half-width of the gate's Lorentzian, in units of eps*max|lambda|: the backward error of a computed eigenvalue.
/// A width of n*eps*max|lambda| makes float32 gradients measurably worse.
inline constexpr double gate_width = 2.0;

/// Gaps up to this many eps*max|lambda| are round-off, and their eigenvectors are an arbitrary basis. Forward mode
/// drops these pairs, because it has no other way to distinguish noise from signal. Second derivatives treat F as a
/// constant for them, because F' = 1/eta^2 would exceed everything else.
inline constexpr double close_gap = 16.0;

/// Generalized problems amplify round-off and `close_gap`, but the latter only up to this fraction of max|lambda|.
/// Forward mode loses at most half of the digits if it divides by such a gap, and all of them if it drops the pair.
/// Values that `Split` has moved apart are farther apart.
inline double largest_close_gap(c10::ScalarType dtype) {
  return std::sqrt(eps(dtype)) / 2;
}

/// Consecutive eigenvalues up to this many eps*max|lambda| apart count as degenerate: 99 % of the gaps measured between
/// eigenvalues that are equal before rounding are smaller.
inline constexpr double same_eigenvalue = 8.0;

/// Eigenvalues linked by such gaps form one cluster for the noise gate, but only pairs up to this many
/// eps*max|lambda| apart are inside it. The computed values of one eigenvalue of high multiplicity spread over less.
inline constexpr double cluster_reach = 64.0;

/// The gauge checks report a statistic only if it is above this many eps*M, the round-off of the whole matrix.
/// Columns of gV that are pure round-off stay far below, and a genuine gauge dependence is of the order of N.
inline constexpr double finding_floor = 100.0;

/// Cotangents up to this fraction of max|lambda| may be the round-off of A alone, so the gauge checks do not report
/// them. In float32, the cotangents of genuine losses are as small, so the threshold is zero.
inline double cancelled_cotangent(c10::ScalarType dtype) {
  return c10::toRealValueType(dtype) == c10::ScalarType::Double ? 8 * eps(dtype) : 0;
}

/// The largest singular value that raises that threshold for a polar factor. Losses of the factor alone do not grow
/// with A, so a larger A must not hide them.
inline constexpr double largest_distance = 1e3;

/// A matrix of n rows is normal up to round-off if each entry of A^H A - A A^H is at most this fraction of the sizes of
/// the two rows and columns that it is a product of. Its Schur form is then diagonal up to the same fraction.
template <typename T>
T normal_matrix(int64_t n) {
  return 16 * std::sqrt(static_cast<T>(n)) * std::numeric_limits<T>::epsilon();
}

/// In the QR algorithm, a subdiagonal entry is negligible up to this fraction of its neighbours on the diagonal. After
/// many iterations it is round-off that no further one makes smaller, so the fraction grows.
template <typename T>
T negligible_subdiagonal(int iterations) {
  const int tens = iterations / 10;
  return std::numeric_limits<T>::epsilon() * static_cast<T>(1 + tens);
}

/// The eigenvalues of a 2 x 2 matrix have a closed form if the discriminant is above this many eps times the terms that
/// it is a sum of: LAPACK's criterion for nearly equal eigenvalues.
inline constexpr double discriminant = 4.0;

/// It also needs the largest entry to be above this and below its inverse, so that no square over- or underflows.
inline constexpr double least_entry = 1e-100;

/// Eigenvectors of a general matrix at an angle whose sine is at most this count as nearly parallel. Their eigenvalues
/// have condition numbers of at least its inverse, and the terms of the gradient of their sum cancel to the square of
/// it.
inline constexpr double parallel = 0.02;

/// Eigenvalues with nearly parallel eigenvectors belong to one cluster if they are at most this fraction of max|lambda|
/// apart. Round-off splits the eigenvalue of a Jordan block of 8 rows by less.
inline constexpr double defective_reach = 0.1;

/// The cotangents of a smooth symmetric function of the eigenvalues have divided differences of the order of
/// max|g_lambda|/max|lambda|. Above this many times that, the loss distinguishes the two eigenvalues.
inline constexpr double smooth_slope = 100.0;

/// Steps of inverse iteration for an invariant subspace, with a shift at this fraction of the size of A from the mean
/// of its eigenvalues. Each step multiplies the error by about that fraction, and two steps of Newton's method follow.
inline constexpr int subspace_steps = 3;
inline constexpr double subspace_shift = 1e-3;

/// Derivatives through nearly parallel eigenvectors are reported if they err by this, relatively: if half of the digits
/// are lost. In float32, random matrices of a few hundred rows reach that, so the limit is higher.
inline double near_defective(c10::ScalarType dtype) {
  return c10::toRealValueType(dtype) == c10::ScalarType::Double ? std::sqrt(eps(dtype)) : 1e-2;
}

/// A loss does not depend on the norm of column j of V if |v_j^H gV_j| is at most this fraction of |gV_j|, for n rows.
/// It is a random number of about 1/sqrt(n) for others, and round-off for losses of V^-1 such as Riesz projectors.
inline double independent_of_norm(int64_t n) {
  return 0.05 / std::sqrt(static_cast<double>(n));
}

/// A gradient through nearly parallel eigenvectors is reported if its estimated round-off exceeds this fraction of it.
inline double lost_digits(c10::ScalarType dtype) {
  return std::sqrt(eps(dtype));
}

/// The factor by which the round-off of V^H gV exceeds that of `eigh`, for a general V of n rows: gV of a Riesz
/// projector comes through V^-1, whose products cancel in V^H gV.
inline double general_rounding(int64_t n) {
  return 4.5 + 0.45 * std::sqrt(static_cast<double>(n));
}

/// Points and weights up to this size, or its inverse, need no units: products of three of them stay in the range of
/// float32.
inline constexpr double largest_without_unit = 1 << 20;

/// A dependence on phases or on the basis inside an eigenspace is a property of the loss, not round-off, if it is
/// above this fraction of N. Measured values of well-posed and of ill-posed losses are far apart on either side.
inline double gauge(c10::ScalarType dtype) {
  return std::sqrt(eps(dtype));
}

/// The default width of `Split`. Its error is about width + eps/width in first derivatives, and width + eps/width^2
/// in second ones. These widths make both terms equal.
inline double split_width(c10::ScalarType dtype, int order) {
  return order == 2 ? std::cbrt(eps(dtype)) : std::sqrt(eps(dtype));
}

/// Two formulas for a divided difference agree if their difference is at most this many times the round-off of the
/// less accurate one. The given values of f may have errors of a few eps, too.
inline constexpr double agreement = 16.0;

/// An expansion that was chosen for f itself is used for any other function (a gradient in the parameters of f) only if
/// the gap is at most this fraction of the eigenvalues, because the other function may be singular at 0. With four
/// derivatives it errs by 1e-12.
inline constexpr double reach_of_any_expansion = 0.1;

/// The number of derivatives that `funm` uses of a given function. With four, first differences err by a few eps and
/// second ones by less than 1e-11 (docs/measurements.md).
inline constexpr int64_t jet_order = 4;

/// A first divided difference errs by this, relative to its value and to the effect of its arguments' round-off: two
/// roundings of a closed form.
inline double first_difference(c10::ScalarType dtype) {
  return 2 * eps(dtype);
}

/// A derivative interpolated between two arguments errs by this, relative to the larger of its two values: the
/// round-off of a few terms.
inline double interpolant(c10::ScalarType dtype) {
  return 4 * eps(dtype);
}

/// For gaps below this, in units of f's own scale, every function is expanded. A quotient at that gap errs by 1e-11 in
/// float64.
inline constexpr double always_expanded_gap = 1e-5;

/// Eigenvalues of a semidefinite matrix up to this fraction of max|lambda| cannot be distinguished from 0, because of
/// LAPACK's backward error. Derivatives of square roots treat them as 0; values of square roots treat negative ones
/// as 0.
inline double zero_eigenvalue(c10::ScalarType dtype, int64_t n) {
  return static_cast<double>(n) * eps(dtype);
}

/// Eigenvalues up to this fraction of max|lambda| apart form a cluster for the spectral map. A quotient by the gap
/// has an error of eps/gap. Evaluations with rotated pairs have an error of the square of the gap or, with several
/// pairs at a time, of a small fraction of the gap. At this gap, both errors are about 2e-9 in float64.
inline double cluster_gap(c10::ScalarType dtype) {
  return 8 * std::sqrt(eps(dtype));
}

/// The spectral map accepts a mismatch between the cotangent of a rotated pair and its expected value up to this
/// fraction of the expected value. Functions that vary over a tenth of the gap inside a cluster exceed it, but their
/// derivatives would be wrong anyway.
inline constexpr double pair_mismatch = 0.25;

/// The least kT, as a fraction of max|lambda|, for which the chemical potential is computed. The logarithm of an
/// occupation grows like (lambda/kT)^2, so a smaller kT would overflow. It would not change a digit of the result.
inline constexpr double least_temperature = 1e-140;

/// A chemical potential is in a wide gap if the electrons above it and the holes below it are at most this many eps per
/// level: they are round-off of the number of electrons.
inline constexpr double wide_gap = 2.0;

/// The limit for Newton's method with bisection as a fallback. Bisection alone needs fewer iterations.
inline constexpr int largest_number_of_iterations = 200;

} // namespace spectralgrad::tolerances
