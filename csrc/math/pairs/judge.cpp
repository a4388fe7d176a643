#include "math/pairs/judge.h"

#include <c10/util/StringUtil.h>
#include <torch/csrc/autograd/graph_task.h>

#include <string>

namespace spectralgrad::kernels {
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
  switch (verdict.finding) {
    case Finding::phases:
      return "linalg_eigh_backward: The eigenvectors in the complex case are specified up to multiplication by e^{i phi}. "
             "The specified loss function depends on this quantity, so it is ill-defined.";
    case Finding::basis:
      return "spectralgrad.eigh: The loss depends on the choice of eigenvectors inside an eigenspace, so it has no "
             "gradient there" +
          where +
          ". Only functions of the whole eigenspace, such as its projector, are well defined. With the default rule these "
          "eigenvectors contribute zero to each other's part of the gradient.";
    case Finding::lost_limit:
      return "spectralgrad.eigh: The loss looks like tr(M f(A)) written with eigenvectors of a repeated eigenvalue" +
          where +
          ". Part of its gradient is a limit 0/0 that no backward of eigh can see, and is missing. "
          "spectralgrad.funm and its relatives, or spectral_map, have it; rule=spectralgrad.Split() recovers most of it.";
    case Finding::not_differentiable:
      return "spectralgrad.eigh: The loss treats equal eigenvalues differently" + where +
          ", where they are not differentiable: only directional derivatives exist.";
    case Finding::none:
      break;
  }
  return {};
}

// Of the last backward pass of this thread that warned of a second derivative; PyTorch numbers them from 0.
thread_local int second_order_pass = -1;

} // namespace

void note_second_order_warning() {
  second_order_pass = torch::autograd::get_current_graph_task_id();
}

void warn_or_raise(const std::string& message) {
  if (checks() == Checks::raise) {
    gauge_reporter().raise(message);
  }
  gauge_reporter().warn(message);
}

void act_on(const Verdict& verdict) {
  if (verdict.finding == Finding::none || checks() == Checks::ignore) {
    return;
  }
  const auto pass = torch::autograd::get_current_graph_task_id();
  if (verdict.finding != Finding::phases && pass != -1 && pass == second_order_pass) {
    return;
  }
  if (verdict.finding == Finding::phases) {
    gauge_reporter().raise(describe(verdict));
  }
  warn_or_raise(describe(verdict));
}

} // namespace spectralgrad::kernels
