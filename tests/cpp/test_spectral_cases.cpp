#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

// funm, trace_funm and spectral_map on the cases that tests/python/test_spectral_cases.py runs, too.
namespace spectralgrad::testing {
namespace {

using at::Tensor;

struct Matrices {
  Tensor A, M, E;
};

struct Case {
  std::string name;
  std::string matrix;
  std::vector<double> exact; // the loss and its derivatives along E
};

struct Table {
  std::map<std::string, Matrices> matrices;
  std::vector<Case> cases;
};

Tensor read_real_matrix(std::istream& file) {
  auto result = at::empty({3, 3}, at::kDouble);
  for (int64_t i = 0; i < 9; ++i) {
    file >> result.mutable_data_ptr<double>()[i];
  }
  return result;
}

Tensor read_matrix(std::istream& file, bool is_complex) {
  auto real = read_real_matrix(file);
  return is_complex ? at::complex(real, read_real_matrix(file)) : real;
}

const Table& table() {
  static const auto result = [] {
    Table all;
    std::ifstream file(SPECTRALGRAD_SPECTRAL_CASES);
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string kind, name, matrix;
      words >> kind >> name;
      if (kind == "matrix") {
        const bool is_complex = name.starts_with("complex");
        auto& [A, M, E] = all.matrices[name];
        for (auto* X : {&A, &M, &E}) {
          *X = read_matrix(file, is_complex);
        }
      } else if (kind == "case") {
        words >> matrix;
        std::vector<double> exact;
        for (double x = 0; words >> x;) {
          exact.push_back(x);
        }
        all.cases.push_back({name, matrix, exact});
      }
    }
    return all;
  }();
  return result;
}

Tensor exp(const Tensor& x) {
  return x.exp();
}

Tensor tanh(const Tensor& x) {
  return x.tanh();
}

Tensor sqrt(const Tensor& x) {
  return x.sqrt();
}

Tensor lorentzian(const Tensor& x) {
  return 1 / (1 + x * x);
}

Tensor slope_of_lorentzian(const Tensor& x) {
  return -2 * x * lorentzian(x).square();
}

Tensor x_log_x(const Tensor& x) {
  return at::special_xlogy(x, x);
}

Tensor step(const Tensor& x) {
  return (x > 0.8).to(x.scalar_type());
}

Tensor apply_function(Tensor (*f)(const Tensor&), const Tensor& L, const Tensor& V) {
  return at::matmul(V * f(L).unsqueeze(-2), V.mH());
}

using Loss = std::function<Tensor(const Tensor& A, const Tensor& M)>;

// tests/python/test_spectral_cases.py has the same.
const std::map<std::string, Loss> losses{
    {"funm_tanh", [](const Tensor& A, const Tensor& M) { return pairing(M, funm(A, tanh)); }},
    {"funm_exp_given_three_derivatives",
     [](const Tensor& A, const Tensor& M) { return pairing(M, funm(A, exp, exp, exp, exp)); }},
    {"funm_lorentzian_given_one_derivative",
     [](const Tensor& A, const Tensor& M) { return pairing(M, funm(A, lorentzian, slope_of_lorentzian)); }},
    {"funm_sqrt", [](const Tensor& A, const Tensor& M) { return pairing(M, funm(A, sqrt)); }},
    {"funm_x_sqrt_x",
     [](const Tensor& A, const Tensor& M) {
       return pairing(M, funm(A, [](const Tensor& x) { return x * x.sqrt(); }));
     }},
    {"funm_x_log_x", [](const Tensor& A, const Tensor& M) { return pairing(M, funm(A, x_log_x)); }},
    {"funm_step", [](const Tensor& A, const Tensor& M) { return pairing(M, funm(A, step)); }},
    {"trace_funm_tanh", [](const Tensor& A, const Tensor&) { return trace_funm(A, tanh); }},
    {"trace_funm_sqrt", [](const Tensor& A, const Tensor&) { return trace_funm(A, sqrt); }},
    {"trace_funm_x_log_x", [](const Tensor& A, const Tensor&) { return trace_funm(A, x_log_x); }},
    {"spectral_map_exp",
     [](const Tensor& A, const Tensor& M) {
       const auto fn = [](const Tensor& L, const Tensor& V) {
         return std::vector{apply_function(exp, L, V)};
       };
       return pairing(M, spectral_map(fn, A)[0]);
     }},
    {"spectral_map_exp_and_step",
     [](const Tensor& A, const Tensor& M) {
       const auto fn = [](const Tensor& L, const Tensor& V) {
         return std::vector{apply_function(exp, L, V), apply_function(step, L, V)};
       };
       const auto y = spectral_map(fn, A);
       return pairing(M, y[0]) + pairing(M, y[1]);
     }},
};

class SpectralCases : public ::testing::TestWithParam<std::tuple<Case, bool>> {};

INSTANTIATE_TEST_SUITE_P(
    Table,
    SpectralCases,
    ::testing::Combine(::testing::ValuesIn(table().cases), ::testing::Bool()),
    [](const auto& info) {
      const auto& row = std::get<0>(info.param);
      return row.name + "_" + row.matrix + (std::get<1>(info.param) ? "_single" : "_double");
    });

double error(const Tensor& found, double exact) {
  return std::abs(found.item<double>() - exact) / std::max(1.0, std::abs(exact));
}

TEST_P(SpectralCases, LossAndDerivatives) {
  const auto& [row, single] = GetParam();
  const auto& [name, matrix, exact] = row;
  const auto given = table().matrices.at(matrix);
  const auto dtype = given.A.is_complex() ? (single ? at::kComplexFloat : at::kComplexDouble)
                                          : (single ? at::kFloat : at::kDouble);
  const auto A = given.A.to(dtype, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
  const auto M = given.M.to(dtype);
  const auto E = given.E.to(dtype);
  const auto tolerances = single ? std::array{1e-6, 1e-5, 1e-4} : std::array{1e-14, 1e-12, 1e-11};
  const auto loss = losses.at(name)(A, M);
  EXPECT_LE(error(loss, exact[0]), tolerances[0]);
  const bool has_second = exact.size() == 3;
  const auto slope = pairing(E, has_second ? differentiable_gradient(loss, A) : gradient(loss, A));
  EXPECT_LE(error(slope, exact[1]), tolerances[1]);
  if (has_second) {
    EXPECT_LE(error(pairing(E, gradient(slope, A)), exact[2]), tolerances[2]);
  }
}

TEST(SpectralCasesTable, EveryLossHasCases) {
  std::map<std::string, int> count;
  for (const auto& row : table().cases) {
    ++count[row.name];
  }
  for (const auto& [name, loss] : losses) {
    EXPECT_GT(count[name], 0) << name;
  }
}

} // namespace
} // namespace spectralgrad::testing
