#pragma once

#include "math/pairs/judge.h"

namespace spectralgrad::math {

/// Reports a finding of `judge`, unless `checks()` is `ignore`. The message names `caller_name()`. A dependence on
/// phases raises `GaugeError`; other findings warn or raise, depending on `checks()`. After a warning about a second
/// derivative, the rest of that backward pass reports phases only, because its cotangents do not come from a loss.
void report(const Verdict& verdict);

} // namespace spectralgrad::math
