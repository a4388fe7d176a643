#pragma once

#include "core/interruptible.h"
#include "kernels/simd/pass_kernel.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

/// Calls f(begin, end, memory) in parallel for ranges of a batch of `count` matrices, each of which takes about
/// `operations`. Every range is a whole number of registers of `lanes` matrices, except for the last register. `memory`
/// has room for `workspace` numbers and is not shared between threads.
template <typename T, typename F>
void for_each_register_with_cost(int64_t count, int64_t operations, int64_t lanes, int64_t workspace, const F& f) {
  const auto call = [&](int64_t begin, int64_t end) {
    const auto memory = at::empty({workspace * static_cast<int64_t>(sizeof(T))}, at::TensorOptions(at::kByte));
    f(begin * lanes, std::min(count, end * lanes), static_cast<T*>(memory.mutable_data_ptr()));
  };
  // An eighth of the default, because an operation on a register takes about eight times as long as one of LAPACK's
  // on a number.
  constexpr int64_t operations_per_piece = 1 << 21;
  interruptible_parallel_for((count + lanes - 1) / lanes, operations, call, operations_per_piece);
}

/// Does the same for n x n matrices and an operation that takes a few matrix products.
template <typename T, typename F>
void for_each_register(int64_t count, int64_t n, int64_t lanes, int64_t workspace, const F& f) {
  for_each_register_with_cost<T>(count, n * n * (n + 4), lanes, workspace, f);
}

/// Runs a pass over a batch of `count` matrices in parallel. Calls after(begin, end) for each finished range.
template <template <typename> class Batch, typename T, typename After>
void run_in_lanes(const Batch<T>& batch, int64_t count, const After& after) {
  const auto& kernel = simd::for_this_machine<simd::PassKernel<Batch, T>>();
  const auto workspace = kernel.workspace(batch.n, batch.is_complex);
  for_each_register<T>(count, batch.n, kernel.lanes, workspace, [&](int64_t begin, int64_t end, T* memory) {
    kernel.run(batch, begin, end, memory);
    after(begin, end);
  });
}
template <template <typename> class Batch, typename T>
void run_in_lanes(const Batch<T>& batch, int64_t count) {
  run_in_lanes(batch, count, [](int64_t, int64_t) {});
}

} // namespace spectralgrad::kernels
