#include "support.h"

#include <spectralgrad/spectralgrad.h>

namespace spectralgrad::testing {
namespace {

using at::Tensor;
using Pairs = std::tuple<Tensor, Tensor>;

Pairs sliced(const Pairs& pairs, int64_t start, int64_t stop) {
  const auto& [L, V] = pairs;
  return {L.slice(-1, start, stop), V.slice(-1, start, stop)};
}

/// Depends on every eigenvalue and on every eigenvector, but not on their phases.
Tensor invariant_loss(const Pairs& pairs, const Tensor& M) {
  const auto& [L, V] = pairs;
  const auto weights = at::arange(1, L.size(-1) + 1, L.options());
  return (weights * (at::real((V.conj() * at::matmul(M, V)).sum(-2)) + L.sin())).sum();
}

Tensor projector(const Tensor& V) {
  return at::matmul(V, V.mH());
}

class EighSubset : public DtypeTest {};

INSTANTIATE_FOR(EighSubset, all_dtypes());

TEST_P(EighSubset, IsEighAndSlicingWithItsDerivatives) {
  auto A = at::stack({
                         with_spectrum(at::tensor({-2., -1., 0.5, 1.7, 3.}, at::kDouble), dtype()),
                         with_spectrum(at::tensor({-1., 0.2, 1., 2.1, 4.}, at::kDouble), dtype()),
                     })
               .requires_grad_();
  const auto M = random_hermitian({5, 5}, dtype());
  const auto E = at::randn_like(A);
  for (const auto& [start, stop] : std::vector<std::pair<int64_t, int64_t>>{{0, 2}, {1, 4}, {3, 5}, {0, 5}}) {
    const auto ours = eigh_subset(A, start, stop);
    const auto plain = sliced(spectralgrad::eigh(A), start, stop);
    EXPECT_TRUE(at::equal(std::get<0>(ours), std::get<0>(plain)));
    EXPECT_TRUE(at::equal(std::get<1>(ours), std::get<1>(plain)));
    const auto G = differentiable_gradient(invariant_loss(ours, M), A);
    const auto expected = differentiable_gradient(invariant_loss(plain, M), A);
    EXPECT_LE(relative_error(G, expected), 50 * eps());
    const auto H = gradient(pairing(G, E).sum(), A);
    EXPECT_LE(relative_error(H, gradient(pairing(expected, E).sum(), A)), 500 * eps());
  }
}

// At diag(1, 3) the projector onto the first eigenvector turns by dA_12/(1 - 3).
TEST_P(EighSubset, HasTheComplementTerm) {
  auto A = diagonal({1, 3}, dtype()).requires_grad_();
  const auto G = gradient(at::real(projector(std::get<1>(eigh_subset(A, 0, 1)))[0][1]), A);
  EXPECT_LE(largest(G - at::tensor({0., -0.25, -0.25, 0.}).reshape({2, 2}).to(dtype())), 8 * eps());
}

TEST_P(EighSubset, TakesIndicesLikeSlices) {
  const auto A = diagonal({1, 2, 3, 4}, dtype());
  EXPECT_EQ(std::get<0>(eigh_subset(A, -3, std::nullopt)).sizes(), at::IntArrayRef({3}));
  EXPECT_EQ(std::get<0>(eigh_subset(A, std::nullopt, -1)).sizes(), at::IntArrayRef({3}));
  EXPECT_EQ(std::get<1>(eigh_subset(A, 2, 2)).sizes(), at::IntArrayRef({4, 0}));
}

TEST_P(EighSubset, TakesEmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3, 3}, {2, 0, 0}, {1, 1}}) {
    auto A = at::zeros(shape, dtype()).requires_grad_();
    const auto [L, V] = eigh_subset(A, 0, std::nullopt);
    EXPECT_EQ(gradient(L.sum() + V.abs().sum(), A).sizes(), at::IntArrayRef(shape));
  }
}

// With B = b 1 the eigenvalues are those of A divided by b, and V V^H is the projector divided by b.
TEST_P(EighSubset, SolvesTheGeneralisedProblem) {
  auto A = diagonal({1, 1, 3}, dtype()).requires_grad_();
  auto B = (2 * at::eye(3, dtype())).requires_grad_();
  const auto [L, V] = eigh_subset(A, 0, 2, "L", B);
  EXPECT_LE(largest(L - 0.5), 8 * eps());
  EXPECT_LE(largest(at::matmul(V.mH(), at::matmul(B, V)) - at::eye(2, dtype())), 8 * eps());
  const auto gradients = torch::autograd::grad({at::real(projector(V)[0][2])}, {A, B});
  // See math/eigh_subset.h: with the mean 1 of the levels 1/2 and 3/2, P = V V^H and P_13 = 0,
  // dP_13 = (dA_13 - dB_13)/(1/2 - 3/2)/4 - dB_13/8. The entries (1, 3) and (3, 1) share the derivative.
  const auto expected_A = at::zeros({3, 3}, dtype());
  expected_A[0][2] = expected_A[2][0] = -0.125;
  const auto expected_B = at::zeros({3, 3}, dtype());
  expected_B[0][2] = expected_B[2][0] = 0.125 - 0.0625;
  EXPECT_LE(largest(gradients[0] - expected_A), 8 * eps());
  EXPECT_LE(largest(gradients[1] - expected_B), 8 * eps());
}

class EighSubsetWarnings : public WarningsTest {};

TEST_F(EighSubsetWarnings, ReportACutThroughALevelOnlyIfTheLossSeesIt) {
  auto A = diagonal({0, 1, 1, 3}).requires_grad_();
  const auto M = random_hermitian({4, 4});
  const auto loss = [&](int64_t start, int64_t stop) {
    return pairing(M, projector(std::get<1>(eigh_subset(A, start, stop))));
  };
  gradient(loss(0, 3), A);
  gradient(std::get<0>(eigh_subset(A, 0, 2))[0], A);
  ASSERT_TRUE(warnings().empty());
  gradient(loss(0, 2), A);
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(
      contains,
      warnings()[0],
      "spectralgrad.eigh_subset: stop=2 cuts through a repeated eigenvalue, and the loss depends on which of its "
      "eigenvectors are kept, so it has no gradient there (matrix 0 of the batch: the level 1 has multiplicity 2, the "
      "eigenvalues 1 to 2, and the gap at the cut is 0). Expected stop at an edge of the level, 1 or 3.");
  gradient(loss(2, 4), A);
  ASSERT_EQ(warnings().size(), 2);
  EXPECT_PRED2(contains, warnings()[1], "start=2 cuts through a repeated eigenvalue");
}

TEST(EighSubsetErrors, NameTheArgument) {
  const auto A = at::eye(3, at::kDouble);
  EXPECT_RAISES(
      eigh_subset(A, 0, 4),
      c10::ValueError,
      "spectralgrad.eigh_subset: Expected 0 <= start <= stop <= 3, where negative indices count from the end, but got "
      "start=0 and stop=4");
  EXPECT_RAISES(eigh_subset(at::ones({2, 3}), 0, 1), c10::Error, "spectralgrad.eigh_subset: A must be batches of squ");
  EXPECT_RAISES(
      eigh_subset(A, 0, 1, "L", at::eye(3)),
      c10::Error,
      "spectralgrad.eigh_subset: Expected B to have the dtype of A, Double, but got Float");
  EXPECT_RAISES(
      eigh_subset(A, 0, 1, "L", at::eye(2, at::kDouble)),
      c10::Error,
      "spectralgrad.eigh_subset: Expected B to be 3 by 3, as A is, but it is 2 by 2");
  EXPECT_RAISES(
      eigh_subset(A, 0, 1, "U", -A),
      c10::LinAlgError,
      R"(spectralgrad\.eigh_subset: The factorization could not be completed because the input B is not )"
      R"(positive-definite \(the leading minor of order 1 is not positive-definite\))");
}

} // namespace
} // namespace spectralgrad::testing
