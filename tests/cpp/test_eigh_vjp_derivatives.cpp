#include "support.h"

#include <spectralgrad/rule.h>

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

// Checks the derivatives of the vjp of eigh: kernels against tensor code, and both modes against each other. The Python
// suite checks values against references.
namespace spectralgrad::testing {
namespace {

using at::Tensor;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using OptionalTangents = std::array<OptionalTensor, 4>;
using Parameters = c10::ArrayRef<double>;

/// A cotangent or tangent of each argument of the vjp, and the arguments.
struct Arguments {
  OptionalTensor gL;
  OptionalTensor gV;
  Tensor L;
  Tensor V;
};

/// Devices without a kernel of their own run the tensor code.
const c10::DispatchKeySet other_device(c10::DispatchKey::HPU);

const auto& vjp_op() {
  static const auto op = find_operator<Four(
      const Tensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const Tensor&,
      const Tensor&,
      std::string_view,
      Parameters)>("spectralgrad::eigh_vjp_vjp");
  return op;
}

const auto& jvp_op() {
  static const auto op = find_operator<Tensor(
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const Tensor&,
      const Tensor&,
      std::string_view,
      Parameters)>("spectralgrad::eigh_vjp_jvp");
  return op;
}

std::array<Tensor, 4> vjp(const Tensor& cotangent, const Arguments& x, const Rule& rule, bool by_tensor_code) {
  const auto name = rule.name();
  const auto parameters = rule.parameters();
  auto [a, b, c, d] = by_tensor_code
      ? vjp_op().redispatch(other_device, cotangent, x.gL, x.gV, x.L, x.V, name, parameters)
      : vjp_op().call(cotangent, x.gL, x.gV, x.L, x.V, name, parameters);
  return {a, b, c, d};
}

Tensor jvp(const OptionalTangents& t, const Arguments& x, const Rule& rule, bool by_tensor_code) {
  const auto name = rule.name();
  const auto parameters = rule.parameters();
  return by_tensor_code
      ? jvp_op().redispatch(other_device, t[0], t[1], t[2], t[3], x.gL, x.gV, x.L, x.V, name, parameters)
      : jvp_op().call(t[0], t[1], t[2], t[3], x.gL, x.gV, x.L, x.V, name, parameters);
}

double inner_product(const Tensor& x, const Tensor& y) {
  return at::real(x.conj() * y).sum().item<double>();
}

class EighVjpDerivatives : public DtypeTest {
 protected:
  /// Decompositions with eigenvalues that are distinct, near and equal.
  Arguments arguments(int64_t n) const {
    const auto i = at::arange(n, at::kDouble);
    const auto near = 1 + i.div(3, "floor") + 1e-3 * i.remainder(3);
    const auto L = at::stack({i.mul(0.7).sin(), near, i.div(2, "floor"), at::zeros_like(i)});
    const auto V = random_orthonormal({4, n, n}, dtype());
    return {at::randn({4, n}, real()), at::randn({4, n, n}, dtype()), std::get<0>(L.sort(-1)).to(real()), V};
  }
};

INSTANTIATE_FOR(EighVjpDerivatives, all_dtypes());

TEST_P(EighVjpDerivatives, KernelsEqualTensorCode) {
  // In SIMD lanes up to n = 64, by matrix products above it.
  for (const int64_t n : {1, 2, 3, 4, 5, 8, 17, 70}) {
    const auto tolerance = (is_double() ? 1e-14 : 5e-6) * static_cast<double>(n + 20);
    const auto all = arguments(n);
    const auto cotangent = at::randn({4, n, n}, dtype());
    const auto t = arguments(n);
    for (const auto& rule : rules_for_gaps()) {
      for (const bool with_gL : {true, false}) {
        for (const bool with_gV : {true, false}) {
          if (!with_gL && !with_gV) {
            continue;
          }
          auto x = all;
          x.gL = with_gL ? all.gL : std::nullopt;
          x.gV = with_gV ? all.gV : std::nullopt;
          const auto what = rule.to_string() + ", n = " + std::to_string(n);
          const auto ours = vjp(cotangent, x, rule, false);
          const auto reference = vjp(cotangent, x, rule, true);
          for (size_t i = 0; i < ours.size(); ++i) {
            expect_close(ours[i], reference[i], tolerance, "vjp " + std::to_string(i) + " " + what);
          }
          const auto dgL = with_gL ? t.gL : std::nullopt;
          const auto dgV = with_gV ? t.gV : std::nullopt;
          for (const auto& tangents : std::vector<OptionalTangents>{
                   OptionalTangents{dgL, dgV, t.L.sin(), t.V},
                   OptionalTangents{std::nullopt, std::nullopt, t.L.sin(), t.V},
                   OptionalTangents{std::nullopt, std::nullopt, std::nullopt, t.V},
                   OptionalTangents{std::nullopt, std::nullopt, t.L.sin(), std::nullopt}}) {
            if (!with_gV && !tangents[3]) {
              continue; // without gV, the eigenvalues have no effect
            }
            expect_close(jvp(tangents, x, rule, false), jvp(tangents, x, rule, true), tolerance, "jvp " + what);
          }
        }
      }
    }
  }
}

// Powers of two, so that both ways of computing only change exponents.
TEST_P(EighVjpDerivatives, KernelsEqualTensorCodeInOtherUnits) {
  const auto rule = Rule::gated();
  const double most = is_double() ? 450 : 60;
  for (const int64_t n : {5, 70}) {
    const auto tolerance = (is_double() ? 1e-14 : 5e-6) * static_cast<double>(n + 20);
    for (const auto& [values, vectors] :
         std::vector<std::pair<double, double>>{{-most, 0}, {most, 0}, {0, -most}, {0, most}, {-most, -most}}) {
      auto x = arguments(n);
      x.L = x.L * std::exp2(values);
      x.gL = *x.gL * std::exp2(vectors - values);
      x.gV = *x.gV * std::exp2(vectors);
      const auto cotangent = at::randn({4, n, n}, dtype()) * std::exp2(values);
      const auto what = "n = " + std::to_string(n) + ", " + std::to_string(values) + ", " + std::to_string(vectors);
      const auto ours = vjp(cotangent, x, rule, false);
      const auto reference = vjp(cotangent, x, rule, true);
      for (size_t i = 0; i < ours.size(); ++i) {
        expect_close(ours[i], reference[i], tolerance, "vjp " + std::to_string(i) + " " + what);
      }
      const auto t = arguments(n);
      const OptionalTangents tangents{t.gL, *t.gV * std::exp2(vectors), t.L * std::exp2(values), t.V};
      expect_close(jvp(tangents, x, rule, false), jvp(tangents, x, rule, true), tolerance, "jvp " + what);
    }
  }
}

TEST_P(EighVjpDerivatives, ModesAreAdjoint) {
  for (const int64_t n : {1, 3, 6, 70}) {
    const auto x = arguments(n);
    const auto t = arguments(n);
    const auto cotangent = at::randn({4, n, n}, dtype());
    for (const auto& rule : rules_for_gaps()) {
      const auto gradients = vjp(cotangent, x, rule, false);
      const auto tangent = jvp({t.gL, t.gV, t.L, t.V}, x, rule, false);
      const std::array<Tensor, 4> tangents{*t.gL, *t.gV, t.L, t.V};
      double sum = 0;
      double size = 0; // of all products, which may cancel
      for (size_t i = 0; i < tangents.size(); ++i) {
        sum += inner_product(gradients[i], tangents[i]);
        size += inner_product(gradients[i].abs(), tangents[i].abs());
      }
      EXPECT_NEAR(inner_product(cotangent, tangent), sum, (is_double() ? 1e-13 : 1e-5) * size) << rule << ", n = " << n;
    }
  }
}

TEST_P(EighVjpDerivatives, EmptyInputGivesEmptyOutput) {
  const auto rule = Rule::gated();
  for (const auto& [count, n] : std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {2, 0}}) {
    const auto matrix = at::zeros({count, n, n}, dtype());
    const auto row = at::zeros({count, n}, real());
    const Arguments x{row, matrix, row, matrix};
    for (const auto& gradient : vjp(matrix, x, rule, false)) {
      EXPECT_EQ(gradient.numel(), 0);
    }
    EXPECT_EQ(jvp({row, matrix, row, matrix}, x, rule, false).sizes(), matrix.sizes());
  }
}

// One matrix with NaN leaves the results of the others as they are, to the bit.
TEST_P(EighVjpDerivatives, NanStaysInItsMatrix) {
  const auto rule = Rule::gated();
  for (const int64_t n : {3, 7, 70}) {
    const auto x = arguments(n);
    const auto t = arguments(n);
    const auto cotangent = at::randn({4, n, n}, dtype());
    auto broken = x;
    broken.gV = x.gV->clone();
    (*broken.gV)[1].fill_(nan);
    const auto others = at::tensor({0, 2, 3}, at::kLong);
    const auto same = [&](const Tensor& a, const Tensor& b) {
      EXPECT_TRUE(a.index_select(0, others).equal(b.index_select(0, others))) << "n = " << n;
      EXPECT_TRUE(b[1].isnan().any().item<bool>());
    };
    const auto expected = vjp(cotangent, x, rule, false);
    const auto ours = vjp(cotangent, broken, rule, false);
    for (const size_t i : {2, 3}) {
      same(expected[i], ours[i]);
    }
    same(jvp({t.gL, t.gV, t.L, t.V}, x, rule, false), jvp({t.gL, t.gV, t.L, t.V}, broken, rule, false));
  }
}

} // namespace
} // namespace spectralgrad::testing
