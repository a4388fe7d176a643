#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace spectralgrad::ops {

/// Changes to an orthonormal basis and back. With the overlap S = C C^H, C^-1 H C^-H has the eigenvalues of
/// H x = epsilon S x. Without an overlap, the given basis is orthonormal and nothing changes.
class OrthonormalBasis {
 public:
  /// Raises the errors of `eigh` for the overlap (*, n, n), and `c10::LinAlgError` if it is not positive definite.
  /// Under `Checks::ignore` that matrix gives NaN. Messages name `function` and call the overlap `name`.
  explicit OrthonormalBasis(
      const std::optional<at::Tensor>& overlap,
      const char* function = "density_matrix",
      const char* name = "overlap");

  /// Returns C^-1 H C^-H.
  at::Tensor reduce(const at::Tensor& H) const;

  /// Returns C^-H D C^-1.
  at::Tensor restore(const at::Tensor& D) const;

  /// Returns C^-H V: eigenvectors of H x = epsilon S x from those of C^-1 H C^-H.
  at::Tensor restore_vectors(const at::Tensor& V) const;

  /// The round-off of the levels in units of eps*max|epsilon|, (*): about the condition number of S. Undefined means 1.
  at::Tensor amplification() const;

 private:
  at::Tensor factor_;
};

} // namespace spectralgrad::ops
