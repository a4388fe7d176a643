#pragma once

#include <ATen/core/Tensor.h>

// The Fermi function f(x) = 1/(1 + e^x) of x = (lambda - mu)/kT, as smooth tensor code: what depends on mu and kT is
// differentiated through it. With u = f(1 - f) and v = 1 - 2f: f' = -u, u' = -u v, v' = 2u.
namespace spectralgrad::derivatives {

struct OccupationSlope;

/// f(x), formed without overflow, and ln f(x).
at::Tensor fermi(const at::Tensor& x);
at::Tensor log_fermi(const at::Tensor& x);

// What derivatives/smearing.h asks of a smearing. The unit of the slope is the largest u of each matrix.
at::Tensor fermi_jets(const at::Tensor& x);
at::Tensor fermi_entropy_jets(const at::Tensor& x);
OccupationSlope fermi_slope(const at::Tensor& x);

} // namespace spectralgrad::derivatives
