#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

/// A generalized problem of type `itype` (math/generalized_eigh.h), reduced to a standard one by the Cholesky factor of
/// B = L L^H.
struct ReducedProblem {
  at::Tensor matrix; // C (*, n, n): L^-1 A L^-H for type 1, L^H A L for types 2 and 3; its lower triangle is valid
  at::Tensor factor; // for `restore_eigenvectors`
  /// (count), int32. For each matrix: 0, the order of B's first minor that is not positive, or -1 if A or B is not
  /// finite. Then C is not finite.
  at::Tensor minors;
};

} // namespace spectralgrad::kernels
