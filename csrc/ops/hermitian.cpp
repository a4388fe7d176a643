#include "ops/hermitian.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "math/hermitian_part.h"
#include "ops/arguments.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/real.h>
#include <torch/library.h>

#include <string>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor hermitian_kernel(const Tensor& A, std::string_view function, std::string_view name) {
  const autograd::TensorCode tensor_code;
  const std::string who(function);
  check_hermitian_arguments(who.c_str(), A, "L", name);
  if (checks() != Checks::ignore) {
    check_finite(who.c_str(), A, "L", name);
  }
  const auto result = A.tril() + A.tril(-1).mH();
  if (A.is_complex()) {
    const auto diagonal = result.diagonal(0, -2, -1);
    diagonal.copy_(at::real(diagonal).clone());
  }
  return result.contiguous();
}

Tensor hermitian_meta(const Tensor& A, std::string_view function, std::string_view name) {
  check_hermitian_arguments(std::string(function).c_str(), A, "L", name);
  return at::empty_like(A, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::hermitian", hermitian_meta> hermitian_op;

struct Hermitian {
  static constexpr const char* name = "Hermitian";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = false;
  struct Options {
    std::string function;
    std::string name;
    void save(autograd::Dictionary&) const {}
    static Options load(const autograd::Dictionary&) {
      return {};
    }
  };

  static autograd::variable_list forward(const autograd::variable_list& inputs, const Options& options) {
    return {hermitian_op.call(inputs[0], options.function, options.name)};
  }

  // The variable is a Hermitian matrix. Reading one triangle only is a matter of storage.
  static Tensor hermitian_part(const Tensor& M) {
    return M.defined() ? math::hermitian_part(M) : M;
  }

  static autograd::variable_list vjp(
      const autograd::variable_list& cotangents,
      const autograd::Saved&,
      const Options&) {
    return {hermitian_part(cotangents[0])};
  }

  static autograd::variable_list jvp(const autograd::variable_list& tangents, const autograd::Saved&, const Options&) {
    return {hermitian_part(tangents[0])};
  }
};

Tensor hermitian_autograd(const Tensor& A, std::string_view function, std::string_view name) {
  return autograd::differentiable<Hermitian>({A}, {std::string(function), std::string(name)})[0];
}

} // namespace

Tensor hermitian(const Tensor& A, std::string_view function, std::string_view name) {
  return hermitian_op.call(A, function, name);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("hermitian(Tensor A, str function, str name) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("hermitian", hermitian_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("hermitian", hermitian_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("hermitian", hermitian_autograd);
}

} // namespace spectralgrad::ops
