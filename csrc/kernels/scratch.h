#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace spectralgrad::kernels {

/// Memory of one thread for `numbers` numbers, aligned to 64 bytes.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t numbers)
      : memory_(at::empty({numbers * static_cast<int64_t>(sizeof(T))}, at::TensorOptions().dtype(at::kByte))) {}
  T* data() const {
    return static_cast<T*>(memory_.mutable_data_ptr());
  }

 private:
  at::Tensor memory_;
};

} // namespace spectralgrad::kernels
