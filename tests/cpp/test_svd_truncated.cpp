#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <vector>

namespace spectralgrad::testing {
namespace {

using at::Tensor;
using TruncatedFactors = std::tuple<Tensor, Tensor, Tensor>;

TruncatedFactors sliced(const TruncatedFactors& factors, int64_t rank) {
  const auto& [U, S, Vh] = factors;
  return {U.slice(-1, 0, rank), S.slice(-1, 0, rank), Vh.slice(-2, 0, rank)};
}

/// Depends on every singular value and on every pair of vectors, but not on their phases.
Tensor loss_of_triples(const TruncatedFactors& factors, const Tensor& L, const Tensor& R) {
  const auto& [U, S, Vh] = factors;
  const auto weights = at::arange(1, S.size(-1) + 1, S.options());
  const auto left = (U.conj() * at::matmul(L, U)).sum(-2);
  const auto right = (Vh.conj() * at::matmul(Vh, R)).sum(-1);
  return (weights * (at::real(left + right) + S.sin())).sum();
}

class SvdTruncated : public DtypeTest {};

INSTANTIATE_FOR(SvdTruncated, all_dtypes());

TEST_P(SvdTruncated, IsSvdAndSlicingWithItsDerivatives) {
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {6, 4}, {4, 6}}) {
    auto A = at::stack({
                           with_singular_values({4, 3, 2, 1}, m, n, dtype()),
                           with_singular_values({5, 3.5, 2.2, 1}, m, n, dtype()),
                       })
                 .requires_grad_();
    const auto L = at::randn({m, m}, dtype());
    const auto R = at::randn({n, n}, dtype());
    const auto E = at::randn_like(A);
    for (const int64_t rank : {1, 2, 4}) {
      const auto ours = svd_truncated(A, rank);
      const auto plain = sliced(spectralgrad::svd(A, false), rank);
      EXPECT_TRUE(at::equal(std::get<0>(ours), std::get<0>(plain)));
      EXPECT_TRUE(at::equal(std::get<1>(ours), std::get<1>(plain)));
      EXPECT_TRUE(at::equal(std::get<2>(ours), std::get<2>(plain)));
      const auto G = differentiable_gradient(loss_of_triples(ours, L, R), A);
      const auto expected = differentiable_gradient(loss_of_triples(plain, L, R), A);
      EXPECT_LE(relative_error(G, expected), 50 * eps());
      const auto H = gradient(pairing(G, E).sum(), A);
      EXPECT_LE(relative_error(H, gradient(pairing(expected, E).sum(), A)), 500 * eps());
    }
  }
}

// At diag(3, 1) the projector onto u_1 turns by (sigma_1 dA_21 + sigma_2 dA_12)/(sigma_1^2 - sigma_2^2).
TEST_P(SvdTruncated, HasTheComplementTerm) {
  auto A = diagonal({3, 1}, dtype()).requires_grad_();
  const auto U = std::get<0>(svd_truncated(A, 1));
  const auto G = gradient(at::real(at::matmul(U, U.mH())[0][1]), A);
  EXPECT_LE(largest(G - at::tensor({0., 1. / 8, 3. / 8, 0.}).reshape({2, 2}).to(dtype())), 8 * eps());
  auto tall = at::tensor({2., 0.}).reshape({2, 1}).to(dtype()).requires_grad_();
  const auto u = std::get<0>(svd_truncated(tall, 1));
  const auto outside = gradient(at::real(at::matmul(u, u.mH())[0][1]), tall);
  EXPECT_LE(largest(outside - at::tensor({0., 0.5}).reshape({2, 1}).to(dtype())), 8 * eps());
}

TEST_P(SvdTruncated, KeepsMultipletsTogetherInTheWholeBatch) {
  const auto A = at::stack({diagonal({4, 3, 2, 1, 0}, dtype()), diagonal({4, 3, 3, 1, 0}, dtype())});
  EXPECT_EQ(std::get<1>(svd_truncated(A[0], 2)).sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(std::get<1>(svd_truncated(A[1], 2)).sizes(), at::IntArrayRef({3}));
  EXPECT_EQ(std::get<1>(svd_truncated(A, 2)).sizes(), at::IntArrayRef({2, 3}));
  EXPECT_EQ(std::get<1>(svd_truncated(A, 2, {}, {}, false)).sizes(), at::IntArrayRef({2, 2}));
  EXPECT_EQ(std::get<1>(svd_truncated(A)).sizes(), at::IntArrayRef({2, 4}));
  EXPECT_EQ(std::get<1>(svd_truncated(A, {}, 0.6)).sizes(), at::IntArrayRef({2, 3}));
  EXPECT_EQ(std::get<1>(svd_truncated(A, {}, {}, 3.5)).sizes(), at::IntArrayRef({2, 1}));
  EXPECT_EQ(std::get<1>(svd_truncated(A, 1, 0.6)).sizes(), at::IntArrayRef({2, 1}));
  EXPECT_EQ(std::get<1>(svd_truncated(diagonal({1, 0, 0, 0}, dtype()), 2)).sizes(), at::IntArrayRef({2}));
}

TEST_P(SvdTruncated, TakesEmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3}, {3, 0}, {0, 3, 2}, {2, 0, 3}}) {
    auto A = at::zeros(shape, dtype()).requires_grad_();
    const auto [U, S, Vh] = svd_truncated(A, 2);
    EXPECT_EQ(gradient(S.sum() + U.abs().sum() + Vh.abs().sum(), A).sizes(), at::IntArrayRef(shape));
  }
}

class SvdTruncatedWarnings : public WarningsTest {};

TEST_F(SvdTruncatedWarnings, ReportACutThroughAMultipletOnlyIfTheLossSeesIt) {
  auto A = with_singular_values({3, 2, 2, 1}, 5, 4, at::kDouble).requires_grad_();
  const auto M = at::randn({5, 4}, at::kDouble);
  const auto loss = [&](bool keep_multiplets) {
    const auto [U, S, Vh] = svd_truncated(A, 2, {}, {}, keep_multiplets);
    return pairing(M, at::matmul(U, Vh));
  };
  gradient(loss(true), A);
  gradient(std::get<1>(svd_truncated(A, 2, {}, {}, false))[0], A);
  ASSERT_TRUE(warnings().empty());
  gradient(loss(false), A);
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(
      contains,
      warnings()[0],
      "spectralgrad.svd_truncated: The truncation cuts through a repeated singular value, and the loss depends on "
      "which of its singular vectors are kept, so it has no gradient there (singular values 1, which is kept, and 2, "
      "which is dropped, of matrix 0 of the batch are equal)");
  gradient(std::get<1>(svd_truncated(A, 2, {}, {}, false)).sum(), A);
  ASSERT_EQ(warnings().size(), 2);
}

TEST(SvdTruncatedErrors, NameTheArgument) {
  const auto A = at::eye(3, at::kDouble);
  EXPECT_RAISES(svd_truncated(A, -1), c10::ValueError, "spectralgrad.svd_truncated: Expected rank to be >= 0, but got");
  EXPECT_RAISES(svd_truncated(A, 1, -0.5), c10::ValueError, "Expected rtol to be a number >= 0, but got -0.5");
  EXPECT_RAISES(svd_truncated(A, 1, {}, nan), c10::ValueError, "Expected atol to be a number >= 0, but got nan");
  EXPECT_RAISES(
      svd_truncated(at::ones({3}), 1),
      c10::Error,
      "spectralgrad.svd_truncated: The input tensor A must have at least 2 dimensions, but it has 1");
  EXPECT_RAISES(
      svd_truncated(at::full({2, 2}, infinity), 1),
      c10::LinAlgError,
      "spectralgrad.svd_truncated: Expected A to be finite, but the entry \\(0, 0\\) is inf");
  EXPECT_RAISES(
      svd_truncated(at::ones({3, 2}, at::TensorOptions(at::kMeta)), 1),
      c10::NotImplementedError,
      "spectralgrad.svd_truncated: Expected rank and keep_multiplets=False");
}

} // namespace
} // namespace spectralgrad::testing
