#pragma once

#include <spectralgrad/density_matrix.h>

#include <ATen/core/Tensor.h>

namespace spectralgrad::math {

/// mu (*), in the units of the ascending eigenvalues (*, n), with sum_i f((lambda_i - mu)/kT) = filling, 0 < filling < n; kT > 0
/// and filling (*). It is solved to the last digits, also where all electrons and holes are exponentially few.
///
/// Fermi and Gaussian occupations grow with mu, so there is one root. Methfessel-Paxton's and cold ones do not: the result is the
/// root nearest to that of the Gaussian smearing, as far as steps of kT/16 can tell roots apart. A cold smearing has no root
/// inside a gap. Where the Gaussian mu holds the electrons to rounding, as in every wide gap, it is taken.
/// dos Santos and Marzari (2023), Phys. Rev. B 107, 195122, describe the choice among roots.
at::Tensor fermi_level(
    Smearing smearing,
    const at::Tensor& eigenvalues,
    const at::Tensor& filling,
    const at::Tensor& kT);

} // namespace spectralgrad::math
