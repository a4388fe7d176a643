#pragma once

#include "core/optional_tensor.h"

#include <spectralgrad/checks.h>
#include <spectralgrad/rule.h>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>

#include <limits>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace spectralgrad::testing {

inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double infinity = std::numeric_limits<double>::infinity();

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline bool matches(const std::string& text, const std::string& pattern) {
  return std::regex_search(text, std::regex(pattern));
}

/// Expects `statement` to raise `Error` with a message that matches the regular expression `pattern`.
#define EXPECT_RAISES(statement, Error, pattern)                                             \
  try {                                                                                      \
    statement;                                                                               \
    ADD_FAILURE() << "expected " #Error;                                                     \
  } catch (const Error& error) {                                                             \
    EXPECT_PRED2(::spectralgrad::testing::matches, error.what_without_backtrace(), pattern); \
  }

/// Every form of 1/gap that the kernels implement. The widths are both smaller and larger than gaps of about 1.
inline std::vector<Rule> rules_for_gaps() {
  return {
      Rule::gated(),
      Rule::gated(0, 1e3),
      Rule::split(),
      Rule::lorentzian(1e-3),
      Rule::lorentzian(10),
      Rule::lorentzian(1e-3, true),
      Rule::cutoff(1e-2),
      Rule::cutoff(1e-2, true)};
}

class RecordingReporter : public GaugeReporter {
 public:
  void warn(const std::string& message) const override {
    warnings.push_back(message);
  }
  mutable std::vector<std::string> warnings;
};

/// Base of tests that inspect the warnings of the library.
class WarningsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(0);
    set_gauge_reporter(&reporter_);
  }
  void TearDown() override {
    set_gauge_reporter(nullptr);
  }
  const std::vector<std::string>& warnings() const {
    return reporter_.warnings;
  }

 private:
  RecordingReporter reporter_;
};

/// Base of tests that run for each dtype.
class DtypeTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    at::manual_seed(0);
  }
  at::ScalarType dtype() const {
    return GetParam();
  }
  at::ScalarType real() const {
    return c10::toRealValueType(dtype());
  }
  bool is_double() const {
    return real() == at::kDouble;
  }
  double eps() const {
    return is_double() ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon();
  }
};

/// Instantiates a suite whose parameter is the dtype, for `dtypes`.
#define INSTANTIATE_FOR(Suite, dtypes) \
  INSTANTIATE_TEST_SUITE_P(Dtypes, Suite, dtypes, [](const auto& info) { return c10::toString(info.param); })

inline auto all_dtypes() {
  return ::testing::Values(at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble);
}

/// The operator `name`, which has this C++ signature.
template <typename Signature>
auto find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

/// spectralgrad::eigh by one of the methods to decompose.
inline std::tuple<at::Tensor, at::Tensor> eigh_by(
    std::string_view method,
    const at::Tensor& A,
    std::string_view UPLO = "L") {
  using Name = std::optional<std::string_view>;
  static const auto op = find_operator<
      std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, std::string_view, Name, c10::ArrayRef<double>, Name)>(
      "spectralgrad::eigh");
  return op.call(A, UPLO, std::nullopt, {}, method);
}

/// The C++ equivalent of torch.autograd.forward_ad.dual_level.
class DualLevel {
 public:
  DualLevel() : level_(torch::autograd::ForwardADLevel::get_next_idx()) {}
  ~DualLevel() {
    torch::autograd::ForwardADLevel::release_idx(level_);
  }
  DualLevel(const DualLevel&) = delete;
  DualLevel& operator=(const DualLevel&) = delete;
  DualLevel(DualLevel&&) = delete;
  DualLevel& operator=(DualLevel&&) = delete;

 private:
  uint64_t level_;
};

inline at::Tensor hermitian_part(const at::Tensor& M) {
  return (M + M.mH()) / 2;
}

inline at::Tensor random_hermitian(c10::IntArrayRef shape, at::ScalarType dtype = at::kDouble) {
  return hermitian_part(at::randn(shape, dtype));
}

/// Random matrices with orthonormal columns.
inline at::Tensor random_orthonormal(c10::IntArrayRef shape, at::ScalarType dtype = at::kDouble) {
  return std::get<0>(at::linalg_qr(at::randn(shape, dtype)));
}

inline at::Tensor diagonal(const std::vector<double>& values, at::ScalarType dtype = at::kDouble) {
  return at::diag(at::tensor(values, at::kDouble)).to(dtype);
}

/// Returns U diag(values) V^H (m, n) for random U and V.
inline at::Tensor with_singular_values(
    const std::vector<double>& values,
    int64_t m,
    int64_t n,
    at::ScalarType dtype = at::kDouble) {
  const auto wide = c10::isComplexType(dtype) ? at::kComplexDouble : at::kDouble;
  const auto k = static_cast<int64_t>(values.size());
  const auto U = random_orthonormal({m, k}, wide);
  const auto V = random_orthonormal({n, k}, wide);
  return at::matmul(U * at::tensor(values, at::kDouble), V.mH()).to(dtype);
}

/// Returns Q diag(eigenvalues) Q^H for a random unitary Q.
inline at::Tensor with_spectrum(const at::Tensor& eigenvalues, at::ScalarType dtype = at::kDouble) {
  const auto n = eigenvalues.size(-1);
  const auto Q = random_orthonormal({n, n}, dtype);
  return hermitian_part(at::matmul(Q * eigenvalues.to(dtype), Q.mH()));
}

inline at::Tensor gradient(const at::Tensor& loss, const at::Tensor& A) {
  return torch::autograd::grad({loss}, {A})[0];
}

/// A gradient that can be differentiated again.
inline at::Tensor differentiable_gradient(const at::Tensor& loss, const at::Tensor& A) {
  return torch::autograd::grad({loss}, {A}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
}

/// Re tr(M^H X), (*).
inline at::Tensor pairing(const at::Tensor& M, const at::Tensor& X) {
  return at::real(M.conj() * X).sum(at::IntArrayRef{-2, -1});
}

inline double largest(const at::Tensor& x) {
  return x.abs().max().item<double>();
}

inline double relative_error(const at::Tensor& value, const at::Tensor& reference) {
  return ((value - reference).norm() / reference.norm()).item<double>();
}

/// Expects each matrix of a batch to have a relative error of at most `tolerance`.
inline void expect_close(
    const at::Tensor& ours,
    const at::Tensor& reference,
    double tolerance,
    const std::string& what) {
  ASSERT_EQ(ours.sizes(), reference.sizes()) << what;
  for (int64_t i = 0; i < ours.size(0); ++i) {
    const auto size = reference[i].norm().item<double>();
    EXPECT_LE((ours[i] - reference[i]).norm().item<double>(), tolerance * size) << what << ", matrix " << i;
  }
}

} // namespace spectralgrad::testing
