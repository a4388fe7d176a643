#pragma once

#include "autograd/differentiable_op.h"

#include <string>
#include <vector>

// The derivatives of the operators of ops/spectral_function.h, in terms of each other. math/spectral_function.h has the
// formulas.
namespace spectralgrad::autograd {

/// Inputs: A, eigenvalues, eigenvectors, jets, first and second direction; the last three may be undefined.
struct SpectralFunction {
  static constexpr const char* name = "SpectralFunction";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  struct Options {
    std::string function;
    std::vector<double> parameters;
    void save(Dictionary& dictionary) const;
    static Options load(const Dictionary& dictionary);
  };
  static variable_list forward(const variable_list& inputs, const Options& options);
  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options);
  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options);
};

/// Inputs as above; the first direction is always defined. The jets are only used to choose the formula of each pair.
struct SpectralFunctionTransposed {
  static constexpr const char* name = "SpectralFunctionTransposed";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  using Options = NoOptions;
  static variable_list forward(const variable_list& inputs, const Options& options);
  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options);
  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options);
};

/// Inputs: A, eigenvalues, eigenvectors, jets.
struct SpectralTrace {
  static constexpr const char* name = "SpectralTrace";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  using Options = NoOptions;
  static variable_list forward(const variable_list& inputs, const Options& options);
  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options);
  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options);
};

} // namespace spectralgrad::autograd

namespace spectralgrad::ops {

// The operators, with their inputs as above.
at::Tensor call_spectral_function(
    const autograd::variable_list& inputs,
    std::string_view function,
    c10::ArrayRef<double> parameters);
at::Tensor call_spectral_function_transposed(const autograd::variable_list& inputs);
at::Tensor call_spectral_trace(const autograd::variable_list& inputs);

} // namespace spectralgrad::ops
