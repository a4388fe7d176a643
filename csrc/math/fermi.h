#pragma once

#include <ATen/core/Tensor.h>

// The Fermi function f(x) = 1/(1 + e^x) of x = (lambda - mu)/kT. All functions are smooth tensor code, because
// derivatives with respect to mu and kT pass through x. With u = f(1 - f) and v = 1 - 2f: f' = -u, u' = -u v, v' = 2u.
namespace spectralgrad::math {

/// The slope u = -f' of an occupation and its first three derivatives, (*, 4, n), in units of e^log_scale. The constant
/// `log_scale` (*) keeps a slope that would underflow, as in a gap of many kT.
struct OccupationSlope {
  at::Tensor jets;
  at::Tensor log_scale;
};

/// f(x), computed without overflow.
at::Tensor fermi(const at::Tensor& x);
/// ln f(x).
at::Tensor log_fermi(const at::Tensor& x);

/// f and its derivatives up to `order`, which is at most 6, from f, u and v: (*, order + 1, n).
at::Tensor fermi_jets(const at::Tensor& f, const at::Tensor& u, const at::Tensor& v, int64_t order);
/// f and its first four derivatives: (*, 5, n).
at::Tensor fermi_jets(const at::Tensor& x);
/// The entropy s = -(f ln f + (1 - f) ln(1 - f)) and its first four derivatives: (*, 5, n).
at::Tensor fermi_entropy_jets(const at::Tensor& x);
/// u and its derivatives, in units of the largest u of each matrix.
OccupationSlope fermi_slope(const at::Tensor& x);

} // namespace spectralgrad::math
