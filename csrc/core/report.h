#pragma once

#include <string>

namespace spectralgrad {

/// Reports a gradient that is lost or undefined: warns, or raises `GaugeError` under `Checks::raise`.
void warn_or_raise(const std::string& message);

} // namespace spectralgrad
