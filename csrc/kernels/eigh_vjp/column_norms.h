#pragma once

#include "kernels/eigh_vjp/parallel_parts.h"
#include "kernels/eigh_vjp/simd_columns.h"
#include "kernels/simd/batch_layout.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

/// Upper bounds of the norms of gV's columns, (count, n). The bound of a zero column is zero.
template <typename real_t>
at::Tensor norm_bounds(const at::Tensor& gV) {
  const auto count = gV.size(0);
  const auto n = gV.size(-1);
  const auto bytes = n * n * gV.element_size();
  // Each part is a range of rows, because the threads that wrote gV by rows still have them in their caches.
  const auto parts = std::clamp<int64_t>(bytes >> 17, 1, 16);
  const auto rows = (n + parts - 1) / parts;
  const auto options = gV.options().dtype(c10::CppTypeToScalarType<real_t>::value);
  const auto sums = at::empty({2, count, parts, n}, options);
  const auto norms = at::empty({count, n}, options);
  auto* sum = sums.template mutable_data_ptr<real_t>();
  auto* largest = sum + count * parts * n;
  const auto& kernel = simd::for_this_machine<simd::ColumnKernel<real_t>>();
  // Reading an entry is less work than dividing it. So 16 bytes count as one entry.
  for_each_part(count, parts, bytes / parts / 16, [&](int64_t i, int64_t begin, int64_t end) {
    for (auto part = begin; part < end; ++part) {
      const auto at = (i * parts + part) * n;
      const auto row = std::min(n, part * rows);
      const auto row_end = std::min(n, row + rows);
      kernel.sums(matrices<real_t>(gV, i), n, gV.is_complex(), row, row_end, sum + at, largest + at);
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    const auto at = i * parts * n;
    auto* to = norms.template mutable_data_ptr<real_t>() + i * n;
    kernel.norm_bounds(sum + at, largest + at, parts, n, gV.is_complex(), to);
  }
  return norms;
}

} // namespace spectralgrad::kernels
