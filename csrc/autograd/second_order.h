#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace spectralgrad::autograd {

/// The saved outputs of a decomposition, for the derivative formulas to compute with: the same values, which tell when they
/// are themselves differentiated.
///
/// A second derivative through a repeated eigenvalue is lost in part, even for projectors: the term
/// X_ab (F_aj - F_bj)/(lambda_b - lambda_a) inside a cluster is 0/0. That must not pass silently: a derivative that flows
/// into what this returns warns, when it is computed, of the pairs that are closer than rounding.
std::pair<at::Tensor, at::Tensor> watch_second_order(const at::Tensor& eigenvalues, const at::Tensor& eigenvectors);

/// Whether the backward pass that runs in this thread has reported a second derivative.
bool second_order_was_reported();

} // namespace spectralgrad::autograd
