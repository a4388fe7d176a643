#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <vector>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

class EigDtypes : public DtypeTest {};

INSTANTIATE_FOR(EigDtypes, all_dtypes());

class EigWarnings : public WarningsTest {};

/// A matrix with the eigenvalues 1, 2, ... and well-conditioned eigenvectors.
Tensor with_distinct_eigenvalues(int64_t n, at::ScalarType dtype) {
  const auto X = at::eye(n, dtype) + 0.1 * at::randn({n, n}, dtype);
  return at::matmul(X * at::arange(1, n + 1).to(dtype), at::linalg_inv(X));
}

/// Depends on every eigenvalue, and on every eigenvector up to its phase.
Tensor loss_of_eigenpairs(const std::tuple<Tensor, Tensor>& pairs, const Tensor& M) {
  const auto& [L, V] = pairs;
  const auto quadratic = (V.conj() * at::matmul(M.to(V.scalar_type()), V)).sum(-2);
  return at::real(L.sin() + quadratic * L.exp() + quadratic.square()).sum();
}

TEST_P(EigDtypes, DecomposesAsTorchDoes) {
  for (const int64_t n : {1, 2, 3, 7, 20}) {
    const auto A = at::randn({3, 2, n, n}, dtype());
    const auto [L, V] = eig(A);
    const auto [torch_L, torch_V] = at::linalg_eig(A);
    EXPECT_EQ(L.scalar_type(), torch_L.scalar_type());
    EXPECT_EQ(L.sizes(), torch_L.sizes());
    EXPECT_EQ(V.strides(), torch_V.strides());
    EXPECT_LE(relative_error(at::matmul(A.to(V.scalar_type()), V), V * L.unsqueeze(-2)), 1e2 * eps());
    EXPECT_LE(largest(V.abs().square().sum(-2) - 1), 1e2 * eps());
    EXPECT_LE(largest(eigvals(A).sum(-1) - L.sum(-1)), 1e3 * eps());
  }
}

TEST_P(EigDtypes, EmptyMatricesAndBatches) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 0}, {2, 0, 0}, {0, 3, 3}}) {
    auto A = at::zeros(shape, dtype()).requires_grad_();
    const auto [L, V] = eig(A);
    EXPECT_EQ(V.sizes(), A.sizes());
    EXPECT_EQ(L.sizes(), A.sizes().slice(0, A.dim() - 1));
    EXPECT_EQ(gradient(V.abs().sum() + L.abs().sum() + eigvals(A).abs().sum(), A).sizes(), A.sizes());
  }
}

TEST_P(EigDtypes, GradientsAreTorchs) {
  for (const int64_t n : {2, 3, 5, 9}) {
    const auto A = with_distinct_eigenvalues(n, dtype()).requires_grad_();
    const auto M = at::randn({n, n}, dtype());
    const auto expected = gradient(loss_of_eigenpairs(at::linalg_eig(A), M), A);
    EXPECT_LE(relative_error(gradient(loss_of_eigenpairs(eig(A), M), A), expected), 1e4 * eps());
    const auto second = differentiable_gradient(loss_of_eigenpairs(eig(A), M), A); // by tensor code
    EXPECT_LE(relative_error(second.detach(), expected), 1e4 * eps());
  }
}

TEST_P(EigDtypes, NormalMatricesHaveOrthonormalEigenvectors) {
  const auto Q = random_orthonormal({6, 6}, dtype());
  for (const auto& A :
       {at::eye(6, dtype()),
        at::eye(6, dtype()).roll(1, 0),
        Q,
        Q - Q.mH(),
        at::matmul(Q.slice(-1, 0, 3), Q.slice(-1, 0, 3).mH())}) {
    const auto [L, V] = eig(A);
    EXPECT_LE(largest(at::matmul(V.mH(), V) - at::eye(6)), 50 * eps());
    EXPECT_LE(largest(at::matmul(A.to(V.scalar_type()), V) - V * L.unsqueeze(-2)), 50 * eps());
  }
}

// The kernel and the tensor code of the vjp, rule by rule, at distinct and repeated eigenvalues of normal matrices.
TEST_P(EigDtypes, KernelEqualsTensorCode) {
  const ChecksGuard guard(Checks::ignore);
  for (const int64_t n : {2, 3, 4, 5, 12}) {
    auto values = at::arange(n).to(at::kDouble);
    values[1] = values[0];
    const auto repeated = with_spectrum(values, dtype());
    for (const auto& matrix : {at::randn({n, n}, dtype()), repeated, at::eye(n, dtype()), Tensor(1.7e-3 * repeated)}) {
      for (const auto& rule : rules_for_gaps()) {
        const auto A = matrix.detach().clone().requires_grad_();
        const auto [L, V] = eig(A, rule);
        const auto gL = at::randn_like(L);
        const auto gV = at::randn_like(V);
        for (const bool with_values : {true, false}) {
          const auto cotangents = with_values ? std::vector<Tensor>{gL, gV} : std::vector<Tensor>{gV};
          const auto outputs = with_values ? std::vector<Tensor>{L, V} : std::vector<Tensor>{V};
          const auto by_kernel = torch::autograd::grad(outputs, {A}, cotangents, /*retain_graph=*/true)[0];
          const auto by_tensors = torch::autograd::grad(outputs, {A}, cotangents, true, /*create_graph=*/true)[0];
          // At the identity, both are zero without eigenvalues.
          EXPECT_LE(largest(by_kernel - by_tensors.detach()), 1e4 * eps() * largest(by_tensors)) << n << rule.name();
        }
      }
    }
  }
}

TEST(Eig, Out) {
  const auto A = with_distinct_eigenvalues(3, at::kDouble);
  auto L = at::empty({3}, at::kComplexDouble);
  auto V = at::empty({0}, at::kComplexDouble);
  eig_out(L, V, A);
  EXPECT_TRUE(at::equal(L, std::get<0>(eig(A))));
  EXPECT_TRUE(at::equal(V, std::get<1>(eig(A))));
  auto values = at::empty({3}, at::kComplexDouble);
  EXPECT_TRUE(eigvals_out(values, A).is_same(values));
}

TEST(Eig, Errors) {
  EXPECT_RAISES(eig(at::ones({2, 3})), c10::Error, "^spectralgrad.eig: A must be batches of square matrices, but they");
  EXPECT_RAISES(eigvals(at::ones({3})), c10::Error, "^spectralgrad.eigvals: The input tensor A must have at least 2");
  EXPECT_RAISES(
      eig(at::eye(2, at::kBFloat16)),
      c10::NotImplementedError,
      "^\"spectralgrad.eig\" not implemented for 'BFloat16'");
  auto bad = at::eye(2);
  bad[0][1] = nan;
  EXPECT_RAISES(eig(bad), c10::LinAlgError, "^spectralgrad.eig: Expected A to be finite, but the entry \\(0, 1\\) is");
}

TEST_F(EigWarnings, DefectiveMatrices) {
  auto A = at::tensor({1.0, 1.0, 0.0, 1.0}, at::kDouble).view({2, 2}).requires_grad_();
  EXPECT_LE(largest(gradient(at::real(eigvals(A).sum()), A) - at::eye(2)), 1e-15);
  EXPECT_TRUE(warnings().empty());
  gradient(at::real(eigvals(A)[0]), A);
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(contains, warnings()[0], "spectralgrad.eigvals: The matrix is defective to working precision");
  EXPECT_PRED2(contains, warnings()[0], "Puiseux");
}

TEST_F(EigWarnings, NearlyDefectiveMatrices) {
  auto A = at::tensor({0.0, 1.0, 1e-12, 0.0}, at::kDouble).view({2, 2}).requires_grad_();
  EXPECT_LE(largest(gradient(at::real(eigvals(A).sum()), A) - at::eye(2)), 1e-14);
  EXPECT_TRUE(warnings().empty());
  gradient(at::real(eigvals(A)[0]), A);
  ASSERT_EQ(warnings().size(), 1);
  EXPECT_PRED2(contains, warnings()[0], "spectralgrad.eigvals: The matrix is nearly defective");
  EXPECT_PRED2(contains, warnings()[0], "cond(V) = ");
}

TEST_F(EigWarnings, PhasesRaise) {
  auto A = at::randn({3, 3}, at::kDouble).requires_grad_();
  EXPECT_RAISES(gradient(at::imag(std::get<1>(eig(A))).sum(), A), GaugeError, "^linalg_eig_backward: The eigenvectors");
}

TEST(Eig, Installed) {
  const auto A = at::eye(3, at::kDouble).roll(1, 0);
  const auto loss = [](const Tensor& X) {
    return at::real(at::linalg_eigvals(X).pow(2).sum());
  };
  install();
  auto X = (at::eye(2, at::kDouble) + 0 * A.slice(0, 0, 2).slice(1, 0, 2)).detach().requires_grad_();
  EXPECT_LE(largest(gradient(loss(X), X) - 2 * at::eye(2)), 1e-15);
  uninstall();
}

} // namespace
} // namespace spectralgrad::testing
