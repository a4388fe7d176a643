#include "math/pairs/gauge_report.h"

#include "autograd/second_order.h"
#include "core/caller_name.h"
#include "core/report.h"

#include <spectralgrad/checks.h>

#include <c10/util/StringUtil.h>

#include <string>

namespace spectralgrad::math {
namespace {

std::string describe(const Verdict& verdict) {
  const auto where = c10::str(
      " (eigenvalues ",
      verdict.first,
      " and ",
      verdict.second,
      " of matrix ",
      verdict.matrix,
      " of the batch are equal)");
  const auto caller = "spectralgrad." + caller_name() + ": ";
  switch (verdict.finding) {
    case Finding::phases:
      return "linalg_eigh_backward: The eigenvectors in the complex case are specified up to multiplication by e^{i phi}. "
             "The specified loss function depends on this quantity, so it is ill-defined.";
    case Finding::basis:
      return caller +
          "The loss depends on the choice of eigenvectors inside an eigenspace, so it has no gradient there" + where +
          ". Only functions of the whole eigenspace, such as its projector, are well defined. With the default rule these "
          "eigenvectors contribute zero to each other's part of the gradient.";
    case Finding::lost_limit:
      return caller + "The loss looks like tr(M f(A)) written with eigenvectors of a repeated eigenvalue" + where +
          ". Part of its gradient is a limit 0/0 that no backward of eigh can see, and is missing. "
          "spectralgrad.funm, trace_funm, spectral_projector, density_matrix and spectral_map have it; "
          "rule=spectralgrad.Split() recovers most of it.";
    case Finding::not_differentiable:
      return caller + "The loss treats equal eigenvalues differently" + where +
          ", where they are not differentiable: only directional derivatives exist.";
    case Finding::none:
      break;
  }
  return {};
}

} // namespace

void report(const Verdict& verdict) {
  if (verdict.finding == Finding::none || checks() == Checks::ignore) {
    return;
  }
  if (verdict.finding == Finding::phases) {
    gauge_reporter().raise(describe(verdict));
  }
  if (!autograd::second_order_was_reported()) {
    warn_or_raise(describe(verdict));
  }
}

} // namespace spectralgrad::math
