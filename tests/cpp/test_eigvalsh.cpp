#include "support.h"

#include <spectralgrad/spectralgrad.h>

namespace spectralgrad::testing {
namespace {

TEST(Eigvalsh, EqualsTorch) {
  at::manual_seed(0);
  const auto A = random_hermitian({3, 5, 5}, at::kComplexDouble);
  EXPECT_LE(relative_error(eigvalsh(A), at::linalg_eigvalsh(A)), 1e-14);
  EXPECT_LE(relative_error(eigvalsh(A, "U"), at::linalg_eigvalsh(A, "U")), 1e-14);
}

TEST(Eigvalsh, GradientOfASymmetricFunctionAtARepeatedEigenvalue) {
  at::manual_seed(1);
  auto A = with_spectrum(at::tensor({1., 1., 1., 3.}, at::kDouble)).requires_grad_();
  const auto G = gradient(eigvalsh(A).pow(3).sum(), A);
  EXPECT_LE(relative_error(G, 3 * at::matmul(A.detach(), A.detach())), 1e-14);
}

TEST(Eigvalsh, TakesTheRule) {
  const auto eigenvalues = eigvalsh(at::eye(3, at::kDouble), "L", Rule::split(1e-2));
  EXPECT_LE((eigenvalues - at::tensor({0.99, 1., 1.01}, at::kDouble)).abs().max().item<double>(), 1e-15);
}

TEST(Eigvalsh, WritesToATensorThatExists) {
  const auto A = random_hermitian({3, 3});
  auto eigenvalues = at::empty({0}, at::kDouble);
  EXPECT_TRUE(eigvalsh_out(eigenvalues, A).equal(eigvalsh(A)));
  auto leaf = A.clone().requires_grad_();
  EXPECT_RAISES(eigvalsh_out(eigenvalues, leaf), c10::Error, "spectralgrad.eigvalsh\\(\\): functions with out=");
}

TEST(Eigvalsh, BadInputGetsASentence) {
  auto not_square = at::ones({2, 3}).requires_grad_();
  EXPECT_RAISES(eigvalsh(not_square), c10::Error, "spectralgrad.eigvalsh: A must be batches of square matrices");
  EXPECT_RAISES(
      eigvalsh(at::eye(2), "Q"),
      c10::Error,
      "spectralgrad.eigvalsh: Expected UPLO argument to be 'L' or 'U'");
  EXPECT_RAISES(
      eigvalsh(at::ones({2, 2}, at::kInt)),
      c10::NotImplementedError,
      "\"spectralgrad.eigvalsh\" not implemented for 'Int'");
}

class EigvalshWarnings : public WarningsTest {};

TEST_F(EigvalshWarnings, NameEigvalsh) {
  auto A = at::eye(3, at::kDouble).requires_grad_();
  gradient(eigvalsh(A)[0], A);
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(contains, warnings().back(), "spectralgrad.eigvalsh: The loss treats equal eigenvalues differently");
  gradient(std::get<0>(eigh(A))[0], A);
  ASSERT_EQ(warnings().size(), 2);
  EXPECT_PRED2(contains, warnings().back(), "spectralgrad.eigh: The loss treats equal eigenvalues differently");
  const auto G =
      torch::autograd::grad({eigvalsh(A).pow(3).sum()}, {A}, {}, /*retain_graph=*/true, /*create_graph=*/true);
  gradient(G[0][0][0], A);
  ASSERT_EQ(warnings().size(), 3);
  EXPECT_PRED2(contains, warnings().back(), "spectralgrad.eigvalsh: A second derivative is taken");
}

} // namespace
} // namespace spectralgrad::testing
