#pragma once

#include "core/arithmetic.h"
#include "core/scalar_traits.h"
#include "core/tolerances.h"
#include "kernels/blas/multiply.h"
#include "kernels/blas/workspace.h"
#include "kernels/eigh_vjp/by_products/columns.h"
#include "kernels/eigh_vjp/cotangent_magnitude.h"
#include "kernels/svd_vjp/by_products/pair_pass.h"
#include "kernels/svd_vjp/by_products/product_side.h"
#include "kernels/svd_vjp/by_products/svd_vjp_inputs.h"
#include "math/pairs/clusters.h"

#include <spectralgrad/rule.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace spectralgrad::kernels {

/// Computes the gradient of one matrix at a time, with a workspace of its own.
template <typename scalar_t>
class MatrixVjp {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  MatrixVjp(const SvdVjpInputs& inputs, const Rule& rule)
      : inputs_(inputs),
        m_(inputs.left.size(1)),
        n_(inputs.left.size(2)),
        left_(m_, n_, /*is_conjugated=*/false),
        right_(n_, n_, /*is_conjugated=*/true) {
    left_.place(memory_);
    right_.place(memory_);
    const auto rectangle = [&] {
      return memory_.template place<scalar_t>(m_ * n_);
    };
    const int64_t positions[]{rectangle(), rectangle(), rectangle(), rectangle(), rectangle()};
    const auto inner = memory_.template place<scalar_t>(n_ * n_);
    const auto magnitude = memory_.template place<real_t>(n_ * n_);
    const auto rows = memory_.template place<real_t>(2 * n_);
    memory_.allocate();
    cotangent_ = memory_.at<scalar_t>(positions[0]);
    projected_ = memory_.at<scalar_t>(positions[1]);
    outer_ = memory_.at<scalar_t>(positions[2]);
    product_ = memory_.at<scalar_t>(positions[3]);
    outer_magnitude_ = memory_.at<real_t>(positions[4]);
    inner_ = memory_.at<scalar_t>(inner);
    magnitude_ = memory_.at<real_t>(magnitude);
    norms_ = memory_.at<real_t>(rows);
    clusters_ = norms_ + n_;
    pass_.n = n_;
    pass_.is_complex = parts_of<scalar_t> == 2;
    pass_.rule = math::broadening_rule<real_t>(rule);
    pass_.gates = rule.gates();
    pass_.gate = rule.gates() ? math::noise_gate<real_t>(rule) : math::NoiseGate<real_t>{};
    pass_.norms = norms_;
    pass_.clusters = clusters_;
  }

  /// Writes the gradient of matrix number `matrix` to `result`, row by row.
  void run(int64_t matrix, scalar_t* result) {
    matrix_ = matrix;
    pass_.values = inputs_.values.const_data_ptr<real_t>() + matrix * n_;
    pass_.values_cotangent = inputs_.values_cotangent.defined()
        ? inputs_.values_cotangent.const_data_ptr<real_t>() + matrix * n_
        : nullptr;
    left_.load(memory_, matrix_of<scalar_t>(inputs_.left, matrix), matrix_of<scalar_t>(inputs_.left_cotangent, matrix));
    right_.load(
        memory_,
        matrix_of<scalar_t>(inputs_.right, matrix),
        matrix_of<scalar_t>(inputs_.right_cotangent, matrix));
    if (left_.has_cotangent() || right_.has_cotangent()) {
      prepare_gate();
      divide_inner();
      multiply(m_, n_, n_, left_.vectors(), {inner_, n_, 1}, product_, n_);
    } else {
      const auto& L = left_.vectors();
      for (int64_t i = 0; i < m_; ++i) {
        for (int64_t j = 0; j < n_; ++j) {
          product_[i * n_ + j] = L.data[i * L.down + j * L.right] * pass_.values_cotangent[j];
        }
      }
    }
    if (has_outer()) {
      divide_outer();
      std::transform(product_, product_ + m_ * n_, outer_, product_, [](scalar_t x, scalar_t y) { return x + y; });
    }
    const simd::Matrices<scalar_t> product{product_, n_, 1};
    // B = P R^H, and the vectors of the right side are conj(R).
    if (inputs_.is_transposed) {
      multiply(n_, m_, n_, right_.vectors(), transposed(product), result, m_);
    } else {
      multiply(m_, n_, n_, product, transposed(right_.vectors()), result, n_);
    }
  }

  /// Whether the loss may have no gradient for the last matrix. `math::judge` has to decide.
  bool is_suspicious() const {
    constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
    const auto gauge = static_cast<real_t>(tolerances::gauge(dtype));
    const auto* sigma = pass_.values;
    const auto same = static_cast<real_t>(tolerances::same_eigenvalue * tolerances::eps(dtype)) * sigma[0];
    const auto largest = largest_size(pass_.values_cotangent, n_);
    for (int64_t i = 0; i < n_; ++i) {
      if (parts_of<scalar_t> == 2 && depends_on_basis(i, i, gauge, /*together=*/true)) {
        return true;
      }
      for (auto j = i + 1; j < n_ && sigma[i] - sigma[j] <= same; ++j) {
        const bool unequal = pass_.values_cotangent != nullptr &&
            std::abs(pass_.values_cotangent[i] - pass_.values_cotangent[j]) > gauge * largest;
        if (unequal || depends_on_basis(i, j, gauge, /*together=*/true)) {
          return true;
        }
      }
    }
    for (auto i = n_ - 1; i >= 0 && sigma[i] <= same; --i) {
      for (auto j = i; j < n_; ++j) {
        if (sigma[i] + sigma[j] <= same && depends_on_basis(i, j, gauge, /*together=*/false)) {
          return true;
        }
      }
      for (int64_t r = 0; has_outer() && r < m_; ++r) {
        const auto g = cotangent_[r * n_ + i];
        if (std::abs(g - projected_[r * n_ + i]) > gauge * std::abs(g)) {
          return true;
        }
      }
    }
    return false;
  }

 private:
  bool has_outer() const {
    return left_.has_cotangent() && m_ != n_;
  }

  /// Whether the skew-Hermitian part of (W_L + W_R)_ij, or (W_L - W_R)_ij, exceeds a lower bound of the threshold.
  bool depends_on_basis(int64_t i, int64_t j, real_t gauge, bool together) const {
    scalar_t skew = 0;
    real_t known = 0;
    for (const auto* side : {&left_, &right_}) {
      if (const auto* W = side->W()) {
        const auto upper = W[i * n_ + j];
        const auto lower = conjugate(W[j * n_ + i]);
        const bool subtracts = !together && side == &right_;
        skew += subtracts ? lower - upper : upper - lower;
        known += std::abs(upper) + std::abs(lower);
      }
    }
    // Slightly less than 2, because sums are rounded.
    return std::abs(skew) > real_t(1.98) * gauge * known;
  }

  void prepare_gate() {
    if (!pass_.gates) {
      return;
    }
    real_t most = pass_.values[0] * largest_size(pass_.values_cotangent, n_);
    for (int64_t i = 0; i < n_; ++i) {
      norms_[i] = left_.norms()[i] + right_.norms()[i];
      most = std::max({most, left_.norms()[i], right_.norms()[i]});
    }
    pass_.floor = pass_.gate.cluster_noise * most;
    // Differences of halves do not overflow. The numbers are those of the ascending values -sigma.
    const auto step = pass_.gate.step * (pass_.values[0] / 2);
    math::number_clusters<NumberArithmetic<real_t>>(
        n_,
        step,
        [&](int64_t i) { return -pass_.values[i] / 2; },
        [&](int64_t i, real_t number) { clusters_[i] = number; });
    const auto smallest = pass_.values[n_ - 1];
    pass_.around_zero = math::begins_cluster(smallest / 2, step) ? real_t(-1) : clusters_[n_ - 1];
    pass_.around_mirror = math::begins_cluster(smallest, step) ? real_t(-1) : clusters_[n_ - 1];
  }

  void divide_inner() {
    const auto& kernel = simd::for_this_machine<simd::SingularPairKernel<real_t>>();
    auto* result = reinterpret_cast<real_t*>(inner_);
    undecided_.clear();
    pass_.context = &undecided_;
    pass_.undecided = [](void* entries, int64_t at) {
      static_cast<std::vector<int64_t>*>(entries)->push_back(at);
    };
    if (!kernel.divide_inner(pass_, left_.inner(), right_.inner(), nullptr, result)) {
      return;
    }
    // Two products of n x n matrices take as long as about n^2/16 entries.
    if (static_cast<int64_t>(undecided_.size()) > n_ * n_ / 16) {
      find_magnitude();
    } else {
      find_undecided_magnitude();
    }
    kernel.divide_inner(pass_, left_.inner(), right_.inner(), magnitude_, result);
  }

  /// N.
  void find_magnitude() {
    const auto* of_left = left_.products_of_sizes();
    const auto* of_right = right_.products_of_sizes();
    const auto entry = [&](const real_t* x, int64_t i, int64_t j) {
      return x == nullptr ? real_t(0) : x[i * n_ + j] + x[j * n_ + i];
    };
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        magnitude_[i * n_ + j] = entry(of_left, i, j) + entry(of_right, i, j);
      }
    }
  }

  /// The entries of N that are listed as undecided.
  void find_undecided_magnitude() {
    // An entry is listed twice if both its quotients are undecided.
    std::sort(undecided_.begin(), undecided_.end());
    undecided_.erase(std::unique(undecided_.begin(), undecided_.end()), undecided_.end());
    std::vector<bool> asked(static_cast<size_t>(n_));
    for (const auto at : undecided_) {
      asked[static_cast<size_t>(at / n_)] = asked[static_cast<size_t>(at % n_)] = true;
      magnitude_[at] = 0;
    }
    const auto columns = selected(asked);
    const auto add = [&](const at::Tensor& X, const at::Tensor& gX) {
      if (gX.defined()) {
        CotangentMagnitude<scalar_t> N(X, gX, matrix_);
        N.prepare_whole(columns);
        for (const auto at : undecided_) {
          magnitude_[at] += N(at / n_, at % n_);
        }
      }
    };
    add(inputs_.left, inputs_.left_cotangent);
    add(inputs_.right, inputs_.right_cotangent);
  }

  void divide_outer() {
    pass_.undecided = [](void*, int64_t) {
    };
    const auto& g = left_.cotangent();
    for (int64_t i = 0; i < m_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        cotangent_[i * n_ + j] = g.data[i * g.down + j * g.right];
      }
    }
    multiply(m_, n_, n_, left_.vectors(), {left_.W(), n_, 1}, projected_, n_);
    const auto& kernel = simd::for_this_machine<simd::SingularPairKernel<real_t>>();
    const auto divide = [&](const real_t* magnitude) {
      return kernel.divide_outer(
          pass_,
          m_,
          reinterpret_cast<const real_t*>(cotangent_),
          reinterpret_cast<const real_t*>(projected_),
          left_.norms(),
          magnitude,
          reinterpret_cast<real_t*>(outer_));
    };
    if (divide(nullptr)) {
      const auto* products = left_.products_of_sizes();
      multiply<real_t>(m_, n_, n_, left_.sizes_of_vectors(), {products, n_, 1}, outer_magnitude_, n_);
      for (int64_t i = 0; i < m_ * n_; ++i) {
        outer_magnitude_[i] += std::abs(cotangent_[i]);
      }
      divide(outer_magnitude_);
    }
  }

  const SvdVjpInputs& inputs_;
  int64_t m_;
  int64_t n_;
  ProductSide<scalar_t> left_;
  ProductSide<scalar_t> right_;
  simd::SingularPairPass<real_t> pass_{};
  Workspace memory_;
  int64_t matrix_ = 0;
  std::vector<int64_t> undecided_; // entries for which bounds of N do not decide
  scalar_t* cotangent_; // gL, row-major; only if it has a part outside the range of L
  scalar_t* projected_; // L W_L
  scalar_t* outer_; // the part of the gradient outside the range of L, before the product with R^H
  scalar_t* product_;
  scalar_t* inner_;
  real_t* outer_magnitude_;
  real_t* magnitude_;
  real_t* norms_;
  real_t* clusters_;
};

} // namespace spectralgrad::kernels
