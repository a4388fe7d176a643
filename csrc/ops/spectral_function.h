#pragma once

#include "autograd/differentiable_op.h"
#include "math/divided_differences.h"
#include "ops/eigenpairs.h"

#include <string_view>

// The operators of which all functions of a matrix consist, besides ops/spectral_trace.h. `eigenpairs` reads A, and its
// results are constants of differentiation. The other operators take A, too, and do not read it: it is there for
// autograd to follow.
namespace spectralgrad::ops {

/// Returns f(A), which is D_0 of math/spectral_function.h. Differentiable in the jets of `f`, and three times in A.
at::Tensor spectral_function(const math::ScalarFunction& f, const Eigenpairs& pairs);

/// The operator itself, D_m. Inputs: A, eigenvalues, eigenvectors, jets, first, second and third direction; the last
/// four may be undefined.
at::Tensor call_spectral_function(
    const autograd::variable_list& inputs,
    std::string_view function,
    c10::ArrayRef<double> parameters);

/// The transpose of D_m in the jets. Inputs as above; the first direction is always defined. The jets are only used to
/// choose the formula of each pair.
at::Tensor call_spectral_function_transposed(const autograd::variable_list& inputs);

} // namespace spectralgrad::ops
