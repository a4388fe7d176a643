#pragma once

#include <spectralgrad/rule.h>

#include "autograd/differentiable_op.h"

#include <string>

namespace spectralgrad::ops {

/// The options of a decomposition that its derivatives need, as a base of its `Options` for
/// autograd/differentiable_op.h.
struct DerivativeOptions {
  Rule rule;
  std::string caller; // the function that messages name

  void save(autograd::Dictionary& dictionary) const {
    dictionary["rule"] = rule.name();
    dictionary["parameters"] = rule.parameters();
    dictionary["caller"] = caller;
  }

  static DerivativeOptions load_base(const autograd::Dictionary& dictionary) {
    return {
        Rule::parse(dictionary.at("rule").toStringRef(), dictionary.at("parameters").toDoubleVector()),
        dictionary.at("caller").toStringRef()};
  }
};

} // namespace spectralgrad::ops
