#include "core/report.h"

#include <spectralgrad/checks.h>

namespace spectralgrad {

void warn_or_raise(const std::string& message) {
  if (checks() == Checks::raise) {
    gauge_reporter().raise(message);
  }
  gauge_reporter().warn(message);
}

} // namespace spectralgrad
