#include "pairs_reference.h"
#include "support.h"

#include "autograd/constant.h"
#include "core/tolerances.h"
#define CPU_CAPABILITY DEFAULT // for vectors that every processor has
#include "kernels/simd/arithmetic.h"
#include "math/pairs/broadening.h"
#include "math/pairs/clusters.h"
#include "math/pairs/noise_gate.h"
#include "math/pairs/pairs.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Tests the division by denominators of pairs (math/pairs) without an operation that uses it: differences, sums and
// complex differences, as tensors, single numbers and SIMD registers. The library does not export this code, so its
// sources are compiled into this program.

namespace spectralgrad::autograd {

// In place of the library's own functions, which it does not export, either.
bool is_differentiated(const at::Tensor& x) {
  return x.requires_grad() || x._fw_grad(0).defined();
}

at::Tensor constant(const at::Tensor& x) {
  static const auto op = testing::find_operator<at::Tensor(const at::Tensor&)>("spectralgrad::constant");
  return is_differentiated(x) ? op.call(x) : x;
}

} // namespace spectralgrad::autograd

namespace spectralgrad::testing {
namespace {

using at::Tensor;
using math::CotangentSizes;
using math::Denominator;
using math::divide_cotangent;
using math::divide_tangent;
using math::NoiseGate;

// --- broadened inverses ----------------------------------------------------------------------------------------------

/// A rule of `rule_references`, for values multiplied by `scale`. The gated one keeps every entry.
Rule rule_of(int index, double scale) {
  const auto& reference = rule_references[index];
  const std::string_view form(reference.form);
  const bool relative = reference.unit == std::string_view("relative");
  const auto width = reference.width * (relative ? 1 : scale);
  if (form == "bare") {
    return Rule::bare();
  }
  if (form == "cutoff") {
    return Rule::cutoff(width, relative);
  }
  return form == "gated" ? Rule::gated(0, reference.width) : Rule::lorentzian(width, relative);
}

std::string name_of(const PairReference& reference, double scale) {
  std::ostringstream text;
  text << reference.dtype << " x_i = " << reference.re_i << "+" << reference.im_i << "i, x_j = " << reference.re_j
       << "+" << reference.im_j << "i, kind " << reference.kind << ", " << rule_of(reference.rule, scale) << ", scale "
       << scale;
  return text.str();
}

/// Powers of two near 1, 1e20 and 1e-20 (float: 1e15 and 1e-15), and numbers that bring the values to both ends of the
/// range.
std::vector<double> scales_of(at::ScalarType dtype) {
  const bool is_float = dtype == at::kFloat;
  const double large = is_float ? 0x1p50 : 0x1p66;
  const double huge = is_float ? 0x1.8p126 : 0x1.8p1022;
  const double tiny = is_float ? 0x1p-126 : 0x1p-1022;
  return {1, large, 1 / large, huge, tiny};
}

/// Whether the half-width of the rule is zero, relative, or a normal number of the type.
bool has_exact_width(const PairReference& reference, double scale) {
  const auto& rule = rule_references[reference.rule];
  const auto width = rule.width * scale;
  const bool is_float = reference.dtype == at::kFloat;
  const double least = is_float ? std::numeric_limits<float>::min() : std::numeric_limits<double>::min();
  const double most = is_float ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  return rule.unit != std::string_view("absolute") || width == 0 || (least <= width && width <= most);
}

/// A numerator for which no quotient over- or underflows.
double numerator_of(double scale) {
  return std::exp2(std::floor(std::log2(scale) / 2));
}

Denominator denominator_of(PairKind kind) {
  return kind == PairKind::sum  ? Denominator::sum
      : kind == PairKind::value ? Denominator::value
                                : Denominator::difference;
}

/// The values x_i and x_j and the largest value, multiplied by `scale`.
Tensor values_of(const PairReference& reference, double scale) {
  const bool is_complex = reference.kind == in_plane;
  const auto dtype = is_complex ? c10::toComplexType(reference.dtype) : reference.dtype;
  const auto re = at::tensor({reference.re_i * scale, reference.re_j * scale, largest_value * scale}, at::kDouble);
  const auto im = at::tensor({reference.im_i * scale, reference.im_j * scale, 0.0}, at::kDouble);
  return is_complex ? at::complex(re, im).to(dtype) : re.to(dtype);
}

/// |value/unit - reference|, relative to |reference|; absolute if that is 0.
double error_of(const Tensor& value, const PairReference& reference, double unit) {
  const auto z = value.to(at::kComplexDouble).item().toComplexDouble() / unit;
  const c10::complex<double> exact(reference.re, reference.im);
  const auto size = std::abs(exact);
  return std::abs(z - exact) / (size > 0 ? size : 1);
}

TEST(Pairs, CotangentsAreMultipliedByTheConjugateInverse) {
  for (const auto& reference : pair_references) {
    for (const auto scale : scales_of(reference.dtype)) {
      if (!has_exact_width(reference, scale)) {
        continue;
      }
      const auto values = values_of(reference, scale);
      const auto S = at::full({3, 3}, numerator_of(scale), values.options());
      const CotangentSizes sizes{
          at::zeros({3, 3}, at::TensorOptions(reference.dtype)),
          at::zeros({1, 1}, at::TensorOptions(reference.dtype))};
      const auto result =
          divide_cotangent(S, sizes, values, denominator_of(reference.kind), rule_of(reference.rule, scale));
      const auto eps = tolerances::eps(reference.dtype);
      EXPECT_LE(error_of(result[0][1].conj(), reference, numerator_of(scale) / scale), 8 * eps)
          << name_of(reference, scale);
    }
  }
}

TEST(Pairs, TangentsAreMultipliedByTheInverse) {
  for (const auto& reference : pair_references) {
    const auto d = reference.kind == sum ? std::abs(reference.re_i + reference.re_j)
        : reference.kind == value        ? reference.re_j
                                         : std::hypot(reference.re_j - reference.re_i, reference.im_j - reference.im_i);
    const auto eps = tolerances::eps(reference.dtype);
    for (const auto scale : scales_of(reference.dtype)) {
      if (!has_exact_width(reference, scale)) {
        continue;
      }
      const auto values = values_of(reference, scale);
      const auto X = at::full({3, 3}, numerator_of(scale), values.options());
      const auto rule = rule_of(reference.rule, scale);
      const auto result = divide_tangent(X, values, denominator_of(reference.kind), rule)[0][1];
      if (rule.gates() && d <= tolerances::close_gap * eps * largest_value) {
        EXPECT_EQ(largest(result), 0) << name_of(reference, scale);
      } else {
        EXPECT_LE(error_of(result, reference, numerator_of(scale) / scale), 8 * eps) << name_of(reference, scale);
      }
    }
  }
}

/// The broadened inverse of one pair, from the templates for single numbers and for registers.
template <typename A>
typename A::Number inverse_of(
    Denominator kind,
    const typename A::Number& x_i,
    const typename A::Number& x_j,
    const typename A::Number& largest,
    const Rule& rule,
    typename A::Value least_width) {
  const auto formula = math::broadening_rule<typename A::Value>(rule);
  const auto headroom = math::headroom<A>(largest);
  const math::DenominatorUnit<A> unit(largest * headroom, headroom, formula.absolute_width);
  const math::BroadenedInverse<A> inverse(formula, unit, least_width);
  return inverse(math::denominator(kind, x_i * headroom, x_j * headroom) / unit.size) / (unit.size / headroom);
}

template <typename T>
void expect_inverses_without_tensors() {
  constexpr auto dtype = c10::CppTypeToScalarType<T>::value;
  using Vec = kernels::simd::Vec<T>;
  for (const auto& reference : pair_references) {
    if (reference.dtype != dtype || reference.kind == in_plane) {
      continue;
    }
    const auto kind = denominator_of(reference.kind);
    // The ends of the range would need a numerator.
    for (const auto scale : {scales_of(dtype)[0], scales_of(dtype)[1], scales_of(dtype)[2]}) {
      const auto rule = rule_of(reference.rule, scale);
      const auto x_i = static_cast<T>(reference.re_i * scale);
      const auto x_j = static_cast<T>(reference.re_j * scale);
      const auto most = static_cast<T>(largest_value * scale);
      const auto check = [&](T F) {
        const auto error = error_of(at::scalar_tensor(static_cast<double>(F), at::kDouble), reference, 1 / scale);
        EXPECT_LE(error, 8 * tolerances::eps(dtype)) << name_of(reference, scale);
      };
      for (const auto least_width : {tolerances::negligible<T>, std::numeric_limits<T>::infinity()}) {
        check(inverse_of<NumberArithmetic<T>>(kind, x_i, x_j, most, rule, least_width));
        T lanes[Vec::size()];
        inverse_of<kernels::simd::VectorArithmetic<T>>(kind, Vec(x_i), Vec(x_j), Vec(most), rule, least_width)
            .store(lanes);
        for (const auto F : lanes) {
          check(F);
        }
      }
    }
  }
}

TEST(Pairs, NumbersAndRegistersGiveTheSameInverses) {
  expect_inverses_without_tensors<float>();
  expect_inverses_without_tensors<double>();
}

TEST(Pairs, WidthsOutOfTheRangeOfTheTypeCountAsTheLargestNumber) {
  const auto values = at::tensor({1.0, 2.0}, at::kFloat);
  const auto S = at::ones({2, 2}, at::kFloat);
  for (const auto& rule : {Rule::lorentzian(1e300), Rule::cutoff(1e300)}) {
    EXPECT_EQ(largest(divide_cotangent(S, {}, values, Denominator::difference, rule)), 0) << rule;
  }
}

TEST(Pairs, TheBareInverseOfZeroIsNotFinite) {
  const auto values = at::zeros({2}, at::kDouble);
  const auto S = at::ones({2, 2}, at::kDouble);
  EXPECT_TRUE(std::isinf(divide_cotangent(S, {}, values, Denominator::difference, Rule::bare())[0][1].item<double>()));
  EXPECT_TRUE(std::isinf(divide_cotangent(S, {}, values, Denominator::sum, Rule::bare())[0][0].item<double>()));
}

TEST(Pairs, OnlyDifferencesHaveAZeroDiagonal) {
  const auto values = at::tensor({0.5, 1.0, 2.0}, at::kDouble);
  const auto S = at::ones({3, 3}, at::kDouble);
  const auto differences = divide_cotangent(S, {}, values, Denominator::difference, Rule::bare());
  EXPECT_EQ(largest(differences.diagonal()), 0);
  const auto sums = divide_tangent(S, values, Denominator::sum, Rule::bare());
  EXPECT_TRUE(at::equal(sums.diagonal(), 1 / (2 * values)));
}

TEST(Pairs, EmptySpectraGiveEmptyResults) {
  const auto values = at::zeros({2, 0}, at::kDouble);
  const auto S = at::zeros({2, 0, 0}, at::kDouble);
  for (const auto kind : {Denominator::difference, Denominator::sum, Denominator::value}) {
    EXPECT_EQ(divide_cotangent(S, {}, values, kind, Rule::gated()).sizes(), S.sizes());
    EXPECT_EQ(divide_tangent(S, values, kind, Rule::gated()).sizes(), S.sizes());
  }
}

// --- the noise gate --------------------------------------------------------------------------------------------------

using Numbers = NumberArithmetic<double>;

constexpr NoiseGate<double> example_gate{0.25, 0.5, 8, 0.125, 1};

TEST(NoiseGate, OutsideClustersEntriesUpToAFractionOfNAreDropped) {
  const auto is_dropped = [](double size, double N) {
    return example_gate.is_dropped_outside<Numbers>(size, N);
  };
  EXPECT_TRUE(is_dropped(0, 0));
  EXPECT_TRUE(is_dropped(0.25, 1));
  EXPECT_FALSE(is_dropped(std::nextafter(0.25, 1), 1));
  EXPECT_FALSE(is_dropped(nan, 1));
  EXPECT_FALSE(is_dropped(1, nan));
  EXPECT_TRUE(is_dropped(1, infinity));
  EXPECT_FALSE(is_dropped(infinity, infinity));
}

TEST(NoiseGate, InClustersSmallAndLargeEntriesAreDropped) {
  const auto is_dropped = [](double size, double N, double floor) {
    return example_gate.is_dropped_in_cluster<Numbers>(size, N, floor);
  };
  EXPECT_TRUE(is_dropped(0.5, 1, 0.5));
  EXPECT_FALSE(is_dropped(std::nextafter(0.5, 1), 1, 0.5));
  EXPECT_FALSE(is_dropped(8, 1, 0.5));
  EXPECT_TRUE(is_dropped(std::nextafter(8, 9), 1, 0.5));
  EXPECT_TRUE(is_dropped(0.25, 1e-3, 0.5));
  EXPECT_FALSE(is_dropped(nan, 1, 0.5));
  EXPECT_FALSE(is_dropped(infinity, 1, 0.5));
  EXPECT_FALSE(is_dropped(infinity, 1, infinity));
  EXPECT_FALSE(is_dropped(1, nan, 0.5));
}

TEST(NoiseGate, TensorsDecideAsNumbersDo) {
  const std::vector<double> sizes{0, 1e-30, 0.25, 0.3, 0.5, 0.6, 8, 9, 1e30, infinity, nan};
  const std::vector<double> magnitudes{0, 1e-30, 1, 1e30, infinity, nan};
  const auto n = static_cast<int64_t>(sizes.size());
  for (const auto magnitude : magnitudes) {
    for (const bool in_cluster : {false, true}) {
      // One matrix for each size of S_01.
      const auto gap = in_cluster ? 2 * tolerances::eps(at::kDouble) : 1.0;
      const auto values = at::tensor({1.0, 1 + gap}, at::kDouble).expand({n, 2});
      const auto entries = at::tensor(sizes, at::kDouble).view({n, 1, 1}).expand({n, 2, 2});
      const auto gate = math::noise_gate(Rule::gated(), at::kDouble);
      const auto M = at::full({n, 1, 1}, 1 / gate.cluster_noise, at::kDouble); // so that the floor is 1
      const auto N = at::full({n, 2, 2}, magnitude, at::kDouble);
      const auto result = divide_cotangent(entries, {N, M}, values, Denominator::difference, Rule::gated());
      for (int64_t i = 0; i < n; ++i) {
        const auto size = sizes[static_cast<size_t>(i)];
        const bool is_dropped = in_cluster ? gate.is_dropped_in_cluster<Numbers>(size, magnitude, 1)
                                           : gate.is_dropped_outside<Numbers>(size, magnitude);
        EXPECT_EQ(result[i][0][1].item<double>() == 0, is_dropped || size == 0) << size << " " << magnitude;
      }
    }
  }
}

TEST(NoiseGate, BoundsDecideAsExactSizesDo) {
  at::manual_seed(0);
  const auto random = at::randn({4, 2000}, at::kDouble).exp();
  const auto numbers = random.accessor<double, 2>();
  int asked = 0;
  for (int64_t k = 0; k < random.size(1); ++k) {
    const auto size = numbers[0][k];
    const auto N = numbers[1][k];
    const auto floor = numbers[2][k];
    const auto looseness = 1 + numbers[3][k];
    const math::Bounds<double> size_bounds{size, size};
    const math::Bounds<double> N_bounds{N / looseness, N * looseness};
    const auto outside = example_gate.is_dropped_outside<Numbers>(size_bounds, N_bounds, true, [&](bool) {
      ++asked;
      return example_gate.is_dropped_outside<Numbers>(size, N);
    });
    EXPECT_EQ(outside, example_gate.is_dropped_outside<Numbers>(size, N));
    const auto inside = example_gate.is_dropped_in_cluster<Numbers>(size_bounds, N_bounds, floor, true, [&](bool) {
      ++asked;
      return example_gate.is_above_limit<Numbers>(size, N);
    });
    EXPECT_EQ(inside, example_gate.is_dropped_in_cluster<Numbers>(size, N, floor));
  }
  EXPECT_GT(asked, 100);
  EXPECT_LT(asked, 3900);
}

TEST(NoiseGate, RegistersDecideAsNumbersDo) {
  using Registers = kernels::simd::VectorArithmetic<double>;
  using Vec = kernels::simd::Vec<double>;
  const auto gate = example_gate.to<Vec>();
  for (const auto size : {0.0, 0.25, 0.3, 0.5, 0.6, 8.0, 9.0, infinity, nan}) {
    for (const auto N : {0.0, 1.0, infinity, nan}) {
      const Vec floor(0.5);
      const auto outside = gate.is_dropped_outside<Registers>(Vec(size), Vec(N));
      EXPECT_EQ(Registers::any(outside), example_gate.is_dropped_outside<Numbers>(size, N));
      EXPECT_EQ(Registers::any(Registers::negation(outside)), !example_gate.is_dropped_outside<Numbers>(size, N));
      const auto inside = gate.is_dropped_in_cluster<Registers>(Vec(size), Vec(N), floor);
      EXPECT_EQ(Registers::any(inside), example_gate.is_dropped_in_cluster<Numbers>(size, N, 0.5));
    }
  }
}

TEST(NoiseGate, BoundsNeverDropWhatIsNotFinite) {
  const auto yes = [](bool undecided) {
    return undecided;
  };
  for (const auto size : {nan, infinity}) {
    const math::Bounds<double> both{size, size};
    for (const auto N : {0.0, 1.0, infinity, nan}) {
      EXPECT_FALSE(example_gate.is_dropped_outside<Numbers>(both, {N, N}, true, yes));
      EXPECT_FALSE(example_gate.is_dropped_in_cluster<Numbers>(both, {N, N}, 0.5, true, yes));
    }
  }
}

TEST(NoiseGate, ThresholdsFollowRuleAndType) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto eps = tolerances::eps(dtype);
    const auto gate = math::noise_gate(Rule::gated(4.0), dtype);
    EXPECT_EQ(gate.noise, 4 * tolerances::product_rounding(dtype));
    EXPECT_EQ(gate.cluster_noise, 2 * eps);
    EXPECT_EQ(gate.cluster_limit, std::sqrt(eps));
    EXPECT_EQ(gate.step, 8 * eps);
    EXPECT_EQ(gate.reach, 64 * eps);
    EXPECT_EQ(math::noise_gate(Rule::gated(0.0), dtype).cluster_limit, infinity);
  }
}

// --- clusters --------------------------------------------------------------------------------------------------------

TEST(Clusters, AreNumberedInOrder) {
  const std::vector<double> values{-2, -1.75, 0, 0.25, 0.5, 3};
  std::vector<double> numbers(values.size());
  const auto put = [&](int64_t i, double number) {
    numbers[static_cast<size_t>(i)] = number;
  };
  const auto value = [&](int64_t i) {
    return values[static_cast<size_t>(i)];
  };
  EXPECT_TRUE(math::number_clusters<Numbers>(6, 0.25, value, put));
  EXPECT_EQ(numbers, (std::vector<double>{0, 0, 1, 1, 1, 2}));
  EXPECT_FALSE(math::number_clusters<Numbers>(6, 0.125, value, put));
  EXPECT_EQ(numbers, (std::vector<double>{0, 1, 2, 3, 4, 5}));
  EXPECT_FALSE(math::number_clusters<Numbers>(1, 0.25, value, put));
}

TEST(Clusters, OfEachLaneAreNumberedSeparately) {
  using Registers = kernels::simd::VectorArithmetic<double>;
  using Vec = kernels::simd::Vec<double>;
  // The spectrum in lane k is 0, 1, 1 + k.
  const auto value = [](int64_t i) {
    return i < 2 ? Vec(static_cast<double>(i)) : Vec::arange(1.0, 1.0);
  };
  std::vector<Vec> numbers(3);
  const auto put = [&](int64_t i, const Vec& number) {
    numbers[static_cast<size_t>(i)] = number;
  };
  EXPECT_TRUE(Registers::any(math::number_clusters<Registers>(3, Vec(0.5), value, put)));
  double last[Vec::size()];
  numbers[2].store(last);
  for (int lane = 0; lane < Vec::size(); ++lane) {
    EXPECT_EQ(last[lane], lane == 0 ? 1 : 2);
  }
}

TEST(Clusters, EndAtTheReach) {
  EXPECT_TRUE(math::in_one_cluster<Numbers>(1, 1, -0.5, 0.5));
  EXPECT_FALSE(math::in_one_cluster<Numbers>(1, 1, 0.75, 0.5));
  EXPECT_FALSE(math::in_one_cluster<Numbers>(1, 2, 0.25, 0.5));
}

/// The pairs that the tensor code takes to be in one cluster. Their entries are above the limit that only clusters
/// have, so they are dropped, and others are kept.
Tensor pairs_in_clusters(const Tensor& values, Denominator kind) {
  const auto n = values.size(-1);
  const auto real = c10::toRealValueType(values.scalar_type());
  const auto S = at::ones({n, n}, values.options());
  const CotangentSizes sizes{
      at::full({n, n}, 0.5, at::TensorOptions(real)),
      at::zeros({1, 1}, at::TensorOptions(real))};
  return divide_cotangent(S, sizes, values, kind, Rule::gated()) == 0;
}

Tensor mask_of(int64_t n, const std::vector<std::pair<int64_t, int64_t>>& pairs) {
  auto mask = at::eye(n, at::kBool);
  for (const auto& [i, j] : pairs) {
    mask[i][j] = mask[j][i] = true;
  }
  return mask;
}

TEST(Clusters, OfRealValuesAreChainsWithinTheReach) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto eps = tolerances::eps(dtype);
    // The largest absolute value is 4, so a step is up to 32 eps and the reach is 256 eps.
    const auto values =
        at::tensor({-4.0, 1.0, 1 + 32 * eps, 1 + 60 * eps, 1 + 96 * eps, 2.0, 2 + 32 * eps}, at::kDouble).to(dtype);
    const auto expected = mask_of(7, {{1, 2}, {1, 3}, {2, 3}, {5, 6}});
    EXPECT_TRUE(at::equal(pairs_in_clusters(values, Denominator::difference), expected));
    EXPECT_TRUE(at::equal(pairs_in_clusters(values.flip(0), Denominator::difference), expected.flip({0, 1})));
    // Ten values 30 eps apart are one chain, but only pairs up to eight steps apart are inside it.
    const auto chain = at::cat({1 + 30 * eps * at::arange(10, at::kDouble), at::tensor({4.0}, at::kDouble)}).to(dtype);
    std::vector<std::pair<int64_t, int64_t>> close;
    for (int64_t i = 0; i < 10; ++i) {
      for (int64_t j = i + 1; j < std::min<int64_t>(10, i + 9); ++j) {
        close.emplace_back(i, j);
      }
    }
    EXPECT_TRUE(at::equal(pairs_in_clusters(chain, Denominator::difference), mask_of(11, close)));
  }
}

TEST(Clusters, OfSumsAreAroundZero) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto eps = tolerances::eps(dtype);
    // The eigenvalues +-x around 0 are -5, -1, 1, 5 eps; a step is up to 8 eps. The cluster at 1 is far away
    // from its negative.
    const auto values = at::tensor({1.0, 1 - 2 * eps, 5 * eps, eps}, at::kDouble).to(dtype);
    auto expected = at::zeros({4, 4}, at::kBool);
    expected.slice(0, 2).slice(1, 2).fill_(true);
    EXPECT_TRUE(at::equal(pairs_in_clusters(values, Denominator::sum), expected));
    EXPECT_TRUE(at::equal(pairs_in_clusters(values.flip(0), Denominator::sum), expected.flip({0, 1})));
    // If the smallest value is 5 eps, the gap between it and its negative is more than a step.
    const auto regular = at::tensor({1.0, 1 - 2 * eps, 8 * eps, 5 * eps}, at::kDouble).to(dtype);
    EXPECT_FALSE(pairs_in_clusters(regular, Denominator::sum).any().item<bool>());
  }
}

TEST(Clusters, OfSingleValuesAreAroundZero) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto eps = tolerances::eps(dtype);
    // The gap between 0 and the smallest value is up to a step of 8 eps, and the next value is one step further.
    const auto values = at::tensor({1.0, 1 - 2 * eps, 14 * eps, 7 * eps}, at::kDouble).to(dtype);
    auto expected = at::zeros({4, 4}, at::kBool);
    expected.slice(1, 2).fill_(true);
    EXPECT_TRUE(at::equal(pairs_in_clusters(values, Denominator::value), expected));
    EXPECT_TRUE(at::equal(pairs_in_clusters(values.flip(0), Denominator::value), expected.flip({0, 1})));
    const auto regular = at::tensor({1.0, 1 - 2 * eps, 12 * eps, 9 * eps}, at::kDouble).to(dtype);
    EXPECT_FALSE(pairs_in_clusters(regular, Denominator::value).any().item<bool>());
  }
}

TEST(Pairs, ValuesDivideColumnsOfAnyNumberOfRows) {
  const auto values = at::tensor({4.0, 2.0, 0.5}, at::kDouble);
  const auto S = at::arange(6, at::kDouble).view({2, 3});
  const CotangentSizes sizes{at::zeros({2, 3}, at::kDouble), at::zeros({1, 1}, at::kDouble)};
  for (const auto& quotients :
       {divide_cotangent(S, sizes, values, Denominator::value, Rule::bare()),
        divide_tangent(S, values, Denominator::value, Rule::bare())}) {
    EXPECT_TRUE(at::equal(quotients, S / values));
  }
  EXPECT_EQ(
      divide_tangent(S.slice(1, 0, 0), values.slice(0, 0, 0), Denominator::value, Rule::gated()).sizes(),
      (at::IntArrayRef{2, 0}));
}

TEST(Pairs, TheFirstColumnsOfATableAreThoseOfTheWholeTable) {
  const auto values = at::tensor({3.0, 2.0, 2.0, 0.5, 0.0, 0.0}, at::kDouble).repeat({2, 1});
  for (const auto kind : {Denominator::difference, Denominator::sum, Denominator::value}) {
    for (const auto& rule : rules_for_gaps()) {
      auto S = at::randn({2, 6, 6}, at::kDouble);
      S.select(-2, 1).mul_(1e-15); // below the noise gate
      const auto N = at::rand({2, 6, 6}, at::kDouble) + 1;
      const auto M = at::ones({2, 1, 1}, at::kDouble);
      const auto whole = math::divide_cotangent(S, {N, M}, values, kind, rule);
      const auto tangent = math::divide_tangent(S, values, kind, rule);
      for (const int64_t columns : {1, 2, 5}) {
        const auto first = [&](const Tensor& x) {
          return x.slice(-1, 0, columns);
        };
        EXPECT_TRUE(at::equal(math::divide_cotangent(first(S), {first(N), M}, values, kind, rule), first(whole)));
        EXPECT_TRUE(at::equal(math::divide_tangent(first(S), values, kind, rule), first(tangent)));
      }
    }
  }
}

TEST(Clusters, OfComplexValuesAreChainsInThePlane) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto step = 30 * tolerances::eps(dtype); // up to 32 eps, because the largest absolute value is 4
    const c10::complex<double> i(0, 1);
    // The first, fourth and last are a chain around a corner. The order does not matter.
    const std::vector<c10::complex<double>>
        numbers{1.0 + i, -4.0, i, 1.0 + step + i, 1.0 - i, 1.0 + step + i * (1 + step)};
    const auto values = at::tensor(numbers, at::kComplexDouble).to(c10::toComplexType(dtype));
    EXPECT_TRUE(at::equal(pairs_in_clusters(values, Denominator::difference), mask_of(6, {{0, 3}, {0, 5}, {3, 5}})));
    std::vector<c10::complex<double>> chain{4.0};
    std::vector<std::pair<int64_t, int64_t>> close;
    for (int64_t k = 0; k < 10; ++k) {
      chain.push_back((1.0 + step * static_cast<double>(k)) * i);
      for (int64_t j = std::max<int64_t>(0, k - 8); j < k; ++j) {
        close.emplace_back(j + 1, k + 1);
      }
    }
    const auto line = at::tensor(chain, at::kComplexDouble).to(c10::toComplexType(dtype));
    EXPECT_TRUE(at::equal(pairs_in_clusters(line, Denominator::difference), mask_of(11, close)));
  }
}

// --- derivatives -----------------------------------------------------------------------------------------------------

struct Gradients {
  Tensor S;
  Tensor values;
};

CotangentSizes sizes_of(int64_t n, double N, double M) {
  return {at::full({n, n}, N, at::kDouble), at::full({1, 1}, M, at::kDouble)};
}

/// The gradients of the entry (0, 1) of the result, multiplied by `weight`.
Gradients gradients_of(
    const Tensor& given_S,
    const Tensor& given_values,
    Denominator kind,
    const Rule& rule,
    const CotangentSizes& sizes,
    c10::complex<double> weight = 1) {
  const auto S = given_S.clone().requires_grad_();
  const auto values = given_values.clone().requires_grad_();
  const auto entry = divide_cotangent(S, sizes, values, kind, rule)[0][1];
  const auto loss = entry.is_complex() ? at::real(entry * weight) : entry * weight.real();
  const auto gradients = torch::autograd::grad({loss}, {S, values}, {}, {}, false, /*allow_unused=*/true);
  return {gradients[0], gradients[1].defined() ? gradients[1] : at::zeros_like(values)};
}

constexpr double width = 0.125;

double lorentzian(double d) {
  return d / (d * d + width * width);
}
double lorentzian_slope(double d) {
  return (width * width - d * d) / std::pow(d * d + width * width, 2);
}

TEST(PairDerivatives, OfDifferencesAndSumsAreThoseOfTheFormula) {
  const double x_i = 0.5;
  const double x_j = 0.75;
  const auto values = at::tensor({x_i, x_j, 4.0}, at::kDouble);
  const auto S = at::full({3, 3}, 3.0, at::kDouble);
  const auto tolerance = 16 * tolerances::eps(at::kDouble);
  const auto check = [&](Denominator kind, const Rule& rule, double F, double slope) {
    const auto gradients = gradients_of(S, values, kind, rule, {});
    const auto sign = kind == Denominator::sum ? 1.0 : -1.0;
    EXPECT_NEAR(gradients.S[0][1].item<double>(), F, tolerance * std::abs(F));
    EXPECT_NEAR(gradients.values[1].item<double>(), 3 * slope, tolerance * std::abs(3 * slope));
    EXPECT_NEAR(gradients.values[0].item<double>(), sign * 3 * slope, tolerance * std::abs(3 * slope));
    EXPECT_EQ(gradients.values[2].item<double>(), 0);
  };
  const auto difference = x_j - x_i;
  const auto sum = x_j + x_i;
  check(Denominator::difference, Rule::bare(), 1 / difference, -1 / (difference * difference));
  check(Denominator::sum, Rule::bare(), 1 / sum, -1 / (sum * sum));
  check(Denominator::difference, Rule::cutoff(0.1), 1 / difference, -1 / (difference * difference));
  check(Denominator::difference, Rule::cutoff(0.3), 0, 0);
  check(Denominator::difference, Rule::lorentzian(width), lorentzian(difference), lorentzian_slope(difference));
  check(Denominator::sum, Rule::lorentzian(width), lorentzian(sum), lorentzian_slope(sum));
  // Relative to the largest value, 4, which is a constant.
  check(Denominator::sum, Rule::lorentzian(width / 4, true), lorentzian(sum), lorentzian_slope(sum));
}

TEST(PairDerivatives, OfComplexDifferencesAreThoseOfTheFormula) {
  const c10::complex<double> x_i(0.5, 0.25);
  const c10::complex<double> x_j(0.75, -0.5);
  const c10::complex<double> s(3, -2);
  const c10::complex<double> weight(0.6, 0.8);
  const auto values = at::tensor({x_i, x_j, c10::complex<double>(4.0)}, at::kComplexDouble);
  const auto S = at::full({3, 3}, s, at::kComplexDouble);
  const auto d = x_j - x_i;
  const auto check =
      [&](const Rule& rule, c10::complex<double> F, c10::complex<double> by_d, c10::complex<double> by_conj) {
        // The loss is Re(weight s conj(F)) = Re(conj(weight s) F). With a = conj(weight s), its gradient in torch's
        // convention is conj(a dF/dd) + a dF/d(conj d).
        const auto gradients = gradients_of(S, values, Denominator::difference, rule, {}, weight);
        const auto a = std::conj(weight * s);
        const auto expected = std::conj(a * by_d) + a * by_conj;
        const auto tolerance = 32 * tolerances::eps(at::kDouble);
        const auto at_j = gradients.values[1].item().toComplexDouble();
        const auto at_i = gradients.values[0].item().toComplexDouble();
        EXPECT_LE(std::abs(at_j - expected), tolerance * std::abs(expected));
        EXPECT_LE(std::abs(at_i + expected), tolerance * std::abs(expected));
        const auto of_S = gradients.S[0][1].item().toComplexDouble();
        EXPECT_LE(std::abs(of_S - std::conj(weight) * F), tolerance * std::abs(F));
      };
  check(Rule::bare(), 1.0 / d, -1.0 / (d * d), 0);
  const auto squares = std::norm(d) + width * width;
  check(
      Rule::lorentzian(width),
      std::conj(d) / squares,
      -std::conj(d) * std::conj(d) / (squares * squares),
      width * width / (squares * squares));
}

TEST(PairDerivatives, OfSecondOrderAreThoseOfTheFormula) {
  const double x_i = 0.5;
  const double x_j = 0.75;
  const auto values = at::tensor({x_i, x_j, 4.0}, at::kDouble).requires_grad_();
  const auto X = at::ones({3, 3}, at::kDouble);
  for (const auto kind : {Denominator::difference, Denominator::sum}) {
    const auto d = kind == Denominator::sum ? x_j + x_i : x_j - x_i;
    const auto entry = divide_tangent(X, values, kind, Rule::lorentzian(width))[0][1];
    const auto first = differentiable_gradient(entry, values)[1];
    const auto second = gradient(first, values);
    const auto eta2 = width * width;
    const auto expected = 2 * d * (d * d - 3 * eta2) / std::pow(d * d + eta2, 3);
    EXPECT_NEAR(second[1].item<double>(), expected, 64 * tolerances::eps(at::kDouble) * std::abs(expected));
  }
}

TEST(PairDerivatives, AreStraightThroughWhereTheGateDropsAFarPair) {
  for (const auto kind : {Denominator::difference, Denominator::sum}) {
    const auto values = at::tensor({0.5, 0.75, 4.0}, at::kDouble);
    const auto d = kind == Denominator::sum ? 1.25 : 0.25;
    // The value of S is round-off relative to N = 1.
    const auto S = at::full({3, 3}, 1e-20, at::kDouble);
    const auto sizes = sizes_of(3, 1, 1);
    EXPECT_EQ(divide_cotangent(S, sizes, values, kind, Rule::gated())[0][1].item<double>(), 0);
    const auto gradients = gradients_of(S, values, kind, Rule::gated(), sizes);
    EXPECT_NEAR(gradients.S[0][1].item<double>(), 1 / d, 8 * tolerances::eps(at::kDouble) / d);
    EXPECT_EQ(largest(gradients.values), 0);
  }
}

TEST(PairDerivatives, TreatTheInverseOfClosePairsAsAConstant) {
  const auto eps = tolerances::eps(at::kDouble);
  const auto d = 4 * eps;
  const auto eta = 2 * eps * 4;
  for (const auto kind : {Denominator::difference, Denominator::sum}) {
    const auto values = kind == Denominator::sum ? at::tensor({0.0, d, 4.0}, at::kDouble)
                                                 : at::tensor({1.0, 1 + d, 4.0}, at::kDouble);
    const auto F = d / (d * d + eta * eta);
    const auto kept = sizes_of(3, 1, 1e-10);
    const auto S = at::full({3, 3}, 1e-12, at::kDouble);
    const auto value = divide_cotangent(S, kept, values, kind, Rule::gated())[0][1].item<double>();
    EXPECT_NEAR(value, F * 1e-12, 8 * eps * F * 1e-12);
    const auto of_kept = gradients_of(S, values, kind, Rule::gated(), kept);
    EXPECT_NEAR(of_kept.S[0][1].item<double>(), F, 8 * eps * F);
    EXPECT_EQ(largest(of_kept.values), 0);
    // Entries that the gate drops here have no derivative.
    const auto of_dropped = gradients_of(S, values, kind, Rule::gated(), sizes_of(3, 1, 1e10));
    EXPECT_EQ(largest(of_dropped.S), 0);
  }
}

TEST(PairDerivatives, AreFiniteAtEqualValues) {
  const auto S = at::ones({3, 3}, at::kDouble);
  for (const auto& rule : rules_for_gaps()) {
    for (const auto kind : {Denominator::difference, Denominator::sum}) {
      const auto values = at::zeros({3}, at::kDouble);
      const auto gradients = gradients_of(S, values, kind, rule, sizes_of(3, 1, 1));
      EXPECT_TRUE(at::isfinite(gradients.S).all().item<bool>()) << rule;
      EXPECT_TRUE(at::isfinite(gradients.values).all().item<bool>()) << rule;
    }
    const auto values = at::zeros({3}, at::kComplexDouble);
    const auto gradients =
        gradients_of(S.to(at::kComplexDouble), values, Denominator::difference, rule, sizes_of(3, 1, 1));
    EXPECT_TRUE(at::isfinite(at::view_as_real(gradients.values)).all().item<bool>()) << rule;
  }
}

} // namespace
} // namespace spectralgrad::testing
