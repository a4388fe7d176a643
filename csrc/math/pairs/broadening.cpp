#include "math/pairs/broadening.h"

#include "core/tolerances.h"

namespace spectralgrad::math {

BroadeningRule<double> broadening_rule(const Rule& rule, c10::ScalarType dtype) {
  const auto eps = tolerances::eps(dtype);
  const auto width = rule.width().value_or(0);
  switch (rule.kind()) {
    case Rule::Kind::gated:
      return {Broadening::lorentzian, width * eps, 0};
    case Rule::Kind::split:
      return {Broadening::lorentzian, tolerances::gate_width * eps, 0};
    case Rule::Kind::bare:
      return {Broadening::bare, 0, 0};
    case Rule::Kind::lorentzian:
    case Rule::Kind::cutoff:
      break;
  }
  const auto form = rule.kind() == Rule::Kind::cutoff ? Broadening::cutoff : Broadening::lorentzian;
  return rule.relative() ? BroadeningRule<double>{form, width, 0} : BroadeningRule<double>{form, 0, width};
}

} // namespace spectralgrad::math
