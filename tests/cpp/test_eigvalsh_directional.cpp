#include "support.h"

#include <spectralgrad/spectralgrad.h>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

TEST(EigvalshDirectional, SlopesOfEqualEigenvaluesAreThoseOfTheBlock) {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    at::manual_seed(0);
    const auto A = at::diag(at::tensor({3., 1., 3., 1., 3.}, at::kDouble)).to(dtype);
    const auto X = at::randn({5, 5}, dtype);
    const auto E = X + X.mH();
    const auto of_block = [&](const Tensor& rows) {
      return at::linalg_eigvalsh(E.index_select(0, rows).index_select(1, rows));
    };
    const auto expected = at::cat(
        {of_block(at::tensor({1, 3}, at::kLong)), of_block(at::tensor({0, 2, 4}, at::kLong))});
    EXPECT_LE(largest(eigvalsh_directional(A, E) - expected), 1e-14);
    // Along A, eigenvalues grow in proportion.
    EXPECT_LE(largest(eigvalsh_directional(A, A) - at::linalg_eigvalsh(A)), 1e-14);
  }
}

TEST(EigvalshDirectional, TheToleranceDecidesWhichEigenvaluesAreEqual) {
  const auto A = at::diag(at::tensor({1., 1 + 1e-10}, at::kDouble));
  const auto E = at::tensor({0., 1., 1., 0.}, at::kDouble).view({2, 2});
  EXPECT_TRUE(eigvalsh_directional(A, E).equal(at::zeros({2}, at::kDouble)));
  EXPECT_LE(largest(eigvalsh_directional(A, E, 1e-9) - at::tensor({-1., 1.}, at::kDouble)), 1e-15);
}

TEST(EigvalshDirectional, GradientInTheDirection) {
  const auto A = at::eye(3, at::kDouble);
  auto E = at::tensor({2., 1., 0., 1., 0., 1., 0., 1., -1.}, at::kDouble).view({3, 3}).requires_grad_();
  const auto slopes = eigvalsh_directional(A, E);
  const auto gradient = torch::autograd::grad({slopes[2]}, {E})[0];
  const auto [L, V] = at::linalg_eigh(E.detach());
  const auto v = V.slice(-1, 2, 3);
  EXPECT_LE(largest(gradient - at::matmul(v, v.mH())), 1e-14);
}

TEST(EigvalshDirectional, BadArgumentsRaise) {
  const auto A = at::eye(2, at::kDouble);
  EXPECT_THROW(eigvalsh_directional(A, at::eye(3, at::kDouble)), c10::Error);
  EXPECT_THROW(eigvalsh_directional(A, at::eye(2)), c10::Error);
  EXPECT_THROW(eigvalsh_directional(A, A, -1.0), c10::ValueError);
  EXPECT_THROW(eigvalsh_directional(A, A * nan), c10::LinAlgError);
}

} // namespace
} // namespace spectralgrad::testing
