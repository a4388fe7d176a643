#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <thread>
#include <vector>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

class EighDtypes : public DtypeTest {};

INSTANTIATE_FOR(EighDtypes, all_dtypes());

/// The derivative of tr(M P), P the projector onto the first `k` eigenvectors. F_ij is 1/gap if exactly one of i and j
/// is below k, else 0.
Tensor projector_gradient(const Tensor& eigenvalues, const Tensor& V, const Tensor& M, int64_t k) {
  const auto n = eigenvalues.size(-1);
  auto F = at::zeros({n, n}, eigenvalues.options());
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = k; j < n; ++j) {
      F[i][j] = F[j][i] = 1 / (eigenvalues[i] - eigenvalues[j]);
    }
  }
  return at::matmul(at::matmul(V, F * at::matmul(at::matmul(V.mH(), hermitian_part(M)), V)), V.mH());
}

Tensor projector_loss(const Tensor& V, const Tensor& M, int64_t k) {
  const auto kept = V.slice(-1, 0, k);
  return at::real((at::matmul(kept, kept.mH()) * M.mT()).sum());
}

TEST_P(EighDtypes, DecomposesAsTorchDoes) {
  const auto A = random_hermitian({3, 2, 5, 5}, dtype());
  const auto [eigenvalues, eigenvectors] = eigh(A);
  const auto [expected_eigenvalues, expected_eigenvectors] = at::linalg_eigh(A);
  EXPECT_LE(relative_error(eigenvalues, expected_eigenvalues), 1e2 * eps());
  // Eigenvectors are unique up to a phase only, so their projectors are compared.
  const auto projectors = [](const Tensor& V) {
    return V.mT().unsqueeze(-1) * V.mH().unsqueeze(-2);
  };
  EXPECT_LE(relative_error(projectors(eigenvectors), projectors(expected_eigenvectors)), 1e3 * eps());
  EXPECT_EQ(eigenvectors.strides(), expected_eigenvectors.strides());
}

TEST_P(EighDtypes, GradientOfAnExactProjectorOfAFourfoldLevel) {
  const auto spectrum = at::tensor({1., 1., 1., 1., 2., 3.5, 4., 6.}, at::kDouble);
  const auto reference = with_spectrum(spectrum, c10::isComplexType(dtype()) ? at::kComplexDouble : at::kDouble);
  auto A = reference.to(dtype()).requires_grad_();
  const auto M = at::randn({8, 8}, dtype());
  const auto G = gradient(projector_loss(std::get<1>(eigh(A)), M, 4), A);
  // The reference decomposes the same matrix in double precision. The projector is well conditioned.
  const auto wide = c10::isComplexType(dtype()) ? at::kComplexDouble : at::kDouble;
  const auto [eigenvalues, V] = at::linalg_eigh(A.detach().to(wide));
  EXPECT_LE(
      relative_error(G.to(wide), projector_gradient(eigenvalues, V, M.to(wide), 4)),
      eps() < 1e-10 ? 1e-13 : 1e-5);
}

TEST_P(EighDtypes, GradientIsExactlyHermitian) {
  auto A = random_hermitian({4, 6, 6}, dtype()).requires_grad_();
  const auto [eigenvalues, V] = eigh(A);
  const auto G = gradient(eigenvalues.square().sum() + V.abs().pow(4).sum(), A);
  EXPECT_TRUE(G.equal(G.mH()));
}

TEST_P(EighDtypes, GradientIsTheIdentityWhereTheLossIsATrace) {
  const auto real = c10::toRealValueType(dtype());
  for (const auto& matrix :
       {at::eye(4, dtype()), at::zeros({4, 4}, dtype()), at::diag(at::tensor({1., 1., 2., 2.})).to(dtype())}) {
    auto A = matrix.clone().requires_grad_();
    const auto [eigenvalues, V] = eigh(A);
    const auto G = gradient(eigenvalues.sum() + V.abs().square().sum().to(real), A);
    EXPECT_LE((G - at::eye(4, dtype())).abs().max().item<double>(), 64 * eps());
  }
}

TEST_P(EighDtypes, OnlyTheNamedTriangleIsRead) {
  const auto A = random_hermitian({5, 5}, dtype());
  const auto garbage = at::full_like(A, nan);
  EXPECT_TRUE(std::get<0>(eigh(A.tril() + garbage.triu(1), "L")).equal(std::get<0>(eigh(A, "L"))));
  EXPECT_TRUE(std::get<0>(eigh(A.triu() + garbage.tril(-1), "U")).equal(std::get<0>(eigh(A, "U"))));
}

TEST_P(EighDtypes, EmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {0, 3, 3}, {2, 0, 0}, {2, 0, 3, 3}}) {
    auto A = at::zeros(shape, dtype()).requires_grad_();
    const auto [eigenvalues, V] = eigh(A);
    EXPECT_EQ(eigenvalues.sizes(), at::IntArrayRef(shape).slice(0, shape.size() - 1));
    EXPECT_EQ(gradient(eigenvalues.sum() + V.abs().sum(), A).sizes(), at::IntArrayRef(shape));
  }
}

TEST(Eigh, AgreesWithTorchWhereEigenvaluesAreDistinct) {
  at::manual_seed(1);
  auto A = with_spectrum(at::arange(6, at::kDouble)).requires_grad_();
  const auto weights = at::randn({6, 6}, at::kDouble);
  const auto loss = [&](const Tensor& eigenvalues, const Tensor& V) {
    return (eigenvalues.pow(3) * weights[0]).sum() + (V.square() * weights).sum();
  };
  const auto ours = eigh(A);
  const auto torch = at::linalg_eigh(A);
  const auto expected = hermitian_part(gradient(loss(std::get<0>(torch), std::get<1>(torch)), A));
  EXPECT_LE(relative_error(gradient(loss(std::get<0>(ours), std::get<1>(ours)), A), expected), 1e-14);
}

TEST(Eigh, ScalingTheMatrixDividesTheGradient) {
  at::manual_seed(2);
  const auto A = with_spectrum(at::tensor({1., 1., 1., 2., 4.}, at::kDouble));
  const auto M = at::randn({5, 5}, at::kDouble);
  const auto scaled_gradient = [&](double scale) {
    auto scaled = (A * scale).requires_grad_();
    return gradient(projector_loss(std::get<1>(eigh(scaled)), M, 3), scaled) * scale;
  };
  for (const double scale : {1e-100, 1e-20, 1e20, 1e100}) {
    EXPECT_LE(relative_error(scaled_gradient(scale), scaled_gradient(1)), 1e-13) << scale;
  }
}

TEST(Eigh, SplitKeepsTheSumAndSeparatedEigenvalues) {
  const auto A = at::diag(at::tensor({1., 1., 1., 2.}, at::kDouble));
  const auto eigenvalues = std::get<0>(eigh(A, "L", Rule::split(1e-3)));
  const auto expected = at::tensor({1 - 2e-3, 1., 1 + 2e-3, 2.}, at::kDouble);
  EXPECT_LE((eigenvalues - expected).abs().max().item<double>(), 1e-15);
  EXPECT_EQ(eigenvalues[3].item<double>(), 2);
}

TEST(Eigh, SplitRecoversTheGradientOfAMatrixFunction) {
  at::manual_seed(3);
  // At c times the identity, the derivative of exp along X is exp(c) X.
  auto A = (at::eye(4, at::kDouble) * 0.5).requires_grad_();
  const auto M = at::randn({4, 4}, at::kDouble);
  const auto [eigenvalues, V] = eigh(A, "L", Rule::split());
  const auto loss = (at::matmul(V * eigenvalues.exp(), V.mT()) * M).sum();
  EXPECT_LE(relative_error(gradient(loss, A), hermitian_part(M) * std::exp(0.5)), 1e-6);
}

TEST(Eigh, SecondDerivativesEqualTorchs) {
  at::manual_seed(4);
  const auto spectrum = at::arange(1, 5, at::kDouble);
  const auto hessian_product = [&](auto&& decompose) {
    auto A = at::diag(spectrum).requires_grad_();
    const auto V = std::get<1>(decompose(hermitian_part(A)));
    const auto G = torch::autograd::grad({V.diagonal().square().sum()}, {A}, {}, true, true)[0];
    return gradient((G * at::arange(16, at::kDouble).view({4, 4})).sum(), A);
  };
  const auto ours = hessian_product([](const Tensor& A) { return eigh(A); });
  const auto torch = hessian_product([](const Tensor& A) { return at::linalg_eigh(A); });
  EXPECT_GT(torch.norm().item<double>(), 1); // the loss is stationary, but its Hessian is not zero
  EXPECT_LE(relative_error(ours, torch), 1e-13);
}

TEST(Eigh, ForwardModeIsTheAdjointOfReverseMode) {
  const DualLevel level;
  at::manual_seed(5);
  auto A = with_spectrum(at::arange(5, at::kDouble)).requires_grad_();
  const auto tangent = at::randn({5, 5}, at::kDouble);
  const auto weights = at::randn({5, 5}, at::kDouble);
  auto dual = A.detach().clone();
  dual._set_fw_grad(tangent, 0, false);
  const auto dual_result = std::get<1>(eigh(dual));
  const auto forward = (dual_result._fw_grad(0) * weights).sum().item<double>();
  const auto reverse = (gradient((std::get<1>(eigh(A)) * weights).sum(), A) * tangent).sum().item<double>();
  EXPECT_NEAR(forward, reverse, 1e-12);
}

TEST(Eigh, RunsInSeveralThreadsAtOnce) {
  at::manual_seed(6);
  const auto A = with_spectrum(at::tensor({1., 1., 2., 3.}, at::kDouble));
  const auto M = at::randn({4, 4}, at::kDouble);
  const auto compute = [&] {
    auto leaf = A.clone().requires_grad_();
    return gradient(projector_loss(std::get<1>(eigh(leaf)), M, 2), leaf);
  };
  const auto expected = compute();
  std::vector<Tensor> results(8);
  std::vector<std::thread> threads;
  threads.reserve(results.size());
  for (auto& result : results) {
    threads.emplace_back([&] { result = compute(); });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (const auto& result : results) {
    EXPECT_TRUE(result.equal(expected));
  }
}

TEST(Eigh, WritesToTensorsThatExist) {
  const auto A = random_hermitian({2, 3, 3});
  auto eigenvalues = at::empty({0}, at::kDouble);
  auto V = at::empty({2, 3, 3}, at::kDouble);
  eigh_out(eigenvalues, V, A);
  EXPECT_TRUE(eigenvalues.equal(std::get<0>(eigh(A))));
  EXPECT_TRUE(V.equal(std::get<1>(eigh(A))));
  auto narrow = at::empty({2, 3}, at::kFloat);
  EXPECT_RAISES(eigh_out(narrow, V, A), c10::Error, "Expected out tensor to have dtype double, but got float instead");
  auto leaf = A.clone().requires_grad_();
  EXPECT_RAISES(eigh_out(eigenvalues, V, leaf), c10::Error, "spectralgrad.eigh\\(\\): functions with out=");
}

TEST(Eigh, BadInputGetsASentence) {
  const auto A = at::eye(3, at::kDouble);
  EXPECT_RAISES(
      eigh(at::ones({2, 3})),
      c10::Error,
      "spectralgrad.eigh: A must be batches of square matrices, but they are 2 by 3 matrices");
  EXPECT_RAISES(
      eigh(at::ones({3})),
      c10::Error,
      "spectralgrad.eigh: The input tensor A must have at least 2 dimensions, but it has 1");
  EXPECT_RAISES(
      eigh(at::ones({3, 3}, at::kLong)),
      c10::NotImplementedError,
      "\"spectralgrad.eigh\" not implemented for 'Long': Expected A to be float32, float64, complex64 or complex128");
  EXPECT_RAISES(eigh(A.to(at::kHalf)), c10::NotImplementedError, "not implemented for 'Half'");
  EXPECT_RAISES(eigh(A, "X"), c10::Error, "spectralgrad.eigh: Expected UPLO argument to be 'L' or 'U', but got X");
}

TEST(Eigh, ANonfiniteMatrixRaisesAndNamesTheEntry) {
  auto A = at::eye(3, at::kDouble).repeat({2, 1, 1});
  A[1][2][0] = nan;
  EXPECT_RAISES(
      eigh(A),
      c10::LinAlgError,
      "spectralgrad.eigh: \\(Batch element 1\\): Expected the lower triangle of A to be finite, "
      "but the entry \\(2, 0\\) is nan");
  EXPECT_NO_THROW(eigh(A, "U"));
  A[1][2][0] = infinity;
  EXPECT_RAISES(eigh(A), c10::LinAlgError, "the entry \\(2, 0\\) is inf");
}

TEST(Eigh, ANonfiniteMatrixDoesNotChangeTheOthersIfChecksAreOff) {
  at::manual_seed(7);
  const auto A = random_hermitian({3, 4, 4});
  auto spoiled = A.clone();
  spoiled[1][3][2] = infinity;
  const ChecksGuard guard(Checks::ignore);
  const auto [eigenvalues, V] = eigh(spoiled);
  EXPECT_TRUE(eigenvalues[1].isnan().all().item<bool>());
  EXPECT_TRUE(V[1].isnan().all().item<bool>());
  for (const int64_t i : {0, 2}) {
    EXPECT_TRUE(eigenvalues[i].equal(std::get<0>(eigh(A[i]))));
    EXPECT_TRUE(V[i].equal(std::get<1>(eigh(A[i]))));
  }
}

struct Interrupted {};

TEST(Interrupt, EndsALongBatch) {
  const auto before = exchange_interrupt_check([] { throw Interrupted(); });
  const auto many = at::eye(80, at::kFloat).expand({20000, 80, 80});
  EXPECT_THROW(eigvalsh(many), Interrupted);
  exchange_interrupt_check(before);
  EXPECT_EQ(eigvalsh(many.slice(0, 0, 3)).sum().item<double>(), 3 * 80);
}

} // namespace
} // namespace spectralgrad::testing
