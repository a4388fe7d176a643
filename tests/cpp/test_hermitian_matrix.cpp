#include "kernels/eigh/hermitian_matrix.h"
#include "kernels/eigh/row_order.h"

#include "support.h"

#include <limits>
#include <vector>

namespace spectralgrad::testing {
namespace {

using at::Tensor;
using kernels::HermitianMatrix;
using kernels::RowOrder;

template <typename scalar_t>
class HermitianMatrices : public ::testing::Test {
 protected:
  using real_t = typename RealOf<scalar_t>::type;
  static constexpr int64_t n = 5;
  static constexpr real_t nan = std::numeric_limits<real_t>::quiet_NaN();
  static constexpr real_t infinity = std::numeric_limits<real_t>::infinity();

  static Tensor random() {
    at::manual_seed(0);
    return random_hermitian({n, n}, c10::CppTypeToScalarType<scalar_t>::value).contiguous();
  }
  static HermitianMatrix<scalar_t> view(const Tensor& A, bool upper) {
    return {A.const_data_ptr<scalar_t>(), n, upper};
  }
};

using Scalars = ::testing::Types<float, double, c10::complex<float>, c10::complex<double>>;
TYPED_TEST_SUITE(HermitianMatrices, Scalars);

TYPED_TEST(HermitianMatrices, AnEntryIsTheSameFromBothTriangles) {
  const auto A = this->random();
  for (int64_t i = 0; i < this->n; ++i) {
    for (int64_t j = 0; j < this->n; ++j) {
      EXPECT_EQ(this->view(A, false)(i, j), A[i][j].template item<TypeParam>());
      EXPECT_EQ(this->view(A, true)(i, j), A[i][j].template item<TypeParam>());
    }
  }
}

TYPED_TEST(HermitianMatrices, TheFirstNonfiniteEntryOfOneTriangleIsFound) {
  for (const bool upper : {false, true}) {
    const int64_t i = upper ? 1 : 3;
    const int64_t j = upper ? 3 : 1;
    for (const auto bad : {this->nan, this->infinity, -this->infinity}) {
      const auto A = this->random();
      A[j][i] = bad; // in the triangle that is not read
      EXPECT_EQ(this->view(A, upper).first_not_finite(), -1);
      A[i][j] = bad;
      A[4][4] = bad;
      EXPECT_EQ(this->view(A, upper).first_not_finite(), i * this->n + j);
      A[0][0] = bad;
      EXPECT_EQ(this->view(A, upper).first_not_finite(), 0);
      EXPECT_FALSE(this->view(A, upper).is_diagonal());
    }
  }
}

TYPED_TEST(HermitianMatrices, DiagonalMatricesHaveZerosInTheTriangleThatIsRead) {
  for (const bool upper : {false, true}) {
    const auto A = at::diag(this->random().diagonal());
    EXPECT_TRUE(this->view(A, upper).is_diagonal());
    A[4][0] = A[0][4] = this->nan;
    EXPECT_FALSE(this->view(A, upper).is_diagonal());
    A[upper ? 0 : 4][upper ? 4 : 0] = 0;
    EXPECT_TRUE(this->view(A, upper).is_diagonal());
    A[2][2] = this->infinity;
    EXPECT_FALSE(this->view(A, upper).is_diagonal());
  }
}

TYPED_TEST(HermitianMatrices, TheImaginaryPartOfTheDiagonalIsNotRead) {
  if constexpr (parts_of<TypeParam> == 2) {
    const auto A = at::diag(this->random().diagonal());
    A.template mutable_data_ptr<TypeParam>()[0].imag(this->nan);
    for (const bool upper : {false, true}) {
      EXPECT_EQ(this->view(A, upper).first_not_finite(), -1);
      EXPECT_TRUE(this->view(A, upper).is_diagonal());
    }
  }
}

TYPED_TEST(HermitianMatrices, NormsAreTheLargestPartsOfRows) {
  const auto A = this->random();
  const auto expected = std::get<0>(
      (A.is_complex() ? at::view_as_real(A) : A.unsqueeze(-1)).abs().amax(-1).max(/*dim=*/1));
  std::vector<typename TestFixture::real_t> norms(this->n, this->nan);
  for (const bool upper : {false, true}) {
    this->view(A, upper).row_norms(norms);
    for (int64_t i = 0; i < this->n; ++i) {
      EXPECT_EQ(norms[i], expected[i].template item<typename TestFixture::real_t>());
    }
  }
}

TEST(RowOrder, SortsOnlyWhereLargeRowsComeAtTheWrongEnd) {
  const std::vector<double> ascending = {1, 20, 3, 400};
  EXPECT_FALSE(RowOrder(std::vector<double>{1, 16, 1, 16}, /*to_upper=*/true).sorts());
  EXPECT_FALSE(RowOrder(ascending, /*to_upper=*/true).sorts());
  const RowOrder to_lower(ascending, /*to_upper=*/false);
  ASSERT_TRUE(to_lower.sorts());
  EXPECT_EQ(to_lower.rows(), (std::vector<int64_t>{3, 1, 2, 0}));
  const RowOrder to_upper(std::vector<double>{400, 20, 3, 20}, /*to_upper=*/true);
  ASSERT_TRUE(to_upper.sorts());
  EXPECT_EQ(to_upper.rows(), (std::vector<int64_t>{2, 1, 3, 0}));
  double restored[4];
  const double sorted[] = {0, 1, 2, 3};
  to_upper.restore(sorted, restored);
  EXPECT_EQ(std::vector<double>(restored, restored + 4), (std::vector<double>{3, 1, 0, 2}));
}

} // namespace
} // namespace spectralgrad::testing
