#include "support.h"

#include <spectralgrad/orthogonal_procrustes.h>
#include <spectralgrad/polar.h>
#include <spectralgrad/rigid_alignment.h>

#include <string>
#include <tuple>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

constexpr const char* not_unique =
    "the sum of singular values . and ., with the sign of the determinant on the last one, "
    "of matrix 0 of the batch is 0";

class Polar : public WarningsTest {};

TEST_F(Polar, IsExactAtRotations) {
  for (const auto dtype : {at::kDouble, at::kComplexDouble, at::kFloat, at::kComplexFloat}) {
    const auto tolerance = 200 * (dtype == at::kDouble || dtype == at::kComplexDouble ? 2e-16 : 1e-7);
    for (const auto side : {"left", "right"}) {
      auto A = random_orthonormal({2, 5, 3}, dtype).requires_grad_();
      const auto [U, P] = polar(A, side);
      EXPECT_LE(largest(U - A), tolerance);
      EXPECT_LE(largest(at::matmul(*side == 'r' ? U : P, *side == 'r' ? P : U) - A), tolerance);
      // P = 1, so dU = U skew(U^H E) + (1 - U U^H) E, a self-adjoint map.
      const auto M = at::randn({2, 5, 3}, dtype);
      const auto W = A.detach();
      const auto inner = at::matmul(W.mH(), M);
      const auto expected = M - at::matmul(W, inner + inner.mH()) * 0.5;
      EXPECT_LE(largest(gradient(pairing(M, U).sum(), A) - expected), tolerance);
    }
  }
  EXPECT_TRUE(warnings().empty());
}

TEST_F(Polar, ReportsFactorsThatAreNotUnique) {
  auto A = at::diag(at::tensor({1., 0.}, at::kDouble)).requires_grad_();
  const auto loss = [&] {
    return std::get<0>(polar(A)).sum();
  };
  const auto message = "spectralgrad.polar: The loss depends on the unitary factor U, which is not unique";
  gradient(loss(), A);
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(contains, warnings()[0], message);
  EXPECT_PRED2(
      contains,
      warnings()[0],
      "(singular value 1 of matrix 0 of the batch is 0). U is unique if A has full rank");
  const ChecksGuard guard(Checks::raise);
  EXPECT_RAISES(gradient(loss(), A), GaugeError, message);
  EXPECT_LE(largest(gradient(std::get<1>(polar(A)).square().sum(), A) - 2 * A.detach()), 1e-15);
}

TEST(PolarArguments, AreChecked) {
  const auto A = at::eye(2);
  EXPECT_RAISES(
      polar(A, "up"),
      c10::ValueError,
      "spectralgrad.polar: Expected side to be 'left' or 'right', but got 'up'");
  EXPECT_RAISES(polar(A[0]), c10::Error, "spectralgrad.polar: The input tensor A must have at least 2 dimensions");
  EXPECT_RAISES(polar(A / 0), c10::LinAlgError, "spectralgrad.polar: Expected A to be finite");
}

class Procrustes : public WarningsTest {};

TEST_F(Procrustes, FindsTheRotation) {
  const auto A = at::randn({4, 6, 3}, at::kDouble);
  const auto Q = random_orthonormal({4, 3, 3});
  const auto [R, scale] = orthogonal_procrustes(A, at::matmul(A, Q));
  EXPECT_LE(largest(R - Q), 1e-13);
  EXPECT_LE(largest(scale - A.square().sum({-2, -1})), 1e-12);
  const auto proper = std::get<0>(orthogonal_procrustes(A, at::matmul(A, Q), /*proper=*/true));
  EXPECT_LE(largest(at::linalg_det(proper) - 1), 1e-13);
}

TEST_F(Procrustes, ReportsRotationsThatAreNotUnique) {
  auto A = at::eye(3, at::kDouble).requires_grad_();
  const auto B = at::diag(at::tensor({2., 1., -1.}, at::kDouble));
  const ChecksGuard guard(Checks::raise);
  const auto M = at::randn({3, 3}, at::kDouble);
  EXPECT_RAISES(
      gradient(pairing(M, std::get<0>(orthogonal_procrustes(A, B, true))), A),
      GaugeError,
      "spectralgrad.orthogonal_procrustes: The loss depends on the matrix R.*" + std::string(not_unique) +
          ".*R is unique if A.H B has full rank");
  gradient(std::get<1>(orthogonal_procrustes(A, B, true)), A);
}

TEST(ProcrustesArguments, AreChecked) {
  const auto A = at::eye(3);
  EXPECT_RAISES(
      orthogonal_procrustes(A, A.slice(0, 0, 2)),
      c10::ValueError,
      "Expected A and B to be matrices of one shape, but they are 3 by 3 and 2 by 3");
  EXPECT_RAISES(orthogonal_procrustes(A, A.to(at::kDouble)), c10::ValueError, "Expected A and B to have one dtype");
  const auto Z = A.to(at::kComplexFloat);
  EXPECT_RAISES(
      orthogonal_procrustes(Z, Z, true),
      c10::ValueError,
      "Expected real matrices for proper=True, but got ComplexFloat; leave proper out");
}

class RigidAlignment : public WarningsTest {};

TEST_F(RigidAlignment, IsExactForAnOctahedron) {
  const auto cloud = at::cat({at::eye(3, at::kDouble), -at::eye(3, at::kDouble)}).requires_grad_();
  const auto weights = at::ones({6}, at::kDouble);
  const auto [R, t, scale] = rigid_alignment(cloud, 2 * cloud.detach() + 1, weights, /*scale=*/true);
  EXPECT_LE(largest(R - at::eye(3, at::kDouble)), 1e-15);
  EXPECT_LE(largest(t - 1), 1e-15);
  EXPECT_NEAR(scale.item<double>(), 2, 1e-15);
  // The covariance C is 4 times the identity, so dR = (dC - dC^T)/8. A point x that moves by E adds 2 x E^T to C. If
  // e_0 moves along e_1, R must turn it back.
  const auto g = gradient(R[0][1], cloud);
  EXPECT_NEAR(g[0][1].item<double>(), 0.25, 1e-15);
  EXPECT_NEAR(g[1][0].item<double>(), -0.25, 1e-15);
  EXPECT_NEAR(g[3][1].item<double>(), -0.25, 1e-15);
  EXPECT_NEAR(g[4][0].item<double>(), 0.25, 1e-15);
  EXPECT_TRUE(warnings().empty());
}

TEST_F(RigidAlignment, ReportsFreeRotations) {
  auto line = at::tensor({0., 0., 1., 0., 0., 2., 0., 0., 4.}, at::kDouble).view({3, 3}).requires_grad_();
  const auto [R, t, scale] = rigid_alignment(line, line.detach());
  EXPECT_EQ(scale.item<double>(), 1);
  const ChecksGuard guard(Checks::raise);
  EXPECT_RAISES(
      gradient(pairing(at::randn({3, 3}, at::kDouble), R), line),
      GaugeError,
      "spectralgrad.rigid_alignment: The loss depends on the rotation.*" + std::string(not_unique) +
          ".*Points that are collinear or coincident");
}

TEST(RigidAlignmentArguments, AreChecked) {
  const auto x = at::ones({4, 3});
  EXPECT_RAISES(
      rigid_alignment(x, x.slice(0, 0, 2)),
      c10::ValueError,
      "Expected source and target to have as many points of one dimension, but they are 4 by 3 and 2 by 3");
  EXPECT_RAISES(
      rigid_alignment(x, x.to(at::kDouble)),
      c10::ValueError,
      "Expected source, target and weights to have one dtype, but got Float and Double");
  EXPECT_RAISES(
      rigid_alignment(x, x, at::ones({2})),
      c10::ValueError,
      "Expected weights to be .., n., one for each point, but there are 4 points");
  EXPECT_RAISES(
      rigid_alignment(x.to(at::kComplexFloat), x),
      c10::ValueError,
      "Expected source to be float32 or float64, but got ComplexFloat");
}

} // namespace
} // namespace spectralgrad::testing
