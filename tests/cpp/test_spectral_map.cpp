#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <stdexcept>
#include <vector>

namespace spectralgrad::testing {
namespace {

using at::matmul;
using at::Tensor;
using Tensors = std::vector<Tensor>;

Tensor from_eigenvalues(const Tensor& values, const Tensor& V) {
  return matmul(V * values.unsqueeze(-2), V.mH());
}

/// Returns exp(A) and the projector onto the lowest two eigenvectors.
Tensors exponential_and_projector(const Tensor& L, const Tensor& V) {
  const auto kept = V.slice(-1, 0, 2);
  return {from_eigenvalues(L.exp(), V), matmul(kept, kept.mH())};
}

class SpectralMapDtypes : public DtypeTest {
 protected:
  /// A batch with clusters of 2 and 4 eigenvalues, of 2 and 2 with a small gap, of 4, and without clusters.
  Tensor matrices() const {
    const auto gap = is_double() ? 1e-10 : 1e-5;
    return at::stack(
        {with_spectrum(at::tensor({0., 0., 1., 1., 1., 1.}, at::kDouble), dtype()),
         with_spectrum(at::tensor({-1., -1. + gap, 0.5, 0.5 + gap, 1., 2.}, at::kDouble), dtype()),
         with_spectrum(at::tensor({-1., 0., 1., 1., 1., 1.}, at::kDouble), dtype()),
         with_spectrum(at::tensor({-1., -0.5, 0., 0.5, 1., 1.5}, at::kDouble), dtype())});
  }
};

INSTANTIATE_FOR(SpectralMapDtypes, all_dtypes());

TEST_P(SpectralMapDtypes, GradientEqualsThatOfTheFunctionsItConsistsOf) {
  const ChecksGuard guard(Checks::raise);
  auto A = matrices().requires_grad_();
  const auto M = random_hermitian({4, 6, 6}, dtype());
  const auto N = random_hermitian({4, 6, 6}, dtype());
  const auto y = spectral_map(exponential_and_projector, A);
  const auto both = gradient((pairing(M, y[0]) + pairing(N, y[1])).sum(), A);
  const auto E = expm(A);
  const auto P = spectral_projector(A, 0, 2);
  const auto expected = gradient((pairing(M, E) + pairing(N, P)).sum(), A);
  EXPECT_TRUE(both.equal(both.mH()));
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_LE(relative_error(y[0][i], E[i]), is_double() ? 1e-14 : 5e-6) << i;
    EXPECT_LE(relative_error(y[1][i], P[i]), is_double() ? 1e-14 : 5e-6) << i;
    EXPECT_LE(relative_error(both[i], expected[i]), is_double() ? 1e-9 : 1e-4) << i;
  }
}

TEST_P(SpectralMapDtypes, GradientAtExactlyEqualEigenvaluesIsToTheLastDigits) {
  // A diagonal matrix, so that round-off does not split the degenerate eigenvalues.
  auto A = at::diag(at::tensor({1., 1., 1., 3.})).to(dtype()).requires_grad_();
  const auto M = random_hermitian({4, 4}, dtype());
  const auto y = spectral_map(
      [](const Tensor& L, const Tensor& V) { return Tensors{from_eigenvalues(L.exp(), V)}; },
      A);
  const auto expected = gradient(pairing(M, expm(A)), A);
  EXPECT_LE(relative_error(gradient(pairing(M, y[0]), A), expected), is_double() ? 2e-15 : 1e-6);
}

TEST_P(SpectralMapDtypes, ForwardModeIsReverseMode) {
  const DualLevel level;
  auto A = matrices().requires_grad_();
  const auto M = random_hermitian({4, 6, 6}, dtype());
  auto dual = A.detach().clone();
  dual._set_fw_grad(M, 0, false);
  const auto y = spectral_map(exponential_and_projector, A);
  const auto tangents = spectral_map(exponential_and_projector, dual);
  for (size_t k = 0; k < 2; ++k) {
    const auto expected = torch::autograd::grad({pairing(M, y[k]).sum()}, {A}, {}, /*retain_graph=*/true)[0];
    EXPECT_LE(relative_error(tangents[k]._fw_grad(0), expected), is_double() ? 1e-9 : 1e-4) << k;
  }
}

TEST_P(SpectralMapDtypes, EmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3, 3}, {2, 0, 0}, {2, 0, 3, 3}}) {
    auto A = at::zeros(shape, dtype()).requires_grad_();
    const auto y = spectral_map(
        [](const Tensor& L, const Tensor& V) { return Tensors{L.exp().sum(-1), from_eigenvalues(L, V)}; },
        A);
    EXPECT_EQ(y[0].sizes(), at::IntArrayRef(shape).slice(0, shape.size() - 2));
    EXPECT_EQ(y[1].sizes(), at::IntArrayRef(shape));
    EXPECT_EQ(gradient(y[0].sum() + y[1].abs().sum(), A).sizes(), at::IntArrayRef(shape));
  }
}

TEST_P(SpectralMapDtypes, CallsItsFunctionTwiceForEachRotation) {
  int calls = 0;
  const auto count = [&](const Tensor& L, const Tensor&) {
    ++calls;
    return Tensors{L.sum(-1)};
  };
  const auto calls_for = [&](const Tensor& A) {
    calls = 0;
    spectral_map(count, A);
    return calls;
  };
  const auto cluster_of = [&](int64_t m) {
    auto spectrum = at::arange(6, at::kDouble);
    spectrum.narrow(0, 0, m).fill_(0);
    return with_spectrum(spectrum, dtype()).requires_grad_();
  };
  EXPECT_EQ(calls_for(cluster_of(1)), 1);
  for (int64_t m = 2; m <= 6; ++m) {
    const auto rounds = m % 2 == 0 ? m - 1 : m;
    const auto sets = (c10::isComplexType(dtype()) ? 4 : 2) * rounds + 1;
    EXPECT_EQ(calls_for(cluster_of(m)), 1 + 2 * sets) << m;
    EXPECT_EQ(calls_for(cluster_of(m).detach()), 1) << m;
    const at::NoGradGuard no_grad;
    EXPECT_EQ(calls_for(cluster_of(m)), 1) << m;
  }
}

TEST(SpectralMap, ExampleOfTheHeader) {
  auto A = at::eye(2, at::kFloat).requires_grad_();
  const auto y = spectral_map(
      [](const Tensor& L, const Tensor& V) { return std::vector{at::matmul(V * L.exp(), V.t())}; },
      A);
  const auto G = gradient(y[0][0][1], A);
  EXPECT_LE(largest(G - at::tensor({0., 0.5, 0.5, 0.}).view({2, 2}) * std::exp(1.)), 1e-6);
}

TEST(SpectralMap, OutputsOfAnyNumberAndShape) {
  at::manual_seed(1);
  auto A = with_spectrum(at::tensor({1., 1., 2.}, at::kDouble)).requires_grad_();
  const auto y = spectral_map(
      [](const Tensor& L, const Tensor& V) {
        const auto square = from_eigenvalues(L.square(), V);
        return Tensors{L.sum(), square.flatten(), at::ones({4}), square.unsqueeze(0).expand({2, 3, 3})};
      },
      A);
  ASSERT_EQ(y.size(), 4);
  EXPECT_EQ(y[3].sizes(), at::IntArrayRef({2, 3, 3}));
  EXPECT_TRUE(y[2].equal(at::ones({4})));
  // The gradient of tr(A) + tr(J A^2) is I + A J + J A.
  const auto J = at::ones({3, 3}, at::kDouble);
  const auto a = A.detach();
  const auto expected = at::eye(3, at::kDouble) + matmul(a, J) + matmul(J, a);
  EXPECT_LE(relative_error(gradient(y[0] + y[1].sum(), A), expected), 1e-13);
  EXPECT_TRUE(spectral_map([](const Tensor&, const Tensor&) { return Tensors{}; }, A).empty());
}

TEST(SpectralMap, TensorsThatItsFunctionUsesGetGradients) {
  at::manual_seed(2);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    auto A = with_spectrum(at::tensor({0.5, 0.5, 0.5, 1., 1.}, at::kDouble), dtype).requires_grad_();
    auto theta = at::scalar_tensor(0.7, at::kDouble).requires_grad_();
    const auto M = random_hermitian({5, 5}, dtype);
    const auto y = spectral_map(
        [&](const Tensor& L, const Tensor& V) { return Tensors{from_eigenvalues((theta * L).exp(), V)}; },
        A);
    const auto gradients = torch::autograd::grad({pairing(M, y[0])}, {A, theta});
    const auto Y = funm(A, [&](const Tensor& x) { return (theta * x).exp(); });
    const auto expected = torch::autograd::grad({pairing(M, Y)}, {A, theta});
    EXPECT_LE(relative_error(gradients[0], expected[0]), 1e-13);
    EXPECT_LE(relative_error(gradients[1], expected[1]), 1e-13);
  }
}

TEST(SpectralMap, SecondDerivativesWhereThereIsNoCluster) {
  at::manual_seed(3);
  auto A = with_spectrum(at::arange(1, 5, at::kDouble)).requires_grad_();
  const auto M = random_hermitian({4, 4});
  const auto N = random_hermitian({4, 4});
  const auto second = [&](const Tensor& Y) {
    return gradient(pairing(N, differentiable_gradient(pairing(M, Y), A)), A);
  };
  const auto y = spectral_map(
      [](const Tensor& L, const Tensor& V) { return Tensors{from_eigenvalues(L.log(), V)}; },
      A);
  EXPECT_LE(relative_error(second(y[0]), second(logm(A))), 1e-13);
}

TEST(SpectralMap, ASecondDerivativeAtAClusterIsRefused) {
  at::manual_seed(4);
  auto A = with_spectrum(at::tensor({1., 1., 2.}, at::kDouble)).requires_grad_();
  auto theta = at::scalar_tensor(0.7, at::kDouble).requires_grad_();
  const auto M = random_hermitian({3, 3});
  const auto y = spectral_map(
      [&](const Tensor& L, const Tensor& V) { return Tensors{from_eigenvalues((theta * L).exp(), V)}; },
      A);
  const auto G = differentiable_gradient(pairing(M, y[0]), A);
  EXPECT_RAISES(
      torch::autograd::grad({pairing(M, G)}, {A}, {}, /*retain_graph=*/true),
      c10::Error,
      "spectralgrad.spectral_map: Expected at most one derivative where eigenvalues are a cluster, but a second one "
      "was asked for; funm, trace_funm, spectral_projector and density_matrix have it");
  // A second derivative with respect to A and another tensor is supported.
  const auto Y = funm(A, [&](const Tensor& x) { return (theta * x).exp(); });
  const auto expected = gradient(pairing(M, differentiable_gradient(pairing(M, Y), A)), theta);
  EXPECT_NEAR(gradient(pairing(M, G), theta).item<double>(), expected.item<double>(), 1e-12);
}

class SpectralMapWarnings : public WarningsTest {
 protected:
  static Tensor triple() {
    return at::diag(at::tensor({1., 1., 1., 3.}, at::kDouble)).requires_grad_();
  }
};

TEST_F(SpectralMapWarnings, OfAFunctionThatDependsOnTheBasis) {
  auto A = triple();
  const auto M = at::randn({4, 4}, at::kDouble);
  const auto differentiate = [&] {
    return gradient((spectral_map([](const Tensor&, const Tensor& V) { return Tensors{V}; }, A)[0] * M).sum(), A);
  };
  differentiate();
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(
      matches,
      warnings()[0],
      "spectralgrad.spectral_map: The function depends on the choice of eigenvectors inside an eigenspace "
      "\\(eigenvalues \\d and \\d of matrix 0 of the batch, which are a cluster\\), so it has no derivative there. For "
      "this pair the gradient of plain eigh is used instead");
  {
    const ChecksGuard guard(Checks::raise);
    EXPECT_RAISES(differentiate(), GaugeError, "depends on the choice of eigenvectors inside an eigenspace");
  }
  const ChecksGuard guard(Checks::ignore);
  EXPECT_TRUE(differentiate().isfinite().all().item<bool>());
  EXPECT_EQ(warnings().size(), 1);
}

TEST_F(SpectralMapWarnings, OfAFunctionThatTreatsEqualEigenvaluesDifferently) {
  auto A = triple();
  const auto differentiate = [&] {
    return gradient(spectral_map([](const Tensor& L, const Tensor&) { return Tensors{L[0]}; }, A)[0], A);
  };
  differentiate();
  ASSERT_FALSE(warnings().empty());
  EXPECT_PRED2(contains, warnings()[0], "spectralgrad.spectral_map: The function treats equal eigenvalues differently");
  const ChecksGuard guard(Checks::raise);
  EXPECT_RAISES(differentiate(), GaugeError, "treats equal eigenvalues differently");
}

TEST_F(SpectralMapWarnings, KeepTheRestOfTheGradient) {
  // The function treats the eigenvalues of the second cluster differently, but not those of the first one.
  auto A = at::diag(at::tensor({1., 1., 3., 3., 5.}, at::kDouble)).requires_grad_();
  const auto M = random_hermitian({5, 5});
  const auto G = gradient(
      spectral_map(
          [&](const Tensor& L, const Tensor& V) { return Tensors{pairing(M, from_eigenvalues(L.exp(), V)) + L[2]}; },
          A)[0],
      A);
  ASSERT_FALSE(warnings().empty());
  EXPECT_PRED2(matches, warnings()[0], "eigenvalues (2 and 3|3 and 2) of matrix 0");
  const auto expected = gradient(pairing(M, expm(A)), A);
  const auto rest = at::tensor({0, 1, 4});
  const auto kept = [&](const Tensor& X) {
    return X.index_select(0, rest).index_select(1, rest);
  };
  EXPECT_LE(relative_error(kept(G), kept(expected)), 1e-14);
}

TEST_F(SpectralMapWarnings, ADependenceOnPhasesIsAnError) {
  auto A = with_spectrum(at::tensor({1., 1., 3.}, at::kDouble), at::kComplexDouble).requires_grad_();
  const auto differentiate = [&] {
    return gradient(spectral_map([](const Tensor&, const Tensor& V) { return Tensors{at::imag(V).sum()}; }, A)[0], A);
  };
  EXPECT_RAISES(differentiate(), GaugeError, "specified up to multiplication by e\\^\\{i phi\\}");
  const ChecksGuard guard(Checks::ignore);
  EXPECT_NO_THROW(differentiate());
}

TEST(SpectralMapErrors, OfItsFunctionAreItsOwn) {
  auto A = at::eye(2, at::kDouble).requires_grad_();
  EXPECT_THROW(
      spectral_map([](const Tensor&, const Tensor&) -> Tensors { throw std::out_of_range("mine"); }, A),
      std::out_of_range);
}

TEST(SpectralMapErrors, AnEmptyFunctionRaises) {
  EXPECT_RAISES(spectral_map(nullptr, at::eye(2)), c10::ValueError, "spectralgrad.spectral_map: Expected fn");
}

TEST(SpectralMapErrors, BadInputGetsASentence) {
  const auto sum = [](const Tensor& L, const Tensor&) {
    return Tensors{L.sum(-1)};
  };
  EXPECT_RAISES(
      spectral_map(sum, at::ones({2, 3})),
      c10::Error,
      "spectralgrad.spectral_map: A must be batches of square matrices, but they are 2 by 3 matrices");
  EXPECT_RAISES(
      spectral_map(sum, at::ones({3, 3}, at::kInt)),
      c10::NotImplementedError,
      "\"spectralgrad.spectral_map\" not implemented for 'Int'");
  auto A = at::eye(3, at::kDouble).repeat({2, 1, 1});
  A[1][2][0] = nan;
  EXPECT_RAISES(
      spectral_map(sum, A),
      c10::LinAlgError,
      "spectralgrad.spectral_map: \\(Batch element 1\\): Expected the lower triangle of A to be finite, but the entry "
      "\\(2, 0\\) is nan");
  EXPECT_THROW(spectral_map(sum, Tensor()), c10::Error);
  const ChecksGuard guard(Checks::ignore);
  auto leaf = A.requires_grad_();
  const auto y = spectral_map(sum, leaf)[0];
  EXPECT_TRUE(y[1].isnan().item<bool>());
  EXPECT_TRUE(gradient(y.sum(), leaf)[0].equal(at::eye(3, at::kDouble)));
}

TEST(SpectralMap, OnTheMetaDeviceResultsHaveShapes) {
  const auto A = at::empty({2, 3, 3}, at::TensorOptions(at::kMeta).dtype(at::kDouble)).requires_grad_();
  const auto y = spectral_map(exponential_and_projector, A)[0];
  EXPECT_TRUE(y.is_meta());
  EXPECT_EQ(y.sizes(), A.sizes());
  EXPECT_EQ(gradient(y.sum(), A).sizes(), A.sizes());
}

} // namespace
} // namespace spectralgrad::testing
