#include "kernels/svd/simd_svd.h"
#include "kernels/svd/lane_svd.h"

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T>
void decompose(const SvdBatch<T>& batch, int64_t begin, int64_t end, T* memory, EighFindings& findings) {
  return batch.is_complex ? decompose_svd<T, true>(batch, begin, end, memory, findings)
                          : decompose_svd<T, false>(batch, begin, end, memory, findings);
}

template <typename T>
int64_t workspace(int rows, int columns, bool is_complex) {
  return is_complex ? SvdWorkspace<T, true, svd_groups>::workspace_size(rows, columns)
                    : SvdWorkspace<T, false, svd_groups>::workspace_size(rows, columns);
}

template <typename T>
constexpr SvdKernel<T> kernel{lane_count<T>, workspace<T>, decompose<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(SvdKernel)

} // namespace spectralgrad::kernels::simd
