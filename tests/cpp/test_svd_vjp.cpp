#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Checks that the kernel and the tensor code, two implementations of one formula, give the same results and reports.
namespace spectralgrad::testing {
namespace {

using at::Tensor;

struct Factors {
  Tensor U;
  Tensor S;
  Tensor Vh;
};
struct Cotangents {
  OptionalTensor U;
  OptionalTensor S;
  OptionalTensor Vh;
};

Tensor svd_vjp(const Cotangents& g, const Factors& factors, const Rule& rule) {
  static const auto op = find_operator<Tensor(
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const Tensor&,
      const Tensor&,
      const Tensor&,
      std::string_view,
      c10::ArrayRef<double>,
      std::string_view)>("spectralgrad::svd_vjp");
  return op.call(g.U, g.S, g.Vh, factors.U, factors.S, factors.Vh, rule.name(), rule.parameters(), "svd");
}

/// The same by tensor code, which an argument that requires grad makes the operator run.
Tensor by_tensor_code(const Cotangents& g, const Factors& factors, const Rule& rule) {
  return svd_vjp(g, {factors.U.clone().requires_grad_(), factors.S, factors.Vh}, rule).detach();
}

/// torch.use_deterministic_algorithms(True) while it lives.
class DeterministicGuard {
 public:
  DeterministicGuard() {
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  DeterministicGuard(const DeterministicGuard&) = delete;
  DeterministicGuard& operator=(const DeterministicGuard&) = delete;
  ~DeterministicGuard() {
    at::globalContext().setDeterministicAlgorithms(before_, /*warn_only=*/false);
  }

 private:
  bool before_ = at::globalContext().deterministicAlgorithms();
};

class SvdVjp : public DtypeTest {
 protected:
  /// U (count, m, k) and V^H (count, k, n) in torch's layout, with singular values (count, k).
  Factors factors(const Tensor& S, int64_t m, int64_t n) const {
    const auto count = S.size(0);
    const auto k = S.size(1);
    const auto orthonormal = [&](int64_t rows) {
      return random_orthonormal({count, rows, k}, dtype());
    };
    return {orthonormal(m).mT().contiguous().mT(), S.to(real()), orthonormal(n).mH().mT().contiguous().mT()};
  }
  Cotangents random_cotangents(const Factors& f) const {
    return {at::randn_like(f.U), at::randn_like(f.S), at::randn_like(f.Vh)};
  }
  /// gU and gV^H of Re tr(M^H U diag(w) V^H), which is well posed at any singular values where w is constant.
  Cotangents polar_cotangents(const Factors& f, int64_t used) const {
    const auto M = at::randn({f.U.size(-2), f.Vh.size(-1)}, dtype());
    const auto w = at::arange(f.S.size(-1)).lt(used).to(dtype());
    return {at::matmul(M, f.Vh.mH()) * w, std::nullopt, at::matmul(f.U.mH(), M) * w.unsqueeze(-1)};
  }
};

INSTANTIATE_FOR(SvdVjp, all_dtypes());

// For the kernel in lanes, and for the one by products.
const std::vector<std::pair<int64_t, int64_t>> shapes{
    {1, 1},
    {2, 2},
    {3, 3},
    {4, 4},
    {5, 5},
    {8, 8},
    {17, 17},
    {33, 33},
    {3, 1},
    {1, 3},
    {7, 2},
    {4, 6},
    {20, 7},
    {7, 64}};
const std::vector<std::pair<int64_t, int64_t>> large_shapes{{65, 65}, {70, 67}, {66, 81}, {515, 1}, {3, 520}};

TEST_P(SvdVjp, KernelEqualsTensorCodeUnderEveryRule) {
  const ChecksGuard guard(Checks::ignore);
  const auto tolerance = is_double() ? 1e-12 : 1e-3;
  const auto spectra = at::tensor(
                           {3., 1., 1., 1., 0., 2., 1e-3, 0., 0., 0., 5., 4., 3.9, 1e-3, 1e-3, 0., 0., 0., 0., 0.},
                           at::kDouble)
                           .view({4, 5});
  for (const auto& rule : rules_for_gaps()) {
    for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{5, 5}, {8, 5}, {5, 7}, {5, 520}}) {
      const auto f = factors(spectra, m, n);
      const auto g = random_cotangents(f);
      for (const auto& cotangents : std::vector<
               Cotangents>{g, {g.U, {}, {}}, {{}, {}, g.Vh}, {{}, g.S, {}}, {g.U, g.S, {}}, polar_cotangents(f, 5)}) {
        const auto kernel = svd_vjp(cotangents, f, rule);
        const auto reference = by_tensor_code(cotangents, f, rule);
        for (int64_t i = 0; i < 4; ++i) {
          EXPECT_LE((kernel[i] - reference[i]).norm().item<double>(), tolerance * reference[i].norm().item<double>())
              << rule << " " << m << " x " << n << ", matrix " << i;
        }
      }
    }
  }
}

TEST_P(SvdVjp, KernelEqualsTensorCodeAtAnySizeAndLayout) {
  const ChecksGuard guard(Checks::ignore);
  auto all = shapes;
  all.insert(all.end(), large_shapes.begin(), large_shapes.end());
  for (const auto& [m, n] : all) {
    const auto k = std::min(m, n);
    const auto S = std::get<0>(
        at::arange(k, at::kDouble).mul(0.7).sin().abs().add(0.1).expand({k > 64 ? 2 : 19, k}).sort(-1, true));
    const auto f = factors(S.contiguous(), m, n);
    const auto g = random_cotangents(f);
    const auto tolerance = (is_double() ? 1e-13 : 5e-5) * static_cast<double>(k + 10);
    const Cotangents by_rows{g.U->contiguous(), g.S, g.Vh->contiguous()};
    const Cotangents conjugated{g.U->conj(), g.S, g.Vh->mH().contiguous().mH()};
    const Cotangents repeated{g.U->slice(0, 0, 1).expand_as(f.U), g.S, g.Vh};
    for (const auto& cotangents : {g, by_rows, conjugated, repeated, polar_cotangents(f, (k + 1) / 2)}) {
      const auto kernel = svd_vjp(cotangents, f, Rule::gated());
      const auto reference = by_tensor_code(cotangents, f, Rule::gated());
      EXPECT_LE((kernel - reference).norm().item<double>(), tolerance * reference.norm().item<double>())
          << m << " x " << n;
      EXPECT_TRUE(kernel.is_contiguous());
    }
  }
}

TEST_P(SvdVjp, ABatchAndThreadsDoNotChangeTheBitsOfAMatrix) {
  // Otherwise a single matrix may be faster by tensor code.
  const DeterministicGuard deterministic;
  const auto threads = at::get_num_threads();
  for (const auto& [m, n] : shapes) {
    const auto k = std::min(m, n);
    auto S = std::get<0>(at::rand({37, k}, at::kDouble).sort(-1, true));
    S[5].zero_();
    S[9].slice(0, k / 2).zero_();
    const auto f = factors(S, m, n);
    const auto g = polar_cotangents(f, k);
    at::set_num_threads(1);
    const ChecksGuard guard(Checks::ignore);
    const auto together = svd_vjp(g, f, Rule::gated());
    at::set_num_threads(2);
    EXPECT_TRUE(svd_vjp(g, f, Rule::gated()).equal(together));
    at::set_num_threads(threads);
    for (const int64_t i : {0, 5, 9, 16, 36}) {
      const auto alone = svd_vjp({(*g.U)[i], {}, (*g.Vh)[i]}, {f.U[i], f.S[i], f.Vh[i]}, Rule::gated());
      EXPECT_TRUE(alone.equal(together[i])) << m << " x " << n << ", " << i;
    }
  }
}

TEST_P(SvdVjp, IsScaledWithTheMatrix) {
  const double far = is_double() ? 1e150 : 1e25;
  const auto S = at::tensor({3., 2., 2., 0.5}, at::kDouble).view({1, 4});
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {6, 4}, {4, 6}, {600, 4}}) {
    const auto f = factors(S, m, n);
    const auto g = polar_cotangents(f, 4);
    const auto expected = svd_vjp(g, f, Rule::gated());
    for (const auto factor : {far, 1 / far}) {
      const auto scaled = svd_vjp(g, {f.U, f.S * factor, f.Vh}, Rule::gated());
      EXPECT_LE(relative_error(scaled * factor, expected), is_double() ? 1e-13 : 1e-5);
      const auto loud = svd_vjp({*g.U * factor, {}, *g.Vh * factor}, f, Rule::gated());
      EXPECT_LE(relative_error(loud / factor, expected), is_double() ? 1e-13 : 1e-5);
    }
  }
}

TEST_P(SvdVjp, ANanSpoilsOnlyItsMatrix) {
  const ChecksGuard guard(Checks::ignore);
  const auto f = factors(at::tensor({3., 2., 1.}, at::kDouble).expand({3, 3}).contiguous(), 5, 3);
  auto g = random_cotangents(f);
  const auto expected = svd_vjp(g, f, Rule::gated());
  (*g.U)[1][2][1] = nan;
  const auto spoiled = svd_vjp(g, f, Rule::gated());
  EXPECT_TRUE(spoiled[1].isnan().any().item<bool>());
  EXPECT_TRUE(spoiled[0].equal(expected[0]) && spoiled[2].equal(expected[2]));
}

class SvdVjpWarnings : public WarningsTest, public ::testing::WithParamInterface<at::ScalarType> {
 protected:
  /// The warnings of `call`, and the error that it raises, if any.
  template <typename Call>
  std::vector<std::string> reports(const Call& call) const {
    const auto before = static_cast<int64_t>(warnings().size());
    std::string error;
    try {
      call();
    } catch (const c10::Error& raised) {
      error = raised.what_without_backtrace();
    }
    std::vector<std::string> result(warnings().begin() + before, warnings().end());
    if (!error.empty()) {
      result.push_back(error);
    }
    return result;
  }
};

INSTANTIATE_FOR(SvdVjpWarnings, ::testing::Values(at::kFloat, at::kComplexDouble));

// The kernel's preselection must find all that the tensor code reports, and name the same matrix.
TEST_P(SvdVjpWarnings, AreThoseOfTheTensorCode) {
  const auto dtype = GetParam();
  const std::vector<std::vector<double>> spectra{{3, 2, 1}, {2, 2, 1}, {2, 1, 0}, {2, 0, 0}, {0, 0, 0}, {1, 1, 1}};
  size_t reported = 0;
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{3, 3}, {5, 3}, {3, 5}, {3, 515}}) {
    for (const auto& spectrum : spectra) {
      const auto S = at::stack({at::tensor({3., 2., 1.}), at::tensor(spectrum).to(at::kFloat)});
      const auto real = c10::toRealValueType(dtype);
      const auto orthonormal = [&](int64_t rows) {
        return random_orthonormal({2, rows, 3}, dtype);
      };
      const Factors f{orthonormal(m), S.to(real), orthonormal(n).mH()};
      const auto M = at::randn({m, n}, dtype);
      const Cotangents polar{at::matmul(M, f.Vh.mH()), {}, at::matmul(f.U.mH(), M)};
      const Cotangents left{at::matmul(at::matmul(M, M.mH()), f.U), {}, {}};
      const Cotangents right{{}, {}, at::matmul(f.Vh, at::matmul(M.mH(), M))};
      const auto some = at::tensor({1., 0., 0.}).to(dtype);
      const Cotangents first_left{*left.U * some, {}, {}};
      const Cotangents first_right{{}, {}, *right.Vh * some.unsqueeze(-1)};
      const Cotangents values{{}, at::tensor({1., 2., 3.}).to(real).expand({2, 3}), {}};
      for (const auto& g :
           {polar, left, right, first_left, first_right, values, Cotangents{at::randn_like(f.U), {}, {}}}) {
        const auto expected = reports([&] { by_tensor_code(g, f, Rule::gated()); });
        const auto found = reports([&] { svd_vjp(g, f, Rule::gated()); });
        EXPECT_EQ(found, expected) << m << " x " << n << ", " << at::tensor(spectrum);
        reported += expected.size();
      }
    }
  }
  EXPECT_GT(reported, 10U);
}

} // namespace
} // namespace spectralgrad::testing
