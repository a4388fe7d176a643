#include "support.h"

#include <spectralgrad/spectralgrad.h>

// Checks that the kernel and the tensor code, two implementations of one formula, give the same results.
namespace spectralgrad::testing {
namespace {

using at::Tensor;

const auto& eigh_vjp_op() {
  static const auto op = find_operator<Tensor(
      const OptionalTensor&,
      const OptionalTensor&,
      const Tensor&,
      const Tensor&,
      std::string_view,
      c10::ArrayRef<double>,
      std::string_view)>("spectralgrad::eigh_vjp");
  return op;
}

Tensor eigh_vjp(
    const OptionalTensor& gL,
    const OptionalTensor& gV,
    const Tensor& L,
    const Tensor& V,
    const Rule& rule) {
  return eigh_vjp_op().call(gL, gV, L, V, rule.name(), rule.parameters(), "eigh");
}

/// Runs the kernel for devices without one of their own, which is the tensor code.
Tensor by_tensor_code(
    const OptionalTensor& gL,
    const OptionalTensor& gV,
    const Tensor& L,
    const Tensor& V,
    const Rule& rule) {
  const c10::DispatchKeySet other_device(c10::DispatchKey::HPU);
  return eigh_vjp_op().redispatch(other_device, gL, gV, L, V, rule.name(), rule.parameters(), "eigh");
}

class EighVjp : public DtypeTest {};

INSTANTIATE_FOR(EighVjp, all_dtypes());

TEST_P(EighVjp, KernelEqualsTensorCode) {
  const ChecksGuard guard(Checks::ignore);
  const auto dtype = GetParam();
  const auto tolerance = c10::toRealValueType(dtype) == at::kDouble ? 1e-13 : 1e-4;
  const auto spectra =
      at::tensor({1., 1., 1., 2., 3., -1., 0., 1e-3, 1e-3, 5., 0., 0., 0., 0., 0.}, at::kDouble).view({3, 5});
  for (const auto& rule : rules_for_gaps()) {
    const auto eigenvalues = spectra.to(c10::toRealValueType(dtype));
    const auto V = random_orthonormal({3, 5, 5}, dtype);
    const auto gV = at::randn({3, 5, 5}, dtype);
    const auto gL = at::randn({3, 5}, c10::toRealValueType(dtype));
    for (const auto& [values_cotangent, vectors_cotangent] :
         std::vector<std::pair<OptionalTensor, OptionalTensor>>{{gL, gV}, {{}, gV}, {gL, {}}}) {
      const auto kernel = eigh_vjp(values_cotangent, vectors_cotangent, eigenvalues, V, rule);
      const auto reference = by_tensor_code(values_cotangent, vectors_cotangent, eigenvalues, V, rule);
      for (int64_t i = 0; i < 3; ++i) {
        EXPECT_LE((kernel[i] - reference[i]).norm().item<double>(), tolerance * reference[i].norm().item<double>())
            << rule << " matrix " << i;
      }
    }
  }
}

// n on both sides of the switch from SIMD lanes to matrix products, of the switch to blocked products, and of tile
// sizes. Cotangents with all columns and with a few, dense ones and those of projectors, for which half of the entries
// are round-off.
TEST_P(EighVjp, KernelEqualsTensorCodeAtAnySize) {
  at::manual_seed(1);
  const ChecksGuard guard(Checks::ignore);
  const auto dtype = GetParam();
  const auto real = c10::toRealValueType(dtype);
  for (const int64_t n : {1, 2, 3, 4, 7, 16, 17, 33, 48, 49, 64, 130, 257, 300}) {
    const int64_t count = n < 200 ? 3 : 1;
    const auto tolerance = (real == at::kDouble ? 1e-14 : 5e-6) * static_cast<double>(n + 10);
    const auto V = random_orthonormal({count, n, n}, dtype);
    const auto eigenvalues =
        std::get<0>(at::arange(n, at::kDouble).mul(0.7).sin().expand({count, n}).sort(-1)).to(real);
    const auto M = random_hermitian({n, n}, dtype);
    const auto few = (n + 7) / 8;
    const auto projector = at::cat({2 * at::matmul(M, V.slice(-1, 0, few)), at::zeros({count, n, n - few}, dtype)}, -1);
    const auto gL = at::randn({count, n}, real);
    const auto gV = at::randn({count, n, n}, dtype);
    auto scattered = gV.clone();
    scattered.slice(-1, 0, n, 2).zero_();
    scattered.slice(-1, 0, n, 3).zero_();
    auto few_values = gL.clone();
    few_values.slice(-1, few).zero_();
    for (const auto& [values_cotangent, vectors_cotangent] : std::vector<std::pair<OptionalTensor, OptionalTensor>>{
             {gL, gV},
             {{}, gV.mT()},
             {gL, {}},
             {{}, projector},
             {gL, projector},
             {few_values, projector},
             {{}, scattered}}) {
      const auto kernel = eigh_vjp(values_cotangent, vectors_cotangent, eigenvalues, V, Rule::gated());
      const auto reference = by_tensor_code(values_cotangent, vectors_cotangent, eigenvalues, V, Rule::gated());
      EXPECT_LE((kernel - reference).norm().item<double>(), tolerance * reference.norm().item<double>()) << "n = " << n;
      EXPECT_TRUE(kernel.equal(kernel.mH()));
    }
  }
}

TEST_P(EighVjp, EmptyInputGivesEmptyOutput) {
  const auto dtype = GetParam();
  for (const int64_t n : {1, 2, 5, 33, 70, 127, 128, 200}) {
    for (const int64_t count : {1, 3}) {
      const auto V = random_orthonormal({count, n, n}, dtype);
      const auto eigenvalues = at::arange(n, c10::toRealValueType(dtype)).expand({count, n});
      const auto none = at::zeros_like(eigenvalues);
      for (const auto& rule : {Rule::gated(), Rule::bare()}) {
        for (const auto& gV : {Tensor(), at::zeros_like(V)}) {
          EXPECT_TRUE(at::equal(eigh_vjp(none, gV, eigenvalues, V, rule), at::zeros_like(V))) << "n = " << n;
        }
        EXPECT_TRUE(at::equal(eigh_vjp({}, at::zeros_like(V), eigenvalues, V, rule), at::zeros_like(V))) << "n = " << n;
      }
    }
  }
}

// gV = V (D + T). T is sparse, and its entries are slightly above round-off, so that no bound of N decides on them.
TEST_P(EighVjp, SeparatesSignalFromRoundOffWhereBoundsDoNot) {
  at::manual_seed(2);
  const ChecksGuard guard(Checks::ignore);
  const auto dtype = GetParam();
  const auto real = c10::toRealValueType(dtype);
  const double eps = real == at::kDouble ? 2.2e-16 : 1.2e-7;
  for (const int64_t n : {5, 48, 49, 130}) {
    for (const int64_t used : {n, n / 4}) {
      const auto V = random_orthonormal({2, n, n}, dtype);
      const auto eigenvalues = at::arange(n, real).expand({2, n}).contiguous();
      const auto D = at::arange(n, real).add(1).mul(at::arange(n).lt(used)).to(dtype).diag_embed();
      const auto N = at::matmul(V.abs().mT(), at::matmul(V, D).abs());
      // The nonzero entries of T are several times the threshold of the gate.
      const auto round_off = eps * (N + N.mT());
      auto T = at::rand({2, n, n}, real).lt(0.1).to(real).tril(-1).mul(8 * round_off).to(dtype);
      T.slice(-2, used).slice(-1, used).zero_();
      // Entries of used columns have zeros across the diagonal if the other column is unused.
      const auto columns = at::arange(n).lt(used).to(dtype);
      const auto gV = at::matmul(V, D + (T - T.mH()) * columns);
      const auto result = eigh_vjp({}, gV, eigenvalues, V, Rule::gated());
      const auto inner = at::matmul(at::matmul(V.mH(), result), V).tril(-1);
      const auto gaps = at::arange(n, real) - at::arange(n, real).unsqueeze(-1);
      const auto S = T * (1 + at::arange(n).lt(used).to(dtype).unsqueeze(-1)) / 2;
      const auto expected = S / (gaps + at::eye(n, real)).to(dtype);
      const auto difference = (inner - expected).abs();
      // V is orthonormal and gV exact only up to round-off. Dropping a signal would cause an error of 4 or 8 times
      // that.
      const auto allowed = 2 * round_off / (gaps.abs() + at::eye(n, real)) + 1e-2 * round_off.amax();
      EXPECT_TRUE(difference.le(allowed).all().item<bool>())
          << "n = " << n << ", used " << used << ": " << (difference / allowed).amax();
    }
  }
}

TEST(EighVjpBare, IsNanWhereTorchIs) {
  auto A = at::eye(3, at::kDouble).requires_grad_();
  const auto G = gradient(std::get<1>(eigh(A, "L", Rule::bare())).sum(), A);
  EXPECT_TRUE(G.isnan().all().item<bool>());
}

} // namespace
} // namespace spectralgrad::testing
