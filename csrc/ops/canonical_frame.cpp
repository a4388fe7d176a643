#include "ops/canonical_frame.h"

#include "autograd/differentiable_op.h"
#include "autograd/operator_handle.h"
#include "autograd/recomputed.h"
#include "autograd/tensor_code.h"
#include "math/canonical_gauge.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using autograd::variable_list;
using Frame = std::tuple<Tensor, Tensor, Tensor>;

Frame frame_kernel(const Tensor& L, const Tensor& V, std::optional<double> rtol) {
  const autograd::TensorCode tensor_code;
  auto frame = kernels::canonical_frame(L, V, rtol);
  return {std::move(frame.vectors), std::move(frame.pivots), std::move(frame.clusters)};
}

Frame frame_meta(const Tensor& L, const Tensor& V, std::optional<double>) {
  const auto integers = L.options().dtype(at::kLong);
  return {
      at::empty_symint(V.sym_sizes(), V.options()),
      at::empty_symint(L.sym_sizes(), integers),
      at::empty_symint(L.sym_sizes(), integers)};
}

constexpr autograd::OperatorHandle<"spectralgrad::canonical_frame", frame_kernel> frame_op;

Tensor gauge_vjp_kernel(
    const Tensor& cotangent,
    const Tensor& V,
    const Tensor& turned,
    const Tensor& pivots,
    const Tensor& clusters) {
  const autograd::TensorCode tensor_code;
  return math::canonical_gauge_vjp(cotangent, V, turned, pivots, clusters);
}

Tensor gauge_vjp_meta(const Tensor&, const Tensor& V, const Tensor&, const Tensor&, const Tensor&) {
  return at::empty_symint(V.sym_sizes(), V.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::in_canonical_gauge_vjp", gauge_vjp_meta> gauge_vjp_op;

Tensor turned_kernel(const Tensor&, const Tensor& turned, const Tensor&, const Tensor&) {
  return turned.clone(at::MemoryFormat::Contiguous);
}

Tensor turned_meta(const Tensor&, const Tensor& turned, const Tensor&, const Tensor&) {
  return at::empty_like(turned, at::MemoryFormat::Contiguous);
}

constexpr autograd::OperatorHandle<"spectralgrad::in_canonical_gauge", turned_kernel> turned_op;

/// Inputs: {V, the frame's vectors, pivots and clusters}, the last three constants; output: the frame's vectors.
struct InCanonicalGauge {
  static constexpr const char* name = "CanonicalGauge";
  static constexpr bool saves_inputs = true;
  static constexpr bool saves_outputs = true;
  using Options = autograd::NoOptions;

  static variable_list forward(const variable_list& inputs, const Options&) {
    return {turned_op.call(inputs[0], inputs[1], inputs[2], inputs[3])};
  }

  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options&) {
    if (!cotangents[0].defined()) {
      return {Tensor(), Tensor(), Tensor(), Tensor()};
    }
    const auto& x = saved.inputs;
    return {gauge_vjp_op.call(cotangents[0], x[0], saved.outputs[0], x[2], x[3]), Tensor(), Tensor(), Tensor()};
  }

  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options&) {
    if (!tangents[0].defined()) {
      return {Tensor()};
    }
    const auto& x = saved.inputs;
    return {math::canonical_gauge_jvp(tangents[0], x[0], saved.outputs[0], x[2], x[3])};
  }
};

Tensor turned_autograd(const Tensor& V, const Tensor& turned, const Tensor& pivots, const Tensor& clusters) {
  return autograd::differentiable<InCanonicalGauge>({V, turned, pivots, clusters}, {})[0];
}

} // namespace

kernels::CanonicalFrame canonical_frame(const Tensor& L, const Tensor& V, std::optional<double> rtol) {
  auto [vectors, pivots, clusters] = frame_op.call(L, V, rtol);
  return {std::move(vectors), std::move(pivots), std::move(clusters)};
}

Tensor in_canonical_gauge(const Tensor& V, const kernels::CanonicalFrame& frame) {
  return turned_op.call(V, frame.vectors, frame.pivots, frame.clusters);
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "canonical_frame(Tensor L, Tensor V, float? rtol=None) -> (Tensor vectors, Tensor pivots, Tensor clusters)");
  library.def("in_canonical_gauge(Tensor V, Tensor turned, Tensor pivots, Tensor clusters) -> Tensor");
  library.def(
      "in_canonical_gauge_vjp(Tensor cotangent, Tensor V, Tensor turned, Tensor pivots, Tensor clusters) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("canonical_frame", frame_kernel);
  library.impl("in_canonical_gauge", turned_kernel);
  library.impl("in_canonical_gauge_vjp", gauge_vjp_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("canonical_frame", frame_meta);
  library.impl("in_canonical_gauge", turned_meta);
  library.impl("in_canonical_gauge_vjp", gauge_vjp_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("canonical_frame", frame_op.constant_kernel());
  library.impl("in_canonical_gauge", turned_autograd);
  library.impl("in_canonical_gauge_vjp", autograd::recomputed_kernel<gauge_vjp_op, gauge_vjp_kernel>());
}

} // namespace spectralgrad::ops
