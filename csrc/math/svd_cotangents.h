#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>

// The common part of the derivatives of `svd` and of `svd_truncated`. math/svd.h has the formulas and the symbols.
namespace spectralgrad::math {

/// The cotangent of one side, U or V, that belongs to k singular values.
struct SideCotangent {
  at::Tensor inner; // W = V^H gV; undefined if there is no cotangent
  at::Tensor magnitude; // its N
  at::Tensor outer; // R, or its coefficients; undefined if the vectors span the space
  at::Tensor outer_magnitude; // its N

  /// F^0 o R.
  at::Tensor divided_outer(const at::Tensor& singular_values, const at::Tensor& largest, const Rule& rule) const;
};

/// The cotangents of both sides together.
struct SvdCotangents {
  at::Tensor together; // W of U and V that turn together, for the gaps sigma_j - sigma_i; undefined if there is none
  at::Tensor against; // W of U and V that turn against each other, for sigma_j + sigma_i
  at::Tensor magnitude; // the N of both
  at::Tensor largest; // the largest size of any cotangent (*, 1, 1); undefined if there is no W
  at::Tensor diagonal; // g_sigma, after the loss was judged

  SvdCotangents(
      const SideCotangent& of_U,
      const SideCotangent& of_V,
      const at::Tensor& U_cotangent,
      const at::Tensor& singular_values_cotangent,
      const at::Tensor& V_cotangent,
      const at::Tensor& singular_values);
};

} // namespace spectralgrad::math
