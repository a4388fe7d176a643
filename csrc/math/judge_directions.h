#pragma once

#include "math/scalar_function.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

// Finds directions along which a function of a matrix has no derivative, and warns or raises, depending on `checks()`.
// Directions X (*, n, n) are given in the eigenbasis.
namespace spectralgrad::math {

/// Reports an infinite derivative along the one to three directions X, which is due to their parts inside the null
/// space. If f has k finite derivatives at 0, k + 1 of the directions must have such a part.
void judge_kernel_parts(const ScalarFunction& f, const at::Tensor& eigenvalues, const std::vector<at::Tensor>& X);

/// Reports that a part of the derivative at that matrix of the batch is infinite.
void warn_of_infinite_derivative(const ScalarFunction& f, int64_t matrix);

/// Whether steps have a partly filled level (neither 0 nor 1), so that directions must be checked.
bool has_partly_filled_level(const ScalarFunction& f);

/// Reports if X, a direction in the eigenbasis, has a part inside a degenerate level that is partly filled: if its
/// block there is not a multiple of the identity.
void judge_look_inside_level(const ScalarFunction& f, const at::Tensor& eigenvalues, const at::Tensor& X);

} // namespace spectralgrad::math
