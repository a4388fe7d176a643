#include "support.h"

#include <spectralgrad/spectralgrad.h>

namespace spectralgrad::testing {
namespace {

TEST(Purity, ValueAndGradientAtADegenerateEigenvalue) {
  const auto A = at::diag(at::tensor({1., 1., 3.})).requires_grad_();
  const auto y = purity(A);
  EXPECT_EQ(y.item<double>(), 11);
  EXPECT_TRUE(at::equal(torch::autograd::grad({y}, {A})[0], 2 * A));
}

TEST(Purity, ANonSquareMatrixRaises) {
  EXPECT_RAISES(purity(at::ones({2, 3})), c10::Error, "spectralgrad.purity: .*square");
}

} // namespace
} // namespace spectralgrad::testing
