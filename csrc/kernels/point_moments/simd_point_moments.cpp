#include "kernels/point_moments/simd_point_moments.h"
#include "kernels/point_moments/lane_moments.h"
#include "kernels/point_moments/lane_moments_vjp.h"
#include "kernels/simd/known_size.h"

#include <utility>

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T>
int64_t workspace(int points, int dimension) {
  return LaneClouds<T, true, 0>::workspace_size(points, dimension) +
      static_cast<int64_t>(lane_count<T>) * (dimension * (dimension + 6) + 5);
}

template <typename Pass, typename T, typename Batch>
void run_over(const Batch& batch, int64_t begin, int64_t end, T* memory) {
  constexpr int W = lane_count<T>;
  for (auto first = begin; first < end; first += W) {
    Pass(batch, Memory<T>(memory)).run({first, static_cast<int>(end - first < W ? end - first : W)});
  }
}

template <template <typename, bool, int> class Pass, typename T, bool weighted, typename Batch>
void run_weighted(const Batch& batch, int64_t begin, int64_t end, T* memory) {
  with_known_size(std::integer_sequence<int, 2, 3>(), batch.clouds.dimension, [&](auto known_d) {
    run_over<Pass<T, weighted, known_d()>>(batch, begin, end, memory);
  });
}

template <template <typename, bool, int> class Pass, typename T, template <typename> class Batch>
void run(const Batch<T>& batch, int64_t begin, int64_t end, T* memory) {
  batch.clouds.weights != nullptr ? run_weighted<Pass, T, true>(batch, begin, end, memory)
                                  : run_weighted<Pass, T, false>(batch, begin, end, memory);
}

template <typename T>
constexpr PointMomentsKernel<T> kernel{
    lane_count<T>,
    workspace<T>,
    run<Moments, T, PointMomentsBatch>,
    run<MomentsVjp, T, PointMomentsVjpBatch>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(PointMomentsKernel)

} // namespace spectralgrad::kernels::simd
