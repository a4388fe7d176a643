#pragma once

#include <c10/util/Exception.h>

#include <cmath>
#include <optional>

namespace spectralgrad::ops {

/// Raises `c10::ValueError` unless `rtol`, if given, is finite and not negative.
inline void check_rtol(const char* function, const std::optional<double>& rtol) {
  TORCH_CHECK_VALUE(
      !rtol || (std::isfinite(*rtol) && *rtol >= 0),
      "spectralgrad.",
      function,
      ": Expected rtol to be a number >= 0, but got ",
      rtol.value_or(0));
}

} // namespace spectralgrad::ops
