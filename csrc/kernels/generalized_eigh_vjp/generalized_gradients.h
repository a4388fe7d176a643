#pragma once

#include <ATen/core/Tensor.h>

namespace spectralgrad::kernels {

struct GeneralizedGradients {
  at::Tensor A; // undefined if not needed
  at::Tensor B;
  /// Whether the loss may have no gradient, and nothing was reported. A preselection from bounds:
  /// math/pairs/judge_cotangents.h decides.
  bool suspicious = false;
};

} // namespace spectralgrad::kernels
