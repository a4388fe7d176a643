#pragma once

#include "autograd/tensor_code.h"
#include "core/caller_name.h"
#include "ops/arguments.h"
#include "ops/in_layout_of.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include <cstddef>
#include <string_view>
#include <tuple>
#include <utility>

// Kernels of operators that are the jvp of a decomposition.
namespace spectralgrad::ops {

/// The kernels of a jvp whose primals, the results of the decomposition, are consecutive arguments from number `first`
/// on. `function` has the operator's signature and returns a tangent of each, in any layout. Derivatives go through
/// `function` itself, because they would go through a copy to another layout, too.
template <size_t first, auto function, typename Function = decltype(function)>
struct JvpKernels;

template <size_t first, auto function, typename... Tangents, typename... Arguments>
struct JvpKernels<first, function, std::tuple<Tangents...> (*)(Arguments...)> {
  using Results = std::tuple<Tangents...>;

  /// Returns the tangents in the layouts of their primals.
  static Results kernel(Arguments... arguments) {
    const auto tangents = function(arguments...);
    const autograd::TensorCode tensor_code;
    return for_each_primal(std::tie(arguments...), [&](const at::Tensor& primal, auto i) {
      return in_layout_of(primal, std::get<i>(tangents));
    });
  }

  static Results meta(Arguments... arguments) {
    return for_each_primal(std::tie(arguments...), [](const at::Tensor& primal, auto) {
      return at::empty_like(primal);
    });
  }

 private:
  template <typename All, typename F>
  static Results for_each_primal(const All& arguments, const F& f) {
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return Results{f(std::get<first + i>(arguments), std::integral_constant<size_t, i>())...};
    }(std::index_sequence_for<Tangents...>());
  }
};

/// Calls `function`, the jvp of `eigh` or `eig`, with the arguments of its operator.
template <auto function>
std::tuple<at::Tensor, at::Tensor> eigenpairs_jvp(
    const at::Tensor& tangent,
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    std::string_view rule,
    RuleParameters parameters,
    std::string_view caller) {
  const autograd::TensorCode tensor_code;
  const CallerNameGuard guard(caller);
  return function(tangent, eigenvalues, eigenvectors, Rule::parse(rule, parameters));
}

} // namespace spectralgrad::ops
