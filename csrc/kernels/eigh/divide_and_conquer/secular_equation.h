#pragma once

#include "core/tolerances.h"
#include "kernels/eigh/divide_and_conquer/lanes.h"
#include "kernels/simd/vector.h"

#include <cmath>
#include <cstdint>

// The eigenvalues of diag(d) + rho z z^T, rho > 0: the roots x of 1/rho + sum_j z_j^2/(d_j - x) = 0, with one root in
// each SIMD lane.
//
// R.-C. Li, Solving secular equations stably and efficiently, LAPACK Working Note 89 (1994), sections 2 to 4. A root is
// stored as the nearest pole d_j and the distance from it, so that all d_j - x are known to full relative accuracy.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The arrays have room for whole registers. Root i lies between `left[i]` and `right[i]`; lanes beyond the last root
/// repeat it.
template <typename T>
struct SecularEquation {
  int count; // of roots
  T rho_inverse;
  const T* poles; // d, ascending
  const T* squares; // z_j^2
  const T* left;
  const T* right;
};

/// The two sums at a point x, over the poles left and right of the root, and their derivatives.
template <typename T>
struct SecularSums {
  Vec<T> left{T(0)};
  Vec<T> left_slope{T(0)};
  Vec<T> right{T(0)};
  Vec<T> right_slope{T(0)};

  SPECTRALGRAD_INLINE Vec<T> slope() const {
    return left_slope + right_slope;
  }
};

/// Adds z^2/(d - x) and its derivative for the poles begin <= j < end, where x is `distance` from `origin`. At most one
/// pole is near x.
template <typename T>
SPECTRALGRAD_INLINE void add_poles(
    const SecularEquation<T>& equation,
    int begin,
    int end,
    const Vec<T>& origin,
    const Vec<T>& distance,
    Vec<T>& sum,
    Vec<T>& slope) {
  for_groups<T>(begin, end, [&](int j, auto count) {
    Vec<T> inverses[count];
    for (int k = 0; k < count; ++k) {
      inverses[k] = (Vec<T>(equation.poles[j + k]) - origin) - distance;
    }
    invert<T>(inverses);
    for (int k = 0; k < count; ++k) {
      const auto term = Vec<T>(equation.squares[j + k]) * inverses[k];
      sum = sum + term;
      slope = fma(term, inverses[k], slope);
    }
  });
}

/// The sums for the roots from `first` on, whose indices are `index`.
template <typename T>
SPECTRALGRAD_INLINE SecularSums<T> evaluate(
    const SecularEquation<T>& equation,
    int first,
    const Vec<T>& index,
    const Vec<T>& origin,
    const Vec<T>& distance) {
  constexpr int W = lane_count<T>;
  SecularSums<T> sums;
  const int mixed_end = first + W < equation.count ? first + W : equation.count;
  add_poles(equation, 0, first + 1, origin, distance, sums.left, sums.left_slope);
  for (int j = first + 1; j < mixed_end; ++j) {
    Vec<T> term(T(0));
    Vec<T> slope(T(0));
    add_poles(equation, j, j + 1, origin, distance, term, slope);
    const auto is_left = Vec<T>(T(j)) <= index;
    const auto is_right = negation<T>(is_left);
    sums.left = sums.left + where(is_left, term);
    sums.left_slope = sums.left_slope + where(is_left, slope);
    sums.right = sums.right + where(is_right, term);
    sums.right_slope = sums.right_slope + where(is_right, slope);
  }
  add_poles(equation, mixed_end, equation.count, origin, distance, sums.right, sums.right_slope);
  return sums;
}

/// The root that is nearer to zero of c y^2 - a y + b = 0, computed without cancellation.
template <typename T>
SPECTRALGRAD_INLINE Vec<T> small_root(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  const Vec<T> two(T(2));
  const auto root = fms(a, a, Vec<T>(T(4)) * b * c).abs().sqrt();
  return select(Vec<T>(T(0)) < a, two * b / (a + root), (a - root) / (two * c));
}

/// A bracket of the roots, as distances from `origin`, and a first guess.
template <typename T>
struct RootBracket {
  Vec<T> origin;
  Vec<T> low;
  Vec<T> high;
  Vec<T> distance;
};

/// The bracket and guess from the value in the middle between the two poles. The guess solves the equation with the
/// other poles replaced by their value there. `is_last`: whether the root has no pole on its right.
template <typename T>
SPECTRALGRAD_INLINE RootBracket<T> bracket_roots(
    const SecularEquation<T>& equation,
    int first,
    const Vec<T>& index,
    const Mask<T>& is_last) {
  constexpr int W = lane_count<T>;
  const Vec<T> zero(T(0));
  const Vec<T> half(T(0.5));
  const auto left = load(equation.left + first);
  const auto right = load(equation.right + first);
  alignas(64) T at_left[W];
  alignas(64) T at_right[W];
  for (int lane = 0; lane < W; ++lane) {
    const int i = first + lane < equation.count ? first + lane : equation.count - 1;
    at_left[lane] = equation.squares[i];
    at_right[lane] = i + 1 < equation.count ? equation.squares[i + 1] : T(0);
  }
  const auto left_square = load(at_left);
  const auto right_square = load(at_right);
  const auto gap = right - left;
  const auto middle = gap * half;
  const auto sums = evaluate(equation, first, index, left, middle);
  const auto value = Vec<T>(equation.rho_inverse) + (sums.left + sums.right);
  const auto others = value + (left_square - right_square) / middle;
  const auto from_left = (zero <= value) | is_last;
  const auto beyond_middle = is_last & (value < zero);
  const auto low = select(from_left, where(beyond_middle, middle), zero - middle);
  const auto high = where(from_left, select(beyond_middle, gap, middle));
  const auto both = left_square + right_square;
  const auto guess_from_left = small_root(fma(others, gap, both), left_square * gap, others);
  const auto guess_from_right = small_root(fnma(others, gap, both), zero - right_square * gap, others);
  const auto guess = select(is_last, left_square / others, select(from_left, guess_from_left, guess_from_right));
  const auto inside = (low < guess) & (guess < high);
  return {select(from_left, left, right), low, high, select(inside, guess, half * (low + high))};
}

/// Computes the roots from `first` on, and d_j - x for all j, in row place[j] of `differences`, whose rows are `row`
/// numbers apart.
template <typename T>
void solve_secular_equation(
    const SecularEquation<T>& equation,
    int first,
    T* roots,
    T* differences,
    int64_t row,
    const int* place) {
  constexpr int most_steps = 60;
  const Vec<T> zero(T(0));
  const Vec<T> half(T(0.5));
  const Vec<T> rho_inverse(equation.rho_inverse);
  const Vec<T> last_index(T(equation.count - 1));
  const auto index = smaller(Vec<T>::arange(T(first), T(1)), last_index);
  const auto is_last = index == last_index;
  auto [origin, low, high, x] = bracket_roots(equation, first, index, is_last);
  const auto left = load(equation.left + first) - origin;
  const auto right = load(equation.right + first) - origin;
  Mask<T> done(T(0));
  for (int step = 0; step < most_steps; ++step) {
    const auto sums = evaluate(equation, first, index, origin, x);
    const auto slope = sums.slope();
    const auto value = rho_inverse + (sums.left + sums.right);
    // The round-off of the value.
    const auto round_off = fma(x.abs(), slope, fma(Vec<T>(T(8)), sums.right - sums.left, rho_inverse));
    done = done | (value.abs() <= Vec<T>(tolerances::secular_equation<T>) * round_off);
    if (!any<T>(negation<T>(done))) {
      break;
    }
    const auto below = value < zero;
    low = select(below, x, low);
    high = select(below, high, x);
    // The step solves the equation with the sum on each side replaced by r + s/(d - x), d the nearest pole there, with
    // the same value and slope.
    const auto to_left = left - x;
    const auto to_right = right - x;
    const auto constant = fnma(to_right, sums.right_slope, fnma(to_left, sums.left_slope, value));
    const auto both = to_left * to_right;
    auto change = small_root(fms(to_left + to_right, value, both * slope), both * value, constant);
    change = select(is_last, fma(to_left * to_left, sums.left_slope / constant, to_left), change);
    change = select(zero <= value * change, zero - value / slope, change);
    const auto next = x + change;
    const auto inside = (low < next) & (next < high);
    const auto moved = select(inside, next, half * (low + high));
    done = done | (moved == x);
    x = select(done, x, moved);
  }
  store(roots + first, origin + x);
  for (int j = 0; j < equation.count; ++j) {
    store(differences + place[j] * row + first, (Vec<T>(equation.poles[j]) - origin) - x);
  }
}

/// |z_j| of the matrix whose eigenvalues are exactly the computed roots: rho z_j^2 = prod_i (x_i - d_j)/prod_(i != j)
/// (d_i - d_j). With them, the eigenvectors are orthogonal to working accuracy. M. Gu and S. C. Eisenstat, A stable and
/// efficient algorithm for the rank-one modification of the symmetric eigenproblem, SIAM J. Matrix Anal. Appl. 15,
/// 1266-1276 (1994). Omits the factor sqrt(rho). `differences`: d_j - x_i for all i.
template <typename T>
SPECTRALGRAD_INLINE T size_for_roots(const SecularEquation<T>& equation, int j, const T* differences) {
  constexpr int W = lane_count<T>;
  const Vec<T> one(T(1));
  const Vec<T> pole(equation.poles[j]);
  auto product = one;
  for_groups<T>(0, padded<T>(equation.count) / W, [&](int begin, auto count) {
    auto roots = one;
    auto poles = one;
    for (int i = begin; i < begin + count; ++i) {
      const auto index = Vec<T>::arange(T(i * W), T(1));
      const auto outside = Vec<T>(T(equation.count)) <= index;
      roots = roots * select(outside, one, load(differences + i * W));
      poles = poles * select((index == Vec<T>(T(j))) | outside, one, pole - load(equation.poles + i * W));
    }
    product = product * (roots / poles);
  });
  return std::sqrt(std::abs(join_lanes<T>(product, [](T a, T b) { return a * b; })));
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
