#pragma once

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// Returns mu (*), in the units of the ascending eigenvalues (*, n), with sum_i f((lambda_i - mu)/kT) = filling.
/// `filling` (*) is between 0 and n, both excluded, and kT (*) is positive. mu is solved to the last digits, even if
/// electrons above and holes below it are exponentially few.
///
/// Fermi and Gaussian occupations grow with mu, so there is one root. Methfessel-Paxton and cold occupations may have
/// several roots. The function then returns the root nearest to that of the Gaussian smearing, as far as steps of kT/16
/// can separate roots. A cold smearing has no root inside a gap: if the Gaussian mu gives the filling to rounding, as
/// in every wide gap, it is the result. dos Santos and Marzari (2023), Phys. Rev. B 107, 195122, describe the choice
/// among roots.
at::Tensor fermi_level(
    Smearing smearing,
    const at::Tensor& eigenvalues,
    const at::Tensor& filling,
    const at::Tensor& kT);

} // namespace spectralgrad::math
