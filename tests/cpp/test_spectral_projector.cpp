#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <vector>

namespace spectralgrad::testing {
namespace {

using at::matmul;
using at::Tensor;

Tensor product(std::initializer_list<Tensor> factors) {
  Tensor result;
  for (const auto& factor : factors) {
    result = result.defined() ? matmul(result, factor) : factor;
  }
  return result;
}

/// The projector P onto the lower of two degenerate levels that are `gap` apart, and Q = I - P. Its derivatives need no
/// eigenvectors, because the divided differences of a step between the levels are f[a,b] = -1/gap, f[a,a,b] = -1/gap^2
/// and f[a,b,b] = 1/gap^2.
struct TwoLevels {
  Tensor P, Q;
  double gap;

  TwoLevels(const Tensor& A, double lower, double upper) : gap(upper - lower) {
    const auto one = at::eye(A.size(-1), A.options());
    P = (upper * one - A) / gap;
    Q = one - P;
  }

  Tensor first(const Tensor& M) const {
    return -(product({P, M, Q}) + product({Q, M, P})) / gap;
  }

  Tensor second(const Tensor& M, const Tensor& N) const {
    const auto through = [&](const Tensor& left, const Tensor& middle, const Tensor& right) {
      return product({left, M, middle, N, right}) + product({left, N, middle, M, right});
    };
    const auto across = through(P, Q, Q) - through(P, P, Q);
    return (through(Q, P, Q) - through(P, Q, P) + across + across.mH()) / (gap * gap);
  }
};

class SpectralProjector : public DtypeTest {
 protected:
  at::ScalarType wide() const {
    return c10::isComplexType(dtype()) ? at::kComplexDouble : at::kDouble;
  }
};

INSTANTIATE_FOR(SpectralProjector, all_dtypes());

TEST_P(SpectralProjector, DerivativesAtTwoRepeatedLevels) {
  const ChecksGuard guard(Checks::raise);
  const auto exact = with_spectrum(at::tensor({1., 1., 1., 3., 3.}, at::kDouble), wide());
  auto A = exact.to(dtype()).requires_grad_();
  const auto M = random_hermitian({5, 5}, dtype());
  const auto N = random_hermitian({5, 5}, dtype());
  for (const bool lower : {true, false}) {
    const TwoLevels levels(exact, lower ? 1 : 3, lower ? 3 : 1);
    const auto P = lower ? spectral_projector(A, 0, 3) : spectral_projector(A, 3, 5);
    const auto first = differentiable_gradient(pairing(M, P), A);
    const auto second = gradient(pairing(N, first), A);
    for (const auto& result : {P, first, second}) {
      EXPECT_EQ(result.scalar_type(), dtype());
      EXPECT_TRUE(result.equal(result.mH()));
    }
    const auto tolerance = is_double() ? 2e-15 : 2e-6;
    const auto M_wide = M.to(wide());
    EXPECT_LE(relative_error(P.detach().to(wide()), levels.P), tolerance);
    EXPECT_LE(relative_error(first.detach().to(wide()), levels.first(M_wide)), tolerance);
    EXPECT_LE(relative_error(second.to(wide()), levels.second(M_wide, N.to(wide()))), 2 * tolerance);
  }
}

TEST_P(SpectralProjector, ForwardModeIsReverseMode) {
  const DualLevel level;
  auto A = with_spectrum(at::tensor({1., 1., 1., 3., 3.}, at::kDouble), dtype()).requires_grad_();
  const auto M = random_hermitian({5, 5}, dtype());
  auto dual = A.detach().clone();
  dual._set_fw_grad(M, 0, false);
  const auto expected = gradient(pairing(M, spectral_projector(A, 0, 3)), A);
  EXPECT_LE(relative_error(spectral_projector(dual, 0, 3)._fw_grad(0), expected), is_double() ? 1e-15 : 1e-6);
}

TEST_P(SpectralProjector, NothingAndEverythingAreConstant) {
  auto A = random_hermitian({2, 4, 4}, dtype()).requires_grad_();
  const auto M = random_hermitian({2, 4, 4}, dtype());
  for (const int64_t i : {0, 2, 4}) {
    const auto nothing = spectral_projector(A, i, i);
    EXPECT_EQ(largest(nothing), 0);
    EXPECT_EQ(largest(gradient(pairing(M, nothing).sum(), A)), 0);
  }
  const auto everything = spectral_projector(A, 0, 4);
  EXPECT_LE(largest(everything - at::eye(4, dtype())), is_double() ? 2e-15 : 2e-6);
  EXPECT_EQ(largest(gradient(pairing(M, everything).sum(), A)), 0);
}

TEST_P(SpectralProjector, EmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3, 3}, {2, 0, 0}, {2, 0, 3, 3}}) {
    auto A = at::zeros(shape, dtype()).requires_grad_();
    const auto P = spectral_projector(A, 0, shape.back() / 2);
    EXPECT_EQ(P.sizes(), at::IntArrayRef(shape));
    EXPECT_EQ(P.scalar_type(), dtype());
    EXPECT_EQ(gradient(P.abs().sum(), A).sizes(), at::IntArrayRef(shape));
  }
}

TEST_P(SpectralProjector, OnlyTheLowerTriangleIsRead) {
  const auto A = random_hermitian({5, 5}, dtype());
  const auto garbage = at::full_like(A, nan);
  EXPECT_TRUE(spectral_projector(A.tril() + garbage.triu(1), 1, 3).equal(spectral_projector(A, 1, 3)));
}

TEST(SpectralProjectorExamples, OfTheHeader) {
  auto A = at::diag(at::tensor({1., 1., 3., 3.})).requires_grad_();
  const auto G = gradient(spectral_projector(A, 0, 2)[0][2], A);
  auto expected = at::zeros({4, 4});
  expected[0][2] = expected[2][0] = -0.25;
  EXPECT_LE(largest(G - expected), 1e-7);
}

TEST(SpectralProjectorExamples, OfTheLevelInTheMiddle) {
  auto A = at::diag(at::tensor({-2., 0., 0., 5.}, at::kDouble)).requires_grad_();
  const auto G = gradient(spectral_projector(A, 1, 3).sum(), A);
  // 1/(lambda_i - lambda_j) for i inside and j outside the range, and symmetric.
  const auto expected = at::tensor(
                            {0., 0.5, 0.5, 0., 0.5, 0., 0., -0.2, 0.5, 0., 0., -0.2, 0., -0.2, -0.2, 0.},
                            at::kDouble)
                            .view({4, 4});
  EXPECT_LE(largest(G - expected), 1e-15);
}

TEST(SpectralProjectorExamples, AtABorderOfAnyWidth) {
  // The upper level is split by less than its distance from the lower one.
  for (const double gap : {1e-2, 1e-6, 1e-10, 1e-14}) {
    const auto eigenvalues = at::tensor({1., 1., 1 + gap, 1 + gap * 1.25}, at::kDouble);
    auto A = at::diag(eigenvalues).requires_grad_();
    const auto G = gradient(spectral_projector(A, 0, 2).sum(), A);
    const auto across = (eigenvalues.unsqueeze(1) - eigenvalues.unsqueeze(0)).abs().narrow(0, 0, 2).narrow(1, 2, 2);
    const auto block = -across.reciprocal();
    EXPECT_LE(relative_error(G.narrow(0, 0, 2).narrow(1, 2, 2), block), 1e-15) << gap;
    EXPECT_LE(relative_error(G.narrow(0, 2, 2).narrow(1, 0, 2), block.mT()), 1e-15) << gap;
    EXPECT_EQ(largest(G.narrow(0, 0, 2).narrow(1, 0, 2)), 0) << gap;
    EXPECT_EQ(largest(G.narrow(0, 2, 2).narrow(1, 2, 2)), 0) << gap;
  }
}

TEST(SpectralProjectorExamples, MatricesOfABatchAreIndependent) {
  at::manual_seed(1);
  auto A = at::stack({with_spectrum(at::tensor({1., 1., 3., 3.}, at::kDouble)),
                      with_spectrum(at::tensor({1., 2., 3., 4.}, at::kDouble)),
                      with_spectrum(at::tensor({-1., -1. + 1e-9, 0., 1e-9}, at::kDouble))})
               .requires_grad_();
  const auto M = random_hermitian({3, 4, 4});
  const auto G = gradient(pairing(M, spectral_projector(A, 0, 2)).sum(), A);
  for (int64_t i = 0; i < 3; ++i) {
    auto one = A[i].detach().clone().requires_grad_();
    EXPECT_LE(relative_error(G[i], gradient(pairing(M[i], spectral_projector(one, 0, 2)), one)), 1e-15) << i;
  }
}

TEST(SpectralProjectorExamples, NoGraphWithoutGradients) {
  auto A = random_hermitian({3, 3}).requires_grad_();
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(spectral_projector(A, 0, 1).requires_grad());
}

TEST(SpectralProjectorErrors, AFourthDerivativeIsRefused) {
  at::manual_seed(2);
  auto A = random_hermitian({4, 4}).requires_grad_();
  const auto M = random_hermitian({4, 4});
  const auto first = differentiable_gradient(pairing(M, spectral_projector(A, 0, 2)), A);
  const auto second = differentiable_gradient(pairing(M, first), A);
  const auto third = differentiable_gradient(pairing(M, second), A);
  EXPECT_RAISES(
      gradient(pairing(M, third), A),
      c10::Error,
      "differentiated at most three times in the matrix, but a fourth");
}

TEST(SpectralProjectorErrors, BadRangesGetASentence) {
  const auto A = at::eye(3, at::kDouble);
  const auto expect = [&](int64_t start, int64_t stop, const std::string& got) {
    EXPECT_RAISES(
        spectral_projector(A, start, stop),
        c10::ValueError,
        "spectralgrad.spectral_projector: Expected 0 <= start <= stop <= 3, but got " + got);
  };
  expect(-1, 2, "start=-1 and stop=2");
  expect(2, 1, "start=2 and stop=1");
  expect(0, 4, "start=0 and stop=4");
  expect(4, 4, "start=4 and stop=4");
}

TEST(SpectralProjectorErrors, ACutThroughALevelIsNamed) {
  at::manual_seed(3);
  const auto A = with_spectrum(at::tensor({-1., 2., 2., 2., 5.}, at::kDouble));
  EXPECT_RAISES(
      spectral_projector(A, 0, 2),
      c10::LinAlgError,
      "^spectralgrad.spectral_projector: Expected stop to fill whole levels, but 2 eigenvectors cut the level 2 of "
      "multiplicity 3, which would hold 1 of 3");
  EXPECT_RAISES(
      spectral_projector(A, 3, 4),
      c10::LinAlgError,
      "Expected start to fill whole levels, but 3 eigenvectors cut the level 2 of multiplicity 3, which "
      "would .* 2 of 3");
  EXPECT_RAISES(
      spectral_projector(at::stack({at::diag(at::arange(5, at::kDouble)), A}), 0, 2),
      c10::LinAlgError,
      "spectral_projector: \\(Batch element 1\\): Expected stop");
  EXPECT_RAISES(spectral_projector(at::zeros({2, 2}), 0, 1), c10::LinAlgError, "cut the level 0 of multiplicity 2");
  for (const auto& [start, stop] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 4}, {0, 4}, {4, 5}}) {
    EXPECT_NO_THROW(spectral_projector(A, start, stop));
  }
}

TEST(SpectralProjectorErrors, ACutThroughALevelGivesNanWhereChecksAreOff) {
  const ChecksGuard guard(Checks::ignore);
  auto A = at::stack({at::diag(at::arange(3, at::kDouble)), at::eye(3, at::kDouble)}).requires_grad_();
  const auto P = spectral_projector(A, 0, 1);
  EXPECT_TRUE(P[1].isnan().all().item<bool>());
  const auto G = gradient(P.sum(), A);
  EXPECT_TRUE(G[1].isnan().all().item<bool>());
  EXPECT_TRUE(P[0].isfinite().all().item<bool>());
  EXPECT_TRUE(G[0].isfinite().all().item<bool>());
}

TEST(SpectralProjectorErrors, BadInputGetsASentence) {
  EXPECT_RAISES(
      spectral_projector(at::ones({2, 3}), 0, 1),
      c10::Error,
      "spectralgrad.spectral_projector: A must be batches of square matrices, but they are 2 by 3 matrices");
  EXPECT_RAISES(
      spectral_projector(at::ones({3, 3}, at::kInt), 0, 1),
      c10::NotImplementedError,
      "\"spectralgrad.spectral_projector\" not implemented for 'Int'");
  auto A = at::eye(3, at::kDouble);
  A[1][0] = nan;
  EXPECT_RAISES(
      spectral_projector(A, 0, 1),
      c10::LinAlgError,
      "spectral_projector: Expected the lower triangle of A to be finite, but the entry \\(1, 0\\) is nan");
  EXPECT_THROW(spectral_projector(Tensor(), 0, 1), c10::Error);
}

} // namespace
} // namespace spectralgrad::testing
