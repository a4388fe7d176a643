// A program for ThreadSanitizer. It calls everything in the library that uses several threads, on batches that are
// large enough for that, from several threads at once. AddressSanitizer runs it too, for the kernels of each
// instruction set.
#include "../cpp/support.h"

#include <spectralgrad/spectralgrad.h>

#include <ATen/Parallel.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <iterator>
#include <latch>
#include <limits>
#include <optional>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

constexpr at::ScalarType dtypes[] = {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble};
/// The ways to decompose matrices of `dtype`.
std::vector<std::string_view> methods(at::ScalarType dtype) {
  std::vector<std::string_view> names = {"lanes", "lapack", "torch"};
  if (!at::isComplexType(dtype)) {
    names.emplace_back("single");
  }
  return names;
}

/// Batches for which each operation starts threads, and sizes that use each of the kernels.
struct Size {
  int64_t count;
  int64_t n;
};
constexpr Size sizes[] = {{45000, 2}, {9000, 4}, {2200, 8}, {240, 24}, {67, 64}};

/// Calls `f(thread)` on several threads that start together.
void at_once(const std::function<void(int)>& f, int threads = 3) {
  std::latch start(threads);
  std::vector<std::thread> running;
  running.reserve(threads);
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      start.arrive_and_wait();
      try {
        f(thread);
      } catch (const c10::Error& error) {
        ADD_FAILURE() << error.what_without_backtrace();
      }
    });
  }
  for (auto& each : running) {
    each.join();
  }
}

/// Without dual numbers, whose levels are the process's.
std::tuple<Tensor, Tensor> eigh_jvp(const Tensor& tangent, const Tensor& L, const Tensor& V) {
  static const auto op = find_operator<std::tuple<
      Tensor,
      Tensor>(const Tensor&, const Tensor&, const Tensor&, std::string_view, c10::ArrayRef<double>, std::string_view)>(
      "spectralgrad::eigh_jvp");
  const auto rule = Rule::gated();
  return op.call(tangent, L, V, rule.name(), rule.parameters(), "eigh");
}

bool same(const Tensor& a, const Tensor& b) {
  return at::allclose(a, b, /*rtol=*/0, /*atol=*/0, /*equal_nan=*/true);
}

/// Relative to the largest entry, in units of eps.
double residual(const Tensor& A, const Tensor& L, const Tensor& V) {
  if (A.numel() == 0) {
    return 0;
  }
  const double eps = c10::toRealValueType(A.scalar_type()) == at::kDouble ? 0x1p-52 : 0x1p-23;
  const auto back = at::matmul(V * L.unsqueeze(-2).to(V.scalar_type()), V.mH());
  return largest(back - A) / (largest(A) * eps);
}

/// Expects `f` to raise an error that names the first matrix of the batch that has a NaN. Uses no std::regex, because
/// libstdc++'s has a race.
template <typename F>
void expect_not_finite(const F& f) {
  try {
    f();
    ADD_FAILURE() << "expected c10::LinAlgError";
  } catch (const c10::LinAlgError& error) {
    EXPECT_PRED2(contains, error.what_without_backtrace(), "(Batch element 1)");
  }
}

/// Re(v_i^H x_i) of each column, (*, n).
Tensor pairing_of_columns(const Tensor& V, const Tensor& X) {
  return at::real(V.conj() * X).sum(-2);
}

// These two count, and keep quiet.
class CountingReporter : public GaugeReporter {
 public:
  void warn(const std::string&) const override {
    ++warnings;
  }
  mutable std::atomic<size_t> warnings{0};
};

class CountingHandler : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {
    ++warnings;
  }
  std::atomic<size_t> warnings{0};
};

/// More than the machine may have.
class ParallelKernels : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(4);
    at::manual_seed(0);
  }
};

// Before all others: what is made on the first call is made by several threads at once.
TEST_F(ParallelKernels, FirstCalls) {
  const auto A = random_hermitian({3, 4, 4});
  const auto S = at::eye(4, at::kDouble) + 0.1 * random_hermitian({4, 4});
  at_once([&](int) {
    const auto X = A.clone().requires_grad_();
    const auto [L, V] = eigh(X);
    const auto electrons = at::tensor(4., at::kDouble);
    const auto kT = at::tensor(0.1, at::kDouble);
    const auto D = density_matrix(X, {.electrons = electrons, .kT = kT, .overlap = S});
    const auto P = spectral_projector(X, 0, 2);
    const auto mapped = spectral_map(
        [](const Tensor& l, const Tensor& v) { return std::vector{at::matmul(v * l.unsqueeze(-2), v.mH())}; },
        X);
    const auto loss =
        (eigvalsh(X).sum() + (V.square() * L.unsqueeze(-2)).sum() + D.sum() + P.sum() + expm(X).sum() +
         mapped[0].sum() + trace_funm(X, [](const Tensor& x) { return x.tanh(); }).sum());
    const auto g = differentiable_gradient(loss, X);
    EXPECT_TRUE(gradient(g.square().sum(), X).isfinite().all().item<bool>());
  });
}

TEST_F(ParallelKernels, EachSizeAndTriangle) {
  for (const auto dtype : dtypes) {
    for (int64_t n = 0; n <= 66; ++n) {
      // Registers full and not, and one matrix.
      for (const int64_t count : {1, 37}) {
        const auto A = random_hermitian({count, n, n}, dtype);
        for (const auto method : methods(dtype)) {
          if (method == "lanes" && n > 64) {
            continue;
          }
          for (const auto UPLO : {"L", "U"}) {
            // The other triangle is not read.
            const auto triangle = UPLO[0] == 'L' ? A.tril() : A.triu();
            const auto [L, V] = eigh_by(method, triangle, UPLO);
            EXPECT_LT(residual(A, L, V), 50 + 10. * static_cast<double>(n)) << method << " " << dtype << " " << n;
          }
        }
        const auto alone = eigvalsh(A);
        EXPECT_TRUE(at::allclose(alone, std::get<0>(eigh_by("torch", A)), 1e-3, 1e-4)) << dtype << " " << n;
      }
    }
  }
}

TEST_F(ParallelKernels, MatricesThatAreSpecial) {
  for (const auto dtype : dtypes) {
    const auto real = c10::toRealValueType(dtype);
    const double huge = real == at::kDouble ? 1e300 : 1e36;
    for (const int64_t n : {1, 2, 3, 4, 5, 8, 16, 33, 64}) {
      const auto random = random_hermitian({n, n}, dtype);
      const auto rank_one = at::ones({n, n}, dtype);
      const auto A = at::stack(
          {at::zeros({n, n}, dtype),
           at::eye(n, at::TensorOptions(dtype)),
           rank_one,
           at::diag(at::arange(n, at::TensorOptions(real)).to(dtype)),
           random * huge,
           random / huge,
           random / huge / huge,
           at::diag(at::full({n}, huge, at::TensorOptions(real)).to(dtype)) + random,
           at::tril(at::triu(rank_one, -1), 1)});
      for (const auto method : methods(dtype)) {
        const auto [L, V] = eigh_by(method, A);
        for (int64_t i = 0; i < A.size(0); ++i) {
          if (largest(A[i]) > 0) {
            const auto scale = std::ldexp(1., -std::ilogb(largest(A[i])));
            EXPECT_LT(residual(A[i] * scale, L[i] * scale, V[i]), 1000)
                << method << " " << dtype << " " << n << " " << i;
          }
        }
      }
      EXPECT_TRUE(eigvalsh(A).isfinite().all().item<bool>());
    }
  }
}

TEST_F(ParallelKernels, AllMethodsFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto A = random_hermitian({count, n, n}, dtype);
      for (const auto method : methods(dtype)) {
        const auto [L, V] = eigh_by(method, A);
        at_once([&, L = L, V = V](int) {
          const auto [values, vectors] = eigh_by(method, A);
          EXPECT_TRUE(same(values, L)) << method << " " << dtype << " " << n;
          EXPECT_TRUE(same(vectors, V)) << method << " " << dtype << " " << n;
        });
      }
      const auto L = eigvalsh(A);
      at_once([&](int) { EXPECT_TRUE(same(eigvalsh(A), L)) << dtype << " " << n; });
    }
  }
}

TEST_F(ParallelKernels, OneMatrixOnAllThreads) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto A = random_hermitian({257, 257}, dtype);
    const auto [L, V] = eigh_by("single", A);
    const auto [of_batch, vectors_of_batch] = eigh_by("single", at::stack({A, A, A, A}));
    EXPECT_TRUE(same(of_batch[3], L)) << dtype;
    EXPECT_TRUE(same(vectors_of_batch[3], V)) << dtype;
  }
}

TEST_F(ParallelKernels, GradientsFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto A = random_hermitian({count, n, n}, dtype);
      const auto M = random_hermitian({n, n}, dtype);
      const auto compute = [&, n = n] {
        const auto X = A.detach().requires_grad_();
        const auto [L, V] = eigh(X);
        const auto P = at::matmul(V.slice(-1, 0, n / 2), V.slice(-1, 0, n / 2).mH());
        const auto g = gradient(pairing(M, P).sum() + L.square().sum(), X);
        return g + gradient(eigvalsh(X).pow(3).sum(), X);
      };
      const auto expected = compute();
      at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype << " " << n; });
    }
  }
}

TEST_F(ParallelKernels, SecondDerivativesFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto A = at::randn({count, n, n}, dtype);
      const auto M = at::randn({n, n}, dtype);
      const auto compute = [&] {
        const auto X = A.detach().requires_grad_();
        const auto [L, V] = eigh(X);
        const auto loss = (pairing(M, at::matmul(V * L.unsqueeze(-2), V.mH())) + L.pow(3).sum(-1)).sum();
        return gradient(pairing(M, differentiable_gradient(loss, X)).sum(), X);
      };
      const auto expected = compute();
      at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype << " " << n; });
    }
  }
}

TEST_F(ParallelKernels, SingularValuesFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto A = at::randn({count, n + n / 8, n}, dtype);
      const auto M = at::randn({n + n / 8, n}, dtype);
      const auto compute = [&] {
        const auto X = A.detach().requires_grad_();
        const auto [U, S, Vh] = spectralgrad::svd(X, /*full_matrices=*/false);
        return gradient(pairing(M, at::matmul(U, Vh)).sum() + S.square().sum(), X) + svdvals(A).sum();
      };
      const auto expected = compute();
      at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype << " " << n; });
    }
    const auto tall = at::randn({37, 70, 66}, dtype); // by LAPACK
    const auto expected = std::get<1>(spectralgrad::svd(tall));
    at_once([&](int) { EXPECT_TRUE(same(std::get<1>(spectralgrad::svd(tall)), expected)) << dtype; });
  }
}

TEST_F(ParallelKernels, GeneralEigenvaluesFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto general = at::randn({count, n, n}, dtype);
      for (const auto& A : {general, std::get<0>(at::linalg_qr(general))}) {
        const auto compute = [&] {
          const auto X = A.detach().requires_grad_();
          const auto [L, V] = spectralgrad::eig(X);
          return gradient(V.abs().pow(3).sum() + at::real(L.sin()).sum(), X) + at::real(eigvals(A).sum());
        };
        const auto expected = compute();
        at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype << " " << n; });
      }
    }
  }
}

TEST_F(ParallelKernels, GeneralizedProblemsFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto X = at::randn({count, n, n}, dtype);
      const auto B = at::matmul(X, X.mH()) + at::eye(n, dtype);
      const auto M = at::randn({n, n}, dtype);
      for (const int64_t itype : {1, 3}) {
        const auto compute = [&] {
          const auto A = (X + X.mH()).requires_grad_();
          const auto [L, V] = generalized_eigh(A, B, "L", itype);
          return gradient(pairing(M, at::matmul(V * L.unsqueeze(-2), V.mH())).sum(), A);
        };
        const auto expected = compute();
        at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype << " " << n; });
      }
    }
  }
}

TEST_F(ParallelKernels, RotationsFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto A = at::randn({count, n, n}, dtype);
      const auto M = at::randn({n, n}, dtype);
      const auto compute = [&] {
        const auto X = A.detach().requires_grad_();
        return gradient(pairing(M, std::get<0>(polar(X))).sum(), X);
      };
      const auto expected = compute();
      at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype << " " << n; });
    }
  }
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    for (const bool weighted : {false, true}) {
      const auto target = at::randn({9000, 5, 3}, dtype);
      const auto weights = weighted ? std::optional(at::rand({9000, 5}, dtype)) : std::nullopt;
      const auto source = at::randn({9000, 5, 3}, dtype);
      const auto compute = [&] {
        const auto X = source.detach().requires_grad_();
        const auto [R, t, scale] = rigid_alignment(X, target, weights, /*scale=*/true);
        return gradient(R.sum() + t.sum() + scale.sum(), X);
      };
      const auto expected = compute();
      at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype; });
    }
  }
}

TEST_F(ParallelKernels, CanonicalGaugesFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    const auto A = random_hermitian({300, 12, 12}, dtype);
    const auto M = at::randn({12, 12}, dtype);
    const auto compute = [&] {
      const auto X = A.detach().requires_grad_();
      const auto [L, V] = eigh(X);
      return gradient(pairing(M, canonical_gauge(L, V, /*rtol=*/0.1)).sum(), X);
    };
    const auto expected = compute();
    at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype; });
  }
}

// Products of few columns, adjacent and not, and of all.
TEST_F(ParallelKernels, GradientsOfLargeMatrices) {
  for (const auto dtype : dtypes) {
    for (const int64_t n : {130, 200}) {
      const auto A = random_hermitian({2, n, n}, dtype);
      const auto M = random_hermitian({n, n}, dtype);
      for (const auto& columns : {std::vector<int64_t>{0, 1, 2}, {3, n / 2, n - 1}, {}}) {
        const auto compute = [&] {
          const auto X = A.detach().requires_grad_();
          const auto V = std::get<1>(eigh(X));
          const auto used = columns.empty() ? V : V.index_select(-1, at::tensor(columns));
          const auto weights = at::arange(used.size(-1), at::TensorOptions(c10::toRealValueType(dtype)));
          return gradient((pairing_of_columns(used, at::matmul(M, used)) * weights).sum(), X);
        };
        const auto expected = compute();
        EXPECT_TRUE(same(expected, expected.mH())) << dtype << " " << n;
        at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype << " " << n; });
      }
    }
  }
}

TEST_F(ParallelKernels, TangentsFromSeveralThreads) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto [L, V] = eigh(random_hermitian({count, n, n}, dtype));
      const auto E = at::randn({count, n, n}, dtype);
      const auto [dL, dV] = eigh_jvp(E, L, V);
      at_once([&, L = L, V = V, dL = dL, dV = dV](int) {
        const auto [values, vectors] = eigh_jvp(E, L, V);
        EXPECT_TRUE(same(values, dL)) << dtype << " " << n;
        EXPECT_TRUE(same(vectors, dV)) << dtype << " " << n;
      });
    }
  }
}

TEST_F(ParallelKernels, TangentsOfEachSize) {
  for (const auto dtype : dtypes) {
    for (int64_t n = 1; n <= 66; ++n) {
      // Registers full and not, and one matrix; by rows and by columns.
      for (const int64_t count : {1, 16, 19}) {
        const auto V = std::get<0>(at::linalg_qr(at::randn({count, n, n}, dtype)));
        const auto L = at::arange(n, at::TensorOptions(c10::toRealValueType(dtype))).expand({count, n});
        const auto E = at::randn({count, n, n}, dtype);
        const auto expected = at::real(at::matmul(V.mH(), at::matmul(hermitian_part(E), V)).diagonal(0, -2, -1));
        const auto tolerance = (c10::toRealValueType(dtype) == at::kDouble ? 0x1p-52 : 0x1p-23) * 64 * std::sqrt(n);
        for (const auto& given : {E, E.mT().contiguous().mT()}) {
          for (const auto& vectors : {V.contiguous(), V.mT().contiguous().mT()}) {
            const auto [dL, dV] = eigh_jvp(given, L, vectors);
            EXPECT_LE(largest(dL - expected), tolerance * largest(expected)) << dtype << " " << n;
            EXPECT_TRUE(dV.isfinite().all().item<bool>()) << dtype << " " << n;
          }
        }
      }
    }
  }
}

// Every task finds some, and the lowest one is reported.
TEST_F(ParallelKernels, MatricesThatAreNotFinite) {
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      auto A = random_hermitian({count, n, n}, dtype);
      A.slice(0, 1).select(-1, 0).select(-1, n - 1).fill_(std::numeric_limits<double>::quiet_NaN());
      for (const auto method : methods(dtype)) {
        at_once([&](int thread) {
          if (thread == 0) {
            const ChecksGuard guard(Checks::ignore);
            const auto [L, V] = eigh_by(method, A);
            EXPECT_TRUE(L[0].isfinite().all().item<bool>());
            EXPECT_TRUE(V.slice(0, 1).isnan().all().item<bool>());
          } else {
            expect_not_finite([&] { eigh_by(method, A); });
          }
        });
      }
      at_once([&](int) { expect_not_finite([&] { eigvalsh(A); }); });
    }
  }
}

// Every task finds some. The reporter is one of ours, another, or the default, whose warnings go to torch's handler.
TEST_F(ParallelKernels, LossesWithoutAGradient) {
  const CountingReporter first;
  const CountingReporter second;
  CountingHandler handler;
  const GaugeReporter* const reporters[] = {&first, &second, nullptr};
  for (const auto dtype : dtypes) {
    for (const auto& [count, n] : sizes) {
      const auto A = at::eye(n, at::TensorOptions(dtype)).expand({count, n, n}).contiguous();
      const auto M = random_hermitian({n, n}, dtype);
      const auto weights = at::arange(n, at::TensorOptions(c10::toRealValueType(dtype)));
      // The mean of M in each eigenvector, of which all combinations are as good.
      const auto loss = [&](const Tensor& X) {
        const auto V = std::get<1>(eigh(X));
        return (pairing_of_columns(V, at::matmul(M, V)) * weights).sum();
      };
      at_once([&](int thread) {
        const c10::WarningUtils::WarningHandlerGuard torch_warnings(&handler);
        set_gauge_reporter(reporters[thread]);
        const auto X = A.detach().requires_grad_();
        gradient(loss(X), X);
        differentiable_gradient(loss(X), X);
        const ChecksGuard guard(Checks::raise);
        EXPECT_THROW(gradient(loss(X), X), GaugeError) << dtype << " " << n;
      });
    }
  }
  set_gauge_reporter(nullptr);
  EXPECT_EQ(first.warnings + second.warnings + handler.warnings, 3 * 2 * std::size(dtypes) * std::size(sizes));
}

TEST_F(ParallelKernels, FunctionsOfMatrices) {
  constexpr int64_t n = 12;
  for (const auto dtype : {at::kDouble, at::kComplexFloat}) {
    const auto identity = at::eye(n, at::TensorOptions(dtype));
    const auto A = random_hermitian({480, n, n}, dtype);
    const auto S = identity + random_hermitian({n, n}, dtype) / static_cast<double>(10 * n);
    const auto real = at::TensorOptions(c10::toRealValueType(dtype));
    const auto M = random_hermitian({n, n}, dtype);
    const auto compute = [&] {
      const auto X = A.detach().requires_grad_();
      const auto positive = at::matmul(X, X.mH()) + identity;
      const auto D = density_matrix_full(
          X,
          {.electrons = at::full({}, static_cast<double>(n), real), .kT = at::full({}, 0.1, real), .overlap = S});
      const auto frozen = density_matrix(X, {.electrons = at::full({}, static_cast<double>(n), real)});
      auto total = pairing(M, D.density_matrix) + D.free_energy + pairing(M, frozen);
      for (const auto& value :
           {expm(X),
            logm(positive),
            sqrtm(positive),
            invsqrtm(positive),
            powm(positive, 0.3),
            funm(X, [](const Tensor& x) { return x.tanh(); }),
            spectral_projector(X, 0, n / 2)}) {
        total = total + pairing(M, value);
      }
      const auto g = differentiable_gradient(total.sum(), X);
      return gradient(pairing(M, g).sum(), X);
    };
    const auto expected = compute();
    EXPECT_TRUE(expected.isfinite().all().item<bool>());
    at_once([&](int) { EXPECT_TRUE(same(compute(), expected)) << dtype; }, 2);
  }
}

TEST_F(ParallelKernels, DefaultsThatChange) {
  const auto A = random_hermitian({240, 24, 24});
  const auto expected = eigvalsh(A);
  at_once(
      [&](int thread) {
        for (int i = 0; i < 20; ++i) {
          if (thread == 0) {
            set_default_rule(i % 2 == 0 ? Rule::lorentzian(1e-3) : Rule::gated());
            set_checks(i % 2 == 0 ? Checks::raise : Checks::warn);
          } else if (thread == 1) {
            const RuleGuard rule(Rule::cutoff(1e-9));
            const ChecksGuard level(Checks::raise);
            EXPECT_EQ(default_rule(), Rule::cutoff(1e-9));
            EXPECT_EQ(checks(), Checks::raise);
          } else {
            const auto X = A.detach().requires_grad_();
            const auto [L, V] = eigh(X);
            EXPECT_TRUE(gradient((L * V.select(-2, 0).square()).sum(), X).isfinite().all().item<bool>());
            EXPECT_TRUE(at::allclose(L, expected));
          }
        }
      },
      4);
  set_default_rule(Rule::gated());
  set_checks(Checks::warn);
}

TEST_F(ParallelKernels, InstalledAndNotWhileOthersDecompose) {
  // The first changes the dispatcher's table, and may not be called beside others.
  install();
  const auto A = random_hermitian({240, 24, 24});
  at_once(
      [&](int thread) {
        for (int i = 0; i < 20; ++i) {
          if (thread == 0) {
            install(i % 2 == 0 ? std::make_optional(Rule::lorentzian(1e-3)) : std::nullopt);
            uninstall();
          } else if (thread == 1) {
            set_default_rule(i % 2 == 0 ? Rule::cutoff(1e-9) : Rule::gated());
            installed();
          } else {
            const auto X = A.detach().requires_grad_();
            const auto [L, V] = at::linalg_eigh(X);
            EXPECT_TRUE(gradient((L * V.select(-2, 0).square()).sum(), X).isfinite().all().item<bool>());
          }
        }
      },
      4);
  uninstall();
  set_default_rule(Rule::gated());
}

} // namespace
} // namespace spectralgrad::testing
