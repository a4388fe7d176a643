#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <vector>

namespace spectralgrad::testing {
namespace {

using at::Tensor;

/// A random positive definite matrix with this condition number.
Tensor positive(int64_t n, at::ScalarType dtype, double condition = 4) {
  const auto Q = random_orthonormal({n, n}, dtype);
  const auto L = at::linspace(2 / condition, 2, n, at::TensorOptions(c10::toRealValueType(dtype)));
  return hermitian_part(at::matmul(Q * L, Q.mH()));
}

/// A for which the problem of type 1 has these eigenvalues.
Tensor problem(const std::vector<double>& eigenvalues, const Tensor& B) {
  const auto n = B.size(-1);
  const auto L = at::linalg_cholesky(B);
  const auto Q = random_orthonormal({n, n}, B.scalar_type());
  const auto values = at::tensor(eigenvalues, at::kDouble).to(c10::toRealValueType(B.scalar_type()));
  return hermitian_part(at::matmul(L, at::matmul(at::matmul(Q * values, Q.mH()), L.mH())));
}

class GeneralizedEigh : public DtypeTest {};

INSTANTIATE_FOR(GeneralizedEigh, all_dtypes());

TEST_P(GeneralizedEigh, SolvesTheThreeTypes) {
  for (const int64_t n : {1, 2, 3, 4, 7, 32, 33, 70}) {
    const auto A = at::stack({problem(std::vector<double>(n, 1.5), positive(n, dtype())), positive(n, dtype())});
    const auto B = positive(n, dtype());
    for (const int64_t itype : {1, 2, 3}) {
      for (const auto* UPLO : {"L", "U"}) {
        const bool lower = UPLO[0] == 'L';
        const auto [L, V] = generalized_eigh(lower ? A.tril() : A.triu(), lower ? B.tril() : B.triu(), UPLO, itype);
        const auto left = itype == 1 ? at::matmul(A, V)
            : itype == 2             ? at::matmul(A, at::matmul(B, V))
                                     : at::matmul(B, at::matmul(A, V));
        const auto right = (itype == 1 ? at::matmul(B, V) : V) * L.unsqueeze(-2);
        EXPECT_LE(relative_error(left, right), 20.0 * static_cast<double>(n) * eps());
        const auto weighted = itype == 3 ? at::linalg_solve(B, V) : at::matmul(B, V);
        const auto unit = at::eye(n, B.options()).expand_as(V);
        EXPECT_LE(relative_error(at::matmul(V.mH(), weighted), unit), 20.0 * static_cast<double>(n) * eps());
      }
    }
  }
}

TEST_P(GeneralizedEigh, HasTheDerivativeOfTheInverseAtEqualEigenvalues) {
  // V V^H is B^-1, or B for type 3, whatever A is.
  for (const int64_t n : {2, 3, 8, 33, 60}) {
    for (const int64_t itype : {1, 2, 3}) {
      auto B = positive(n, dtype()).requires_grad_();
      auto A = (B.detach() * 2).requires_grad_();
      const auto M = positive(n, dtype());
      const auto V = std::get<1>(generalized_eigh(A, B, "L", itype));
      const auto loss = at::real((M * at::matmul(V, V.mH()).conj()).sum());
      const auto G = differentiable_gradient(loss, B);
      const auto inverse = at::linalg_inv(B.detach());
      const auto expected = itype == 3 ? M : -at::matmul(inverse, at::matmul(M, inverse));
      EXPECT_LE(relative_error(G, expected), 100.0 * static_cast<double>(n) * eps());
      EXPECT_TRUE(at::equal(G, G.mH()));
    }
  }
}

TEST_P(GeneralizedEigh, HasTheGradientOfAnEnergyWhereBSpreadsALevel) {
  // tr(A V_c V_c^H) = sum of lambda_c: gA = V_c V_c^H and gB = -V_c diag(lambda_c) V_c^H.
  for (const int64_t n : {6, 20, 60}) {
    std::vector<double> eigenvalues(n, 1.0);
    eigenvalues[0] = -20;
    eigenvalues[1] = eigenvalues[2] = -0.3;
    const auto condition = c10::toRealValueType(dtype()) == at::kDouble ? 1e4 : 100;
    auto B = positive(n, dtype(), condition).requires_grad_();
    auto A = problem(eigenvalues, B.detach()).requires_grad_();
    const auto [L, V] = generalized_eigh(A, B);
    const auto V_c = V.slice(-1, 0, 3);
    const auto energy = at::real((A.conj() * at::matmul(V_c, V_c.mH())).sum());
    const auto gradients = torch::autograd::grad({energy}, {A, B});
    const auto P = at::matmul(V_c, V_c.mH()).detach();
    const auto E = at::matmul(V_c * L.slice(-1, 0, 3).unsqueeze(-2), V_c.mH()).detach();
    EXPECT_LE(relative_error(gradients[0], P), 10 * condition * eps());
    EXPECT_LE(relative_error(gradients[1], -E), 10 * condition * eps());
  }
}

TEST_P(GeneralizedEigh, WritesToGivenTensors) {
  const auto B = positive(4, dtype());
  const auto A = problem({1, 2, 2, 3}, B);
  const auto [L, V] = generalized_eigh(A, B, "U", 3);
  auto values = at::empty({0}, L.options());
  auto vectors = at::empty({0}, V.options());
  generalized_eigh_out(values, vectors, A, B, "U", 3);
  EXPECT_TRUE(at::equal(values, L));
  EXPECT_TRUE(at::equal(vectors, V));
}

TEST_P(GeneralizedEigh, NamesTheMatrixThatIsNotPositiveDefinite) {
  for (const int64_t n : {3, 40}) {
    const auto A = at::eye(n, dtype()).repeat({3, 1, 1});
    auto B = A.clone();
    B[1][1][1] = -1;
    EXPECT_RAISES(
        generalized_eigh(A, B),
        c10::LinAlgError,
        R"(spectralgrad\.generalized_eigh: \(Batch element 1\): The factorization could not be completed because the )"
        R"(input B is not positive-definite \(the leading minor of order 2 is not positive-definite\))");
    const ChecksGuard ignore(Checks::ignore);
    const auto [L, V] = generalized_eigh(A, B);
    EXPECT_TRUE(at::isnan(L[1]).all().item<bool>());
    EXPECT_TRUE(at::equal(L[2], at::ones_like(L[2])));
  }
}

TEST_P(GeneralizedEigh, ChecksItsArguments) {
  const auto A = at::eye(3, dtype());
  EXPECT_RAISES(generalized_eigh(A, A, "L", 4), c10::ValueError, "Expected itype to be 1, 2 or 3, but got 4");
  EXPECT_RAISES(generalized_eigh(A, at::eye(2, dtype())), c10::ValueError, "of one size, but they are 3 by 3 and 2 by");
  const auto other = at::eye(3, dtype() == at::kFloat ? at::kDouble : at::kFloat);
  EXPECT_RAISES(generalized_eigh(A, other), c10::ValueError, "Expected A and B to have one dtype");
  EXPECT_RAISES(
      generalized_eigh(A.expand({2, 3, 3}), A.expand({3, 3, 3})),
      c10::ValueError,
      R"(Expected the batches of A and B to broadcast, but their shapes are \[2\] and \[3\])");
  EXPECT_RAISES(generalized_eigh(A, A, "X"), c10::Error, "Expected UPLO argument to be 'L' or 'U', but got X");
  EXPECT_RAISES(generalized_eigh(A, A[0]), c10::Error, "The input tensor B must have at least 2 dimensions");
}

class GeneralizedEighWarnings : public WarningsTest {};

TEST_F(GeneralizedEighWarnings, SpeakOfThisFunction) {
  for (const int64_t n : {4, 60}) {
    std::vector<double> eigenvalues(n, 1.0);
    for (int64_t i = 2; i < n; ++i) {
      eigenvalues[static_cast<size_t>(i)] = static_cast<double>(i);
    }
    auto B = positive(n, at::kDouble).requires_grad_();
    auto A = problem(eigenvalues, B.detach()).requires_grad_();
    const auto before = warnings().size();
    const auto V = std::get<1>(generalized_eigh(A, B));
    differentiable_gradient((V.slice(-1, 0, 2).square() * positive(n, at::kDouble).slice(-1, 0, 1)).sum(), A);
    EXPECT_EQ(warnings().size(), before);
    differentiable_gradient(V.select(-1, 0).square().cumsum(0).sum(), A);
    ASSERT_EQ(warnings().size(), before + 1);
    EXPECT_TRUE(contains(warnings().back(), "spectralgrad.generalized_eigh: The loss depends on the choice of eigen"));
  }
}

} // namespace
} // namespace spectralgrad::testing
