#include "ops/singular_value_decomposition.h"

#include "ops/arguments.h"
#include "ops/nan_results.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/_linalg_svd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <c10/util/Exception.h>

#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor, Tensor> by_torch(
    const char* function,
    const Tensor& A,
    SingularVectors vectors,
    std::optional<std::string_view> driver) {
  const auto decompose = [&](const Tensor& finite) {
    return at::_linalg_svd(
        finite,
        vectors == SingularVectors::full,
        /*compute_uv=*/vectors != SingularVectors::none,
        driver);
  };
  if (checks() == Checks::ignore) {
    return nan_where_bad(A, at::isfinite(A).logical_not().any(-1).any(-1), decompose);
  }
  check_all_finite(function, A);
  return decompose(A);
}

} // namespace

std::tuple<Tensor, Tensor, Tensor> singular_value_decomposition(
    const char* function,
    const Tensor& A,
    SingularVectors vectors,
    std::optional<std::string_view> driver,
    std::optional<std::string_view> method) {
  TORCH_CHECK(
      !driver || A.is_cuda(),
      "spectralgrad.",
      function,
      ": keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend.");
  TORCH_CHECK_VALUE(
      !method || *method == "torch",
      "spectralgrad.",
      function,
      ": Expected method to be 'torch', but got '",
      method.value_or(""),
      "'");
  return by_torch(function, A, vectors, driver);
}

std::tuple<Tensor, Tensor, Tensor> singular_value_decomposition_meta(const Tensor& A, SingularVectors vectors) {
  const auto shape = A.sym_sizes();
  const auto batch = shape.slice(0, shape.size() - 2).vec();
  const auto m = shape[shape.size() - 2];
  const auto n = shape[shape.size() - 1];
  const auto k = m.min(n);
  const auto empty = [&](std::initializer_list<c10::SymInt> trailing, at::ScalarType dtype) {
    auto sizes = batch;
    sizes.insert(sizes.end(), trailing);
    return at::empty_symint(sizes, A.options().dtype(dtype));
  };
  auto singular_values = empty({k}, c10::toRealValueType(A.scalar_type()));
  if (vectors == SingularVectors::none) {
    return {Tensor(), std::move(singular_values), Tensor()};
  }
  const bool full = vectors == SingularVectors::full;
  const auto dtype = A.scalar_type();
  return {empty({full ? m : k, m}, dtype).mT(), std::move(singular_values), empty({n, full ? n : k}, dtype).mT()};
}

} // namespace spectralgrad::ops
