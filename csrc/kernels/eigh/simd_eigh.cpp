#include "kernels/eigh/simd_eigh.h"
#include "kernels/eigh/large_eigh.h"
#include "kernels/eigh/small_eigh.h"
#include "kernels/simd/known_size.h"

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T, bool is_complex>
void decompose(const EighBatch<T>& batch, int64_t begin, int64_t end, T* memory, EighFindings& findings) {
  with_known_size(std::integer_sequence<int, 1, 2, 3, 4>(), batch.n, [&](auto n) {
    if constexpr (n == 0) {
      decompose_large<T, is_complex>(batch, begin, end, memory, findings);
    } else if (batch.eigenvectors != nullptr) {
      decompose_small<T, is_complex, n, true>(batch, begin, end, findings);
    } else {
      decompose_small<T, is_complex, n, false>(batch, begin, end, findings);
    }
  });
}

template <typename T>
void decompose(const EighBatch<T>& batch, int64_t begin, int64_t end, T* memory, EighFindings& findings) {
  return batch.is_complex ? decompose<T, true>(batch, begin, end, memory, findings)
                          : decompose<T, false>(batch, begin, end, memory, findings);
}

template <typename T>
int64_t workspace(int n, bool is_complex, bool vectors) {
  const auto each = is_complex ? LaneWorkspace<T, true, 1>::workspace_size(n, vectors)
                               : LaneWorkspace<T, false, 1>::workspace_size(n, vectors);
  return n <= 4 ? 0 : groups_at_once<T>(n, vectors) * each;
}

template <typename T>
constexpr EighKernel<T> kernel{lane_count<T>, workspace<T>, decompose<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(EighKernel)

} // namespace spectralgrad::kernels::simd
