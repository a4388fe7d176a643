#include "kernels/eigh_vjp.h"

#include "derivatives/gaps.h"
#include "derivatives/tolerances.h"
#include "kernels/judge.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>

#include <mutex>
#include <vector>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

constexpr int64_t entries_per_task = 1 << 13;

/// N = |V|^T |gV| + (|V|^T |gV|)^T of one matrix, entry by entry on demand.
template <typename scalar_t>
class Magnitude {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  /// Both column by column: entry (k, i) at [i * n + k].
  Magnitude(const scalar_t* V, const scalar_t* gV, int64_t n) : V_(V), gV_(gV), n_(n) {}

  real_t operator()(int64_t i, int64_t j) const {
    real_t sum = 0;
    for (int64_t k = 0; k < n_; ++k) {
      sum += std::abs(V_[i * n_ + k]) * std::abs(gV_[j * n_ + k]) +
          std::abs(V_[j * n_ + k]) * std::abs(gV_[i * n_ + k]);
    }
    return sum;
  }

  /// ||gV_i||, of which the sum over i and j bounds N_ij (Cauchy-Schwarz).
  real_t column_norm(int64_t i) const {
    real_t sum = 0;
    for (int64_t k = 0; k < n_; ++k) {
      const auto size = std::abs(gV_[i * n_ + k]);
      sum += size * size;
    }
    return std::sqrt(sum);
  }

 private:
  const scalar_t* V_;
  const scalar_t* gV_;
  int64_t n_;
};

/// Turns W = V^H gV into diag(g_lambda) + F o S, in place.
template <typename scalar_t>
void divide_in_place(
    scalar_t* W,
    int64_t n,
    const typename RealOf<scalar_t>::type* eigenvalues,
    const typename RealOf<scalar_t>::type* eigenvalues_cotangent,
    const Magnitude<scalar_t>& magnitude,
    const Rule& rule,
    std::vector<typename RealOf<scalar_t>::type>& norms) {
  using real_t = typename RealOf<scalar_t>::type;
  const derivatives::InverseGaps<real_t> inverse_gaps(eigenvalues, n, rule);
  const auto noise = static_cast<real_t>(rule.noise() * tolerances::eps(c10::CppTypeToScalarType<real_t>::value));
  if (rule.gates()) {
    norms.resize(n);
    for (int64_t i = 0; i < n; ++i) {
      norms[i] = magnitude.column_norm(i);
    }
  }
  // The bound is on exact sums; this is beyond its rounding.
  constexpr auto slack = real_t(1.01);
  // NaN and Inf are never noise.
  const auto is_noise = [&](const scalar_t& S, int64_t i, int64_t j) {
    const auto size = std::abs(S);
    return size <= slack * noise * (norms[i] + norms[j]) && size <= noise * magnitude(i, j) && std::isfinite(size);
  };
  for (int64_t i = 0; i < n; ++i) {
    W[i * n + i] = eigenvalues_cotangent == nullptr ? real_t(0) : eigenvalues_cotangent[i];
    for (int64_t j = i + 1; j < n; ++j) {
      const scalar_t S = (W[i * n + j] - conjugate(W[j * n + i])) * real_t(0.5);
      const scalar_t divided = rule.gates() && is_noise(S, i, j) ? scalar_t(0) : S * inverse_gaps(i, j);
      W[i * n + j] = divided;
      W[j * n + i] = conjugate(divided);
    }
  }
}

/// (M + M^H)/2, in place.
template <typename scalar_t>
void make_hermitian(scalar_t* M, int64_t n) {
  using real_t = typename RealOf<scalar_t>::type;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      const scalar_t mean = (M[i * n + j] + conjugate(M[j * n + i])) * real_t(0.5);
      M[i * n + j] = mean;
      M[j * n + i] = conjugate(mean);
    }
  }
}

template <typename F>
void for_each_matrix(int64_t count, int64_t n, const F& f) {
  at::parallel_for(0, count, entries_per_task / (n * n) + 1, f);
}

template <typename real_t>
const real_t* row(const Tensor& x, int64_t matrix, int64_t n) {
  return x.defined() ? x.const_data_ptr<real_t>() + matrix * n : nullptr;
}

} // namespace

Tensor eigh_vjp(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  if (eigenvectors.numel() == 0) {
    return at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
  }
  const auto plain = [](const Tensor& x) {
    return x.defined() ? x.resolve_conj().resolve_neg().contiguous() : x;
  };
  const auto n = eigenvectors.size(-1);
  const auto count = eigenvectors.numel() / (n * n);
  const auto values = plain(eigenvalues);
  const auto values_cotangent = plain(eigenvalues_cotangent);
  const bool judged = checks() != Checks::ignore;
  Verdict gravest;
  std::mutex gravest_mutex;
  const auto note = [&](Verdict verdict, int64_t matrix) {
    verdict.matrix = matrix;
    if (verdict.finding != Finding::none) {
      const std::lock_guard<std::mutex> lock(gravest_mutex);
      if (verdict.graver_than(gravest)) {
        gravest = verdict;
      }
    }
  };

  Tensor result;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(eigenvectors.scalar_type(), "eigh_vjp", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    if (!eigenvectors_cotangent.defined()) {
      if (judged) {
        for_each_matrix(count, n, [&](int64_t begin, int64_t end) {
          for (auto matrix = begin; matrix < end; ++matrix) {
            const auto verdict = judge<scalar_t>(
                n,
                row<real_t>(values, matrix, n),
                row<real_t>(values_cotangent, matrix, n),
                nullptr,
                [](auto, auto) { return real_t(0); });
            note(verdict, matrix);
          }
        });
      }
      result = at::matmul(eigenvectors * values_cotangent.unsqueeze(-2), eigenvectors.mH()).contiguous();
    } else {
      // Columns become contiguous rows.
      const auto V = plain(eigenvectors.mT());
      const auto gV = plain(eigenvectors_cotangent.mT());
      auto inner = at::matmul(eigenvectors.mH(), eigenvectors_cotangent).contiguous();
      for_each_matrix(count, n, [&](int64_t begin, int64_t end) {
        std::vector<real_t> norms;
        for (auto matrix = begin; matrix < end; ++matrix) {
          auto* W = inner.mutable_data_ptr<scalar_t>() + matrix * n * n;
          const auto* lambda = row<real_t>(values, matrix, n);
          const auto* lambda_cotangent = row<real_t>(values_cotangent, matrix, n);
          const Magnitude<scalar_t> magnitude(
              V.const_data_ptr<scalar_t>() + matrix * n * n,
              gV.const_data_ptr<scalar_t>() + matrix * n * n,
              n);
          if (judged) {
            note(judge<scalar_t>(n, lambda, lambda_cotangent, W, magnitude), matrix);
          }
          divide_in_place(W, n, lambda, lambda_cotangent, magnitude, rule, norms);
        }
      });
      result = at::matmul(at::matmul(eigenvectors, inner), eigenvectors.mH()).contiguous();
    }
    for_each_matrix(count, n, [&](int64_t begin, int64_t end) {
      for (auto matrix = begin; matrix < end; ++matrix) {
        make_hermitian(result.mutable_data_ptr<scalar_t>() + matrix * n * n, n);
      }
    });
  });
  act_on(gravest);
  return result;
}

} // namespace spectralgrad::kernels
