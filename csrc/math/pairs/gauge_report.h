#pragma once

#include "math/pairs/judge.h"

namespace spectralgrad::math {

/// Reports what `judge` found in the cotangents of the public `function`, as `checks()` says: a dependence on phases raises
/// `GaugeError`, all else warns or raises. After a warning of a second derivative the rest of that backward pass reports
/// phases only, because its cotangents come from the derivative of a derivative and not from a loss.
void report(const char* function, const Verdict& verdict);

} // namespace spectralgrad::math
