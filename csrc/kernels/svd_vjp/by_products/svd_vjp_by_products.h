#pragma once

#include "kernels/svd_vjp/by_products/svd_vjp_inputs.h"
#include "kernels/svd_vjp/svd_gradient.h"

#include <spectralgrad/rule.h>

namespace spectralgrad::kernels {

/// The vjp by matrix products with a vectorized pass between them, one matrix on each thread. For any m and n >= 1.
SvdGradient svd_vjp_by_products(const SvdVjpInputs& inputs, const Rule& rule);

} // namespace spectralgrad::kernels
