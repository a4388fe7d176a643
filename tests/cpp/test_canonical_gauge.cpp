#include "support.h"

#include <spectralgrad/spectralgrad.h>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

class CanonicalGauge : public DtypeTest {};

INSTANTIATE_FOR(CanonicalGauge, all_dtypes());

TEST_P(CanonicalGauge, DependsOnTheEigenspacesOnly) {
  const auto A = with_spectrum(at::tensor({-1., 1., 1., 1., 3.}, at::kDouble), dtype());
  const auto [L, V] = spectralgrad::eigh(A);
  const auto W = canonical_gauge(L, V);
  EXPECT_LE(largest(at::matmul(A, W) - W * L), 60 * eps());
  EXPECT_LE(largest(at::matmul(W.mH(), W) - at::eye(5, dtype())), 30 * eps());
  auto turned = V.clone();
  turned.slice(-1, 1, 4).copy_(at::matmul(V.slice(-1, 1, 4), random_orthonormal({3, 3}, dtype())));
  turned.slice(-1, 0, 1).mul_(-1);
  EXPECT_LE(largest(canonical_gauge(L, turned) - W), 60 * eps());
}

// On exp(tK) A exp(-tK) the eigenvalues stay equal, and V' moves smoothly.
TEST_P(CanonicalGauge, HasExactGradientsThroughEigh) {
  if (c10::toRealValueType(dtype()) == at::kFloat) {
    return; // the reference is a finite difference
  }
  auto A = with_spectrum(at::tensor({-1., 1., 1., 1., 3.}, at::kDouble), dtype()).requires_grad_();
  const auto weights = at::randn({5, 5}, dtype());
  const auto loss = [&](const Tensor& X) {
    const auto [L, V] = spectralgrad::eigh(X);
    return pairing(weights, canonical_gauge(L, V, 1e-9));
  };
  const auto G = gradient(loss(A), A);
  const auto X = at::randn({5, 5}, dtype());
  const auto K = X - X.mH();
  const auto along = [&](double t) {
    const at::NoGradGuard no_grad;
    const auto R = at::linalg_matrix_exp(t * K);
    return loss(hermitian_part(at::matmul(at::matmul(R, A), R.mH()))).item<double>();
  };
  const double h = 1e-4;
  const auto slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h);
  const auto ours = pairing(G, at::matmul(K, A) - at::matmul(A, K)).item<double>();
  EXPECT_NEAR(ours, slope, 1e-8 * (1 + std::abs(slope)));
}

TEST_P(CanonicalGauge, TakesEmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3, 3}, {2, 0, 0}, {1, 1}, {2, 3, 3}}) {
    const auto [L, V] = spectralgrad::eigh(at::zeros(shape, dtype()));
    EXPECT_TRUE(at::equal(canonical_gauge(L, V), V));
  }
}

TEST_P(CanonicalGauge, TrackFollowsACrossing) {
  const auto t = at::linspace(-1, 1, 5, at::TensorOptions(c10::toRealValueType(dtype())));
  const auto [L, V] = spectralgrad::eigh(at::diag_embed(at::stack({t, -t, t + 5}, -1)).to(dtype()));
  const auto [curves, vectors] = track(L, V);
  EXPECT_TRUE(at::equal(curves, at::stack({t, -t, t + 5}, -1)));
  EXPECT_LE(largest(vectors - vectors[0]), 8 * eps());
}

// After a loop around a conical intersection, the vectors have the other sign.
TEST_P(CanonicalGauge, TrackShowsTheBerryPhase) {
  const auto angle = at::linspace(0, 2 * 3.14159265358979, 41, at::TensorOptions(c10::toRealValueType(dtype())));
  const auto x = angle.cos();
  const auto y = angle.sin();
  const auto A = at::stack({at::stack({x, y}, -1), at::stack({y, -x}, -1)}, -2).to(dtype());
  const auto [L, V] = spectralgrad::eigh(A);
  const auto vectors = std::get<1>(track(L, V));
  EXPECT_LE(largest(vectors[0] + vectors[40]), 200 * eps());
}

TEST(CanonicalGaugeErrors, NameTheArgument) {
  const auto V = at::eye(3, at::kDouble);
  const auto L = at::ones({3}, at::kDouble);
  EXPECT_RAISES(
      canonical_gauge(L.slice(0, 1), V),
      c10::Error,
      "spectralgrad.canonical_gauge: Expected L to have the shape \\[3\\], an eigenvalue for each column of V");
  EXPECT_RAISES(canonical_gauge(L, V, -1), c10::ValueError, "Expected rtol to be a number >= 0, but got -1");
  EXPECT_RAISES(track(L, V), c10::Error, "spectralgrad.track: Expected V to be the eigenvectors of a path");
}

} // namespace
} // namespace spectralgrad::testing
