#include "math/pairs/broadening.h"

#include "core/tolerances.h"

#include <spectralgrad/rule.h>

#include <algorithm>
#include <limits>

namespace spectralgrad::math {
namespace {

double largest_number(c10::ScalarType dtype) {
  return c10::toRealValueType(dtype) == c10::ScalarType::Double
      ? std::numeric_limits<double>::max()
      : static_cast<double>(std::numeric_limits<float>::max());
}

} // namespace

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
  // A width that is out of the range of `dtype` would become infinite.
  const auto finite = std::min(width, largest_number(dtype));
  return rule.relative() ? BroadeningRule<double>{form, finite, 0} : BroadeningRule<double>{form, 0, finite};
}

} // namespace spectralgrad::math
