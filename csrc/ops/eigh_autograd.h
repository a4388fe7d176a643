#pragma once

#include <spectralgrad/rule.h>

#include "autograd/differentiable_op.h"

#include <optional>
#include <string>
#include <string_view>

namespace spectralgrad::autograd {

/// `eigh` as an operation for autograd/differentiable_op.h. Inputs: {A}; outputs: {eigenvalues, eigenvectors}.
struct Eigh {
  static constexpr const char* name = "Eigh";
  static constexpr bool saves_inputs = false;
  static constexpr bool saves_outputs = true;

  struct Options {
    std::string UPLO;
    Rule rule;
    std::optional<std::string> method; // ops/hermitian_decomposition.h
    std::string caller = "eigh"; // the function that messages name

    void save(Dictionary& dictionary) const;
    static Options load(const Dictionary& dictionary);
  };

  static variable_list forward(const variable_list& inputs, const Options& options);
  static variable_list vjp(const variable_list& cotangents, const Saved& saved, const Options& options);
  static variable_list jvp(const variable_list& tangents, const Saved& saved, const Options& options);
};

} // namespace spectralgrad::autograd
