#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

struct SvdGradient {
  at::Tensor gradient; // (*, m, n)
  bool suspicious; // whether the loss may have no gradient for some matrix; `math::svd_vjp` judges it
};

} // namespace spectralgrad::kernels
