#include "ops/polar_factor.h"

#include "autograd/constant.h"
#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "autograd/variable_lists.h"
#include "core/caller_name.h"
#include "core/caller_state.h"
#include "core/decomposition_words.h"
#include "core/optional_tensor.h"
#include "kernels/polar/polar.h"
#include "math/inverse.h"
#include "ops/arguments.h"
#include "ops/polar_factor_vjp.h"
#include "ops/singular_value_decomposition.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <string>
#include <tuple>
#include <utility>

// The unitary polar factor. Its derivative (ops/polar_factor_vjp.h) consists of products and of solutions of linear
// equations with P = W^H A (ops/polar_quotient.h), which have derivatives of the same kind. Written with singular
// vectors, the second derivative would lose the part inside a repeated singular value, a limit 0/0.
//
// Kenney and Laub (1991), "Polar decomposition and matrix sign function condition estimates"; Higham (2008), "Functions
// of Matrices", chapter 8.
namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::variable_list;
using FactorAndValues = std::tuple<Tensor, Tensor, Tensor, Tensor>;

/// `x` with its last entry or column, of the last dimension, negated where `negative`.
Tensor negate_last(const Tensor& x, const Tensor& negative) {
  const auto last = x.size(-1) - 1;
  const auto end = x.slice(-1, last);
  return at::cat({x.slice(-1, 0, last), at::where(negative, -end, end)}, -1);
}

/// `values` with zero in place of sums that are at most `noise` (*).
Tensor without_noise(const Tensor& values, const Tensor& noise, bool proper) {
  const auto threshold = noise.unsqueeze(-1);
  const auto zeros = at::zeros_like(values);
  auto cleaned = at::where(values.abs() <= threshold, zeros, values);
  if (!proper || values.size(-1) < 2) {
    return cleaned;
  }
  const auto last = values.size(-1) - 1;
  const auto before = cleaned.narrow(-1, last - 1, 1);
  const auto end = cleaned.narrow(-1, last, 1);
  return at::cat({cleaned.narrow(-1, 0, last), at::where(before + end <= threshold, -before, end)}, -1);
}

/// The singular value decomposition of A, which messages call by the name that the caller of `function` knows.
std::tuple<Tensor, Tensor, Tensor> decompose(const Tensor& A, std::string_view function) {
  const std::string name(function);
  try {
    return singular_value_decomposition(name.c_str(), A, SingularVectors::thin, std::nullopt);
  } catch (const c10::LinAlgError&) {
    check_all_finite(name.c_str(), A, polar_factor_words(function).argument);
    throw;
  }
}

/// A is (*, m, n), m >= n.
FactorAndValues polar_factor_kernel(
    const Tensor& A,
    const OptionalTensor& noise,
    bool proper,
    std::string_view function) {
  const autograd::TensorCode tensor_code;
  auto [U, values, Vh] = decompose(A, function);
  if (kernels::polar_goes_to_lanes(A)) {
    auto parts = kernels::polar_factor(U, values, Vh, tensor_or_undefined(noise), proper && !A.is_complex());
    return {std::move(parts.W), std::move(parts.trace), std::move(parts.values), std::move(parts.vectors)};
  }
  auto W = at::matmul(U, Vh);
  if (proper && A.size(-1) > 0) {
    const auto is_improper = math::is_improper(W).unsqueeze(-1);
    values = negate_last(values, is_improper);
    W = at::matmul(negate_last(U, is_improper.unsqueeze(-1)), Vh);
  }
  auto trace = values.sum(-1);
  if (noise) {
    values = without_noise(values, *noise, proper);
  }
  return {std::move(W), std::move(trace), values.contiguous(), Vh.mH().resolve_conj().contiguous()};
}

FactorAndValues polar_factor_meta(const Tensor& A, const OptionalTensor&, bool, std::string_view) {
  const auto real = A.options().dtype(c10::toRealValueType(A.scalar_type()));
  const auto shape = A.sym_sizes();
  const auto batch = shape.slice(0, shape.size() - 2);
  auto row = batch.vec();
  row.push_back(shape.back());
  auto square = row;
  square.push_back(shape.back());
  return {
      at::empty_symint(shape, A.options()),
      at::empty_symint(batch, real),
      at::empty_symint(row, real),
      at::empty_symint(square, A.options())};
}

constexpr autograd::OperatorHandle<"spectralgrad::polar_factor", polar_factor_kernel> polar_factor_op;

/// The inputs are A and the noise. The results are W, the trace, and the values and vectors of P. The latter two are
/// only for the derivatives.
struct DifferentiablePolarFactor {
  static constexpr const char* name = "PolarFactor";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = true;

  struct Options {
    bool proper;
    std::string function;
    void save(autograd::Dictionary& dictionary) const {
      dictionary["proper"] = proper;
      dictionary["function"] = function;
    }
    static Options load(const autograd::Dictionary& dictionary) {
      return {dictionary.at("proper").toBool(), dictionary.at("function").toStringRef()};
    }
  };

  static variable_list forward(const variable_list& inputs, const Options& options) {
    return autograd::to_list(polar_factor_op.call(inputs[0], optional(inputs[1]), options.proper, options.function));
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options& options) {
    const CallerNameGuard guard(options.function);
    const auto& outputs = saved.outputs;
    const auto result = polar_factor_vjp(
        cotangents[0],
        cotangents[1],
        saved.inputs[0],
        outputs[0],
        autograd::constant(outputs[2]),
        autograd::constant(outputs[3]),
        options.proper);
    return {result, {}};
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options&) {
    const auto& W = saved.outputs[0];
    const auto dW = polar_factor_derivative(tangents[0], saved.inputs[0], W, saved.outputs[2], saved.outputs[3]);
    return {dW, at::real((W.conj() * tangents[0]).sum({-2, -1})), {}, {}};
  }
};

FactorAndValues polar_factor_autograd(
    const Tensor& A,
    const OptionalTensor& noise,
    bool proper,
    std::string_view function) {
  const autograd::CallerState caller;
  return autograd::from_list<FactorAndValues>(autograd::differentiable<DifferentiablePolarFactor>(
      {A, tensor_or_undefined(noise)},
      {proper, std::string(function)}));
}

} // namespace

PolarFactor polar_factor(const char* function, const Tensor& A, bool proper, const Tensor& noise) {
  const bool is_wide = A.sym_size(-2) < A.sym_size(-1);
  const auto results = polar_factor_op.call(is_wide ? A.mH() : A, optional(noise), proper, function);
  const auto& W = std::get<0>(results);
  return {is_wide ? W.mH().resolve_conj() : W, std::get<1>(results)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "polar_factor(Tensor A, Tensor? noise, bool proper, str function=\"polar\") -> "
      "(Tensor W, Tensor trace, Tensor values, Tensor vectors)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("polar_factor", polar_factor_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("polar_factor", polar_factor_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("polar_factor", polar_factor_autograd);
}

} // namespace spectralgrad::ops
