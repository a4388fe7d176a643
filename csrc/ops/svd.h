#pragma once

#include <spectralgrad/rule.h>

#include "autograd/differentiable_op.h"

#include <optional>
#include <string>

namespace spectralgrad::ops {

/// `svd` as an operation for autograd/differentiable_op.h. Inputs: {A}; outputs: {U, sigma, V^H}.
struct Svd {
  static constexpr const char* name = "Svd";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options {
    bool full_matrices;
    std::optional<std::string> driver;
    Rule rule;
    std::optional<std::string> method; // ops/singular_value_decomposition.h
    std::string caller = "svd"; // the function that messages name

    void save(autograd::Dictionary& dictionary) const;
    static Options load(const autograd::Dictionary& dictionary);
  };

  using variable_list = autograd::variable_list;
  static variable_list forward(const variable_list& inputs, const Options& options);
  static variable_list vjp(const variable_list& cotangents, const autograd::Saved& saved, const Options& options);
  static variable_list jvp(const variable_list& tangents, const autograd::Saved& saved, const Options& options);
};

} // namespace spectralgrad::ops
