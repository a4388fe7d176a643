#pragma once

#include "core/optional_tensor.h"
#include "math/pairs/judge.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cstdint>

// Shared by the operators that judge the cotangents of a whole batch. They run on the host for every device, because
// that takes only a few passes over small data.
namespace spectralgrad::math {

/// Returns `x` on the host, contiguous and resolved; undefined if `x` is.
inline at::Tensor on_host(const OptionalTensor& x) {
  return x && x->defined() ? x->resolve_conj().resolve_neg().cpu().contiguous() : at::Tensor();
}

/// The numbers of one matrix of the batch, `size` for each; null if `x` is undefined.
template <typename T>
const T* numbers_or_null(const at::Tensor& x, int64_t matrix, int64_t size) {
  return x.defined() ? x.const_data_ptr<T>() + matrix * size : nullptr;
}

/// Returns the most severe of the verdicts `judge_one(matrix)`, with the first matrix that has it.
template <typename JudgeOne>
Verdict most_severe_verdict(int64_t count, const JudgeOne& judge_one) {
  Verdict most_severe;
  for (int64_t matrix = 0; matrix < count; ++matrix) {
    Verdict verdict = judge_one(matrix);
    verdict.matrix = matrix;
    if (verdict.is_more_severe_than(most_severe)) {
      most_severe = verdict;
    }
  }
  return most_severe;
}

/// Returns `cotangent`, or zero if that is undefined. Operators that judge return `zeros`, which are added so that no
/// compiler removes the call as dead code.
inline at::Tensor with_zeros(const at::Tensor& cotangent, const at::Tensor& zeros) {
  return cotangent.defined() ? cotangent + zeros : zeros;
}

} // namespace spectralgrad::math
