#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::autograd {

/// Returns the saved outputs of a decomposition unchanged. Differentiating the results warns if eigenvalues are
/// degenerate. The derivative formulas use these results, so that second derivatives warn.
///
/// A second derivative through a repeated eigenvalue is incomplete, even for projectors: inside a cluster, the term
/// X_ab (F_aj - F_bj)/(lambda_b - lambda_a) is 0/0. The warning is given, when the derivative is computed, if a gap is
/// no larger than round-off, which is `amplification` (*) times as large as for a Hermitian matrix; undefined means 1.
std::pair<at::Tensor, at::Tensor> with_second_order_warning(
    const at::Tensor& eigenvalues,
    const at::Tensor& eigenvectors,
    const at::Tensor& amplification = {});

/// Returns `x`, which enters a second derivative. Warns, when it is computed, if eigenvalues are degenerate.
at::Tensor warn_of_second_order(const at::Tensor& x, const at::Tensor& eigenvalues);

/// Makes the backward passes that start while it lives count as part of the current one, for warnings.
class NestedPass {
 public:
  NestedPass();
  ~NestedPass();
  NestedPass(const NestedPass&) = delete;
  NestedPass& operator=(const NestedPass&) = delete;
  NestedPass(NestedPass&&) = delete;
  NestedPass& operator=(NestedPass&&) = delete;

 private:
  int outer_;
};

/// Whether the current backward pass of this thread has warned about a second derivative.
bool second_order_was_reported();

} // namespace spectralgrad::autograd
