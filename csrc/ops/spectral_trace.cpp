#include "ops/spectral_trace.h"

#include "autograd/operator_handle.h"
#include "ops/spectral_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <torch/library.h>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::Saved;
using autograd::variable_list;

Tensor trace_kernel(const Tensor&, const Tensor&, const Tensor&, const Tensor& jets) {
  return jets.select(-2, 0).sum(-1);
}

Tensor trace_meta(const Tensor&, const Tensor& eigenvalues, const Tensor&, const Tensor& jets) {
  const auto shape = eigenvalues.sym_sizes();
  return at::empty_symint(shape.slice(0, shape.size() - 1), jets.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::spectral_trace", trace_meta> trace_op;

/// Inputs: A, eigenvalues, eigenvectors, jets. The derivative in A is f'(A).
struct SpectralTrace {
  static constexpr const char* name = "SpectralTrace";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = false;
  using Options = autograd::NoOptions;

  static variable_list forward(const variable_list& x, const Options&) {
    return {trace_op.call(x[0], x[1], x[2], x[3])};
  }

  static Tensor slope(const variable_list& x) {
    return spectral_function({"jets", {}, x[3].slice(-2, 1)}, {x[0], x[1], x[2]});
  }

  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options&) {
    const auto& x = saved.inputs;
    variable_list result(x.size());
    const auto& g = cotangents[0];
    if (!g.defined()) {
      return result;
    }
    const auto scalar = g.unsqueeze(-1).unsqueeze(-1);
    if (saved.needed[0]) {
      result[0] = scalar * slope(x);
    }
    if (saved.needed[3]) {
      // The transpose with the identity as E_0.
      const auto multiple = at::diag_embed(at::ones_like(x[1])) * scalar;
      result[3] = call_spectral_function_transposed(
          {x[0], x[1], x[2], x[3], multiple.to(x[2].scalar_type()), Tensor(), Tensor()});
    }
    return result;
  }

  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options&) {
    const auto& x = saved.inputs;
    Tensor sum;
    if (tangents[0].defined()) {
      sum = at::real(slope(x).conj() * tangents[0]).sum(at::IntArrayRef{-2, -1});
    }
    if (tangents[3].defined()) {
      const auto term = trace_op.call(x[0], x[1], x[2], tangents[3]);
      sum = sum.defined() ? sum + term : term;
    }
    return {sum};
  }
};

Tensor trace_autograd(const Tensor& A, const Tensor& eigenvalues, const Tensor& eigenvectors, const Tensor& jets) {
  const autograd::CallerState caller;
  return autograd::differentiable<SpectralTrace>(
      {place_in_graph(A, eigenvectors), eigenvalues, eigenvectors, jets},
      {})[0];
}

} // namespace

Tensor spectral_trace(const Eigenpairs& pairs, const Tensor& jets) {
  return trace_op.call(pairs.A, pairs.eigenvalues, pairs.eigenvectors, jets);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("spectral_trace(Tensor A, Tensor eigenvalues, Tensor eigenvectors, Tensor jets) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("spectral_trace", trace_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("spectral_trace", trace_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("spectral_trace", trace_autograd);
}

} // namespace spectralgrad::ops
