#include "support.h"

#include <spectralgrad/rule.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

// Checks that the kernel and the tensor code, two implementations of one formula, give the same results.
namespace spectralgrad::testing {
namespace {

using at::Tensor;
using Tangents = std::tuple<Tensor, Tensor>;

Tangents eigh_jvp(const Tensor& E, const Tensor& L, const Tensor& V, const Rule& rule) {
  static const auto op = find_operator<
      Tangents(const Tensor&, const Tensor&, const Tensor&, std::string_view, c10::ArrayRef<double>, std::string_view)>(
      "spectralgrad::eigh_jvp");
  return op.call(E, L, V, rule.name(), rule.parameters(), "eigh");
}

/// An argument that requires grad makes the operator run its tensor code.
Tangents by_tensor_code(const Tensor& E, const Tensor& L, const Tensor& V, const Rule& rule) {
  const auto [dL, dV] = eigh_jvp(E, L, V.clone().requires_grad_(), rule);
  return {dL.detach(), dV.detach()};
}

void expect_both_close(const Tangents& ours, const Tangents& reference, double tolerance, const std::string& what) {
  testing::expect_close(std::get<0>(ours), std::get<0>(reference), tolerance, what);
  testing::expect_close(std::get<1>(ours), std::get<1>(reference), tolerance, what);
}

class EighJvp : public DtypeTest {
 protected:
  Tensor unitary(int64_t count, int64_t n) const {
    return random_orthonormal({count, n, n}, dtype());
  }
};

INSTANTIATE_FOR(EighJvp, all_dtypes());

TEST_P(EighJvp, KernelEqualsTensorCode) {
  const auto spectra = at::tensor(
                           {1., 1., 1., 2., 3., -1., 0., 1e-3, 1e-3, 5., 0., 0., 0., 0., 0., -2., -1., 1., 2., 2.},
                           at::kDouble)
                           .view({4, 5})
                           .to(real());
  // n = 5 in SIMD lanes, n = 70 by matrix products, n = 260 by products of which only one triangle is computed.
  for (const int64_t copies : {1, 14, 52}) {
    const auto n = 5 * copies;
    const auto L = std::get<0>(spectra.repeat({1, copies}).sort(-1));
    for (const auto& rule : rules_for_gaps()) {
      const auto V = unitary(4, n);
      const auto E = at::randn({4, n, n}, dtype());
      std::ostringstream what;
      what << rule << ", n = " << n;
      expect_both_close(
          eigh_jvp(E, L, V, rule),
          by_tensor_code(E, L, V, rule),
          40 * static_cast<double>(copies) * eps(),
          what.str());
    }
  }
}

// n on both sides of the switches from SIMD lanes to matrix products, and to products of which only one triangle is
// computed; a single matrix, and a batch that fills registers only in part.
TEST_P(EighJvp, KernelEqualsTensorCodeAtAnySize) {
  for (const int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 24, 25, 33, 48, 64, 65, 130, 260}) {
    for (const int64_t count : {1, n < 260 ? 19 : 2}) {
      const auto V = unitary(count, n);
      const auto L = std::get<0>(at::rand({count, n}, at::kDouble).add(at::arange(n, at::kDouble)).sort(-1)).to(real());
      const auto E = at::randn({count, n, n}, dtype());
      const auto reference = by_tensor_code(E, L, V, Rule::gated());
      // Gaps have an error of eps times the largest eigenvalue.
      const auto tolerance = 100 * static_cast<double>(n) * eps();
      const auto what = "n = " + std::to_string(n);
      for (const auto& given : {E, E.mT().contiguous().mT(), E.mH().conj_physical().mT()}) {
        expect_both_close(eigh_jvp(given, L, V, Rule::gated()), reference, tolerance, what);
        expect_both_close(eigh_jvp(given, L, V.mT().contiguous().mT(), Rule::gated()), reference, tolerance, what);
      }
    }
  }
}

TEST_P(EighJvp, BareIsNotFiniteWhereTensorCodeIsNot) {
  const auto V = unitary(2, 3);
  const auto L = at::tensor({1., 1., 2., 1., 2., 3.}, real()).view({2, 3});
  const auto E = at::randn({2, 3, 3}, dtype());
  const auto [dL, dV] = eigh_jvp(E, L, V, Rule::bare());
  const auto [expected_dL, expected_dV] = by_tensor_code(E, L, V, Rule::bare());
  EXPECT_TRUE(dV.isfinite().equal(expected_dV.isfinite()));
  EXPECT_FALSE(dV[0].isfinite().all().item<bool>());
  expect_both_close(
      {dL.slice(0, 1), dV.slice(0, 1)},
      {expected_dL.slice(0, 1), expected_dV.slice(0, 1)},
      40 * eps(),
      "bare");
}

// Scaling by powers of two scales the results bitwise: no intermediate result over- or underflows if the result is
// representable.
TEST_P(EighJvp, PowersOfTwoPassThrough) {
  for (const auto& rule : {Rule::gated(), Rule::lorentzian(1e-3, true), Rule::cutoff(1e-3, true), Rule::bare()}) {
    for (const int64_t n : {2, 3, 4, 7, 20, 70, 260}) {
      // Among n^3 products of entries, some are much smaller than the result.
      const int most = (real() == at::kDouble ? 1000 : 110) - (n < 260 ? 0 : 30);
      const auto V = unitary(3, n);
      const auto L = std::get<0>(at::randn({3, n}, real()).sort(-1));
      const auto E = at::randn({3, n, n}, dtype());
      const auto [dL, dV] = eigh_jvp(E, L, V, rule);
      for (const auto& [of_E, of_L] :
           {std::pair{most, most},
            {-most, -most},
            {most, 0},
            {0, most},
            {-most / 2, most / 2},
            {most / 2, -most / 2}}) {
        const auto [scaled_dL, scaled_dV] = eigh_jvp(E * std::ldexp(1, of_E), L * std::ldexp(1, of_L), V, rule);
        EXPECT_TRUE(scaled_dL.equal(dL * std::ldexp(1, of_E))) << rule << n << " " << of_E << " " << of_L;
        EXPECT_TRUE(scaled_dV.equal(dV * std::ldexp(1, of_E - of_L))) << rule << n << " " << of_E << " " << of_L;
      }
    }
  }
}

// The other matrices of a batch, whatever their scale, do not change the results of a matrix.
TEST_P(EighJvp, MatricesDoNotSeeEachOther) {
  for (const int64_t n : {1, 2, 3, 4, 5, 8, 24, 40}) {
    const int64_t count = 37;
    const auto V = unitary(count, n);
    const auto L = std::get<0>(at::randn({count, n}, real()).sort(-1));
    const auto E = at::randn({count, n, n}, dtype());
    L[3] *= std::numeric_limits<float>::min() / 4;
    E[3] *= std::numeric_limits<float>::min() / 4;
    L[5] *= 1e30;
    E[7] *= 1e-30;
    const auto [dL, dV] = eigh_jvp(E, L, V, Rule::gated());
    E[9].fill_(nan);
    E[10].fill_(infinity);
    L[11].fill_(nan);
    const auto order = at::randperm(count, at::kLong);
    const auto [moved_dL, moved_dV] = eigh_jvp(E.index({order}), L.index({order}), V.index({order}), Rule::gated());
    for (int64_t i = 0; i < count; ++i) {
      const auto k = order[i].item<int64_t>();
      if (k < 9 || k > 11) {
        EXPECT_TRUE(moved_dL[i].equal(dL[k])) << "n = " << n << ", matrix " << k;
        EXPECT_TRUE(moved_dV[i].equal(dV[k])) << "n = " << n << ", matrix " << k;
      } else if (k < 11) {
        EXPECT_FALSE(moved_dL[i].isfinite().any().item<bool>());
      }
      if ((k == 9 || k == 11) && n > 1) {
        EXPECT_TRUE(moved_dV[i].isnan().all().item<bool>()) << "n = " << n << ", matrix " << k;
      }
    }
  }
}

TEST_P(EighJvp, EmptyBatches) {
  for (const auto& sizes : {std::vector<int64_t>{0, 3}, {2, 0}, {0, 0}}) {
    const auto matrices = std::vector{sizes[0], sizes[1], sizes[1]};
    const auto V = at::empty(matrices, dtype());
    const auto [dL, dV] = eigh_jvp(V, at::empty(sizes, real()), V, Rule::gated());
    EXPECT_EQ(dL.sizes(), at::IntArrayRef(sizes));
    EXPECT_EQ(dV.sizes(), at::IntArrayRef(matrices));
  }
}

} // namespace
} // namespace spectralgrad::testing
