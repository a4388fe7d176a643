#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

// Divided differences are internal to the library. They are tested through the operators that use them: if the
// eigenvectors are the identity, the entries of the results are divided differences.
namespace spectralgrad::testing {
namespace {

using at::Tensor;
using Real = long double;

struct ScalarFunction {
  std::string name;
  std::vector<double> parameters;
  Tensor jets;
};

Tensor spectral_function(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& E,
    const Tensor& second = {}) {
  static const auto op = find_operator<Tensor(
      const Tensor&,
      const Tensor&,
      const Tensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      std::string_view,
      c10::ArrayRef<double>,
      const OptionalTensor&)>("spectralgrad::spectral_function");
  const auto V = at::eye(eigenvalues.size(-1), eigenvalues.options()).expand_as(E);
  return op.call(V, eigenvalues, V, optional(f.jets), E, optional(second), f.name, f.parameters, std::nullopt);
}

Tensor transposed(const Tensor& jets, const Tensor& eigenvalues, const Tensor& E, const Tensor& second = {}) {
  static const auto op = find_operator<Tensor(
      const Tensor&,
      const Tensor&,
      const Tensor&,
      const Tensor&,
      const Tensor&,
      const OptionalTensor&,
      const OptionalTensor&)>("spectralgrad::spectral_function_transposed");
  const auto V = at::eye(eigenvalues.size(-1), eigenvalues.options());
  return op.call(V, eigenvalues, V, jets, E, optional(second), std::nullopt);
}

/// Returns f[lambda_i, lambda_j] at (i, j).
Tensor first_differences(const ScalarFunction& f, const Tensor& eigenvalues) {
  const auto n = eigenvalues.size(-1);
  return spectral_function(f, eigenvalues, at::ones({n, n}, eigenvalues.options()));
}

/// Returns f[lambda_i, lambda_k, lambda_j] at (i, k, j). It is the entry (i, j) of the second derivative along the unit
/// matrices at (i, k) and (k, j), or half of it if i = j.
Tensor second_differences(const ScalarFunction& f, const Tensor& eigenvalues) {
  const auto n = eigenvalues.size(-1);
  const auto I = at::eye(n, eigenvalues.options());
  const auto row = [&](int64_t dim) {
    std::vector<int64_t> shape{1, 1, 1, n};
    shape[dim] = n;
    return I.view(shape).expand({n, n, n, n});
  };
  const auto unit = [](const Tensor& u, const Tensor& v) {
    const auto product = u.unsqueeze(-1) * v.unsqueeze(-2);
    return at::maximum(product, product.mT());
  };
  const auto [i, k, j] = std::tuple(row(0), row(1), row(2));
  const auto D = spectral_function(f, eigenvalues.expand({n, n, n, n}), unit(i, k), unit(k, j));
  return at::matmul(at::matmul(i.unsqueeze(-2), D), j.unsqueeze(-1)).view({n, n, n}) / (1 + I.unsqueeze(1));
}

// --- the reference: f[a,b] and f[a,b,c] are means of f' and f'' (Hermite-Genocchi), smooth at every gap --------------

/// Nodes and weights of Gauss-Legendre quadrature on [0, 1].
const std::vector<std::pair<Real, Real>>& quadrature() {
  static const auto rule = [] {
    constexpr int n = 20;
    std::vector<std::pair<Real, Real>> result;
    for (int i = 0; i < n; ++i) {
      auto x = std::cos(std::numbers::pi_v<Real> * (i + 0.75L) / (n + 0.5L));
      Real slope = 0;
      for (int iteration = 0; iteration < 10; ++iteration) {
        Real before = 1;
        Real p = x;
        for (int k = 2; k <= n; ++k) {
          before = std::exchange(p, ((2 * k - 1) * x * p - (k - 1) * before) / k);
        }
        slope = n * (x * p - before) / (x * x - 1);
        x -= p / slope;
      }
      result.emplace_back((1 + x) / 2, 1 / ((1 - x * x) * slope * slope));
    }
    return result;
  }();
  return rule;
}

/// An integral, and the integral of the absolute value, relative to which errors are measured.
struct Mean {
  Real value = 0;
  Real size = 0;
  void add(Real weight, Real y) {
    value += weight * y;
    size += weight * std::abs(y);
  }
};

using Derivative = std::function<Real(Real)>;

Mean mean(const Derivative& slope, Real a, Real b) {
  Mean result;
  for (const auto& [t, weight] : quadrature()) {
    result.add(weight, slope(a + t * (b - a)));
  }
  return result;
}

Mean mean(const Derivative& curvature, Real a, Real b, Real c) {
  Mean result;
  for (const auto& [s, outer] : quadrature()) {
    for (const auto& [t, inner] : quadrature()) {
      result.add(outer * inner * s, curvature(a + s * (b - a) + s * t * (c - b)));
    }
  }
  return result;
}

double largest_error_of_first(const ScalarFunction& f, const Derivative& slope, const Tensor& eigenvalues) {
  const auto values = first_differences(f, eigenvalues).to(at::kDouble);
  EXPECT_TRUE(values.isfinite().all().item<bool>());
  const auto x = eigenvalues.to(at::kDouble);
  const auto n = x.size(-1);
  Real largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const auto reference = mean(slope, x[i].item<double>(), x[j].item<double>());
      const auto unit = reference.size > 0 ? reference.size : 1;
      largest = std::max(largest, std::abs(values[i][j].item<double>() - reference.value) / unit);
    }
  }
  return static_cast<double>(largest);
}

double largest_error_of_second(const ScalarFunction& f, const Derivative& curvature, const Tensor& eigenvalues) {
  const auto values = second_differences(f, eigenvalues).to(at::kDouble);
  EXPECT_TRUE(values.isfinite().all().item<bool>());
  EXPECT_TRUE(values.equal(values.permute({2, 1, 0})));
  const auto x = eigenvalues.to(at::kDouble);
  const auto n = x.size(-1);
  Real largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = i; k < n; ++k) {
      for (int64_t j = k; j < n; ++j) {
        const auto reference = mean(curvature, x[i].item<double>(), x[k].item<double>(), x[j].item<double>());
        const auto unit = reference.size > 0 ? reference.size : 1;
        for (const auto& value : {values[i][k][j], values[k][i][j], values[i][j][k]}) {
          largest = std::max(largest, std::abs(value.item<double>() - reference.value) / unit);
        }
      }
    }
  }
  return static_cast<double>(largest);
}

// --- the functions ---------------------------------------------------------------------------------------------------

struct NamedFunction {
  std::string name;
  std::vector<double> parameters;
  Derivative slope;
  Derivative curvature;
  double low;
  double high;
};

NamedFunction power(double p, double low = 0.75, double high = 3) {
  return {
      "power",
      {p},
      [p](Real x) { return p * std::pow(x, p - 1); },
      [p](Real x) { return p * (p - 1) * std::pow(x, p - 2); },
      low,
      high};
}

std::vector<NamedFunction> named_functions() {
  const auto exponential = [](Real x) {
    return std::exp(x);
  };
  const auto u = [](Real x) {
    return 1 / (2 + std::exp(x) + std::exp(-x));
  };
  return {
      {"exp", {}, exponential, exponential, -2, 1.5},
      {"log", {}, [](Real x) { return 1 / x; }, [](Real x) { return -1 / (x * x); }, 0.75, 3},
      {"sqrt", {}, power(0.5).slope, power(0.5).curvature, 0.75, 3},
      {"invsqrt", {}, power(-0.5).slope, power(-0.5).curvature, 0.75, 3},
      {"fermi", {}, [u](Real x) { return -u(x); }, [u](Real x) { return u(x) * std::tanh(x / 2); }, -1.25, 2},
      power(0),
      power(1),
      power(2),
      power(3, -1.5, 2),
      power(6, -1.5, 2),
      power(0.25),
      power(2.5),
      power(-1),
      power(-2, -4, -2),
      power(-0.75)};
}

std::string describe(const NamedFunction& f, double gap) {
  return f.name + (f.parameters.empty() ? "" : c10::str("(", f.parameters[0], ")")) + c10::str(" at a gap of ", gap);
}

const std::vector<double> gaps{0.3, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-11, 1e-15, 0};

Tensor clusters(double low, double high, double gap, at::ScalarType dtype) {
  return at::tensor({low, low + gap, low + 2.5 * gap, high, high + gap}, at::kDouble).to(dtype);
}

class DividedDifferences : public DtypeTest {};

INSTANTIATE_FOR(DividedDifferences, ::testing::Values(at::kFloat, at::kDouble));

TEST_P(DividedDifferences, FirstAtEveryGap) {
  for (const auto& f : named_functions()) {
    for (const auto gap : gaps) {
      const auto x = clusters(f.low, f.high, gap, GetParam());
      EXPECT_LE(largest_error_of_first({f.name, f.parameters, {}}, f.slope, x), 8 * eps()) << describe(f, gap);
    }
  }
}

TEST_P(DividedDifferences, SecondAtEveryGap) {
  // The error is largest at intermediate gaps, where the quotient and the expansion are equally inaccurate.
  const auto tolerance = GetParam() == at::kDouble ? 5e-13 : 1e-5;
  for (const auto& f : named_functions()) {
    for (const auto gap : gaps) {
      const auto x = clusters(f.low, f.high, gap, GetParam());
      EXPECT_LE(largest_error_of_second({f.name, f.parameters, {}}, f.curvature, x), tolerance) << describe(f, gap);
    }
  }
}

/// The values and derivatives of sin at the eigenvalues.
Tensor jets_of_sine(const Tensor& eigenvalues, int64_t order = 4) {
  std::vector<Tensor> rows{eigenvalues.sin(), eigenvalues.cos()};
  for (int64_t k = 2; k <= order; ++k) {
    rows.push_back(-rows[k - 2]);
  }
  return at::stack(rows, -2).slice(-2, 0, order + 1);
}

TEST_P(DividedDifferences, OfAFunctionKnownByItsDerivatives) {
  const Derivative slope = [](Real x) {
    return std::cos(x);
  };
  const Derivative curvature = [](Real x) {
    return -std::sin(x);
  };
  for (const auto gap : gaps) {
    const auto x = clusters(0.25, 1.5, gap, GetParam());
    const ScalarFunction f{"jets", {}, jets_of_sine(x)};
    EXPECT_LE(largest_error_of_first(f, slope, x), 8 * eps()) << gap;
    EXPECT_LE(largest_error_of_second(f, curvature, x), GetParam() == at::kDouble ? 2e-12 : 1e-4) << gap;
  }
}

TEST(DividedDifferencesOfJets, WithoutDerivativesTheQuotientIsUsed) {
  const auto x = at::tensor({0.25, 0.25, 0.75, 2.}, at::kDouble);
  const auto gap = x.unsqueeze(0) - x.unsqueeze(1);
  const auto quotient = at::where(gap == 0, 0., (x.sin().unsqueeze(0) - x.sin().unsqueeze(1)) / gap);
  const auto zeros = at::cat({x.sin().unsqueeze(0), at::zeros({4, 4}, at::kDouble)});
  EXPECT_LE(largest(first_differences({"jets", {}, zeros}, x) - quotient), 1e-15);
}

TEST(DividedDifferencesOfJets, HigherDerivativesMayBeInfinite) {
  // The second and higher derivatives of x^(3/2) are infinite at 0.
  const auto x = at::tensor({0., 0., 1., 4.}, at::kDouble);
  std::vector<Tensor> rows{
      x.pow(1.5),
      1.5 * x.pow(0.5),
      0.75 * x.pow(-0.5),
      -0.375 * x.pow(-1.5),
      0.5625 * x.pow(-2.5)};
  const auto first = first_differences({"jets", {}, at::stack(rows)}, x);
  const auto expected =
      at::tensor({0., 0., 1., 2., 0., 0., 1., 2., 1., 1., 1.5, 7. / 3, 2., 2., 7. / 3, 3.}, at::kDouble).view({4, 4});
  EXPECT_LE(largest(first - expected), 1e-15);
}

TEST(DividedDifferencesOfJets, TransposePairsAsTheDifferencesDo) {
  at::manual_seed(0);
  const auto random = at::randn({5, 5}, at::kDouble);
  const auto C = random + random.mT();
  for (const auto gap : gaps) {
    const auto x = clusters(0.25, 1.5, gap, at::kDouble);
    for (int64_t order = 1; order <= 4; ++order) {
      const auto jets = jets_of_sine(x, order);
      const auto forward = C * first_differences({"jets", {}, jets}, x);
      const auto backward = transposed(jets, x, C, at::ones_like(C)) * jets;
      EXPECT_EQ(backward.sizes(), jets.sizes());
      const auto size = backward.abs().sum().item<double>();
      EXPECT_NEAR(forward.sum().item<double>(), backward.sum().item<double>(), 1e-15 * size) << gap << " " << order;
    }
  }
}

TEST(DividedDifferencesOfJets, TransposeOfTheFunctionItselfIsTheDiagonal) {
  at::manual_seed(1);
  const auto x = clusters(0.25, 1.5, 0, at::kDouble);
  const auto E = random_hermitian({5, 5});
  const auto result = transposed(jets_of_sine(x), x, E);
  EXPECT_TRUE(result[0].equal(E.diagonal()));
  EXPECT_TRUE(result.slice(0, 1).equal(at::zeros({4, 5}, at::kDouble)));
}

TEST(DividedDifferencesOfSteps, AreZeroInsideAndQuotientsAcross) {
  // Three steps. The value 1 occurs on both sides of 0.5.
  const auto x = at::tensor({-1., -1., 1e-9, 2., 2.5}, at::kDouble);
  const auto y = at::tensor({1., 1., 1., 0.5, 1.}, at::kDouble);
  const ScalarFunction f{"steps", {}, y.unsqueeze(0)};
  const auto divided = [](double rise, double gap) {
    return rise == 0 ? 0 : rise / gap;
  };
  const auto X = [&](int64_t i) {
    return x[i].item<double>();
  };
  const auto Y = [&](int64_t i) {
    return y[i].item<double>();
  };
  const auto first = first_differences(f, x);
  const auto second = second_differences(f, x);
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = 0; j < 5; ++j) {
      const auto slope = divided(Y(j) - Y(i), X(j) - X(i));
      EXPECT_DOUBLE_EQ(first[i][j].item<double>(), slope);
      // f[i,i,j], with f' = 0.
      EXPECT_DOUBLE_EQ(second[i][i][j].item<double>(), divided(slope, X(j) - X(i)));
      EXPECT_DOUBLE_EQ(second[i][j][i].item<double>(), divided(slope, X(j) - X(i)));
    }
  }
  for (const auto& [i, j, k] : std::vector<std::array<int64_t, 3>>{{0, 3, 4}, {2, 3, 4}, {0, 2, 3}, {1, 2, 4}}) {
    const auto lower = divided(Y(j) - Y(i), X(j) - X(i));
    const auto upper = divided(Y(k) - Y(j), X(k) - X(j));
    EXPECT_NEAR(second[i][j][k].item<double>(), (upper - lower) / (X(k) - X(i)), 1e-15) << i << j << k;
    EXPECT_DOUBLE_EQ(second[j][i][k].item<double>(), second[i][j][k].item<double>());
    EXPECT_DOUBLE_EQ(second[i][k][j].item<double>(), second[i][j][k].item<double>());
  }
}

TEST(DividedDifferencesOfPowers, AcrossAPoleAreThoseOfTheReciprocal) {
  const auto x = at::tensor({-2., -0.5, -0.5 + 1e-9, 0.25, 4.}, at::kDouble);
  const auto r = x.reciprocal();
  const ScalarFunction f{"power", {-1.}, {}};
  const auto first = first_differences(f, x);
  EXPECT_LE(largest(first / -at::outer(r, r) - 1), 1e-14);
  const auto expected = r.view({5, 1, 1}) * r.view({1, 5, 1}) * r.view({1, 1, 5});
  EXPECT_LE(largest(second_differences(f, x) / expected - 1), 1e-10);
}

TEST(DividedDifferencesOfRoots, AreFiniteBetweenZeroAndTheRest) {
  const ChecksGuard guard(Checks::ignore);
  for (const double zero : {0., 1e-17, -1e-17}) {
    const auto x = at::tensor({zero, 0., 1., 4.}, at::kDouble).msort();
    for (const auto& f : {ScalarFunction{"sqrt", {}, {}}, ScalarFunction{"power", {0.5}, {}}}) {
      const auto first = first_differences(f, x);
      // Infinite differences are replaced by zero.
      const auto expected = at::tensor({0., 0., 1., 0.5, 0., 0., 1., 0.5, 1., 1., 0.5, 1. / 3, 0.5, 0.5, 1. / 3, 0.25});
      EXPECT_LE(largest(first - expected.to(at::kDouble).view({4, 4})), 1e-15) << f.name << zero;
      const auto second = second_differences(f, x);
      EXPECT_TRUE(second.isfinite().all().item<bool>());
      EXPECT_DOUBLE_EQ(second[0][2][3].item<double>(), -1. / 6);
      EXPECT_DOUBLE_EQ(second[1][3][3].item<double>(), -1. / 16);
    }
  }
}

TEST(DividedDifferencesOfWideSpectra, NeitherOverflowNorLoseDigits) {
  const auto exponential = first_differences({"exp", {}, {}}, at::tensor({-700., 0., 700.}, at::kDouble));
  EXPECT_NEAR(exponential[0][2].item<double>() / (std::exp(700.) / 1400), 1, 1e-15);
  EXPECT_NEAR(exponential[0][1].item<double>(), 1. / 700, 1e-17);
  EXPECT_EQ(exponential[0][0].item<double>(), std::exp(-700.));
  const auto fermi = first_differences({"fermi", {}, {}}, at::tensor({-1000., 0., 1000., 1001.}, at::kDouble));
  EXPECT_NEAR(fermi[0][2].item<double>(), -1. / 2000, 1e-18);
  EXPECT_NEAR(fermi[1][2].item<double>(), -0.5 / 1000, 1e-18);
  EXPECT_EQ(fermi[2][3].item<double>(), 0);
  EXPECT_EQ(fermi[0][0].item<double>(), 0);
  const auto logarithm = first_differences({"log", {}, {}}, at::tensor({1e-150, 1., 1e150}, at::kDouble));
  EXPECT_NEAR(logarithm[0][2].item<double>() * 1e150 / (300 * std::log(10.)), 1, 1e-15);
  const auto root = first_differences({"power", {-1.5}, {}}, at::tensor({1e-10, 1., 1e4}, at::kDouble));
  EXPECT_NEAR(root[0][1].item<double>() / ((1e15 - 1) / (1e-10 - 1)), 1, 1e-14);
  EXPECT_NEAR(root[0][2].item<double>() / ((1e15 - 1e-6) / (1e-10 - 1e4)), 1, 1e-14);
}

TEST(DividedDifferencesByName, AnUnknownNameRaises) {
  const auto x = at::ones({2}, at::kDouble);
  EXPECT_RAISES(
      first_differences({"tan", {}, {}}, x),
      c10::ValueError,
      "Expected the name of a function .* but got tan");
}

} // namespace
} // namespace spectralgrad::testing
