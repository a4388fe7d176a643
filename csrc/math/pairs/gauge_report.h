#pragma once

#include "math/pairs/judge.h"

#include <cstdint>
#include <vector>

namespace spectralgrad::math {

/// Reports a finding of `judge`, unless `checks()` is `ignore`. The message names `caller_name()`. A dependence on
/// phases raises `GaugeError`; other findings warn or raise, depending on `checks()`. After a warning about a second
/// derivative, the rest of that backward pass reports phases only, because its cotangents do not come from a loss.
void report(const Verdict& verdict);

/// A level of equal eigenvalues of which `eigh_subset` keeps a part.
struct CutLevel {
  int64_t matrix; // index in the batch
  int64_t begin; // the range of equal eigenvalues
  int64_t end;
  int64_t border; // the index of the first eigenvalue above the cut
  bool at_stop; // `border` is the argument stop, else start
  double level;
  double gap; // at the cut
};

/// Reports a loss that depends on which eigenvectors of this level are kept, as `report` does.
void report_cut(const CutLevel& cut);

/// While it lives, findings of this thread are for a part of a batch, and messages take the number of a matrix from
/// `numbers`.
class PartOfBatch {
 public:
  explicit PartOfBatch(const std::vector<int64_t>& numbers);
  ~PartOfBatch();
  PartOfBatch(const PartOfBatch&) = delete;
  PartOfBatch& operator=(const PartOfBatch&) = delete;
  PartOfBatch(PartOfBatch&&) = delete;
  PartOfBatch& operator=(PartOfBatch&&) = delete;
};

/// A polar factor that may turn, because the sum of two singular values is round-off.
struct NotUnique {
  int64_t matrix; // index in the batch
  int64_t first; // indices of the singular values
  int64_t second;
  bool proper; // the last singular value has the sign of the determinant
};

/// Reports a loss that depends on such a factor, as `report` does.
void report_not_unique(const NotUnique& factor);

/// Two eigenvalues of a general matrix, at least one with a large condition number, for which the derivative of the
/// loss is inaccurate.
struct IllConditioned {
  bool defective = false; // equal up to round-off
  int64_t matrix = 0; // index in the batch
  int64_t first = 0; // indices of the eigenvalues
  int64_t second = 0;
  double first_condition = 0; // 1/|y_i^H x_i|
  double second_condition = 0;
  double relative_error = 0; // of their derivatives
  double condition_of_V = 0; // in the Frobenius norm
  bool rounding = false; // the error is round-off of V^-1, which a loss of their eigenvectors amplifies
};

/// Warns of it, or raises, depending on `checks()`.
void report_ill_conditioned(const IllConditioned& pair);

} // namespace spectralgrad::math
