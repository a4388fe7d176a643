#pragma once

#include "core/scalar_traits.h"
#include "kernels/blas/multiply.h"
#include "kernels/blas/workspace.h"
#include "kernels/eigh_vjp/simd_columns.h"
#include "kernels/svd_vjp/by_products/pair_pass.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <complex>
#include <cstdint>

namespace spectralgrad::kernels {

/// One matrix of a batch: entry (i, j) at `data` + i `down` + j `right`; either stride is 1.
template <typename scalar_t>
simd::Matrices<scalar_t> matrix_of(const at::Tensor& x, int64_t matrix) {
  if (!x.defined()) {
    return {nullptr, 0, 0};
  }
  // Not decided by strides: those of matrices with one row or column are arbitrary.
  const bool by_rows = x.is_contiguous();
  const auto* data = x.const_data_ptr<scalar_t>() + matrix * x.size(1) * x.size(2);
  return {data, by_rows ? x.size(2) : 1, by_rows ? 1 : x.size(1)};
}

/// One side of a matrix, L or conj(R): its singular vectors X (rows, n), and what is computed from their cotangent gX.
template <typename scalar_t>
class ProductSide {
 public:
  using real_t = typename RealOf<scalar_t>::type;
  using Matrix = simd::Matrices<scalar_t>;

  ProductSide(int64_t rows, int64_t n, bool is_conjugated) : rows_(rows), n_(n), is_conjugated_(is_conjugated) {}

  void place(Workspace& memory) {
    for (auto* position : {&copy_at_, &sizes_at_, &cotangent_sizes_at_}) {
      *position = memory.place<scalar_t>(rows_ * n_);
    }
    for (auto* position : {&inner_at_, &adjoint_at_, &magnitude_at_}) {
      *position = memory.place<scalar_t>(n_ * n_);
    }
    norms_at_ = memory.place<real_t>(3 * n_);
  }

  /// Takes the vectors and the cotangent, and computes W and the norms of the cotangent's columns.
  void load(const Workspace& memory, const Matrix& X, const Matrix& gX) {
    X_ = X;
    gX_ = gX;
    memory_ = &memory;
    auto* norms = memory.at<real_t>(norms_at_);
    if (!has_cotangent()) {
      std::fill_n(norms, n_, real_t(0));
      return;
    }
    const auto& kernel = simd::for_this_machine<simd::ColumnKernel<real_t>>();
    const simd::Matrices<real_t> numbers{reinterpret_cast<const real_t*>(gX.data), gX.down, gX.right};
    constexpr bool is_complex = parts_of<scalar_t> == 2;
    kernel.sums(numbers, n_, is_complex, 0, rows_, norms + n_, norms + 2 * n_);
    kernel.norm_bounds(norms + n_, norms + 2 * n_, 1, n_, is_complex, norms);
    // W = X^H gX, or its conjugate X^T conj(gX) for the side that is stored conjugated. Either needs one conjugation.
    auto* W = memory.at<scalar_t>(inner_at_);
    const auto left = is_conjugated_ ? X : conjugated(X);
    const auto right = is_conjugated_ ? conjugated(gX) : gX;
    multiply(n_, n_, rows_, transposed(left), right, W, n_);
    auto* adjoint = memory.at<scalar_t>(adjoint_at_);
    constexpr int64_t block = 16;
    for (int64_t first = 0; first < n_; first += block) {
      for (int64_t j = 0; j < n_; ++j) {
        for (auto i = first; i < std::min(n_, first + block); ++i) {
          adjoint[j * n_ + i] = conjugate(W[i * n_ + j]);
        }
      }
    }
  }

  bool has_cotangent() const {
    return gX_.data != nullptr;
  }
  const Matrix& vectors() const {
    return X_;
  }
  const Matrix& cotangent() const {
    return gX_;
  }
  const scalar_t* W() const {
    return has_cotangent() ? memory_->at<scalar_t>(inner_at_) : nullptr;
  }
  const real_t* norms() const {
    return memory_->at<real_t>(norms_at_);
  }
  simd::InnerCotangent<real_t> inner() const {
    return {reinterpret_cast<const real_t*>(W()), has_cotangent() ? memory_->at<real_t>(adjoint_at_) : nullptr};
  }

  /// |X|^T |gX| (n, n); null without a cotangent.
  const real_t* products_of_sizes() const {
    if (!has_cotangent()) {
      return nullptr;
    }
    auto* result = memory_->at<real_t>(magnitude_at_);
    const auto right = sizes(gX_, cotangent_sizes_at_);
    multiply<real_t>(n_, n_, rows_, transposed(sizes(X_, sizes_at_)), right, result, n_);
    return result;
  }

  /// |X|, after `products_of_sizes`.
  simd::Matrices<real_t> sizes_of_vectors() const {
    return {memory_->at<real_t>(sizes_at_), X_.down, X_.right};
  }

 private:
  Matrix conjugated(const Matrix& x) const {
    if constexpr (parts_of<scalar_t> == 1) {
      return x;
    } else {
      auto* to = memory_->at<scalar_t>(copy_at_);
      std::transform(x.data, x.data + rows_ * n_, to, [](scalar_t z) { return std::conj(z); });
      return {to, x.down, x.right};
    }
  }
  simd::Matrices<real_t> sizes(const Matrix& x, int64_t position) const {
    auto* to = memory_->at<real_t>(position);
    std::transform(x.data, x.data + rows_ * n_, to, [](scalar_t z) { return std::abs(z); });
    return {to, x.down, x.right};
  }

  int64_t rows_;
  int64_t n_;
  bool is_conjugated_;
  Matrix X_{};
  Matrix gX_{};
  const Workspace* memory_ = nullptr;
  int64_t copy_at_ = 0;
  int64_t sizes_at_ = 0;
  int64_t cotangent_sizes_at_ = 0;
  int64_t inner_at_ = 0;
  int64_t adjoint_at_ = 0;
  int64_t magnitude_at_ = 0;
  int64_t norms_at_ = 0;
};

} // namespace spectralgrad::kernels
