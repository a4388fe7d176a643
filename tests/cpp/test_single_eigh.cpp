#include "support.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

// The method `single`. The Python tests have more families of matrices and an independent reference; these also run
// under AddressSanitizer.
namespace spectralgrad::testing {
namespace {

using at::Tensor;

/// Matrices whose halves share none, some or all of their eigenvalues with the whole.
std::vector<std::pair<std::string, Tensor>> matrices(int64_t n) {
  at::manual_seed(n);
  const auto options = at::TensorOptions(at::kDouble);
  const auto side = at::diag(at::ones({n - 1}, options), 1);
  const auto ones = at::ones({n, n}, options);
  return {
      {"random", with_spectrum(at::randn({n}, options))},
      {"three eigenvalues", with_spectrum(at::remainder(at::arange(n, options), 3))},
      {"a projector", with_spectrum((at::arange(n, options) < n / 2).to(at::kDouble))},
      {"clustered", with_spectrum(1 + 1e-9 * at::arange(n, options))},
      {"graded", with_spectrum(at::pow(2.0, -at::arange(n, options)))},
      {"a path", 2 * at::eye(n, options) - side - side.mT()},
      {"blocks", at::block_diag({at::ones({n / 2, n / 2}, options), 3 * at::ones({n - n / 2, n - n / 2}, options)})},
      {"rank one", ones},
      {"nearly diagonal", at::diag(at::arange(n, options)) + 1e-12 * ones},
  };
}

TEST(SingleEigh, ReproducesTheMatrixWithOrthonormalEigenvectors) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const double eps = dtype == at::kFloat ? std::numeric_limits<float>::epsilon()
                                           : std::numeric_limits<double>::epsilon();
    for (const int64_t n : {2, 3, 7, 15, 16, 17, 31, 33, 64, 65, 100, 129, 200, 390}) {
      for (const auto& [name, exact] : matrices(n)) {
        for (const bool upper : {false, true}) {
          const auto A = exact.to(dtype);
          const auto [L, V] = eigh_by("single", A, upper ? "U" : "L");
          const auto wide = V.to(at::kDouble);
          const auto size = A.abs().max().item<double>() * static_cast<double>(n);
          const auto residual = at::matmul(A.to(at::kDouble), wide) - wide * L.to(at::kDouble);
          EXPECT_LE(residual.abs().max().item<double>(), 4 * eps * size) << name << " " << n << " " << dtype;
          const auto defect = at::matmul(wide.mT(), wide) - at::eye(n, wide.options());
          EXPECT_LE(defect.abs().max().item<double>(), 2 * eps * static_cast<double>(n) + 20 * eps) << name << " " << n;
          EXPECT_TRUE((L.diff() >= 0).all().item<bool>()) << name << " " << n;
        }
      }
    }
  }
}

TEST(SingleEigh, IsTheSameAtEveryScale) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto A = matrices(70)[0].second.to(dtype);
    const auto [L, V] = eigh_by("single", A);
    for (const int exponent : {-100, 100}) {
      const double unit = std::ldexp(1.0, exponent);
      const auto [scaled, same] = eigh_by("single", A * unit);
      EXPECT_TRUE(at::equal(scaled, L * unit));
      EXPECT_TRUE(at::equal(same, V));
    }
  }
}

} // namespace
} // namespace spectralgrad::testing
