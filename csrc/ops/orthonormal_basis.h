#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad::ops {

/// Changes to an orthonormal basis and back. With the overlap S = C C^H, C^-1 H C^-H has the eigenvalues of
/// H x = epsilon S x. Without an overlap, the given basis is orthonormal and nothing changes.
///
/// It is differentiable tensor code. `density_matrix` differentiates it; `generalized_eigh` uses it below autograd, for
/// devices without a kernel.
class OrthonormalBasis {
 public:
  /// Raises the errors of `eigh` for the overlap (*, n, n), and `c10::LinAlgError` if it is not positive definite.
  /// Under `Checks::ignore` that matrix gives NaN. Messages name `density_matrix`.
  explicit OrthonormalBasis(const std::optional<at::Tensor>& overlap);

  /// The basis of a given factor C (*, n, n), lower triangular.
  static OrthonormalBasis of_factor(at::Tensor factor);

  /// Returns C^-1 H C^-H.
  at::Tensor reduce(const at::Tensor& H) const;

  /// Returns C^-H D C^-1.
  at::Tensor restore(const at::Tensor& D) const;

  /// Returns C^-H Y: vectors in the given basis for vectors (*, n, k) in the orthonormal one.
  at::Tensor restore_vectors(const at::Tensor& Y) const;

  /// The round-off of the levels in units of eps*max|epsilon|, (*): about the condition number of S. Undefined means 1.
  at::Tensor amplification() const;

 private:
  OrthonormalBasis() = default;

  at::Tensor factor_;
};

} // namespace spectralgrad::ops
