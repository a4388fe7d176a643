#include "math/pairs/gauge_report.h"

#include "autograd/second_order.h"
#include "core/caller_name.h"
#include "core/decomposition_words.h"
#include "core/report.h"

#include <spectralgrad/checks.h>

#include <c10/util/StringUtil.h>

#include <string>

namespace spectralgrad::math {
namespace {

/// Set by `PartOfBatch`.
thread_local const std::vector<int64_t>* part_of_batch = nullptr;

int64_t number_in_batch(int64_t matrix) {
  return part_of_batch == nullptr ? matrix : (*part_of_batch)[static_cast<size_t>(matrix)];
}

std::string describe(const Verdict& verdict) {
  const auto& words = decomposition_words(caller_name());
  const auto prefix = "spectralgrad." + caller_name() + ": ";
  const auto where = c10::str(
      " (",
      words.value,
      "s ",
      verdict.first,
      " and ",
      verdict.second,
      " of matrix ",
      number_in_batch(verdict.matrix),
      " of the batch are equal)");
  switch (verdict.finding) {
    case Finding::phases:
      return words.depends_on_phases;
    case Finding::basis:
      return c10::str(
          prefix,
          "The loss depends on the choice of ",
          words.vectors,
          " inside ",
          words.a_space,
          ", so it has no gradient there",
          where,
          ". ",
          words.well_defined,
          " With the default rule these ",
          words.vectors,
          " contribute zero to each other's part of the gradient.");
    case Finding::null_spaces:
      return c10::str(
          prefix,
          "The loss depends on the choice of singular vectors of the singular value 0, so it has no gradient there "
          "(singular value ",
          verdict.first,
          " of matrix ",
          verdict.matrix,
          " of the batch is 0). The left and the right null space turn separately, so only the projectors onto the "
          "whole null spaces are well defined. With the default rule these singular vectors contribute zero to each "
          "other's part of the gradient.");
    case Finding::cut:
      return c10::str(
          prefix,
          "The truncation cuts through a repeated singular value, and the loss depends on which of its singular "
          "vectors are kept, so it has no gradient there (singular values ",
          verdict.first,
          ", which is kept, and ",
          verdict.second,
          ", which is dropped, of matrix ",
          verdict.matrix,
          " of the batch are equal). Expected a rank at an edge of the repeated singular value; keep_multiplets=True "
          "moves it there unless that is 0.");
    case Finding::lost_limit:
      return c10::str(
          prefix,
          "The loss looks like tr(M f(A)) written with ",
          words.vectors,
          " of a repeated ",
          words.value,
          where,
          ". Part of its gradient is a limit 0/0 that no backward of ",
          words.name,
          " can see, and is missing. ",
          words.alternatives,
          words.split_moves_values ? "; rule=spectralgrad.Split() recovers most of it." : ".");
    case Finding::not_differentiable:
      return c10::str(
          prefix,
          "The loss treats equal ",
          words.value,
          "s differently",
          where,
          ", where they are not differentiable: only directional derivatives exist.");
    case Finding::none:
      break;
  }
  return {};
}

} // namespace

PartOfBatch::PartOfBatch(const std::vector<int64_t>& numbers) {
  part_of_batch = &numbers;
}

PartOfBatch::~PartOfBatch() {
  part_of_batch = nullptr;
}

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

void report_cut(const CutLevel& cut) {
  if (checks() == Checks::ignore || autograd::second_order_was_reported()) {
    return;
  }
  const auto* argument = cut.at_stop ? "stop" : "start";
  warn_or_raise(
      c10::str(
          "spectralgrad.",
          caller_name(),
          ": ",
          argument,
          "=",
          cut.border,
          " cuts through a repeated eigenvalue, and the loss depends on which of its eigenvectors are kept, so it has "
          "no gradient there (matrix ",
          cut.matrix,
          " of the batch: the level ",
          cut.level,
          " has multiplicity ",
          cut.end - cut.begin,
          ", the eigenvalues ",
          cut.begin,
          " to ",
          cut.end - 1,
          ", and the gap at the cut is ",
          cut.gap,
          "). Expected ",
          argument,
          " at an edge of the level, ",
          cut.begin,
          " or ",
          cut.end,
          ". With the default rule the eigenvectors on both sides of the cut contribute zero to each other's part of "
          "the gradient."));
}

void report_not_unique(const NotUnique& factor) {
  if (checks() == Checks::ignore || autograd::second_order_was_reported()) {
    return;
  }
  const auto words = polar_factor_words(caller_name());
  warn_or_raise(
      c10::str(
          "spectralgrad.",
          caller_name(),
          ": The loss depends on ",
          words.factor,
          ", which is not unique, so it has no gradient there (",
          factor.first == factor.second ? c10::str("singular value ", factor.first)
                                        : c10::str("the sum of singular values ", factor.first, " and ", factor.second),
          factor.proper ? ", with the sign of the determinant on the last one," : "",
          " of matrix ",
          factor.matrix,
          " of the batch is 0). ",
          words.unique_if,
          " The directions in which it may turn contribute zero to the gradient."));
}

void report_ill_conditioned(const IllConditioned& pair) {
  if (checks() == Checks::ignore || autograd::second_order_was_reported()) {
    return;
  }
  const auto which = c10::str(
      "eigenvalues ",
      pair.first,
      " and ",
      pair.second,
      " of matrix ",
      number_in_batch(pair.matrix),
      " of the batch have the condition numbers 1/|y^H x| = ",
      pair.first_condition,
      " and ",
      pair.second_condition,
      ", and cond(V) = ",
      pair.condition_of_V);
  constexpr auto ways_out =
      "Symmetric functions of the eigenvalues that meet, such as their sum, and the trace have a derivative, which is "
      "right here. So have functions of a Hermitian matrix: spectralgrad.funm, trace_funm and eigh.";
  const auto prefix = "spectralgrad." + caller_name() + ": ";
  if (pair.defective) {
    warn_or_raise(
        c10::str(
            prefix,
            "The matrix is defective to working precision, like a Jordan block: eigenvectors are parallel where "
            "eigenvalues meet (",
            which,
            "), and the loss distinguishes these, or depends on their eigenvectors. There they are no differentiable "
            "functions of the matrix: a change of size t moves m of them by the m-th root of t (a Puiseux series). ",
            ways_out));
    return;
  }
  if (pair.rounding) {
    warn_or_raise(
        c10::str(
            prefix,
            "The matrix is nearly defective (",
            which,
            "), and the loss depends on these eigenvectors. Its gradient is a small sum of large terms, whose "
            "round-off gives it a relative error of about ",
            pair.relative_error,
            ". This also holds for a Riesz projector V[:, c] @ inv(V)[c, :], which is well-conditioned itself. ",
            ways_out));
    return;
  }
  warn_or_raise(
      c10::str(
          prefix,
          "The matrix is nearly defective (",
          which,
          "), and the loss distinguishes these eigenvalues. So their derivatives have a relative error of about ",
          pair.relative_error,
          ", whatever computes them. ",
          ways_out));
}

} // namespace spectralgrad::math
