#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace spectralgrad::testing {
namespace {

using at::matmul;
using at::Tensor;

// --- equations for f(A) and its derivatives, checked with products and exponentials of block matrices only -----------

Tensor block(const Tensor& diagonal, const Tensor& corner) {
  return at::cat({at::cat({diagonal, corner}, -1), at::cat({at::zeros_like(diagonal), diagonal}, -1)}, -2);
}

Tensor upper_right(const Tensor& M, int64_t n) {
  return M.narrow(-2, 0, n).narrow(-1, M.size(-1) - n, n);
}

Tensor exponential(const Tensor& A, const Tensor& M) {
  return upper_right(at::linalg_matrix_exp(block(A, M)), A.size(-1));
}

Tensor exponential(const Tensor& A, const Tensor& M, const Tensor& N) {
  return upper_right(at::linalg_matrix_exp(block(block(A, M), block(N, at::zeros_like(N)))), A.size(-1));
}

Tensor anticommutator(const Tensor& A, const Tensor& B) {
  return matmul(A, B) + matmul(B, A);
}

/// The derivative of A^p along M, and the second derivative along M and N.
Tensor words(int64_t p, const Tensor& A, const Tensor& M) {
  auto sum = at::zeros_like(A);
  for (int64_t i = 0; i < p; ++i) {
    sum += matmul(matmul(at::linalg_matrix_power(A, i), M), at::linalg_matrix_power(A, p - 1 - i));
  }
  return sum;
}

Tensor words(int64_t p, const Tensor& A, const Tensor& M, const Tensor& N) {
  auto sum = at::zeros_like(A);
  for (int64_t i = 0; i < p - 1; ++i) {
    const auto power = at::linalg_matrix_power(A, i);
    sum += matmul(matmul(power, M), words(p - 1 - i, A, N)) + matmul(matmul(power, N), words(p - 1 - i, A, M));
  }
  return sum;
}

/// A, directions M and N, Y = f(A), its derivatives YM and YN along M and N, and the second derivative YMN along both.
struct Point {
  Tensor A, M, N, Y, YM, YN, YMN;
};

struct Equation {
  Tensor left, right;
};

struct FunctionWithEquations {
  std::string name;
  std::function<Tensor(const Tensor&)> f;
  /// An equation that f(A) satisfies, and its derivatives along M, and along M and N.
  std::function<std::vector<Equation>(const Point&)> equations;
};

ElementwiseFunction derivative_of_tanh() {
  return [](const Tensor& x) {
    return 1 - x.tanh().square();
  };
}

std::vector<FunctionWithEquations> functions_with_equations() {
  const auto of_exp = [](const Point& x) -> std::vector<Equation> {
    return {{x.Y, at::linalg_matrix_exp(x.A)}, {x.YM, exponential(x.A, x.M)}, {x.YMN, exponential(x.A, x.M, x.N)}};
  };
  const auto of_log = [](const Point& x) -> std::vector<Equation> {
    return {
        {at::linalg_matrix_exp(x.Y), x.A},
        {exponential(x.Y, x.YM), x.M},
        {exponential(x.Y, x.YMN), -exponential(x.Y, x.YM, x.YN)}};
  };
  const auto of_root = [](const Tensor& power, const Tensor& first, const Tensor& second, const Point& x) {
    return std::vector<Equation>{
        {matmul(x.Y, x.Y), power},
        {anticommutator(x.Y, x.YM), first},
        {anticommutator(x.Y, x.YMN), second - anticommutator(x.YM, x.YN)}};
  };
  const auto of_sqrt = [of_root](const Point& x) {
    return of_root(x.A, x.M, at::zeros_like(x.A), x);
  };
  const auto of_inverse = [](const Point& x) -> std::vector<Equation> {
    const auto R = at::linalg_inv(x.A);
    const auto RM = matmul(R, x.M);
    const auto RN = matmul(R, x.N);
    return {{x.Y, R}, {x.YM, -matmul(RM, R)}, {x.YMN, matmul(anticommutator(RM, RN), R)}};
  };
  const auto of_invsqrt = [of_root, of_inverse](const Point& x) {
    const auto inverse = of_inverse(x);
    return of_root(inverse[0].right, inverse[1].right, inverse[2].right, x);
  };
  const auto of_power = [](int64_t p) {
    return [p](const Point& x) -> std::vector<Equation> {
      return {{x.Y, at::linalg_matrix_power(x.A, p)}, {x.YM, words(p, x.A, x.M)}, {x.YMN, words(p, x.A, x.M, x.N)}};
    };
  };
  const auto of_root_of_power = [of_root, of_power](const Point& x) {
    const auto power = of_power(5)(x);
    return of_root(power[0].right, power[1].right, power[2].right, x);
  };
  // tanh(A) (E + I) = E - I for E = exp(2A).
  const auto of_tanh = [](const Point& x) -> std::vector<Equation> {
    const auto E = at::linalg_matrix_exp(2 * x.A);
    const auto EM = exponential(2 * x.A, 2 * x.M);
    const auto EN = exponential(2 * x.A, 2 * x.N);
    const auto EMN = exponential(2 * x.A, 2 * x.M, 2 * x.N);
    const auto one = at::eye(E.size(-1), E.options());
    return {
        {matmul(x.Y, E + one), E - one},
        {matmul(x.YM, E + one), EM - matmul(x.Y, EM)},
        {matmul(x.YMN, E + one), EMN - matmul(x.Y, EMN) - matmul(x.YM, EN) - matmul(x.YN, EM)}};
  };
  const ElementwiseFunction exp = [](const Tensor& x) {
    return x.exp();
  };
  const ElementwiseFunction tanh = [](const Tensor& x) {
    return x.tanh();
  };
  const ElementwiseFunction curvature = [](const Tensor& x) {
    return -2 * x.tanh() * (1 - x.tanh().square());
  };
  return {
      {"expm", expm, of_exp},
      {"logm", logm, of_log},
      {"sqrtm", sqrtm, of_sqrt},
      {"invsqrtm", invsqrtm, of_invsqrt},
      {"powm_3", [](const Tensor& A) { return powm(A, 3); }, of_power(3)},
      {"powm_minus_1", [](const Tensor& A) { return powm(A, -1); }, of_inverse},
      {"powm_half", [](const Tensor& A) { return powm(A, 0.5); }, of_sqrt},
      {"powm_5_halves", [](const Tensor& A) { return powm(A, 2.5); }, of_root_of_power},
      {"funm_exp", [=](const Tensor& A) { return funm(A, exp); }, of_exp},
      {"funm_exp_given", [=](const Tensor& A) { return funm(A, exp, exp, exp); }, of_exp},
      {"funm_tanh", [=](const Tensor& A) { return funm(A, tanh); }, of_tanh},
      {"funm_tanh_df", [=](const Tensor& A) { return funm(A, tanh, derivative_of_tanh()); }, of_tanh},
      {"funm_tanh_d2f", [=](const Tensor& A) { return funm(A, tanh, derivative_of_tanh(), curvature); }, of_tanh},
      {"funm_tanh_d2f_alone", [=](const Tensor& A) { return funm(A, tanh, nullptr, curvature); }, of_tanh}};
}

class Funm : public ::testing::TestWithParam<std::tuple<size_t, at::ScalarType>> {
 protected:
  void SetUp() override {
    at::manual_seed(0);
  }

  FunctionWithEquations function() const {
    return functions_with_equations()[std::get<0>(GetParam())];
  }

  at::ScalarType dtype() const {
    return std::get<1>(GetParam());
  }

  bool is_double() const {
    return c10::toRealValueType(dtype()) == at::kDouble;
  }

  /// Converts to double precision, so that the equations add no error of their own.
  Tensor wide(const Tensor& x) const {
    return x.detach().to(x.is_complex() ? at::kComplexDouble : at::kDouble);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Functions,
    Funm,
    ::testing::Combine(::testing::Range<size_t>(0, functions_with_equations().size()), all_dtypes()),
    [](const auto& info) {
      return functions_with_equations()[std::get<0>(info.param)].name + "_" + c10::toString(std::get<1>(info.param));
    });

/// A batch of four: a triple eigenvalue, a multiple of the identity, two nearly degenerate pairs, distinct eigenvalues.
Tensor matrices(at::ScalarType dtype) {
  const auto c = at::full({5}, 0.75, at::kDouble);
  return at::stack(
      {with_spectrum(at::tensor({0.5, 0.5, 0.5, 1.25, 2.}, at::kDouble), dtype),
       at::diag(c).to(dtype),
       with_spectrum(at::tensor({0.5, 0.5 + 1e-6, 1., 1. + 1e-3, 1.5}, at::kDouble), dtype),
       with_spectrum(at::tensor({0.5, 0.75, 1., 1.5, 2.}, at::kDouble), dtype)});
}

TEST_P(Funm, SatisfiesItsEquationsWithFirstAndSecondDerivatives) {
  const auto [name, f, equations] = function();
  auto A = matrices(dtype()).requires_grad_();
  const auto M = random_hermitian({4, 5, 5}, dtype());
  const auto N = random_hermitian({4, 5, 5}, dtype());
  const auto Y = f(A);
  const auto YM = differentiable_gradient(pairing(M, Y).sum(), A);
  const auto YN = differentiable_gradient(pairing(N, Y).sum(), A);
  const auto YMN = gradient(pairing(N, YM).sum(), A);
  EXPECT_EQ(Y.scalar_type(), dtype());
  for (const auto& result : {Y, YM, YN, YMN}) {
    EXPECT_TRUE(result.equal(result.mH())) << "exactly Hermitian";
  }
  const auto all = equations({wide(A), wide(M), wide(N), wide(Y), wide(YM), wide(YN), wide(YMN)});
  const std::vector<double> tolerances = is_double() ? std::vector{1e-14, 1e-13, 1e-12} : std::vector{5e-6, 5e-6, 5e-5};
  for (size_t order = 0; order < 3; ++order) {
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_LE(relative_error(all[order].left[i], all[order].right[i]), tolerances[order])
          << "derivative " << order << " of matrix " << i;
    }
  }
}

TEST_P(Funm, ForwardModeIsReverseMode) {
  const DualLevel level;
  const auto f = function().f;
  auto A = matrices(dtype()).requires_grad_();
  const auto M = random_hermitian({4, 5, 5}, dtype());
  auto dual = A.detach().clone();
  dual._set_fw_grad(M, 0, false);
  const auto tangent = f(dual)._fw_grad(0);
  EXPECT_LE(relative_error(tangent, gradient(pairing(M, f(A)).sum(), A)), is_double() ? 1e-15 : 1e-6);
}

TEST_P(Funm, OnlyTheLowerTriangleIsRead) {
  const auto f = function().f;
  const auto A = matrices(dtype());
  const auto garbage = at::full_like(A, nan);
  EXPECT_TRUE(f(A.tril() + garbage.triu(1)).equal(f(A)));
}

TEST_P(Funm, EmptyMatricesAndBatches) {
  const auto f = function().f;
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3, 3}, {2, 0, 0}, {2, 0, 3, 3}}) {
    auto A = at::zeros(shape, dtype()).requires_grad_();
    const auto Y = f(A);
    EXPECT_EQ(Y.sizes(), at::IntArrayRef(shape));
    EXPECT_EQ(Y.scalar_type(), dtype());
    const auto G = differentiable_gradient(Y.abs().sum(), A);
    EXPECT_EQ(G.sizes(), at::IntArrayRef(shape));
    EXPECT_EQ(gradient(G.abs().sum(), A).sizes(), at::IntArrayRef(shape));
  }
}

TEST_P(Funm, AThirdDerivativeIsTheSlopeOfTheSecondAndAFourthIsRefused) {
  const auto f = function().f;
  auto A = matrices(dtype())[0].clone().requires_grad_();
  const auto M = random_hermitian({5, 5}, dtype());
  const auto first = differentiable_gradient(pairing(M, f(A)).sum(), A);
  const auto second = differentiable_gradient(pairing(M, first).sum(), A);
  const auto third = differentiable_gradient(pairing(M, second).sum(), A);
  // Differences in double precision of the same matrices.
  const auto wide_dtype = A.is_complex() ? at::kComplexDouble : at::kDouble;
  const auto second_at = [&](double step) {
    const auto N = M.to(wide_dtype);
    auto X = (A.detach().to(wide_dtype) + step * N).requires_grad_();
    const auto slope = differentiable_gradient(pairing(N, f(X)).sum(), X);
    return gradient(pairing(N, slope).sum(), X);
  };
  constexpr double step = 1e-3;
  const auto wide = (8 * (second_at(step) - second_at(-step)) - (second_at(2 * step) - second_at(-2 * step))) /
      (12 * step);
  const double tolerance = dtype() == wide_dtype ? 1e-5 : 1e-3;
  EXPECT_LE(largest(third.detach().to(wide_dtype) - wide), tolerance * (largest(wide) + 1e-2));
  EXPECT_RAISES(
      gradient(pairing(M, third).sum(), A),
      c10::Error,
      "Expected a function of a matrix to be differentiated at most three times in the matrix, but a "
      "fourth derivative");
}

TEST(FunmExamples, OfTheHeader) {
  auto A = at::eye(2, at::kDouble).requires_grad_();
  EXPECT_LE(largest(gradient(expm(A)[0][1], A) - at::tensor({0., 0.5, 0.5, 0.}).view({2, 2}) * std::exp(1.)), 1e-7);
  const auto G = gradient(funm(A, [](const Tensor& x) { return x.tanh(); })[0][1], A);
  EXPECT_NEAR(G[0][1].item<double>(), 0.5 / std::pow(std::cosh(1.), 2), 1e-15);
}

TEST(FunmExamples, APowerWithATensor) {
  const auto A = at::diag(at::tensor({4., 9.}, at::kDouble)).expand({2, 2, 2}).clone().requires_grad_();
  auto p = at::tensor({0.5, 2.}, at::kDouble).requires_grad_();
  for (const auto& exponents : {p, p.unsqueeze(-1)}) {
    const auto Y = powm(A, exponents);
    EXPECT_LE(largest(Y[0] - at::diag(at::tensor({2., 3.}, at::kDouble))), 1e-15);
    EXPECT_LE(largest(Y[1] - at::diag(at::tensor({16., 81.}, at::kDouble))), 1e-13);
    const auto g = gradient(Y.sum(), p);
    EXPECT_NEAR(g[0].item<double>(), 2 * std::log(4) + 3 * std::log(9), 1e-13);
    EXPECT_NEAR(g[1].item<double>(), 16 * std::log(4) + 81 * std::log(9), 1e-12);
    const auto G = gradient(powm(A, exponents).sum(), A);
    EXPECT_LE(largest(G[0] - at::tensor({1. / 4, 1. / 5, 1. / 5, 1. / 6}, at::kDouble).view({2, 2})), 1e-15);
    EXPECT_LE(largest(G[1] - at::tensor({8., 13., 13., 18.}, at::kDouble).view({2, 2})), 1e-14);
  }
  EXPECT_EQ(powm(A[0].detach(), at::zeros({3, 1, 1})).sizes(), at::IntArrayRef({3, 1, 1, 2, 2}));
  EXPECT_RAISES(powm(A, at::zeros({2}, at::kComplexDouble)), c10::TypeError, "powm: Expected p to be real, but got");
  EXPECT_RAISES(powm(A, at::zeros({2}, at::kBool)), c10::TypeError, "powm: Expected p to be real, but got");
  EXPECT_RAISES(powm(A, at::full({}, NAN)), c10::ValueError, "powm: Expected p to be finite, but got nan");
  EXPECT_RAISES(powm(A, at::zeros({3})), c10::Error, "powm: Expected p to broadcast with the batch of A");
}

TEST(FunmExamples, ADerivativeTakenOneByOne) {
  // A double eigenvalue and a single one: f[1,1] = e, f[1,2] = e^2 - e.
  auto A = at::diag(at::tensor({1., 1., 2.}, at::kDouble)).requires_grad_();
  const auto Y = expm(A);
  const auto entry = [&](int64_t i, int64_t j) {
    return torch::autograd::grad({Y[i][j]}, {A}, {}, /*retain_graph=*/true)[0][i][j].item<double>();
  };
  EXPECT_NEAR(entry(0, 0), std::exp(1.), 1e-15);
  EXPECT_NEAR(entry(0, 1), std::exp(1.) / 2, 1e-15);
  EXPECT_NEAR(entry(1, 2), (std::exp(2.) - std::exp(1.)) / 2, 1e-15);
  EXPECT_NEAR(entry(2, 2), std::exp(2.), 1e-14);
}

TEST(FunmInPieces, SecondDerivativesInPiecesAreThoseOfTheWhole) {
  at::manual_seed(0);
  // n is just too large to compute all divided differences at once. The second derivative of A^2 along M and N is MN +
  // NM.
  constexpr int64_t n = 129;
  auto A = random_hermitian({n, n}).requires_grad_();
  const auto M = random_hermitian({n, n});
  const auto N = random_hermitian({n, n});
  const auto G = differentiable_gradient(pairing(M, powm(A, 2)), A);
  EXPECT_LE(relative_error(gradient(pairing(N, G), A), anticommutator(M, N)), 1e-10);
}

// --- traces ----------------------------------------------------------------------------------------------------------

TEST(TraceFunm, GradientAndHessianAtRepeatedEigenvalues) {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    at::manual_seed(1);
    auto A = matrices(dtype).requires_grad_();
    const auto M = random_hermitian({4, 5, 5}, dtype);
    const auto trace = trace_funm(A, [](const Tensor& x) { return x.exp(); });
    const auto exponential_of_A = at::linalg_matrix_exp(A.detach());
    EXPECT_EQ(trace.scalar_type(), at::kDouble);
    EXPECT_LE(relative_error(trace, at::real(exponential_of_A.diagonal(0, -2, -1)).sum(-1)), 1e-14);
    const auto G = differentiable_gradient(trace.sum(), A);
    EXPECT_TRUE(G.equal(G.mH()));
    EXPECT_LE(relative_error(G, exponential_of_A), 1e-14);
    const auto H = gradient(pairing(M, G).sum(), A);
    EXPECT_LE(relative_error(H, exponential(A.detach(), M)), 1e-13);
  }
}

TEST(TraceFunm, HasAThirdDerivative) {
  at::manual_seed(9);
  auto A = matrices(at::kDouble)[0].clone().requires_grad_();
  const auto M = random_hermitian({5, 5});
  const auto trace = trace_funm(A, [](const Tensor& x) { return x.pow(3); });
  const auto first = differentiable_gradient(trace, A);
  const auto second = differentiable_gradient(pairing(M, first), A);
  EXPECT_LE(relative_error(gradient(pairing(M, second), A), 6 * matmul(M, M)), 1e-13);
}

TEST(TraceFunm, ForwardModeIsThePairingWithTheSlope) {
  const DualLevel level;
  at::manual_seed(2);
  auto dual = matrices(at::kComplexDouble);
  const auto A = dual.clone();
  const auto M = random_hermitian({4, 5, 5}, at::kComplexDouble);
  dual._set_fw_grad(M, 0, false);
  const auto tangent = trace_funm(dual, [](const Tensor& x) { return x.square(); })._fw_grad(0);
  EXPECT_LE(relative_error(tangent, 2 * pairing(A, M)), 1e-14);
}

TEST(TraceFunm, EmptyMatricesAndBatches) {
  const auto square = [](const Tensor& x) {
    return x.square();
  };
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3, 3}, {2, 0, 0}}) {
    auto A = at::zeros(shape, at::kComplexFloat).requires_grad_();
    const auto trace = trace_funm(A, square);
    EXPECT_EQ(trace.sizes(), at::IntArrayRef(shape).slice(0, shape.size() - 2));
    EXPECT_EQ(trace.scalar_type(), at::kFloat);
    EXPECT_EQ(gradient(trace.sum(), A).sizes(), at::IntArrayRef(shape));
  }
}

// --- parameters of f -------------------------------------------------------------------------------------------------

TEST(FunmParameters, GetTheirGradientsOfEveryOrder) {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    at::manual_seed(3);
    auto A = matrices(dtype).requires_grad_();
    auto theta = at::scalar_tensor(0.7, at::kDouble).requires_grad_();
    const auto M = random_hermitian({4, 5, 5}, dtype);
    const auto loss = pairing(M, funm(A, [&](const Tensor& x) { return (theta * x).exp(); })).sum();
    const auto tA = (theta * A).detach();
    const auto A_exp = matmul(A.detach(), at::linalg_matrix_exp(tA));
    const auto g = differentiable_gradient(loss, theta);
    EXPECT_NEAR(g.item<double>(), pairing(M, A_exp).sum().item<double>(), 1e-13);
    // The second derivative with respect to theta: A^2 exp(theta A).
    const auto twice = torch::autograd::grad({g}, {theta, A}, {}, /*retain_graph=*/true);
    EXPECT_NEAR(twice[0].item<double>(), pairing(M, matmul(A.detach(), A_exp)).sum().item<double>(), 1e-12);
    // The derivative of <M, A exp(theta A)> with respect to A, from the block matrix of A and M.
    const auto B = block(A.detach(), M);
    const auto mixed = upper_right(matmul(B, at::linalg_matrix_exp(0.7 * B)), 5);
    EXPECT_LE(relative_error(twice[1], mixed), 1e-12);
    // The same mixed derivative in the opposite order.
    const auto G = differentiable_gradient(loss, A);
    EXPECT_LE(relative_error(G, exponential(tA, 0.7 * M)), 1e-13);
    EXPECT_NEAR(gradient(pairing(M, G).sum(), theta).item<double>(), pairing(M, mixed).sum().item<double>(), 1e-11);
  }
}

TEST(FunmParameters, GetTheirGradientsThroughATrace) {
  at::manual_seed(4);
  auto A = matrices(at::kDouble)[0].clone().requires_grad_();
  auto theta = at::scalar_tensor(0.7, at::kDouble).requires_grad_();
  const auto trace = trace_funm(A, [&](const Tensor& x) { return (theta * x).exp(); });
  const auto g = differentiable_gradient(trace, theta);
  const auto E = at::linalg_matrix_exp((theta * A).detach());
  EXPECT_NEAR(g.item<double>(), pairing(A.detach(), E).item<double>(), 1e-13);
  // The derivative of tr(A exp(theta A)) with respect to A: (I + theta A) exp(theta A).
  EXPECT_LE(relative_error(gradient(g, A), E + 0.7 * matmul(A.detach(), E)), 1e-13);
}

TEST(FunmParameters, GetTheirGradientsWhereTheMatrixIsAConstant) {
  at::manual_seed(5);
  const auto A = matrices(at::kDouble);
  auto theta = at::tensor({0.5, 0.2}, at::kDouble).requires_grad_();
  const auto f = [&](const Tensor& x) {
    return theta[0] * x + theta[1] * x.square();
  };
  const auto expected = at::stack({A.diagonal(0, -2, -1).sum(), matmul(A, A).diagonal(0, -2, -1).sum()});
  EXPECT_LE(relative_error(gradient(trace_funm(A, f).sum(), theta), expected), 1e-14);
  EXPECT_LE(relative_error(gradient(funm(A, f).diagonal(0, -2, -1).sum(), theta), expected), 1e-14);
}

TEST(FunmParameters, PropagateTangents) {
  const DualLevel level;
  at::manual_seed(8);
  const auto A = matrices(at::kDouble);
  auto theta = at::scalar_tensor(0.7, at::kDouble);
  theta._set_fw_grad(at::scalar_tensor(2., at::kDouble), 0, false);
  const auto f = [&](const Tensor& x) {
    return (theta * x).exp();
  };
  const auto expected = 2 * matmul(A, at::linalg_matrix_exp(0.7 * A));
  const auto tangent = funm(A, f)._fw_grad(0);
  ASSERT_TRUE(tangent.defined());
  EXPECT_LE(relative_error(tangent, expected), 1e-13);
  const auto of_trace = trace_funm(A, f)._fw_grad(0);
  ASSERT_TRUE(of_trace.defined());
  EXPECT_LE(relative_error(of_trace, expected.diagonal(0, -2, -1).sum(-1)), 1e-13);
}

TEST(FunmParameters, OfGivenDerivativesCountToo) {
  at::manual_seed(6);
  auto A = matrices(at::kDouble)[0].clone().requires_grad_();
  auto theta = at::scalar_tensor(0.7, at::kDouble).requires_grad_();
  const auto M = random_hermitian({5, 5});
  const auto exp = [&](const Tensor& x) {
    return (theta * x).exp();
  };
  const auto df = [&](const Tensor& x) {
    return theta * (theta * x).exp();
  };
  const auto mixed = [&](const Tensor& Y) {
    return gradient(pairing(M, differentiable_gradient(pairing(M, Y), A)), theta).item<double>();
  };
  EXPECT_NEAR(mixed(funm(A, exp, df)), mixed(funm(A, exp)), 1e-12);
}

// --- how f is called -------------------------------------------------------------------------------------------------

TEST(FunmCalls, WithoutDifferentiationOnlyFIsCalled) {
  int of_derivatives = 0;
  const auto f = [&](const Tensor& x) {
    EXPECT_FALSE(x.requires_grad());
    return x.sin();
  };
  const auto df = [&](const Tensor& x) {
    ++of_derivatives;
    return x.cos();
  };
  auto A = at::eye(2, at::kDouble);
  EXPECT_FALSE(funm(A, f, df, df).requires_grad());
  {
    const at::NoGradGuard no_grad;
    auto leaf = A.clone().requires_grad_();
    EXPECT_FALSE(funm(leaf, f, df, df).requires_grad());
    EXPECT_FALSE(trace_funm(leaf, f, df, df).requires_grad());
    EXPECT_FALSE(expm(leaf).requires_grad());
  }
  EXPECT_EQ(of_derivatives, 0);
}

TEST(FunmCalls, GivenDerivativesAreUsed) {
  // Passes a wrong derivative of f, to see where it is used.
  auto A = (at::eye(3, at::kDouble) * 2).requires_grad_();
  const auto M = at::ones({3, 3}, at::kDouble);
  const auto f = [](const Tensor& x) {
    return x.sin();
  };
  const auto five = [](const Tensor& x) {
    return at::full_like(x, 5);
  };
  EXPECT_LE(largest(gradient(pairing(M, funm(A, f, five)), A) - 5 * M), 1e-14);
  const auto G = differentiable_gradient(pairing(M, funm(A, f, nullptr, five)), A);
  EXPECT_LE(largest(G.detach() - std::cos(2.) * M), 1e-14);
  EXPECT_LE(largest(gradient(pairing(M, G), A) - 5 * matmul(M, M)), 1e-13);
}

TEST(FunmCalls, FunctionsThatReturnConstants) {
  auto A = at::diag(at::tensor({1., 1., 3.}, at::kDouble)).requires_grad_();
  const auto one = [](const Tensor& x) {
    return at::ones_like(x);
  };
  const auto Y = funm(A, one);
  EXPECT_LE(largest(Y.detach() - at::eye(3, at::kDouble)), 1e-15);
  EXPECT_EQ(largest(gradient(Y.sum(), A)), 0);
  // This function is constant near each eigenvalue, but not between them.
  const auto sign = [](const Tensor& x) {
    return (x - 2).sign();
  };
  const auto G = gradient(funm(A, sign)[0][2], A);
  EXPECT_LE(largest(G - at::tensor({0., 0., 0.5, 0., 0., 0., 0.5, 0., 0.}).view({3, 3})), 1e-15);
}

TEST(FunmCalls, ErrorsOfFAreItsOwn) {
  const auto A = at::eye(2, at::kDouble);
  EXPECT_THROW(funm(A, [](const Tensor&) -> Tensor { throw std::out_of_range("mine"); }), std::out_of_range);
}

TEST(FunmCalls, AFunctionThatDoesNotFitGetsASentence) {
  auto A = at::eye(3, at::kDouble).requires_grad_();
  const ElementwiseFunction f = [](const Tensor& x) {
    return x.exp();
  };
  const ElementwiseFunction sum = [](const Tensor& x) {
    return x.sum();
  };
  const ElementwiseFunction narrow = [](const Tensor& x) {
    return x.to(at::kFloat);
  };
  const ElementwiseFunction nothing = [](const Tensor&) {
    return Tensor();
  };
  EXPECT_RAISES(
      funm(A, sum),
      c10::ValueError,
      "spectralgrad.funm: Expected f to return a tensor of the shape and dtype of its argument, \\[3\\] and double, "
      "but got \\[\\] and double");
  EXPECT_RAISES(funm(A, f, narrow), c10::ValueError, "funm: Expected df to return .* but got \\[3\\] and float");
  EXPECT_RAISES(funm(A, f, f, sum), c10::ValueError, "funm: Expected d2f to return .* but got \\[\\] and double");
  EXPECT_RAISES(trace_funm(A, f, nothing), c10::ValueError, "trace_funm: Expected df to return .* but it is undefined");
  EXPECT_RAISES(
      trace_funm(A.detach(), nothing),
      c10::ValueError,
      "trace_funm: Expected f to return .* it is undefined");
}

TEST(FunmCalls, AnEmptyFunctionRaises) {
  auto A = at::eye(3, at::kDouble).requires_grad_();
  EXPECT_RAISES(funm(A, nullptr), c10::ValueError, "spectralgrad.funm: Expected f");
  EXPECT_RAISES(trace_funm(A.detach(), nullptr), c10::ValueError, "spectralgrad.trace_funm: Expected f");
}

// --- matrices outside the domain of f --------------------------------------------------------------------------------

Tensor with_smallest(double smallest) {
  at::manual_seed(7);
  return with_spectrum(at::tensor({smallest, 1., 2.}, at::kDouble));
}

TEST(FunmDomain, EigenvaluesOutsideItRaise) {
  auto A = with_smallest(-0.5).requires_grad_();
  const auto smallest = ": Expected A to be positive ";
  EXPECT_RAISES(
      logm(A),
      c10::LinAlgError,
      std::string("spectralgrad.logm") + smallest + "definite, but its smallest eigenvalue is -0.5");
  EXPECT_RAISES(
      invsqrtm(A),
      c10::LinAlgError,
      std::string("spectralgrad.invsqrtm") + smallest + "definite, but .* -0.5");
  EXPECT_RAISES(sqrtm(A), c10::LinAlgError, std::string("spectralgrad.sqrtm") + smallest + "semidefinite, but .* -0.5");
  EXPECT_RAISES(
      powm(A, 1.5),
      c10::LinAlgError,
      std::string("spectralgrad.powm") + smallest + "semidefinite, but .* -0.5");
  EXPECT_RAISES(powm(A, -1.5), c10::LinAlgError, std::string("spectralgrad.powm") + smallest + "definite, but .* -0.5");
  EXPECT_NO_THROW(powm(A, -3));
  EXPECT_RAISES(
      powm(at::diag(at::tensor({0., 1.})), -1),
      c10::LinAlgError,
      "spectralgrad.powm: Expected A to be invertible, but it has the eigenvalue 0");
  const auto batch = at::stack({at::eye(3, at::kDouble), with_smallest(-0.5)});
  EXPECT_RAISES(
      logm(batch),
      c10::LinAlgError,
      "spectralgrad.logm: \\(Batch element 1\\): Expected A to be positive definite");
}

TEST(FunmDomain, EigenvaluesOutsideItGiveNanWhereChecksAreOff) {
  const ChecksGuard guard(Checks::ignore);
  auto A = at::stack({at::eye(3, at::kDouble), with_smallest(-0.5), 2 * at::eye(3, at::kDouble)}).requires_grad_();
  for (const auto& f : {logm, sqrtm, invsqrtm}) {
    const auto Y = f(A);
    EXPECT_TRUE(Y[1].isnan().all().item<bool>());
    const auto G = gradient(Y.sum(), A);
    EXPECT_TRUE(G[1].isnan().all().item<bool>());
    for (const int64_t i : {0, 2}) {
      EXPECT_TRUE(Y[i].isfinite().all().item<bool>());
      EXPECT_TRUE(G[i].isfinite().all().item<bool>());
    }
  }
}

TEST(FunmDomain, RoundingBelowZeroIsZero) {
  EXPECT_LE(largest(sqrtm(with_smallest(-1e-16)) - sqrtm(with_smallest(0))), 1e-7);
  EXPECT_TRUE(
      sqrtm(at::diag(at::tensor({-1e-16, 1.}, at::kDouble))).equal(at::diag(at::tensor({0., 1.}, at::kDouble))));
}

TEST(FunmDomain, BadInputGetsASentence) {
  const auto nothing = [](const Tensor& x) {
    return x;
  };
  EXPECT_RAISES(
      expm(at::ones({2, 3})),
      c10::Error,
      "spectralgrad.expm: A must be batches of square matrices, but they are 2 by 3 matrices");
  EXPECT_RAISES(
      funm(at::ones({3}), nothing),
      c10::Error,
      "spectralgrad.funm: The input tensor A must have at least 2 dimensions, but it has 1");
  EXPECT_RAISES(
      trace_funm(at::ones({3, 3}, at::kLong), nothing),
      c10::NotImplementedError,
      "\"spectralgrad.trace_funm\" not implemented for 'Long': Expected A to be float32, float64, complex64");
  EXPECT_RAISES(powm(at::eye(3), nan), c10::ValueError, "spectralgrad.powm: Expected p to be finite, but got nan");
  auto A = at::eye(3, at::kDouble);
  A[2][0] = nan;
  EXPECT_RAISES(
      logm(A),
      c10::LinAlgError,
      "spectralgrad.logm: Expected the lower triangle of A to be finite, but the entry \\(2, 0\\) is nan");
}

TEST(FunmDomain, AnUndefinedTensorRaises) {
  const auto nothing = [](const Tensor& x) {
    return x;
  };
  EXPECT_THROW(expm(Tensor()), c10::Error);
  EXPECT_THROW(powm(Tensor(), 2), c10::Error);
  EXPECT_THROW(funm(Tensor(), nothing), c10::Error);
  EXPECT_THROW(trace_funm(Tensor(), nothing), c10::Error);
}

// --- roots of singular matrices --------------------------------------------------------------------------------------

TEST(FunmDomain, NegativePowersDoNotRoundSmallEigenvaluesToZero) {
  auto A = at::diag(at::tensor({1e-17, 1.}, at::kDouble)).requires_grad_();
  const auto M = at::ones({2, 2}, at::kDouble);
  const auto expected = gradient(pairing(M, invsqrtm(A)), A);
  EXPECT_LE(largest(gradient(pairing(M, powm(A, -0.5)), A) / expected - 1), 1e-14);
}

class RootsOfSingularMatrices : public WarningsTest {};

TEST_F(RootsOfSingularMatrices, LeaveOutInfiniteDerivatives) {
  auto A = at::diag(at::tensor({0., 0., 1., 4.}, at::kDouble)).requires_grad_();
  const auto ones = at::ones({4, 4}, at::kDouble);
  const auto expected = at::tensor(
                            {0., 0., 1., 0.5, 0., 0., 1., 0.5, 1., 1., 0.5, 1. / 3, 0.5, 0.5, 1. / 3, 0.25},
                            at::kDouble)
                            .view({4, 4});
  EXPECT_LE(largest(gradient(sqrtm(A).sum(), A) - expected), 1e-15);
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(
      contains,
      warnings()[0],
      "spectralgrad.sqrtm: A is singular (matrix 0 of the batch), and its derivative is infinite along directions "
      "inside the kernel. That part is left out");
  gradient(powm(A, 0.5).sum(), A);
  ASSERT_EQ(warnings().size(), 2);
  EXPECT_PRED2(contains, warnings()[1], "spectralgrad.powm: A is singular");
  {
    const ChecksGuard guard(Checks::ignore);
    EXPECT_LE(largest(gradient(sqrtm(A).sum(), A) - expected), 1e-15);
    EXPECT_EQ(warnings().size(), 2);
  }
  const ChecksGuard guard(Checks::raise);
  EXPECT_RAISES(gradient(sqrtm(A).sum(), A), GaugeError, "spectralgrad.sqrtm: A is singular");
}

TEST_F(RootsOfSingularMatrices, AreSilentIfNoPartIsLost) {
  auto A = at::diag(at::tensor({0., 0., 1., 4.}, at::kDouble)).requires_grad_();
  auto M = at::ones({4, 4}, at::kDouble);
  M.narrow(0, 0, 2).narrow(1, 0, 2).zero_();
  const ChecksGuard guard(Checks::raise);
  gradient(pairing(M, sqrtm(A)), A);
  // The root of a positive definite matrix is differentiable, however small the matrix is.
  auto small = (at::eye(3, at::kDouble) * 1e-300).requires_grad_();
  EXPECT_LE(relative_error(gradient(sqrtm(small)[0][1], small)[0][1], at::scalar_tensor(0.25e150, at::kDouble)), 1e-14);
  // Powers above 1 have a first derivative at 0, and powers above 2 a second one.
  const auto ones = at::ones({4, 4}, at::kDouble);
  const auto G = differentiable_gradient(pairing(ones, powm(A, 2.5)), A);
  EXPECT_TRUE(gradient(pairing(ones, G), A).isfinite().all().item<bool>());
  EXPECT_EQ(G[0][1].item<double>(), 0);
  EXPECT_TRUE(warnings().empty());
}

TEST_F(RootsOfSingularMatrices, OfFactorsAreWellPosed) {
  const ChecksGuard guard(Checks::raise);
  auto F = at::randn({3, 6}, at::kDouble).requires_grad_();
  const auto [U, s, Vh] = at::linalg_svd(F.detach(), /*full_matrices=*/false);
  const auto root = [](const Tensor& x) {
    return x.sqrt();
  };
  // A graph of its own for each.
  const auto A = [&] {
    return at::matmul(F.mT(), F);
  };
  for (const auto& y : {trace_sqrtm(A()), trace_funm(A(), root), funm(A(), root).trace(), sqrtm(A()).trace()}) {
    EXPECT_NEAR(y.item<double>(), s.sum().item<double>(), 1e-13);
    EXPECT_LE(relative_error(gradient(y, F), at::matmul(U, Vh)), 1e-12);
  }
  EXPECT_EQ(trace_sqrtm(A().to(at::kComplexFloat)).scalar_type(), at::kFloat);
  EXPECT_TRUE(warnings().empty());
}

TEST_F(RootsOfSingularMatrices, OfGivenFunctionsAreReported) {
  auto A = at::diag(at::tensor({-1e-17, 0., 1., 4.}, at::kDouble)).requires_grad_();
  const auto root = [](const Tensor& x) {
    return x.sqrt();
  };
  const auto expected = gradient(sqrtm(A).sum(), A);
  EXPECT_LE(largest(gradient(funm(A, root).sum(), A) - expected), 1e-15);
  ASSERT_EQ(warnings().size(), 2);
  EXPECT_PRED2(contains, warnings()[1], "spectralgrad.funm: A is singular (matrix 0 of the batch)");
  // Entropy: its slope at 0 is infinite, too.
  const auto entropy = [](const Tensor& x) {
    return at::special_entr(x);
  };
  EXPECT_LE(
      largest(gradient(trace_funm(A, entropy), A) - at::diag(at::tensor({0., 0., -1., -1 - std::log(4.)}))),
      1e-14);
  EXPECT_EQ(warnings().size(), 2);
}

TEST(FunmDomain, AFunctionThatIsNaNAtAnEigenvalueRaises) {
  const auto A = at::diag(at::tensor({-0.5, 1.}, at::kDouble));
  const auto root = [](const Tensor& x) {
    return x.sqrt();
  };
  const auto* message =
      ": Expected f to be defined at every eigenvalue of A, but f is NaN at the eigenvalue -0.5.*pinvm";
  EXPECT_RAISES(funm(A, root), c10::LinAlgError, std::string("spectralgrad.funm") + message);
  EXPECT_RAISES(trace_funm(A, root), c10::LinAlgError, std::string("spectralgrad.trace_funm") + message);
  const ChecksGuard guard(Checks::ignore);
  EXPECT_TRUE(trace_funm(A, root).isnan().item<bool>());
}

} // namespace
} // namespace spectralgrad::testing
