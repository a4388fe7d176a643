#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <cmath>
#include <functional>
#include <vector>

namespace spectralgrad::testing {
namespace {

using at::matmul;
using at::Tensor;
using Options = DensityMatrixOptions;

Tensor number(double x) {
  return at::scalar_tensor(x, at::kDouble);
}

Tensor leaf(const Tensor& x) {
  return x.clone().requires_grad_();
}

/// The Hueckel matrix of a ring: -1 between neighbours. Its levels are degenerate in pairs, except the lowest and, for
/// even n, the highest one.
Tensor ring(int64_t n, at::ScalarType dtype = at::kDouble) {
  const auto I = at::eye(n, dtype);
  return -(I.roll(1, 0) + I.roll(-1, 0));
}

Tensor identity(int64_t n, at::ScalarType dtype = at::kDouble) {
  return at::eye(n, dtype);
}

Tensor trace_of(const Tensor& M) {
  return at::real(M.diagonal(0, -2, -1)).sum(-1);
}

/// A positive definite matrix near the identity.
Tensor random_overlap(int64_t n, at::ScalarType dtype) {
  return at::eye(n, dtype) + 0.1 * random_hermitian({n, n}, dtype);
}

class DensityMatrixDtypes : public DtypeTest {};

INSTANTIATE_FOR(DensityMatrixDtypes, all_dtypes());

// --- closed forms ----------------------------------------------------------------------------------------------------

TEST_P(DensityMatrixDtypes, OfOneLevelInClosedForm) {
  // n degenerate levels at c hold f*spin electrons each: x = ln(1/f - 1), mu = c - kT x, u = f(1 - f).
  constexpr int64_t n = 4;
  constexpr double c = 0.5, kT = 0.25, spin = 2, electrons = 3, f = electrons / (spin * n), u = f * (1 - f);
  const auto x = std::log(1 / f - 1);
  const auto real = c10::toRealValueType(dtype());
  const auto eps = is_double() ? 1e-15 : 1e-6;
  auto H = leaf(c * identity(n, dtype()));
  auto N = leaf(number(electrons));
  auto T = leaf(number(kT));
  const auto M = random_hermitian({n, n}, dtype());
  const auto all = density_matrix_full(H, {.electrons = N, .kT = T});
  EXPECT_EQ(all.density_matrix.scalar_type(), dtype());
  EXPECT_LE(largest(all.density_matrix - spin * f * identity(n, dtype())), 4 * eps);
  for (const auto& [quantity, expected] : std::vector<std::pair<Tensor, double>>{
           {all.mu, c - kT * x},
           {all.energy, electrons * c},
           {all.entropy, -spin * n * (f * std::log(f) + (1 - f) * std::log(1 - f))},
           {all.free_energy, electrons * c + kT * spin * n * (f * std::log(f) + (1 - f) * std::log(1 - f))}}) {
    EXPECT_EQ(quantity.scalar_type(), real);
    EXPECT_EQ(quantity.dim(), 0);
    EXPECT_NEAR(quantity.item<double>(), expected, 8 * eps);
  }
  EXPECT_LE(largest(all.energy_weighted_density_matrix - c * spin * f * identity(n, dtype())), 4 * eps);

  const auto traceless = M - identity(n, dtype()) * (trace_of(M) / n);
  const auto of_D = torch::autograd::grad({pairing(M, all.density_matrix)}, {H, N, T}, {}, true, true);
  EXPECT_LE(relative_error(of_D[0], -spin * u / kT * traceless), 8 * eps);
  EXPECT_NEAR(of_D[1].item<double>(), (trace_of(M) / n).item<double>(), 8 * eps);
  EXPECT_NEAR(of_D[2].item<double>(), 0, 8 * eps);
  const auto of_mu = torch::autograd::grad({all.mu}, {H, N, T}, {}, true, true);
  EXPECT_LE(largest(of_mu[0] - identity(n, dtype()) / n), 8 * eps);
  EXPECT_NEAR(of_mu[1].item<double>(), kT / (spin * n * u), 8 * eps);
  EXPECT_NEAR(of_mu[2].item<double>(), -x, 8 * eps);
  // The second derivative of mu along a traceless M is -v/(n kT) tr(M^2), v = 1 - 2f.
  const auto twice = gradient(pairing(M, of_mu[0]), H);
  EXPECT_LE(relative_error(twice, -(1 - 2 * f) / (n * kT) * traceless), 32 * eps);
}

TEST(DensityMatrix, OfTwoLevelsInClosedForm) {
  // The example in the header. Its result is D = I + tanh(1/(2 kT)) on the bond.
  auto H = leaf(at::tensor({0., -1., -1., 0.}, at::kFloat).view({2, 2}));
  const Options options{.electrons = at::scalar_tensor(2.), .kT = at::scalar_tensor(0.1)};
  const auto D = density_matrix(H, options);
  EXPECT_EQ(D.scalar_type(), at::kFloat);
  EXPECT_NEAR(D[0][1].item<double>(), std::tanh(5.), 1e-6);
  EXPECT_NEAR(D[0][0].item<double>(), 1, 1e-6);
  const auto all = density_matrix_full(H.to(at::kDouble), options);
  EXPECT_NEAR(all.mu.item<double>(), 0, 1e-15);
  EXPECT_NEAR(all.energy.item<double>(), -2 * std::tanh(5.), 1e-7);
  // The kT that was used: 0.1 rounded to float32.
  const auto kT = options.kT->item<double>();
  const auto t = leaf(number(-1));
  const auto matrix = at::stack({at::zeros_like(t), t, t, at::zeros_like(t)}).view({2, 2});
  const auto bond = density_matrix(matrix, options)[0][1];
  const auto first = differentiable_gradient(bond, t);
  const auto sech = 1 / std::cosh(0.5 / kT);
  EXPECT_NEAR(first.item<double>() / (-sech * sech / (2 * kT)), 1, 1e-10);
  const auto second = gradient(first, t).item<double>();
  EXPECT_NEAR(second / (-sech * sech * std::tanh(0.5 / kT) / (2 * kT * kT)), 1, 1e-10);
}

TEST_P(DensityMatrixDtypes, OfBenzene) {
  // The levels on both sides of the gap are doubly degenerate. The bond orders are 2/3, 0 and -1/3.
  const ChecksGuard guard(Checks::raise);
  const auto tolerance = is_double() ? 2e-15 : 2e-6;
  auto H = leaf(ring(6, dtype()));
  const auto all = density_matrix_full(H, {.electrons = number(6)});
  const auto bonds = at::tensor({1., 2. / 3, 0., -1. / 3, 0., 2. / 3}, at::kDouble).to(dtype());
  EXPECT_LE(largest(all.density_matrix[0] - bonds), tolerance);
  EXPECT_NEAR(all.mu.item<double>(), 0, tolerance);
  EXPECT_NEAR(all.energy.item<double>(), -8, 8 * tolerance);
  EXPECT_EQ(all.entropy.item<double>(), 0);
  EXPECT_TRUE(all.free_energy.equal(all.energy));
  EXPECT_LE(relative_error(all.energy_weighted_density_matrix, matmul(H, all.density_matrix).detach()), 2 * tolerance);
  // The derivative of the energy is the density matrix (Hellmann-Feynman theorem), which is twice the spectral
  // projector.
  const auto M = random_hermitian({6, 6}, dtype());
  const auto G = differentiable_gradient(all.energy, H);
  EXPECT_LE(relative_error(G, all.density_matrix), 8 * tolerance);
  const auto expected = 2 * gradient(pairing(M, spectral_projector(H, 0, 3)), H);
  EXPECT_LE(relative_error(gradient(pairing(M, G), H), expected), 16 * tolerance);
}

// --- identities ------------------------------------------------------------------------------------------------------

TEST_P(DensityMatrixDtypes, TheFreeEnergyHasThreeKnownDerivatives) {
  // dF = tr(D dH) - tr(W dS) + mu dN - entropy dkT, for rings, whose levels are degenerate in pairs.
  const auto tolerance = is_double() ? 1e-13 : 1e-5;
  for (const bool with_overlap : {false, true}) {
    for (const int64_t n : {3, 4, 6}) {
      auto H = leaf(ring(n, dtype()));
      auto S = leaf(random_overlap(n, dtype()));
      auto N = leaf(number(2.5));
      auto kT = leaf(number(0.4));
      Options options{.electrons = N, .kT = kT};
      if (with_overlap) {
        options.overlap = S;
      }
      const auto all = density_matrix_full(H, options);
      const auto gradients = torch::autograd::grad(
          {all.free_energy},
          {H, N, kT, S},
          {},
          /*retain_graph=*/true,
          /*create_graph=*/true,
          /*allow_unused=*/true);
      EXPECT_LE(relative_error(gradients[0], all.density_matrix), tolerance);
      EXPECT_LE(relative_error(gradients[1], all.mu), tolerance);
      EXPECT_LE(relative_error(gradients[2], -all.entropy), tolerance);
      EXPECT_EQ(gradients[3].defined(), with_overlap);
      if (with_overlap) {
        EXPECT_LE(relative_error(gradients[3], -all.energy_weighted_density_matrix), tolerance);
      }
      // Maxwell's relations: second derivatives of F are first derivatives of D, mu and the entropy, in either order.
      const auto M = random_hermitian({n, n}, dtype());
      const auto of_D = torch::autograd::grad({pairing(M, all.density_matrix)}, {H, N, kT}, {}, true);
      const auto of_gradient = torch::autograd::grad({pairing(M, gradients[0])}, {H, N, kT}, {}, true);
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_LE(relative_error(of_gradient[i], of_D[i]), 10 * tolerance) << i;
      }
      EXPECT_NEAR(
          torch::autograd::grad({all.mu}, {kT}, {}, true)[0].item<double>(),
          -torch::autograd::grad({all.entropy}, {N}, {}, true)[0].item<double>(),
          10 * tolerance);
    }
  }
}

TEST_P(DensityMatrixDtypes, AnOverlapIsAChangeOfBasis) {
  const auto tolerance = is_double() ? 1e-13 : 1e-5;
  const auto H = ring(6, dtype());
  const auto S = random_overlap(6, dtype());
  const auto X = invsqrtm(S);
  for (const auto& kT : {std::optional<Tensor>(), std::optional<Tensor>(number(0.3))}) {
    const auto all = density_matrix_full(H, {.electrons = number(6), .kT = kT, .overlap = S});
    const auto expected = density_matrix_full(matmul(matmul(X, H), X), {.electrons = number(6), .kT = kT});
    const auto in_basis = [&](const Tensor& D) {
      return matmul(matmul(X, D), X);
    };
    EXPECT_LE(relative_error(all.density_matrix, in_basis(expected.density_matrix)), tolerance);
    EXPECT_LE(
        relative_error(all.energy_weighted_density_matrix, in_basis(expected.energy_weighted_density_matrix)),
        10 * tolerance);
    EXPECT_NEAR(all.mu.item<double>(), expected.mu.item<double>(), tolerance);
    EXPECT_NEAR(all.energy.item<double>(), expected.energy.item<double>(), 10 * tolerance);
    EXPECT_NEAR(trace_of(matmul(all.density_matrix, S)).item<double>(), 6, 10 * tolerance);
    EXPECT_TRUE(all.density_matrix.equal(all.density_matrix.mH()));
  }
}

TEST_P(DensityMatrixDtypes, AtAChemicalPotentialItIsTheFermiFunction) {
  const auto tolerance = is_double() ? 1e-13 : 1e-5;
  constexpr double kT = 0.4;
  auto H = leaf(ring(6, dtype()));
  auto mu = leaf(number(-0.3));
  auto T = leaf(number(kT));
  const auto M = random_hermitian({6, 6}, dtype());
  const auto by_funm = [&](const Tensor& h) {
    return 2 * funm(h, [&](const Tensor& x) { return ((mu - x) / T).to(x.dtype()).sigmoid(); });
  };
  const auto D = density_matrix(H, {.mu = mu, .kT = T});
  const auto expected = by_funm(H);
  EXPECT_LE(relative_error(D, expected), tolerance);
  const auto G = torch::autograd::grad({pairing(M, D)}, {H, mu, T}, {}, true, true);
  const auto of_funm = torch::autograd::grad({pairing(M, expected)}, {H, mu, T}, {}, true, true);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LE(relative_error(G[i], of_funm[i]), 5 * tolerance) << i;
  }
  EXPECT_LE(relative_error(gradient(pairing(M, G[0]), H), gradient(pairing(M, of_funm[0]), H)), 10 * tolerance);
}

TEST_P(DensityMatrixDtypes, AcrossAWideGapItIsTheProjector) {
  // Benzene, with kT a thousandth of the gap. The Fermi level is the middle of the gap, determined by the doubly
  // degenerate levels on both sides of it.
  const auto tolerance = is_double() ? 1e-14 : 1e-5;
  auto H = leaf(ring(6, dtype()));
  const auto M = random_hermitian({6, 6}, dtype());
  const auto all = density_matrix_full(H, {.electrons = number(6), .kT = number(2e-3)});
  EXPECT_LE(relative_error(all.density_matrix, density_matrix(H, {.electrons = number(6)})), tolerance);
  EXPECT_NEAR(all.mu.item<double>(), 0, tolerance);
  EXPECT_NEAR(all.entropy.item<double>(), 0, tolerance);
  const auto of_mu = torch::autograd::grad({all.mu}, {H}, {}, /*retain_graph=*/true)[0];
  const auto frontier = spectral_projector(H, 1, 5).detach();
  EXPECT_LE(relative_error(of_mu, frontier / 4), 100 * tolerance);
  const auto of_D = differentiable_gradient(pairing(M, all.density_matrix), H);
  const auto expected = differentiable_gradient(2 * pairing(M, spectral_projector(H, 0, 3)), H);
  EXPECT_LE(relative_error(of_D, expected), 10 * tolerance);
  EXPECT_LE(relative_error(gradient(pairing(M, of_D), H), gradient(pairing(M, expected), H)), 100 * tolerance);
}

TEST_P(DensityMatrixDtypes, ForwardModeIsReverseMode) {
  const DualLevel level;
  auto H = leaf(ring(4, dtype()));
  const auto M = random_hermitian({4, 4}, dtype());
  const auto N = random_hermitian({4, 4}, dtype());
  const auto loss = [&](const Tensor& h) {
    return pairing(M, density_matrix(h, {.electrons = number(3), .kT = number(0.3)}));
  };
  auto dual = H.detach().clone();
  dual._set_fw_grad(N, 0, false);
  const auto tangent = loss(dual)._fw_grad(0).item<double>();
  EXPECT_NEAR(tangent, pairing(N, gradient(loss(H), H)).item<double>(), is_double() ? 1e-14 : 1e-5);
}

// --- zero temperature ------------------------------------------------------------------------------------------------

TEST(DensityMatrixAtZeroTemperature, ASingleLevelMayBeFilledInPart) {
  const auto H = at::diag(at::tensor({-1., 0., 0.5, 2.}, at::kDouble));
  const auto all = density_matrix_full(H, {.electrons = number(3.5)});
  EXPECT_LE(largest(all.density_matrix - at::diag(at::tensor({2., 1.5, 0., 0.}, at::kDouble))), 1e-15);
  EXPECT_EQ(all.mu.item<double>(), 0);
  EXPECT_NEAR(all.entropy.item<double>(), -2 * (0.75 * std::log(0.75) + 0.25 * std::log(0.25)), 1e-15);
  EXPECT_TRUE(all.free_energy.equal(all.energy));
  const auto at_mu = density_matrix(H, {.mu = number(0.5)});
  EXPECT_LE(largest(at_mu - at::diag(at::tensor({2., 2., 1., 0.}, at::kDouble))), 1e-15);
}

TEST(DensityMatrixAtZeroTemperature, TheFermiLevelIsTheMiddleOfTheGapAndAConstant) {
  auto H = leaf(at::diag(at::tensor({-1., -1., 2., 3.}, at::kDouble)));
  const auto all = density_matrix_full(H, {.electrons = number(4)});
  EXPECT_EQ(all.mu.item<double>(), 0.5);
  EXPECT_FALSE(all.mu.requires_grad());
}

TEST(DensityMatrixAtZeroTemperature, SpinIsTheNumberOfElectronsInAnOrbital) {
  const auto H = at::diag(at::tensor({-1., 0., 1.}, at::kDouble));
  const auto D = density_matrix(H, {.electrons = number(2), .spin = 1});
  EXPECT_LE(largest(D - at::diag(at::tensor({1., 1., 0.}, at::kDouble))), 1e-15);
  const auto none = density_matrix(H, {.electrons = number(0)});
  EXPECT_EQ(largest(none), 0);
  const auto full = density_matrix(H, {.electrons = number(6)});
  EXPECT_LE(largest(full - 2 * identity(3)), 1e-15);
}

TEST_P(DensityMatrixDtypes, AnOpenShellIsFilledInEqualFractions) {
  const ChecksGuard guard(Checks::raise);
  const auto eps = is_double() ? 1e-15 : 1e-6;
  const auto two_thirds = density_matrix(identity(3, dtype()), {.electrons = number(2), .spin = 1});
  EXPECT_LE(largest(two_thirds - 2. / 3 * identity(3, dtype())), eps);
  // A level of multiplicity 3 with 2 of 6 electrons, or half filled by a mu.
  auto H = leaf(at::diag(at::tensor({-2., 1., 1., 1., 4.}, at::kDouble)).to(dtype()));
  auto N = leaf(number(4));
  const auto all = density_matrix_full(H, {.electrons = N});
  const auto f = at::tensor({2., 2. / 3, 2. / 3, 2. / 3, 0.}, at::kDouble);
  EXPECT_LE(largest(all.density_matrix - at::diag(f).to(dtype())), 2 * eps);
  EXPECT_NEAR(all.mu.item<double>(), 1, 2 * eps);
  const auto at_level = density_matrix(H, {.mu = number(1)});
  EXPECT_LE(largest(at_level - at::diag(at::tensor({2., 1., 1., 1., 0.}, at::kDouble)).to(dtype())), 2 * eps);
  // The energy has the gradients D and, in the electrons, the level.
  const auto of_energy = torch::autograd::grad({all.energy}, {H, N}, {}, /*retain_graph=*/true);
  EXPECT_LE(relative_error(of_energy[0], all.density_matrix), 8 * eps);
  EXPECT_NEAR(of_energy[1].item<double>(), 1, 8 * eps);
  // 2 f[i,j] of the entry (0, 1), between full and 1/3, and of (1, 4), between 1/3 and empty.
  const auto entry = [&](int64_t i, int64_t j) {
    return torch::autograd::grad({at::real(all.density_matrix[j][i])}, {H}, {}, /*retain_graph=*/true)[0];
  };
  EXPECT_NEAR(at::real(entry(0, 1)[1][0]).item<double>(), 0.5 * 2 * (1. / 3 - 1) / 3, 8 * eps);
  EXPECT_NEAR(at::real(entry(1, 4)[4][1]).item<double>(), 0.5 * 2 * (0 - 1. / 3) / 3, 8 * eps);
  // Two of its entries are inside the level.
  EXPECT_RAISES(
      entry(1, 2),
      GaugeError,
      "^spectralgrad.density_matrix: .* looks inside the level 1 of multiplicity 3 of matrix 0 of the batch");
  const ChecksGuard quiet(Checks::ignore);
  EXPECT_EQ(largest(entry(1, 2)), 0);
}

// --- smearings -------------------------------------------------------------------------------------------------------

TEST_P(DensityMatrixDtypes, SmearingsOfOneLevelInClosedForm) {
  // Occupations and entropies at x = (c - mu)/kT, and D's derivatives.
  constexpr double c = 0.5, kT = 0.25, x = 0.75, mu = c - kT * x;
  const auto eps = is_double() ? 2e-15 : 2e-6;
  const auto root_pi = std::sqrt(M_PI);
  const auto z = x + std::sqrt(0.5);
  const auto gauss = std::exp(-x * x);
  const auto shifted = std::exp(-z * z);
  struct Case {
    Smearing smearing;
    double f, slope, s;
  };
  for (const auto& [smearing, f, slope, s] : std::vector<Case>{
           {Smearing::gaussian, std::erfc(x) / 2, -gauss / root_pi, gauss / (2 * root_pi)},
           {Smearing::methfessel_paxton,
            std::erfc(x) / 2 - x * gauss / (2 * root_pi),
            -(1.5 - x * x) * gauss / root_pi,
            (1 - 2 * x * x) * gauss / (4 * root_pi)},
           {Smearing::cold,
            std::erfc(z) / 2 + shifted / (root_pi * std::sqrt(2)),
            -(1 + std::sqrt(2) * z) * shifted / root_pi,
            z * shifted / (root_pi * std::sqrt(2))}}) {
    auto H = leaf(c * identity(3, dtype()));
    auto fermi_level = leaf(number(mu));
    const auto all = density_matrix_full(H, {.mu = fermi_level, .kT = number(kT), .smearing = smearing});
    EXPECT_LE(largest(all.density_matrix - 2 * f * identity(3, dtype())), eps);
    EXPECT_NEAR(all.entropy.item<double>(), 6 * s, 3 * eps);
    EXPECT_NEAR(all.free_energy.item<double>(), 6 * (c * f - kT * s), 3 * eps);
    const auto G = torch::autograd::grad({at::real(all.density_matrix[0][0])}, {H, fermi_level});
    EXPECT_NEAR(at::real(G[0][0][0]).item<double>(), 2 * slope / kT, 16 * eps);
    EXPECT_NEAR(G[1].item<double>(), -2 * slope / kT, 16 * eps);
  }
}

TEST_P(DensityMatrixDtypes, TheFreeEnergyOfEverySmearingHasThreeKnownDerivatives) {
  const auto tolerance = is_double() ? 2e-13 : 2e-5;
  for (const auto smearing : {Smearing::gaussian, Smearing::methfessel_paxton, Smearing::cold}) {
    auto H = leaf(ring(6, dtype()));
    auto N = leaf(number(4.5));
    auto kT = leaf(number(0.4));
    const auto all = density_matrix_full(H, {.electrons = N, .kT = kT, .smearing = smearing});
    EXPECT_NEAR(trace_of(all.density_matrix).item<double>(), 4.5, 10 * tolerance);
    const auto G = torch::autograd::grad({all.free_energy}, {H, N, kT}, {}, true, true);
    EXPECT_LE(relative_error(G[0], all.density_matrix), tolerance);
    EXPECT_LE(relative_error(G[1], all.mu), tolerance);
    EXPECT_LE(relative_error(G[2], -all.entropy), tolerance);
    // Maxwell's relations.
    const auto M = random_hermitian({6, 6}, dtype());
    const auto of_D = torch::autograd::grad({pairing(M, all.density_matrix)}, {H, N, kT}, {}, true);
    const auto of_gradient = torch::autograd::grad({pairing(M, G[0])}, {H, N, kT}, {}, true);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_LE(largest(of_gradient[i] - of_D[i]), 10 * tolerance * (1 + largest(of_D[i]))) << i;
    }
  }
}

TEST(DensityMatrixSmearing, AWideGapHasItsProjector) {
  for (const auto smearing : {Smearing::gaussian, Smearing::methfessel_paxton, Smearing::cold}) {
    const auto all = density_matrix_full(ring(6), {.electrons = number(6), .kT = number(1e-3), .smearing = smearing});
    EXPECT_LE(largest(all.density_matrix - density_matrix(ring(6), {.electrons = number(6)})), 1e-14);
    EXPECT_NEAR(all.mu.item<double>(), 0, 1e-2);
  }
}

// --- shapes ----------------------------------------------------------------------------------------------------------

TEST(DensityMatrixShapes, Broadcast) {
  const auto H = leaf(ring(4));
  const auto N = leaf(at::tensor({1., 2.5, 4.}, at::kDouble));
  const auto kT = leaf(at::tensor({0.1, 0.4}, at::kDouble).view({2, 1}));
  const auto all = density_matrix_full(H, {.electrons = N, .kT = kT, .overlap = identity(4)});
  EXPECT_EQ(all.density_matrix.sizes(), at::IntArrayRef({2, 3, 4, 4}));
  EXPECT_EQ(all.energy_weighted_density_matrix.sizes(), at::IntArrayRef({2, 3, 4, 4}));
  for (const auto& quantity : {all.mu, all.energy, all.entropy, all.free_energy}) {
    EXPECT_EQ(quantity.sizes(), at::IntArrayRef({2, 3}));
  }
  const auto M = at::arange(16, at::kDouble).view({4, 4});
  const auto gradients = torch::autograd::grad({pairing(M, all.density_matrix).sum()}, {H, N, kT});
  EXPECT_EQ(gradients[1].sizes(), N.sizes());
  EXPECT_EQ(gradients[2].sizes(), kT.sizes());
  auto sum = at::zeros({4, 4}, at::kDouble);
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      auto h = leaf(ring(4));
      const auto D = density_matrix(h, {.electrons = N[j].detach(), .kT = kT[i][0].detach()});
      EXPECT_LE(relative_error(all.density_matrix[i][j], D), 1e-14);
      sum += gradient(pairing(M, D), h);
    }
  }
  EXPECT_LE(relative_error(gradients[0], sum), 1e-13);
}

TEST_P(DensityMatrixDtypes, EmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 3, 3}, {2, 0, 3, 3}, {0, 0}, {2, 0, 0}}) {
    const bool levels = shape.back() > 0;
    auto H = at::zeros(shape, dtype()).requires_grad_();
    for (const auto& options :
         {Options{.mu = number(0.5), .kT = number(0.1)},
          levels ? Options{.electrons = number(2), .kT = number(0.1)} : Options{.electrons = number(0)},
          Options{.electrons = number(0), .overlap = at::zeros(shape, dtype())},
          Options{.mu = number(0.5)}}) {
      const auto all = density_matrix_full(H, options);
      EXPECT_EQ(all.density_matrix.sizes(), at::IntArrayRef(shape));
      for (const auto& quantity : {all.mu, all.energy, all.entropy, all.free_energy}) {
        EXPECT_EQ(quantity.sizes(), at::IntArrayRef(shape).slice(0, shape.size() - 2));
        EXPECT_EQ(quantity.scalar_type(), c10::toRealValueType(dtype()));
      }
      EXPECT_EQ(gradient(all.density_matrix.abs().sum(), H).sizes(), at::IntArrayRef(shape));
    }
  }
}

TEST_P(DensityMatrixDtypes, OnlyTheLowerTrianglesAreRead) {
  const auto H = random_hermitian({5, 5}, dtype());
  const auto S = random_overlap(5, dtype());
  const auto garbage = at::full_like(H, nan).triu(1);
  const Options options{.electrons = number(4), .kT = number(0.1), .overlap = S};
  auto spoiled = options;
  spoiled.overlap = S.tril() + garbage;
  EXPECT_TRUE(density_matrix(H.tril() + garbage, spoiled).equal(density_matrix(H, options)));
}

TEST(DensityMatrixShapes, NumbersOfAnyType) {
  const auto expected = density_matrix(ring(4), {.electrons = number(2), .kT = number(0.5)});
  const auto D = density_matrix(ring(4), {.electrons = at::scalar_tensor(2, at::kLong), .kT = at::scalar_tensor(0.5)});
  EXPECT_TRUE(D.equal(expected));
}

TEST(DensityMatrixShapes, NoGraphWithoutGradients) {
  auto H = leaf(ring(4));
  const at::NoGradGuard no_grad;
  const auto all = density_matrix_full(H, {.electrons = number(2), .kT = number(0.5)});
  EXPECT_FALSE(all.density_matrix.requires_grad());
  EXPECT_FALSE(all.mu.requires_grad());
  EXPECT_FALSE(all.free_energy.requires_grad());
}

// --- errors ----------------------------------------------------------------------------------------------------------

TEST(DensityMatrixErrors, AFourthDerivativeIsRefused) {
  auto H = leaf(ring(4));
  const auto M = at::ones({4, 4}, at::kDouble).triu();
  const auto D = density_matrix(H, {.mu = number(0), .kT = number(0.3)});
  const auto first = differentiable_gradient(pairing(M, D), H);
  const auto second = differentiable_gradient(pairing(M, first), H);
  const auto third = differentiable_gradient(pairing(M, second), H);
  EXPECT_RAISES(
      gradient(pairing(M, third), H),
      c10::Error,
      "differentiated at most three times in the matrix, but a fourth");
}

TEST(DensityMatrixErrors, NumbersOutOfRangeGetASentence) {
  const auto H = ring(4);
  const auto expect = [&](const Options& options, const std::string& message) {
    EXPECT_RAISES(density_matrix(H, options), c10::ValueError, "^spectralgrad.density_matrix: Expected " + message);
    EXPECT_RAISES(
        density_matrix_full(H, options),
        c10::ValueError,
        "^spectralgrad.density_matrix: Expected " + message);
  };
  expect({}, "one of electrons and mu, but got neither");
  expect({.electrons = number(2), .mu = number(0)}, "one of electrons and mu, but got both");
  expect({.electrons = number(2), .spin = 0}, "spin to be positive and finite, but got 0");
  expect({.electrons = number(2), .spin = nan}, "spin to be positive and finite, but got nan");
  expect({.electrons = number(2), .spin = infinity}, "spin to be positive and finite, but got inf");
  expect({.electrons = number(-1)}, "electrons to be between 0 and 8, but got -1");
  expect({.electrons = number(9)}, "electrons to be between 0 and 8, but got 9");
  expect({.electrons = number(nan)}, "electrons to be finite, but got NaN or an infinity");
  expect({.electrons = number(infinity)}, "electrons to be between 0 and 8, but got inf");
  for (const double mu : {nan, infinity, -infinity}) {
    expect({.mu = number(mu)}, "mu to be finite, but got -?(nan|inf)");
    expect({.mu = number(mu), .kT = number(0.1)}, "mu to be finite, but got -?(nan|inf)");
  }
  expect({.mu = number(0), .kT = number(infinity)}, "kT to be finite, but got inf");
  expect({.electrons = number(2), .kT = number(infinity)}, "kT to be finite, but got inf");
  for (const double kT : {0., -0.1, nan}) {
    expect({.electrons = number(2), .kT = number(kT)}, "a?.*kT .*to be positive, but got ");
    expect({.mu = number(0), .kT = number(kT)}, "a?.*kT .*to be positive, but got ");
  }
  for (const double electrons : {-1., 0., 8., 9., nan}) {
    expect(
        {.electrons = number(electrons), .kT = number(0.1)},
        "electrons at kT > 0, .* between 0 and 8, both excluded, but");
  }
}

TEST(DensityMatrixErrors, AnOverlapThatDoesNotFitGetsASentence) {
  const auto H = ring(4);
  const auto with = [&](const Tensor& S) {
    return Options{.electrons = number(2), .overlap = S};
  };
  EXPECT_RAISES(
      density_matrix(H, with(-identity(4))),
      c10::LinAlgError,
      "^spectralgrad.density_matrix: Expected overlap to be positive definite, but it is not");
  EXPECT_RAISES(
      density_matrix(H, with(at::stack({identity(4), at::zeros({4, 4}, at::kDouble)}))),
      c10::LinAlgError,
      "^spectralgrad.density_matrix: \\(Batch element 1\\): Expected overlap to be positive definite");
  EXPECT_RAISES(density_matrix(H, with(identity(3))), c10::Error, "Expected overlap to be of the size and dtype of H");
  EXPECT_RAISES(
      density_matrix(H, with(identity(4, at::kFloat))),
      c10::Error,
      "Expected overlap to be of the size and dtype of H");
  EXPECT_RAISES(
      density_matrix(H, with(at::ones({2, 3}))),
      c10::Error,
      "spectralgrad.density_matrix: overlap must be batches of square matrices, but they are 2 by 3 matrices");
  auto S = identity(4);
  S[2][1] = nan;
  EXPECT_RAISES(
      density_matrix(H, with(S)),
      c10::LinAlgError,
      "Expected the lower triangle of overlap to be finite, but the entry \\(2, 1\\) is nan");
  const ChecksGuard guard(Checks::ignore);
  const auto D = density_matrix(H, with(at::stack({identity(4), -identity(4), S})));
  EXPECT_TRUE(D[0].equal(density_matrix(H, with(identity(4)))));
  EXPECT_TRUE(D[1].isnan().all().item<bool>());
  EXPECT_TRUE(D[2].isnan().all().item<bool>());
}

TEST(DensityMatrixErrors, BadInputGetsASentence) {
  const Options options{.electrons = number(2), .kT = number(0.1)};
  EXPECT_RAISES(
      density_matrix(at::ones({2, 3}), options),
      c10::Error,
      "spectralgrad.density_matrix: H must be batches of square matrices, but they are 2 by 3 matrices");
  EXPECT_RAISES(
      density_matrix(at::ones({3, 3}, at::kInt), options),
      c10::NotImplementedError,
      "\"spectralgrad.density_matrix\" not implemented for 'Int': Expected H to be");
  auto H = ring(3);
  H[1][0] = nan;
  EXPECT_RAISES(
      density_matrix(H, options),
      c10::LinAlgError,
      "spectralgrad.density_matrix: Expected the lower triangle of H to be finite, but the entry \\(1, 0\\) is nan");
  const ChecksGuard guard(Checks::ignore);
  const auto D = density_matrix(at::stack({H, ring(3)}), options);
  EXPECT_TRUE(D[0].isnan().all().item<bool>());
  EXPECT_TRUE(D[1].equal(density_matrix(ring(3), options)));
}

TEST(DensityMatrixErrors, AnUndefinedTensorRaises) {
  const auto H = ring(3);
  EXPECT_THROW(density_matrix(Tensor(), {.electrons = number(2)}), c10::Error);
  EXPECT_THROW(density_matrix(H, {.electrons = Tensor()}), c10::Error);
  EXPECT_THROW(density_matrix(H, {.mu = Tensor()}), c10::Error);
  EXPECT_THROW(density_matrix(H, {.electrons = number(2), .kT = Tensor()}), c10::Error);
  EXPECT_THROW(density_matrix(H, {.electrons = number(2), .overlap = Tensor()}), c10::Error);
}

} // namespace
} // namespace spectralgrad::testing
