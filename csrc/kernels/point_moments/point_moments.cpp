#include "kernels/point_moments/point_moments.h"

#include "core/tolerances.h"
#include "kernels/point_moments/simd_point_moments.h"
#include "kernels/simd/batch_layout.h"
#include "kernels/simd/for_each_register.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// The largest number of coordinates of a cloud, so that the clouds of a register fit the cache.
constexpr int64_t most_coordinates = 1024;

template <typename T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.const_data_ptr<T>() : nullptr;
}

Tensor contiguous_or_undefined(const Tensor& x) {
  return x.defined() ? by_rows(x) : x;
}

int64_t number_of_clouds(const Tensor& points) {
  return points.numel() / (points.size(-2) * points.size(-1));
}

template <typename T>
simd::PointClouds<T> clouds(const Tensor& source, const Tensor& target, const Tensor& weights) {
  return {
      static_cast<int>(source.size(-2)),
      static_cast<int>(source.size(-1)),
      source.const_data_ptr<T>(),
      target.const_data_ptr<T>(),
      data_or_null<T>(weights)};
}

/// Calls `run(begin, end, memory)` of the kernel for ranges of the batch.
template <typename T, typename Run>
void for_each_cloud(const Tensor& points, const Run& run) {
  const auto& kernel = simd::for_this_machine<simd::PointMomentsKernel<T>>();
  const auto n = points.size(-2);
  const auto d = points.size(-1);
  const auto workspace = kernel.workspace(static_cast<int>(n), static_cast<int>(d));
  for_each_register_with_cost<T>(
      number_of_clouds(points),
      n * d * (d + 4),
      kernel.lanes,
      workspace,
      [&](int64_t begin, int64_t end, T* memory) { run(kernel, begin, end, memory); });
}

} // namespace

bool clouds_go_to_lanes(const Tensor& points) {
  return points.device().is_cpu() && points.numel() > 0 && points.size(-2) * points.size(-1) <= most_coordinates;
}

PointMoments point_moments(const Tensor& given_source, const Tensor& given_target, const Tensor& given_weights) {
  const auto source = by_rows(given_source);
  const auto target = by_rows(given_target);
  const auto weights = contiguous_or_undefined(given_weights);
  const auto d = source.size(-1);
  const auto empty = [&](std::initializer_list<int64_t> trailing) {
    auto sizes = source.sizes().slice(0, source.dim() - 2).vec();
    sizes.insert(sizes.end(), trailing);
    return at::empty(sizes, source.options());
  };
  const std::array<Tensor, 6> results{empty({d}), empty({d}), empty({d, d}), empty({}), empty({}), empty({3})};
  const auto bad = at::empty({number_of_clouds(source)}, source.options().dtype(at::kBool));
  AT_DISPATCH_FLOATING_TYPES(source.scalar_type(), "point_moments", [&] {
    const auto to = [&](size_t i) {
      return results[i].mutable_data_ptr<scalar_t>();
    };
    const simd::PointMomentsBatch<scalar_t> batch{
        clouds<scalar_t>(source, target, weights),
        static_cast<scalar_t>(tolerances::close_gap * tolerances::eps(source.scalar_type())),
        to(0),
        to(1),
        to(2),
        to(3),
        to(4),
        to(5),
        bad.mutable_data_ptr<bool>()};
    for_each_cloud<scalar_t>(source, [&](const auto& kernel, int64_t begin, int64_t end, scalar_t* memory) {
      kernel.moments(batch, begin, end, memory);
    });
  });
  return {results, bad.any().item<bool>()};
}

std::array<Tensor, 3> point_moments_vjp(
    const std::array<Tensor, 4>& given_cotangents,
    const Tensor& given_source,
    const Tensor& given_target,
    const Tensor& given_weights,
    const Tensor& given_source_center,
    const Tensor& given_target_center,
    const Tensor& given_units,
    const std::array<bool, 3>& needed) {
  const auto source = by_rows(given_source);
  const auto target = by_rows(given_target);
  const auto weights = contiguous_or_undefined(given_weights);
  const auto source_center = by_rows(given_source_center);
  const auto target_center = by_rows(given_target_center);
  const auto units = by_rows(given_units);
  std::array<Tensor, 4> cotangents;
  for (size_t i = 0; i < cotangents.size(); ++i) {
    cotangents[i] = contiguous_or_undefined(given_cotangents[i]);
  }
  const auto gradient_of = [&](size_t i, const Tensor& x) {
    return needed[i] && x.defined() ? at::empty(x.sizes(), x.options()) : Tensor();
  };
  const std::array<Tensor, 3> gradients{gradient_of(0, source), gradient_of(1, target), gradient_of(2, weights)};
  AT_DISPATCH_FLOATING_TYPES(source.scalar_type(), "point_moments_vjp", [&] {
    const auto to = [&](size_t i) {
      return gradients[i].defined() ? gradients[i].mutable_data_ptr<scalar_t>() : nullptr;
    };
    const simd::PointMomentsVjpBatch<scalar_t> batch{
        clouds<scalar_t>(source, target, weights),
        source_center.const_data_ptr<scalar_t>(),
        target_center.const_data_ptr<scalar_t>(),
        units.const_data_ptr<scalar_t>(),
        data_or_null<scalar_t>(cotangents[0]),
        data_or_null<scalar_t>(cotangents[1]),
        data_or_null<scalar_t>(cotangents[2]),
        data_or_null<scalar_t>(cotangents[3]),
        to(0),
        to(1),
        to(2)};
    for_each_cloud<scalar_t>(source, [&](const auto& kernel, int64_t begin, int64_t end, scalar_t* memory) {
      kernel.vjp(batch, begin, end, memory);
    });
  });
  return gradients;
}

} // namespace spectralgrad::kernels
