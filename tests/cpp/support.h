#pragma once

#include <spectralgrad/checks.h>
#include <spectralgrad/rule.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>

#include <regex>
#include <string>
#include <vector>

namespace spectralgrad::testing {

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

/// Returns Q diag(eigenvalues) Q^H for a random unitary Q.
inline at::Tensor with_spectrum(const at::Tensor& eigenvalues, at::ScalarType dtype = at::kDouble) {
  const auto n = eigenvalues.size(-1);
  const auto Q = std::get<0>(at::linalg_qr(at::randn({n, n}, dtype)));
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

} // namespace spectralgrad::testing
