#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace spectralgrad::kernels {

/// One allocation for several buffers, each with the same fixed alignment, because LAPACK's round-off depends on it.
/// Call `place` for all of them, then `allocate`, then `at`.
class Workspace {
 public:
  /// Returns the position of a buffer of `count` entries of type `T`.
  template <typename T>
  int64_t place(int64_t count) {
    constexpr int64_t alignment = 64;
    const auto position = bytes_;
    const auto wanted = std::max<int64_t>(count, 1) * static_cast<int64_t>(sizeof(T));
    bytes_ += (wanted + alignment - 1) / alignment * alignment;
    return position;
  }

  void allocate() {
    memory_ = at::empty({bytes_}, at::kByte);
  }

  template <typename T>
  T* at(int64_t position) const {
    return reinterpret_cast<T*>(static_cast<std::byte*>(memory_.mutable_data_ptr()) + position);
  }

 private:
  int64_t bytes_ = 0;
  at::Tensor memory_;
};

} // namespace spectralgrad::kernels
