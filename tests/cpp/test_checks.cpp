#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <c10/util/Exception.h>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

class ChecksTest : public WarningsTest {};

Tensor gradient_of_phases(double scale) {
  auto A = with_spectrum(at::arange(3, at::kDouble), at::kComplexDouble).requires_grad_();
  return gradient(scale * at::imag(std::get<1>(eigh(A))).sum(), A);
}

TEST_F(ChecksTest, ALossOfThePhasesRaisesAtEveryScale) {
  // The scales stay above 8 eps max|lambda|: smaller cotangents may be round-off of A and are not reported.
  for (const double scale : {1e-12, 1., 1e30}) {
    EXPECT_RAISES(
        gradient_of_phases(scale),
        GaugeError,
        "The eigenvectors in the complex case are specified up to multiplication by e\\^\\{i phi\\}");
  }
  const ChecksGuard guard(Checks::ignore);
  EXPECT_NO_THROW(gradient_of_phases(1));
}

TEST_F(ChecksTest, ALossThatDoesNotSeePhasesPassesAtEveryScale) {
  const ChecksGuard guard(Checks::raise);
  for (const double scale : {1e-30, 1., 1e30}) {
    auto A = with_spectrum(at::arange(6, at::kDouble), at::kComplexDouble).requires_grad_();
    EXPECT_NO_THROW(gradient(scale * std::get<1>(eigh(A)).abs().pow(3).sum(), A));
  }
}

TEST_F(ChecksTest, ReportsWhatIsWrongAtARepeatedEigenvalue) {
  const auto M = at::randn({4, 4}, at::kDouble);
  const auto decompose = [](Tensor& A) {
    A = at::diag(at::tensor({1., 1., 2., 3.}, at::kDouble)).requires_grad_();
    return eigh(A);
  };
  Tensor A;
  {
    const auto [eigenvalues, V] = decompose(A);
    gradient((V * M).sum(), A);
    ASSERT_EQ(warnings().size(), 1);
    EXPECT_PRED2(contains, warnings().back(), "depends on the choice of eigenvectors inside an eigenspace");
    EXPECT_PRED2(contains, warnings().back(), "eigenvalues 0 and 1 of matrix 0");
  }
  {
    const auto [eigenvalues, V] = decompose(A);
    gradient((at::matmul(V * eigenvalues.exp(), V.mT()) * M).sum(), A);
    ASSERT_EQ(warnings().size(), 2);
    EXPECT_PRED2(contains, warnings().back(), "looks like tr(M f(A))");
  }
  {
    const auto [eigenvalues, V] = decompose(A);
    gradient(eigenvalues[0], A);
    ASSERT_EQ(warnings().size(), 3);
    EXPECT_PRED2(contains, warnings().back(), "only directional derivatives exist");
  }
  {
    const auto [eigenvalues, V] = decompose(A);
    const auto kept = V.slice(1, 0, 2);
    gradient((at::matmul(kept, kept.mT()) * M).sum() + eigenvalues.exp().sum(), A);
    EXPECT_EQ(warnings().size(), 3) << warnings().back();
  }
  {
    const ChecksGuard guard(Checks::raise);
    const auto [eigenvalues, V] = decompose(A);
    EXPECT_RAISES(gradient(eigenvalues[0], A), GaugeError, "only directional derivatives exist");
  }
}

TEST_F(ChecksTest, ASecondDerivativeThroughARepeatedEigenvalueWarnsOnce) {
  const auto M = at::randn({4, 4}, at::kDouble);
  auto A = with_spectrum(at::tensor({1., 1., 2., 3.}, at::kDouble)).requires_grad_();
  const auto product = [&](const Rule& rule) {
    const auto kept = std::get<1>(eigh(A, "L", rule)).slice(1, 0, 2);
    const auto loss = (at::matmul(kept, kept.mT()) * M).sum();
    return gradient((torch::autograd::grad({loss}, {A}, {}, true, true)[0] * M).sum(), A);
  };
  product(Rule::gated());
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(contains, warnings()[0], "A second derivative is taken through a repeated eigenvalue");
  EXPECT_PRED2(contains, warnings()[0], "Split(order=2)");
  product(Rule::split({}, 2));
  EXPECT_EQ(warnings().size(), 1);
}

TEST_F(ChecksTest, LevelIsScopedToTheThreadThenToTheProcess) {
  EXPECT_EQ(checks(), Checks::warn);
  set_checks(Checks::raise);
  {
    const ChecksGuard guard(Checks::ignore);
    EXPECT_EQ(checks(), Checks::ignore);
  }
  EXPECT_EQ(checks(), Checks::raise);
  set_checks(Checks::warn);
}

} // namespace
} // namespace spectralgrad::testing
