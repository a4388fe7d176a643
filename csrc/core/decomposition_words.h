#pragma once

#include <string_view>

namespace spectralgrad {

/// The words in which messages speak of a decomposition.
struct DecompositionWords {
  const char* name;
  const char* value;
  const char* a_degenerate_value; // through which second derivatives are incomplete
  const char* vectors;
  const char* a_space; // with its article
  const char* depends_on_phases; // torch.linalg's message
  const char* well_defined; // what a loss may depend on at a degeneracy
  const char* alternatives; // what has the derivative that is a limit 0/0
  const char* second_order_alternatives;
  bool split_moves_values; // whether rule=Split() moves equal values apart
};

/// The words for messages of the public function `caller`.
const DecompositionWords& decomposition_words(std::string_view caller);

/// The words in which messages speak of the unitary factor of a polar decomposition.
struct PolarFactorWords {
  const char* argument; // the decomposed matrix
  const char* factor;
  const char* unique_if; // a sentence
};

/// The words for messages of the public function `caller`, one of those that compute a polar factor.
PolarFactorWords polar_factor_words(std::string_view caller);

} // namespace spectralgrad
