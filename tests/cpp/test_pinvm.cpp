#include "support.h"

#include <spectralgrad/pinvm.h>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

class Pinvm : public WarningsTest {};

TEST_F(Pinvm, IsTheInverseOnTheRange) {
  const ChecksGuard guard(Checks::raise);
  for (const auto dtype : {at::kDouble, at::kComplexDouble, at::kFloat, at::kComplexFloat}) {
    const auto tolerance = 200 * (dtype == at::kDouble || dtype == at::kComplexDouble ? 2e-16 : 1e-7);
    for (const auto& spectrum :
         {at::tensor({0., 0., 2., 2.}), at::tensor({-1., 0., 0., 3.}), at::tensor({1., 1., 1., 3.})}) {
      auto A = with_spectrum(spectrum.to(c10::toRealValueType(dtype)), dtype).requires_grad_();
      const auto expected = at::linalg_pinv(A.detach(), /*rcond=*/1e-4, /*hermitian=*/true);
      const auto P = pinvm(A, 1e-4);
      EXPECT_LE(relative_error(P, expected), tolerance);
      // Golub and Pereyra (1973).
      const auto M = random_hermitian({4, 4}, dtype);
      const auto K = at::eye(4, A.options().requires_grad(false)) - at::matmul(expected, A.detach());
      const auto PP = at::matmul(expected, expected);
      const auto across = at::matmul(at::matmul(PP, M), K);
      const auto derivative = across + across.mH() - at::matmul(at::matmul(expected, M), expected);
      EXPECT_LE(relative_error(gradient(pairing(M, P), A), derivative), tolerance);
      const auto y = pseudo_logdet(A, 1e-4);
      EXPECT_EQ(y.scalar_type(), c10::toRealValueType(dtype));
      EXPECT_NEAR(y.item<double>(), spectrum.masked_select(spectrum != 0).abs().log().sum().item<double>(), tolerance);
      EXPECT_LE(relative_error(gradient(y, A), expected), tolerance);
    }
  }
  EXPECT_TRUE(warnings().empty());
}

TEST_F(Pinvm, DefaultsToTheCutoffOfPinv) {
  const auto F = at::randn({5, 3, 6}, at::kDouble);
  const auto A = at::matmul(F.mT(), F);
  EXPECT_LE(relative_error(pinvm(A), at::linalg_pinv(A, 1e-10, /*hermitian=*/true)), 1e-10);
  EXPECT_LE(largest(pseudo_logdet(A) - 2 * at::linalg_svdvals(F).log().sum(-1)), 1e-11);
  EXPECT_EQ(largest(pinvm(at::zeros({3, 3}))), 0);
  EXPECT_EQ(pseudo_logdet(at::zeros({3, 3})).item<float>(), 0);
  EXPECT_EQ(pinvm(at::zeros({2, 0, 0})).sizes(), at::IntArrayRef({2, 0, 0}));
  EXPECT_EQ(largest(pseudo_logdet(at::zeros({2, 0, 0}))), 0);
  EXPECT_TRUE(warnings().empty());
}

TEST_F(Pinvm, ReportsACutoffThroughEqualEigenvalues) {
  const auto A = at::diag(at::tensor({1. - 4e-16, 1., 2.}, at::kDouble));
  pinvm(A, 0.5 - 1e-16);
  pseudo_logdet(A, 0.5 - 1e-16);
  ASSERT_EQ(warnings().size(), 2);
  EXPECT_PRED2(
      contains,
      warnings()[0],
      "spectralgrad.pinvm: rtol=0.5 separates eigenvalues that are equal up to round-off");
  EXPECT_PRED2(contains, warnings()[1], "spectralgrad.pseudo_logdet: rtol=0.5 separates");
  {
    const ChecksGuard guard(Checks::ignore);
    pinvm(A, 0.5 - 1e-16);
    EXPECT_EQ(warnings().size(), 2);
  }
  const ChecksGuard guard(Checks::raise);
  EXPECT_RAISES(pinvm(A, 0.5 - 1e-16), GaugeError, "spectralgrad.pinvm: rtol=0.5 separates");
}

TEST(PinvmArguments, AreChecked) {
  const auto A = at::eye(2);
  EXPECT_RAISES(pinvm(A, -1), c10::ValueError, "spectralgrad.pinvm: Expected rtol to be a number >= 0, but got -1");
  EXPECT_RAISES(
      pseudo_logdet(A, nan),
      c10::ValueError,
      "spectralgrad.pseudo_logdet: Expected rtol to be a number >= 0, but got nan");
  EXPECT_THROW(pinvm(Tensor()), c10::Error);
}

} // namespace
} // namespace spectralgrad::testing
