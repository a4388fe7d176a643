#pragma once

#include "kernels/simd/exchange.h"
#include "kernels/simd/known_size.h"
#include "kernels/simd/memory.h"
#include "kernels/simd/pass_kernel.h"

#include <cstdint>

// Runs a pass over a batch.
//
// A pass is a class template `Pass<T, is_complex, known_n>`. Its constructor takes the batch and the workspace.
// `run(members)` processes one register of matrices. `workspace_size(n)` is the size of the workspace in numbers.
// `known_n` is n if that is known at compile time (kernels/simd/known_size.h), else 0.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

template <template <typename, bool, int> class Pass, typename T, bool is_complex, int known_n, typename Batch>
void run_pass_of(const Batch& batch, int64_t begin, int64_t end, T* memory) {
  constexpr int W = lane_count<T>;
  Pass<T, is_complex, known_n> pass(batch, Memory<T>(memory));
  for (auto first = begin; first < end; first += W) {
    pass.run({first, static_cast<int>(end - first < W ? end - first : W)});
  }
}

template <template <typename, bool, int> class Pass, typename Sizes, typename T, bool is_complex, typename Batch>
void run_pass_of(const Batch& batch, int64_t begin, int64_t end, T* memory) {
  with_known_size(Sizes(), batch.n, [&](auto known_n) {
    run_pass_of<Pass, T, is_complex, known_n()>(batch, begin, end, memory);
  });
}

/// Runs `Pass` over the matrices begin <= i < end.
template <template <typename, bool, int> class Pass, template <typename> class Batch, typename T, typename Sizes>
void run_pass(const Batch<T>& batch, int64_t begin, int64_t end, T* memory) {
  batch.is_complex ? run_pass_of<Pass, Sizes, T, true>(batch, begin, end, memory)
                   : run_pass_of<Pass, Sizes, T, false>(batch, begin, end, memory);
}

/// `Batch` makes the function unique: g++ gives it the same name for two passes of the same name in unnamed namespaces.
template <template <typename, bool, int> class Pass, template <typename> class Batch, typename T>
int64_t workspace_of_pass(int n, bool is_complex) {
  return is_complex ? Pass<T, true, 0>::workspace_size(n) : Pass<T, false, 0>::workspace_size(n);
}

/// `Sizes` are the sizes known at compile time.
template <
    template <typename, bool, int> class Pass,
    template <typename> class Batch,
    typename T,
    typename Sizes = KnownSizes>
constexpr PassKernel<Batch, T> kernel_of_pass{
    lane_count<T>,
    workspace_of_pass<Pass, Batch, T>,
    run_pass<Pass, Batch, T, Sizes>};

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
