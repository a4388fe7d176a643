#pragma once

#include <ATen/core/Tensor.h>

// Smooth tensor code: what depends on mu and kT is differentiated through it.
//
// The Fermi function f(x) = 1/(1 + e^x) of x = (lambda - mu)/kT, and the chemical potential that it implies. With u = f(1 - f)
// and v = 1 - 2f: f' = -u, u' = -u v, v' = 2u.
namespace spectralgrad::math {

/// f(x), formed without overflow.
at::Tensor fermi(const at::Tensor& x);

/// f and its first four derivatives: (*, 5, n).
at::Tensor fermi_jets(const at::Tensor& x);

/// The entropy -(f ln f + (1 - f) ln(1 - f)) and its first four derivatives: (*, 5, n).
at::Tensor entropy_jets(const at::Tensor& x);

/// u and its first three derivatives, (*, 4, n), in units of e^(log_scale), (*), a constant: the largest u of each matrix, which
/// may be far below what numbers can hold (a gap of many kT).
struct FermiSlope {
  at::Tensor jets;
  at::Tensor log_scale;
};
FermiSlope fermi_slope(const at::Tensor& x);

/// mu (*), in the units of the ascending eigenvalues (*, n), with sum_i f((lambda_i - mu)/kT) = filling, 0 < filling < n; to the
/// last digits also where all electrons and holes are exponentially few. kT > 0 and filling (*).
at::Tensor chemical_potential(const at::Tensor& eigenvalues, const at::Tensor& filling, const at::Tensor& kT);

} // namespace spectralgrad::math
