#include "support.h"

#include <spectralgrad/spectralgrad.h>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

Tensor torch_gradient_at_the_identity() {
  auto A = at::eye(3, at::kDouble).requires_grad_();
  const auto [eigenvalues, V] = at::linalg_eigh(A);
  return gradient(eigenvalues.sum() + V.square().sum(), A);
}

TEST(Install, ReachesCallsFromCppAndIsUndone) {
  EXPECT_FALSE(installed());
  EXPECT_TRUE(torch_gradient_at_the_identity().isnan().any().item<bool>());
  install();
  install(); // twice is harmless
  EXPECT_TRUE(installed());
  EXPECT_TRUE(torch_gradient_at_the_identity().allclose(at::eye(3, at::kDouble)));
  uninstall();
  uninstall();
  EXPECT_FALSE(installed());
  EXPECT_TRUE(torch_gradient_at_the_identity().isnan().any().item<bool>());
}

TEST(Install, ReachesOtherFunctionsOfTorch) {
  install(Rule::split(0.25));
  const auto eigenvalues = at::linalg_eigvalsh(at::eye(3, at::kDouble).requires_grad_());
  uninstall();
  EXPECT_TRUE(eigenvalues.allclose(at::tensor({0.75, 1., 1.25}, at::kDouble)));
}

TEST(Install, TakesARule) {
  install(Rule::bare());
  EXPECT_TRUE(torch_gradient_at_the_identity().isnan().any().item<bool>());
  install(Rule::gated());
  EXPECT_FALSE(torch_gradient_at_the_identity().isnan().any().item<bool>());
  uninstall();
}

TEST(Install, LeavesValuesToTorch) {
  const auto A = random_hermitian({4, 4});
  const auto expected = at::linalg_eigh(A);
  install(Rule::split());
  const auto values = at::linalg_eigh(A);
  uninstall();
  EXPECT_TRUE(std::get<0>(values).equal(std::get<0>(expected)));
  EXPECT_TRUE(std::get<1>(values).equal(std::get<1>(expected)));
}

} // namespace
} // namespace spectralgrad::testing
