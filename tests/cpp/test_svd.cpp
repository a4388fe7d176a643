#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <vector>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

class SvdDtypes : public DtypeTest {};

INSTANTIATE_FOR(SvdDtypes, all_dtypes());

Tensor product(const Tensor& U, const Tensor& S, const Tensor& Vh) {
  const auto k = S.size(-1);
  return at::matmul(U.slice(-1, 0, k) * S.unsqueeze(-2), Vh.slice(-2, 0, k));
}

/// Re tr(M^H U_c V_c^H), for the singular vectors `begin` to `end`.
Tensor polar_loss(const std::tuple<Tensor, Tensor, Tensor>& factors, const Tensor& M, int64_t begin, int64_t end) {
  const auto& [U, S, Vh] = factors;
  return pairing(M, at::matmul(U.slice(-1, begin, end), Vh.slice(-2, begin, end)));
}

TEST_P(SvdDtypes, DecomposesAsTorchDoes) {
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{5, 5}, {6, 3}, {3, 6}, {1, 4}, {1, 1}}) {
    for (const bool full : {false, true}) {
      const auto A = at::randn({3, 2, m, n}, dtype());
      const auto [U, S, Vh] = spectralgrad::svd(A, full);
      const auto [torch_U, torch_S, torch_Vh] = at::linalg_svd(A, full);
      EXPECT_LE(relative_error(S, torch_S), 1e2 * eps());
      EXPECT_LE(relative_error(product(U, S, Vh), A), 1e2 * eps());
      EXPECT_LE(largest(at::matmul(U.mH(), U) - at::eye(U.size(-1), dtype())), 1e2 * eps());
      EXPECT_LE(largest(at::matmul(Vh, Vh.mH()) - at::eye(Vh.size(-2), dtype())), 1e2 * eps());
      EXPECT_EQ(U.sizes(), torch_U.sizes());
      EXPECT_EQ(Vh.sizes(), torch_Vh.sizes());
      EXPECT_EQ(U.strides(), torch_U.strides());
      EXPECT_EQ(Vh.strides(), torch_Vh.strides());
      EXPECT_LE(relative_error(svdvals(A), torch_S), 1e2 * eps());
    }
  }
}

TEST_P(SvdDtypes, EmptyMatricesAndBatches) {
  for (const auto& shape :
       std::vector<std::vector<int64_t>>{{0, 0}, {0, 3}, {3, 0}, {2, 0, 3}, {0, 3, 2}, {2, 0, 3, 3}}) {
    for (const bool full : {false, true}) {
      auto A = at::zeros(shape, dtype()).requires_grad_();
      const auto [U, S, Vh] = spectralgrad::svd(A, full);
      const auto [torch_U, torch_S, torch_Vh] = at::linalg_svd(A.detach(), full);
      EXPECT_EQ(U.sizes(), torch_U.sizes());
      EXPECT_EQ(S.sizes(), torch_S.sizes());
      EXPECT_EQ(Vh.sizes(), torch_Vh.sizes());
      EXPECT_EQ(gradient(S.sum() + U.abs().sum() + Vh.abs().sum(), A).sizes(), at::IntArrayRef(shape));
    }
  }
}

// With A = s Q, Q unitary, the nearest unitary matrix is U V^H = Q. Its derivative is (dA - Q dA^H Q)/(2 s).
TEST_P(SvdDtypes, GradientOfTheNearestUnitaryMatrixOfAMultipleOfOne) {
  const auto Q = random_orthonormal({4, 4}, dtype());
  auto A = (2.5 * Q).requires_grad_();
  const auto M = at::randn({4, 4}, dtype());
  const auto expected = (M - at::matmul(at::matmul(Q, M.mH()), Q)) / 5;
  EXPECT_LE(relative_error(gradient(polar_loss(spectralgrad::svd(A), M, 0, 4), A), expected), 50 * eps());
}

TEST_P(SvdDtypes, GradientOfTheNuclearNormIsThePolarFactor) {
  // Also of a rank-deficient matrix, where the sum runs over the singular values that are not zero.
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {6, 4}, {4, 6}}) {
    auto A = with_singular_values({2, 2, 1, 0}, m, n, dtype()).requires_grad_();
    const auto [U, S, Vh] = at::linalg_svd(A.detach(), false);
    const auto expected = at::matmul(U.slice(-1, 0, 3), Vh.slice(-2, 0, 3));
    EXPECT_LE(
        relative_error(gradient(std::get<1>(spectralgrad::svd(A)).slice(-1, 0, 3).sum(), A), expected),
        50 * eps());
    EXPECT_LE(relative_error(gradient(svdvals(A).slice(-1, 0, 3).sum(), A), expected), 50 * eps());
  }
}

// With A = [s I_r, 0; 0, 0], the projectors onto range and row space turn with the off-diagonal blocks of dA.
TEST_P(SvdDtypes, GradientOfProjectorsOntoRangeRowSpaceAndNullSpaces) {
  constexpr int64_t r = 2;
  constexpr double s = 4;
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {5, 3}, {3, 5}}) {
    auto A = at::zeros({m, n}, dtype());
    A.slice(0, 0, r).slice(1, 0, r).copy_(s * at::eye(r));
    A.requires_grad_();
    const auto [U, S, Vh] = spectralgrad::svd(A);
    const auto L = hermitian_part(at::randn({m, m}, dtype()));
    const auto R = hermitian_part(at::randn({n, n}, dtype()));
    auto left = at::zeros({m, n}, dtype());
    left.slice(0, r).slice(1, 0, r).copy_(2 / s * L.slice(0, r).slice(1, 0, r));
    auto right = at::zeros({m, n}, dtype());
    right.slice(0, 0, r).slice(1, r).copy_(2 / s * R.slice(0, 0, r).slice(1, r));
    const auto projector = [](const Tensor& X) {
      return at::matmul(X, X.mH());
    };
    const auto kept_U = U.slice(-1, 0, r);
    const auto kept_V = Vh.slice(-2, 0, r).mH();
    const auto rest_U = U.slice(-1, r);
    const auto rest_V = Vh.slice(-2, r).mH();
    const auto gradient_of = [&](const Tensor& loss) {
      return torch::autograd::grad({loss}, {A}, {}, /*retain_graph=*/true)[0];
    };
    EXPECT_LE(relative_error(gradient_of(pairing(L, projector(kept_U))), left), 50 * eps());
    EXPECT_LE(relative_error(gradient_of(pairing(R, projector(kept_V))), right), 50 * eps());
    EXPECT_LE(relative_error(gradient_of(pairing(L, projector(rest_U))), -left), 50 * eps());
    EXPECT_LE(relative_error(gradient_of(pairing(R, projector(rest_V))), -right), 50 * eps());
  }
}

TEST(Svd, AgreesWithTorchWhereSingularValuesAreDistinct) {
  at::manual_seed(1);
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {6, 4}, {4, 6}}) {
    auto A = with_singular_values({4, 3, 2, 1}, m, n).requires_grad_();
    const auto left = at::randn({m, 4}, at::kDouble);
    const auto right = at::randn({4, n}, at::kDouble);
    const auto gradient_by = [&](const auto& factors) {
      const auto& [U, S, Vh] = factors;
      return gradient((U.square() * left).sum() + S.pow(3).sum() + (Vh.square() * right).sum(), A);
    };
    EXPECT_LE(relative_error(gradient_by(spectralgrad::svd(A, false)), gradient_by(at::linalg_svd(A, false))), 1e-13);
  }
}

TEST(Svd, ARotationHasTheGradientOfItsPolarFactor) {
  auto A = at::tensor({0., -1., 1., 0.}, at::kDouble).view({2, 2}).requires_grad_();
  const auto [U, S, Vh] = spectralgrad::svd(A);
  const auto G = gradient(at::matmul(U, Vh)[0][1], A);
  // (M - Q M^T Q)/2 = 0 for M = e_0 e_1^T: the entry (0, 1) of a rotation by 90 degrees is stationary.
  EXPECT_LE(largest(G), 1e-15);
}

TEST(Svd, ScalingTheMatrixDividesTheGradient) {
  at::manual_seed(2);
  const auto A = with_singular_values({2, 1, 1, 0.3}, 5, 4);
  const auto M = at::randn({5, 4}, at::kDouble);
  const auto scaled_gradient = [&](double scale) {
    auto scaled = (A * scale).requires_grad_();
    return gradient(polar_loss(spectralgrad::svd(scaled, false), M, 1, 3), scaled) * scale;
  };
  for (const double scale : {1e-150, 1e-20, 1e20, 1e150}) {
    EXPECT_LE(relative_error(scaled_gradient(scale), scaled_gradient(1)), 1e-13) << scale;
  }
}

TEST(Svd, SplitMovesSingularValuesApartAndAwayFromZero) {
  const auto values = [](const std::vector<double>& diagonal, int64_t columns) {
    auto A = at::zeros({static_cast<int64_t>(diagonal.size()), columns}, at::kDouble);
    A.diagonal().copy_(at::tensor(diagonal, at::kDouble));
    const ChecksGuard guard(Checks::ignore); // singular values of zero cross the threshold of matrix_rank
    const auto S = std::get<1>(spectralgrad::svd(A, true, std::nullopt, Rule::split(0.1)));
    EXPECT_TRUE(S.equal(svdvals(A, std::nullopt, Rule::split(0.1))));
    return S;
  };
  const auto expect = [](const Tensor& S, const std::vector<double>& expected) {
    EXPECT_LE(largest(S - at::tensor(expected, at::kDouble)), 1e-15);
  };
  expect(values({2, 1, 1, 1}, 4), {2, 1.2, 1, 0.8}); // the width is 0.1 max(sigma)
  expect(values({1, 0.5, 0}, 3), {1, 0.5, 0.05}); // [[0, A], [A^H, 0]] has the eigenvalues +-0.05, a width apart
  expect(values({1, 0.5, 0}, 4), {1, 0.5, 0.1}); // and the eigenvalue 0 between them
  expect(values({1, 0, 0}, 3), {1, 0.15, 0.05});
  expect(values({1, 0, 0}, 5), {1, 0.2, 0.1});
  expect(values({0, 0}, 2), {0.15, 0.05});
  expect(values({0, 0}, 3), {0.2, 0.1});
}

TEST(Svd, ForwardModeIsTheAdjointOfReverseMode) {
  const DualLevel level;
  at::manual_seed(5);
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {6, 4}, {4, 6}}) {
    auto A = with_singular_values({4, 3, 2, 1}, m, n).requires_grad_();
    const auto tangent = at::randn({m, n}, at::kDouble);
    const auto left = at::randn({m, 4}, at::kDouble);
    const auto right = at::randn({4, n}, at::kDouble);
    auto dual = A.detach().clone();
    dual._set_fw_grad(tangent, 0, false);
    const auto [dual_U, dual_S, dual_Vh] = spectralgrad::svd(dual, false);
    const auto forward = (dual_U._fw_grad(0) * left).sum() + dual_S._fw_grad(0).sum() +
        (dual_Vh._fw_grad(0) * right).sum();
    const auto [U, S, Vh] = spectralgrad::svd(A, false);
    const auto G = gradient((U * left).sum() + S.sum() + (Vh * right).sum(), A);
    EXPECT_NEAR(forward.item<double>(), (G * tangent).sum().item<double>(), 1e-12);
  }
}

TEST(Svd, WritesToTensorsThatExist) {
  const auto A = at::randn({2, 4, 3}, at::kDouble);
  const auto [U, S, Vh] = spectralgrad::svd(A, false);
  auto out_U = at::empty({0}, at::kDouble);
  auto out_S = at::empty({2, 3}, at::kDouble);
  auto out_Vh = at::empty({0}, at::kDouble);
  spectralgrad::svd_out(out_U, out_S, out_Vh, A, false);
  EXPECT_TRUE(out_U.equal(U));
  EXPECT_TRUE(out_S.equal(S));
  EXPECT_TRUE(out_Vh.equal(Vh));
  EXPECT_TRUE(svdvals_out(out_S, A).equal(svdvals(A)));
  auto narrow = at::empty({2, 3}, at::kFloat);
  EXPECT_RAISES(
      spectralgrad::svd_out(out_U, narrow, out_Vh, A, false),
      c10::Error,
      "Expected out tensor to have dtype double, but got float instead");
  auto leaf = A.clone().requires_grad_();
  EXPECT_RAISES(
      spectralgrad::svd_out(out_U, out_S, out_Vh, leaf),
      c10::Error,
      "spectralgrad.svd\\(\\): functions with out=");
  EXPECT_RAISES(svdvals_out(out_S, leaf), c10::Error, "spectralgrad.svdvals\\(\\): functions with out=");
}

template <typename Function>
void expect_sentences(const std::string& name, const Function& decompose) {
  EXPECT_RAISES(
      decompose(at::ones({3}), std::nullopt),
      c10::Error,
      "^spectralgrad." + name + ": The input tensor A must have at least 2 dimensions, but it has 1");
  EXPECT_RAISES(
      decompose(at::ones({3, 3}, at::kLong), std::nullopt),
      c10::NotImplementedError,
      "^\"spectralgrad." + name + "\" not implemented for 'Long': Expected A to be float32, float64");
  EXPECT_RAISES(
      decompose(at::ones({3, 2}), "gesvd"),
      c10::Error,
      "^spectralgrad." + name + ": keyword argument `driver=` is only supported on CUDA");
  auto A = at::ones({2, 3, 4}, at::kDouble);
  A[1][2][3] = infinity;
  EXPECT_RAISES(
      decompose(A, std::nullopt),
      c10::LinAlgError,
      "^spectralgrad." + name + ": \\(Batch element 1\\): Expected A to be finite, but the entry \\(2, 3\\) is inf");
}

TEST(Svd, BadInputGetsASentence) {
  using Driver = std::optional<std::string_view>;
  expect_sentences("svd", [](const Tensor& A, Driver driver) { spectralgrad::svd(A, true, driver); });
  expect_sentences("svdvals", [](const Tensor& A, Driver driver) { svdvals(A, driver); });
}

TEST(Svd, ANonfiniteMatrixDoesNotChangeTheOthersIfChecksAreOff) {
  at::manual_seed(7);
  const auto A = at::randn({3, 4, 2}, at::kComplexDouble);
  auto spoiled = A.clone();
  spoiled[1][0][1] = nan;
  const ChecksGuard guard(Checks::ignore);
  const auto [U, S, Vh] = spectralgrad::svd(spoiled);
  const auto [clean_U, clean_S, clean_Vh] = spectralgrad::svd(A);
  for (const auto& [ours, clean] : std::vector<std::pair<Tensor, Tensor>>{
           {U, clean_U},
           {S, clean_S},
           {Vh, clean_Vh},
           {svdvals(spoiled), svdvals(A)}}) {
    EXPECT_TRUE(ours[1].isnan().all().item<bool>());
    for (const int64_t i : {0, 2}) {
      EXPECT_TRUE(ours[i].equal(clean[i]));
    }
  }
}

class SvdWarnings : public WarningsTest {
 protected:
  void expect_warning(const Tensor& loss, const Tensor& A, const char* text) {
    const auto before = warnings().size();
    gradient(loss, A);
    ASSERT_EQ(warnings().size(), before + 1) << text;
    EXPECT_PRED2(contains, warnings().back(), text);
  }
};

TEST_F(SvdWarnings, ReportWhatIsWrongAtARepeatedSingularValue) {
  auto A = with_singular_values({3, 1, 1, 0.5}, 4, 4).requires_grad_();
  const auto M = at::randn({4, 4}, at::kDouble);
  const auto [U, S, Vh] = spectralgrad::svd(A);
  const auto loss = [&](const Tensor& x) {
    return (x * M).sum();
  };
  {
    const auto factors = spectralgrad::svd(A);
    expect_warning(
        loss(std::get<0>(factors)),
        A,
        "spectralgrad.svd: The loss depends on the choice of singular vectors inside a singular subspace, so it has no "
        "gradient there (singular values 1 and 2 of matrix 0 of the batch are equal). U and V turn together there");
  }
  expect_warning(svdvals(A)[1], A, "spectralgrad.svdvals: The loss treats equal singular values differently");
  {
    const auto factors = spectralgrad::svd(A);
    expect_warning(
        loss(at::matmul(std::get<0>(factors) * std::get<1>(factors).exp(), std::get<2>(factors))),
        A,
        "of a repeated singular value");
  }
  const auto count = warnings().size();
  gradient(loss(at::matmul(U, Vh)) + S.square().sum(), A);
  EXPECT_EQ(warnings().size(), count);
}

TEST_F(SvdWarnings, ReportNullSpacesThatTurnSeparately) {
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {6, 4}, {4, 6}}) {
    auto A = with_singular_values({3, 2, 0, 0}, m, n).requires_grad_();
    const auto M = at::randn({m, n}, at::kDouble);
    expect_warning(
        polar_loss(spectralgrad::svd(A), M, 0, 4),
        A,
        "spectralgrad.svd: The loss depends on the choice of singular vectors of the singular value 0");
    const auto count = warnings().size();
    gradient(polar_loss(spectralgrad::svd(A), M, 0, 2), A);
    EXPECT_EQ(warnings().size(), count);
  }
}

TEST_F(SvdWarnings, SecondDerivativesThroughARepeatedOrZeroSingularValueWarnOnce) {
  const auto second_derivative = [&](Tensor A, const Rule& rule = Rule::gated()) {
    A.requires_grad_();
    const auto G = differentiable_gradient(svdvals(A, std::nullopt, rule).square().sum(), A);
    gradient(pairing(at::randn_like(A), G), A);
    return warnings().size();
  };
  const auto repeated = [](at::ScalarType dtype = at::kDouble) {
    return with_singular_values({2, 2, 1}, 3, 3, dtype);
  };
  ASSERT_EQ(second_derivative(repeated()), 1);
  EXPECT_PRED2(
      contains,
      warnings()[0],
      "spectralgrad.svdvals: A second derivative is taken through a repeated or zero singular value (of matrix 0");
  EXPECT_EQ(second_derivative(repeated(), Rule::split({}, 2)), 1);
  // The Hessian of the sum of squares is 2, and part of it is lost at a zero unless A is square and real.
  EXPECT_EQ(second_derivative(with_singular_values({2, 1, 0}, 3, 3)), 1);
  EXPECT_EQ(second_derivative(with_singular_values({2, 1, 0}, 4, 3)), 2);
  EXPECT_EQ(second_derivative(with_singular_values({2, 1, 0}, 3, 3, at::kComplexDouble)), 3);
  EXPECT_EQ(second_derivative(with_singular_values({3, 2, 1}, 4, 3)), 3);
}

TEST_F(SvdWarnings, ALossOfThePhasesRaisesAndOneOfBothTogetherDoesNot) {
  auto A = with_singular_values({3, 2, 1}, 3, 3, at::kComplexDouble).requires_grad_();
  EXPECT_RAISES(
      gradient(at::imag(std::get<0>(spectralgrad::svd(A))).sum(), A),
      GaugeError,
      "svd_backward: The singular vectors in the complex case are specified up to multiplication by e\\^\\{i phi\\}");
  const auto M = at::randn({3, 3}, at::kComplexDouble);
  EXPECT_NO_THROW(gradient(polar_loss(spectralgrad::svd(A), M, 0, 1), A));
  EXPECT_TRUE(warnings().empty());
}

} // namespace
} // namespace spectralgrad::testing
