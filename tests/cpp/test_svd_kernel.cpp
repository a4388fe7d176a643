#include "support.h"

#include <spectralgrad/svdvals.h>

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

// The SIMD kernel of the singular value decomposition. The reference is arithmetic in long double: a decomposition
// that reproduces A with orthonormal factors has singular values as close to the exact ones as these errors (H. Weyl).
namespace spectralgrad::testing {
namespace {

using at::Tensor;
using Long = std::complex<long double>;

std::tuple<Tensor, Tensor, Tensor> svd_by(std::string_view method, const Tensor& A, bool full_matrices = false) {
  using Name = std::optional<std::string_view>;
  static const auto op =
      find_operator<std::tuple<Tensor, Tensor, Tensor>(const Tensor&, bool, Name, Name, c10::ArrayRef<double>, Name)>(
          "spectralgrad::svd");
  return op.call(A, full_matrices, std::nullopt, std::nullopt, {}, method);
}

std::tuple<Tensor, Tensor, Tensor> in_lanes(const Tensor& A, bool full_matrices = false) {
  return svd_by("lanes", A, full_matrices);
}

/// A matrix in long double.
struct LongMatrix {
  int64_t rows;
  int64_t columns;
  std::vector<Long> entries;

  LongMatrix(int64_t m, int64_t n) : rows(m), columns(n), entries(static_cast<size_t>(m * n)) {}
  explicit LongMatrix(const Tensor& X) : LongMatrix(X.size(0), X.size(1)) {
    const auto wide = X.to(at::kComplexDouble).resolve_conj().contiguous();
    const auto* data = wide.const_data_ptr<c10::complex<double>>();
    for (size_t i = 0; i < entries.size(); ++i) {
      entries[i] = Long(data[i].real(), data[i].imag());
    }
  }
  Long& operator()(int64_t i, int64_t j) {
    return entries[static_cast<size_t>(i * columns + j)];
  }
  Long operator()(int64_t i, int64_t j) const {
    return entries[static_cast<size_t>(i * columns + j)];
  }
  /// The Frobenius norm, an upper bound of the spectral norm. In long double, squares of 1e150 do not overflow.
  double norm() const {
    long double sum = 0;
    for (const auto& z : entries) {
      sum += std::norm(z);
    }
    return static_cast<double>(std::sqrt(sum));
  }
};

/// |X^H X - 1|
double orthogonality_error(const LongMatrix& X) {
  LongMatrix E(X.columns, X.columns);
  for (int64_t i = 0; i < X.columns; ++i) {
    for (int64_t j = 0; j < X.columns; ++j) {
      for (int64_t k = 0; k < X.rows; ++k) {
        E(i, j) += std::conj(X(k, i)) * X(k, j);
      }
    }
    E(i, i) -= 1.0L;
  }
  return E.norm();
}

/// |A - U diag(S) V^H|
double residual(const LongMatrix& A, const LongMatrix& U, const LongMatrix& S, const LongMatrix& Vh) {
  auto E = A;
  for (int64_t i = 0; i < A.rows; ++i) {
    for (int64_t j = 0; j < A.columns; ++j) {
      for (int64_t k = 0; k < U.columns; ++k) {
        E(i, j) -= U(i, k) * S(k, 0) * Vh(k, j);
      }
    }
  }
  return E.norm();
}

class SvdKernel : public DtypeTest {
 protected:
  Tensor orthonormal(int64_t m, int64_t n) const {
    return random_orthonormal({m, n}, dtype());
  }
  Tensor with_singular_values(int64_t m, int64_t n, const Tensor& values) const {
    return at::matmul(orthonormal(m, values.size(0)) * values.to(dtype()), orthonormal(n, values.size(0)).mH());
  }

  /// `of_values` is the bound of the errors of the singular values, in units of eps |A|.
  void expect_accurate(const Tensor& A, const std::tuple<Tensor, Tensor, Tensor>& factors, double of_values) const {
    const auto& [U, S, Vh] = factors;
    const auto m = A.size(0);
    const auto n = A.size(1);
    const auto k = static_cast<double>(std::min(m, n));
    const LongMatrix left(U);
    const LongMatrix right(Vh.mH());
    const auto largest = S[0].item<double>();
    const auto backward_error = residual(LongMatrix(A), left, LongMatrix(S.unsqueeze(-1)), LongMatrix(Vh));
    EXPECT_LE(backward_error, 3 * static_cast<double>(std::max(m, n)) * eps() * largest);
    EXPECT_LE(orthogonality_error(left), 5 * k * eps());
    EXPECT_LE(orthogonality_error(right), 5 * k * eps());
    EXPECT_TRUE((S.slice(0, 0, -1) >= S.slice(0, 1)).all().item<bool>());
    EXPECT_GE(S.min().item<double>(), 0);
    if (!is_double()) {
      const auto reference = at::linalg_svdvals(A.to(A.is_complex() ? at::kComplexDouble : at::kDouble));
      EXPECT_LE((reference - S).abs().max().item<double>(), of_values * eps() * largest);
    }
  }

  /// Matrices m x n of every kind that is difficult, by name.
  std::map<std::string, Tensor> cases(int64_t m, int64_t n) const {
    const auto k = std::min(m, n);
    const auto A = at::randn({m, n}, dtype());
    const auto wide = at::TensorOptions(at::kDouble);
    const auto half = (at::arange(k, wide) < at::Scalar((k + 1) / 2)).to(at::kDouble);
    const double far = is_double() ? 1e150 : 1e30;
    return {
        {"random", A},
        {"of rank one", at::ones({m, n}, dtype())},
        {"of half the rank", with_singular_values(m, n, half)},
        {"orthonormal", with_singular_values(m, n, at::ones(k, wide))},
        {"with repeated values", with_singular_values(m, n, 1 + at::floor(at::arange(k, wide) / 3))},
        {"with a cluster", with_singular_values(m, n, 1 + 1e-6 * at::arange(k, wide))},
        {"graded", with_singular_values(m, n, at::logspace(0, -12, k, 10, wide))},
        {"with graded rows", A * at::logspace(0, -20, m, 10, wide).unsqueeze(-1).to(dtype())},
        {"with graded columns", A * at::logspace(-20, 0, n, 10, wide).to(dtype())},
        {"zero", at::zeros({m, n}, dtype())},
        {"large", A * far},
        {"small", A / far},
        {"the identity", at::eye(m, n, dtype())},
        {"a transpose", A.mT().contiguous().mT()},
        {"a conjugate", A.conj()}};
  }
};

INSTANTIATE_FOR(SvdKernel, all_dtypes());

const std::vector<std::pair<int64_t, int64_t>> kernel_shapes{
    {1, 1},
    {2, 2},
    {3, 3},
    {4, 4},
    {5, 5},
    {8, 8},
    {17, 17},
    {32, 32},
    {3, 1},
    {1, 3},
    {7, 2},
    {6, 4},
    {20, 7},
    {7, 20}};

TEST_P(SvdKernel, ReproducesTheMatrixWithOrthonormalFactors) {
  for (const auto& [m, n] : kernel_shapes) {
    for (const auto& [name, A] : cases(m, n)) {
      SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + ", " + name);
      expect_accurate(A, in_lanes(A), 10);
    }
  }
}

TEST_P(SvdKernel, LapackOnEachThreadIsAsAccurate) {
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {20, 7}, {7, 20}, {40, 40}}) {
    for (const auto& [name, A] : cases(m, n)) {
      SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + ", " + name);
      // The errors of LAPACK's values grow like the root of n.
      expect_accurate(A, svd_by("lapack", A), std::max(10., 5 * std::sqrt(static_cast<double>(std::min(m, n)))));
    }
  }
}

// MKL's cgesdd does not converge for this matrix, and torch.linalg.svd raises an error.
TEST_P(SvdKernel, OfRankOneWhereLapackFails) {
  const auto A = at::ones({2, 20, 7}, dtype());
  for (const auto method : {"lanes", "lapack", "torch"}) {
    for (const bool full : {false, true}) {
      if (!full || method != std::string_view("lanes")) {
        const auto [U, S, Vh] = svd_by(method, A, full);
        const auto k = S.size(-1);
        const auto back = at::matmul(U.slice(-1, 0, k) * S.unsqueeze(-2).to(dtype()), Vh.slice(-2, 0, k));
        EXPECT_LE((back - A).abs().max().item<double>(), 60 * eps()) << method;
      }
    }
  }
}

TEST_P(SvdKernel, LapackOnEachThreadGivesTheSameBitsAnywhere) {
  const auto threads = at::get_num_threads();
  for (const auto& [m, n] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {20, 7}, {7, 20}, {67, 67}}) {
    for (const bool full : {false, true}) {
      const auto A = at::randn({7, m, n}, dtype());
      at::set_num_threads(1);
      const auto [U, S, Vh] = svd_by("lapack", A, full);
      at::set_num_threads(2);
      const auto again = svd_by("lapack", A, full);
      EXPECT_TRUE(U.equal(std::get<0>(again)) && S.equal(std::get<1>(again)) && Vh.equal(std::get<2>(again)));
      at::set_num_threads(threads);
      for (const int64_t i : {0, 3, 6}) {
        const auto [u, s, vh] = svd_by("lapack", A[i].mT().contiguous().mT(), full);
        EXPECT_TRUE(U[i].equal(u) && S[i].equal(s) && Vh[i].equal(vh)) << m << " x " << n << ", " << i;
      }
      const auto torch = at::linalg_svd(A, full);
      EXPECT_EQ(U.strides(), std::get<0>(torch).strides());
      EXPECT_EQ(Vh.strides(), std::get<2>(torch).strides());
      EXPECT_LE((S - std::get<1>(torch)).abs().max().item<double>(), 50 * eps() * S.max().item<double>());
      const LongMatrix left(U[0]);
      const LongMatrix right(Vh[0].mH());
      EXPECT_LE(orthogonality_error(left), 5 * static_cast<double>(m) * eps());
      EXPECT_LE(orthogonality_error(right), 5 * static_cast<double>(n) * eps());
    }
  }
}

TEST_P(SvdKernel, SingularValuesWithExactReferences) {
  // A permutation and 3-4-5 rotations: A has the expected singular values up to a few roundings.
  const auto rotation = at::tensor({0.6, -0.8, 0.8, 0.6}, at::kDouble).view({2, 2});
  const auto expected = at::tensor({7., 7., 3., 3., 2., 1.}, at::kDouble);
  const auto Q = at::kron(at::eye(3, at::kDouble), rotation);
  const auto A = at::matmul(Q.flip(0) * expected, Q.mT()).to(dtype());
  const auto S = std::get<1>(in_lanes(A));
  EXPECT_LE((S.to(at::kDouble) - expected).abs().max().item<double>(), 10 * eps() * 7);
}

TEST_P(SvdKernel, ABatchDoesNotChangeTheBitsOfAMatrix) {
  for (const auto& [m, n] : kernel_shapes) {
    const auto A = at::randn({37, m, n}, dtype());
    A[5].zero_();
    A[9].slice(-1, 1).fill_(2);
    const auto [U, S, Vh] = in_lanes(A);
    for (const int64_t i : {0, 5, 9, 16, 36}) {
      const auto [u, s, vh] = in_lanes(A[i]);
      EXPECT_TRUE(U[i].equal(u) && S[i].equal(s) && Vh[i].equal(vh)) << m << " x " << n << ", " << i;
    }
  }
}

TEST_P(SvdKernel, ANotFiniteMatrixIsReportedAndDisturbsNoOther) {
  for (const auto method : {"lanes", "lapack"}) {
    const auto A = at::randn({2, 10, 6, 4}, dtype());
    const auto expected = svd_by(method, A);
    const auto spoiled = A.clone();
    spoiled[1][3][2][1] = nan;
    EXPECT_RAISES(svd_by(method, spoiled), c10::LinAlgError, "Batch element 13.*entry \\(2, 1\\)");
    const ChecksGuard guard(Checks::ignore);
    const auto [U, S, Vh] = svd_by(method, spoiled);
    EXPECT_TRUE(S[1][3].isnan().all().item<bool>());
    EXPECT_TRUE(U[1][3].isnan().all().item<bool>());
    EXPECT_TRUE(Vh[1][3].isnan().all().item<bool>());
    EXPECT_TRUE(U[1][4].equal(std::get<0>(expected)[1][4]) && S[0].equal(std::get<1>(expected)[0]));
  }
}

TEST_P(SvdKernel, HasTheLayoutOfTorch) {
  for (const auto& [m, n] : kernel_shapes) {
    const auto A = at::randn({2, m, n}, dtype());
    const auto ours = in_lanes(A);
    const auto torch = at::linalg_svd(A, /*full_matrices=*/false);
    EXPECT_EQ(std::get<0>(ours).strides(), std::get<0>(torch).strides());
    EXPECT_EQ(std::get<2>(ours).strides(), std::get<2>(torch).strides());
  }
}

TEST_P(SvdKernel, ValuesAloneAreTheSame) {
  const auto A = at::randn({20, 9, 6}, dtype());
  const auto S = std::get<1>(in_lanes(A));
  EXPECT_LE((svdvals(A) - S).abs().max().item<double>(), 20 * eps() * S.max().item<double>());
}

TEST(SvdMethod, NamesWhatItExpects) {
  EXPECT_RAISES(in_lanes(at::ones({65, 65})), c10::ValueError, "svd: Expected method to be 'lanes' .*but got 'lanes'");
  EXPECT_RAISES(in_lanes(at::ones({3, 2}), true), c10::ValueError, "without full_matrices or for m = n");
  EXPECT_EQ(std::get<0>(in_lanes(at::ones({0, 3, 2}))).sizes(), at::IntArrayRef({0, 3, 2}));
}

} // namespace
} // namespace spectralgrad::testing
