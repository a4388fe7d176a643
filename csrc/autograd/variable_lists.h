#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/variable.h>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

// Converts the results of operators to the lists of variables that autograd takes, and back.
namespace spectralgrad::autograd {

using torch::autograd::variable_list;

inline variable_list to_list(at::Tensor result) {
  return {std::move(result)};
}
template <typename... Tensors>
variable_list to_list(std::tuple<Tensors...> results) {
  return std::apply([](auto&... each) { return variable_list{std::move(each)...}; }, results);
}

/// `Result` is a tensor or a tuple of tensors.
template <typename Result>
Result from_list(variable_list list) {
  if constexpr (std::is_same_v<Result, at::Tensor>) {
    return std::move(list[0]);
  } else {
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return Result(std::move(list[i])...);
    }(std::make_index_sequence<std::tuple_size_v<Result>>());
  }
}

} // namespace spectralgrad::autograd
