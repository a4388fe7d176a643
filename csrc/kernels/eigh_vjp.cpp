#include "kernels/eigh_vjp.h"

#include "derivatives/gaps.h"
#include "derivatives/tolerances.h"
#include "kernels/judge.h"
#include "kernels/lanes/batch_eigh_vjp.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
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

/// Collects what is found of the matrices of a batch, from several threads.
class Gravest {
 public:
  void note(Verdict verdict, int64_t matrix) {
    verdict.matrix = matrix;
    if (verdict.finding != Finding::none) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (verdict.graver_than(verdict_)) {
        verdict_ = verdict;
      }
    }
  }
  const Verdict& verdict() const {
    return verdict_;
  }

 private:
  Verdict verdict_;
  std::mutex mutex_;
};

/// A batch of matrices in whichever order of entries it comes, if it is one of the two that need no copy.
Tensor by_rows_or_columns(const Tensor& x) {
  const auto plain = x.resolve_conj().resolve_neg();
  return plain.is_contiguous() || plain.mT().is_contiguous() ? plain : plain.contiguous();
}

template <typename real_t>
lanes::Matrices<real_t> matrices(const Tensor& x) {
  const auto n = x.size(-1);
  // Of a 1 x 1 matrix strides say nothing.
  const bool by_rows = x.is_contiguous();
  return {static_cast<const real_t*>(x.const_data_ptr()), by_rows ? n : 1, by_rows ? 1 : n};
}

/// V^H gV of one matrix, row by row.
template <typename scalar_t>
void multiply(const scalar_t* V_columns, const scalar_t* gV_columns, int64_t n, std::vector<scalar_t>& W) {
  W.assign(n * n, scalar_t(0));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t k = 0; k < n; ++k) {
        W[i * n + j] += conjugate(V_columns[i * n + k]) * gV_columns[j * n + k];
      }
    }
  }
}

/// Up to this n one pass over matrices in lanes is faster than matrix products with a pass between them (measured).
constexpr int64_t largest_in_lanes = 48;

Tensor eigh_vjp_in_lanes(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Rule& rule) {
  const auto n = eigenvectors.size(-1);
  const auto count = eigenvectors.numel() / (n * n);
  const auto plain = [](const Tensor& x) {
    return x.defined() ? x.resolve_conj().resolve_neg().contiguous() : x;
  };
  const auto values = plain(eigenvalues);
  const auto values_cotangent = plain(eigenvalues_cotangent);
  const auto vectors = by_rows_or_columns(eigenvectors);
  const auto vectors_cotangent = eigenvectors_cotangent.defined() ? by_rows_or_columns(eigenvectors_cotangent)
                                                                  : Tensor();
  auto result = at::empty_like(eigenvectors, at::MemoryFormat::Contiguous);
  const bool judged = checks() != Checks::ignore;
  const auto suspicious = judged ? at::empty({count}, eigenvalues.options().dtype(at::kBool)) : Tensor();
  Gravest gravest;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(eigenvectors.scalar_type(), "eigh_vjp", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
    const auto eps = tolerances::eps(dtype);
    const auto& kernel = lanes::for_this_machine<lanes::EighVjpKernel<real_t>>();
    const lanes::EighVjpBatch<real_t> batch{
        static_cast<int>(n),
        eigenvectors.is_complex(),
        values.template const_data_ptr<real_t>(),
        row<real_t>(values_cotangent, 0, n),
        matrices<real_t>(vectors),
        vectors_cotangent.defined() ? matrices<real_t>(vectors_cotangent) : lanes::Matrices<real_t>{},
        derivatives::gap_rule<real_t>(rule),
        rule.gates(),
        static_cast<real_t>(rule.noise() * eps),
        {judged ? suspicious.template mutable_data_ptr<bool>() : nullptr,
         static_cast<real_t>(tolerances::gauge(dtype)),
         static_cast<real_t>(tolerances::same_eigenvalue * eps)},
        static_cast<real_t*>(result.mutable_data_ptr())};
    const auto workspace = kernel.workspace(batch.n, batch.is_complex);
    const int64_t lanes = kernel.lanes;
    constexpr int64_t operations_per_task = 1 << 13;
    const auto grain = std::max<int64_t>(1, operations_per_task / (n * n * (n + 4)));
    at::parallel_for(0, (count + lanes - 1) / lanes, grain, [&](int64_t begin, int64_t end) {
      const auto memory = at::empty(
          {workspace * static_cast<int64_t>(sizeof(real_t))},
          at::TensorOptions().dtype(at::kByte));
      begin *= lanes;
      end = std::min(count, end * lanes);
      kernel.vjp(batch, begin, end, static_cast<real_t*>(memory.mutable_data_ptr()));
      for (auto matrix = begin; judged && matrix < end; ++matrix) {
        if (!batch.suspicion.found[matrix]) {
          continue;
        }
        const auto* lambda = row<real_t>(values, matrix, n);
        const auto* lambda_cotangent = row<real_t>(values_cotangent, matrix, n);
        if (!vectors_cotangent.defined()) {
          const auto nothing = [](auto, auto) {
            return real_t(0);
          };
          gravest.note(judge<scalar_t>(n, lambda, lambda_cotangent, nullptr, nothing), matrix);
          continue;
        }
        const auto V = vectors.reshape({count, n, n}).select(0, matrix).mT().contiguous();
        const auto gV = vectors_cotangent.reshape({count, n, n}).select(0, matrix).mT().contiguous();
        std::vector<scalar_t> W;
        multiply(V.template const_data_ptr<scalar_t>(), gV.template const_data_ptr<scalar_t>(), n, W);
        const Magnitude<scalar_t> magnitude(
            V.template const_data_ptr<scalar_t>(),
            gV.template const_data_ptr<scalar_t>(),
            n);
        gravest.note(judge<scalar_t>(n, lambda, lambda_cotangent, W.data(), magnitude), matrix);
      }
    });
  });
  act_on(gravest.verdict());
  return result;
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
  if (eigenvectors.size(-1) <= largest_in_lanes) {
    return eigh_vjp_in_lanes(eigenvalues_cotangent, eigenvectors_cotangent, eigenvalues, eigenvectors, rule);
  }
  const auto plain = [](const Tensor& x) {
    return x.defined() ? x.resolve_conj().resolve_neg().contiguous() : x;
  };
  const auto n = eigenvectors.size(-1);
  const auto count = eigenvectors.numel() / (n * n);
  const auto values = plain(eigenvalues);
  const auto values_cotangent = plain(eigenvalues_cotangent);
  const bool judged = checks() != Checks::ignore;
  Gravest gravest;
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
            gravest.note(verdict, matrix);
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
            gravest.note(judge<scalar_t>(n, lambda, lambda_cotangent, W, magnitude), matrix);
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
  act_on(gravest.verdict());
  return result;
}

} // namespace spectralgrad::kernels
