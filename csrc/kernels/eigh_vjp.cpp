#include "kernels/eigh_vjp.h"

#include "derivatives/gaps.h"
#include "derivatives/tolerances.h"
#include "kernels/interruptible.h"
#include "kernels/judge.h"
#include "kernels/lanes/batch_eigh_vjp.h"
#include "kernels/lanes/gap_pass.h"
#include "kernels/scratch.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <memory>
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

  /// Both with the strides of their tensors.
  Magnitude(const Tensor& V, const Tensor& gV, int64_t matrix) : V_(V, matrix), gV_(gV, matrix), n_(V.size(-1)) {}

  real_t operator()(int64_t i, int64_t j) const {
    real_t sum = 0;
    for (int64_t k = 0; k < n_; ++k) {
      sum += std::abs(V_(k, i)) * std::abs(gV_(k, j)) + std::abs(V_(k, j)) * std::abs(gV_(k, i));
    }
    return sum;
  }

 private:
  struct Entries {
    Entries(const Tensor& x, int64_t matrix)
        : data(x.const_data_ptr<scalar_t>() + matrix * x.size(-1) * x.size(-1)),
          down(x.stride(-2)),
          right(x.stride(-1)) {}
    scalar_t operator()(int64_t i, int64_t j) const {
      return data[i * down + j * right];
    }
    const scalar_t* data;
    int64_t down;
    int64_t right;
  };

  Entries V_;
  Entries gV_;
  int64_t n_;
};

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

/// Of a batch that `by_rows_or_columns` returned.
Tensor one_of(const Tensor& x, int64_t matrix) {
  const auto n = x.size(-1);
  return x.as_strided({n, n}, {x.stride(-2), x.stride(-1)}, x.storage_offset() + matrix * n * n);
}

/// From one of its matrices on.
template <typename real_t>
lanes::Matrices<real_t> matrices(const Tensor& x, int64_t matrix = 0) {
  const auto n = x.size(-1);
  // Of a 1 x 1 matrix strides say nothing.
  const bool by_rows = x.is_contiguous();
  const auto* data = static_cast<const real_t*>(x.const_data_ptr()) + matrix * n * n * (x.is_complex() ? 2 : 1);
  return {data, by_rows ? n : 1, by_rows ? 1 : n};
}

/// What the vjp is of, as kernels read it; without the cotangents that are not there.
struct Inputs {
  Tensor gL; // (*, n), row by row like the eigenvalues
  Tensor gV; // (*, n, n), by rows or by columns like the eigenvectors
  Tensor L;
  Tensor V;
  int64_t n;
  int64_t count;

  Inputs(const Tensor& gL, const Tensor& gV, const Tensor& L, const Tensor& V)
      : gL(gL.defined() ? plain(gL) : gL),
        gV(gV.defined() ? by_rows_or_columns(gV) : gV),
        L(plain(L)),
        V(by_rows_or_columns(V)),
        n(V.size(-1)),
        count(V.numel() / (n * n)) {}

 private:
  static Tensor plain(const Tensor& x) {
    return x.resolve_conj().resolve_neg().contiguous();
  }
};

/// Of one matrix; `W` = V^H gV, row by row, or null where there is no gV.
template <typename scalar_t>
Verdict judge_matrix(const Inputs& inputs, int64_t matrix, const scalar_t* W) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto n = inputs.n;
  const auto* L = row<real_t>(inputs.L, matrix, n);
  const auto* gL = row<real_t>(inputs.gL, matrix, n);
  if (W == nullptr) {
    return judge<scalar_t>(n, L, gL, nullptr, [](auto, auto) { return real_t(0); });
  }
  return judge<scalar_t>(n, L, gL, W, Magnitude<scalar_t>(inputs.V, inputs.gV, matrix));
}

/// Up to this n one pass over matrices in lanes is faster than matrix products with a pass between them (measured).
constexpr int64_t largest_in_lanes = 48;

Tensor eigh_vjp_in_lanes(const Inputs& inputs, const Rule& rule) {
  const auto n = inputs.n;
  const auto count = inputs.count;
  auto result = at::empty_like(inputs.V, at::MemoryFormat::Contiguous);
  const bool judged = checks() != Checks::ignore;
  const auto suspicious = judged ? at::empty({count}, inputs.L.options().dtype(at::kBool)) : Tensor();
  Gravest gravest;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(inputs.V.scalar_type(), "eigh_vjp", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    constexpr auto dtype = c10::CppTypeToScalarType<real_t>::value;
    const auto eps = tolerances::eps(dtype);
    const auto& kernel = lanes::for_this_machine<lanes::EighVjpKernel<real_t>>();
    const lanes::EighVjpBatch<real_t> batch{
        static_cast<int>(n),
        inputs.V.is_complex(),
        inputs.L.template const_data_ptr<real_t>(),
        row<real_t>(inputs.gL, 0, n),
        matrices<real_t>(inputs.V),
        inputs.gV.defined() ? matrices<real_t>(inputs.gV) : lanes::Matrices<real_t>{},
        derivatives::gap_rule<real_t>(rule),
        rule.gates(),
        static_cast<real_t>(rule.noise() * eps),
        {judged ? suspicious.template mutable_data_ptr<bool>() : nullptr,
         static_cast<real_t>(tolerances::gauge(dtype)),
         static_cast<real_t>(tolerances::same_eigenvalue * eps)},
        static_cast<real_t*>(result.mutable_data_ptr())};
    const auto workspace = kernel.workspace(batch.n, batch.is_complex);
    const int64_t lanes = kernel.lanes;
    interruptible_parallel_for((count + lanes - 1) / lanes, n * n * (n + 4), [&](int64_t begin, int64_t end) {
      const Scratch<real_t> scratch(workspace);
      begin *= lanes;
      end = std::min(count, end * lanes);
      kernel.vjp(batch, begin, end, scratch.data());
      for (auto i = begin; judged && i < end; ++i) {
        if (batch.suspicion.found[i]) {
          const auto W = inputs.gV.defined() ? at::matmul(one_of(inputs.V, i).mH(), one_of(inputs.gV, i)).contiguous()
                                             : Tensor();
          gravest.note(judge_matrix<scalar_t>(inputs, i, row<scalar_t>(W, 0, n)), i);
        }
      }
    });
  });
  act_on(gravest.verdict());
  return result;
}

/// |V| and |gV| of one matrix, once they are asked for.
class Sizes {
 public:
  Sizes() = default;
  Sizes(const Tensor* V, const Tensor* gV, int64_t matrix) : V_(V), gV_(gV), matrix_(matrix) {}

  template <typename real_t>
  static typename lanes::GapPass<real_t>::Sizes get(void* context) {
    auto& self = *static_cast<Sizes*>(context);
    std::call_once(*self.once_, [&] {
      self.V_sizes_ = one_of(*self.V_, self.matrix_).abs().contiguous();
      self.gV_sizes_ = one_of(*self.gV_, self.matrix_).abs().contiguous();
    });
    return {self.V_sizes_.template const_data_ptr<real_t>(), self.gV_sizes_.template const_data_ptr<real_t>()};
  }

 private:
  const Tensor* V_ = nullptr;
  const Tensor* gV_ = nullptr;
  int64_t matrix_ = 0;
  std::unique_ptr<std::once_flag> once_ = std::make_unique<std::once_flag>();
  Tensor V_sizes_;
  Tensor gV_sizes_;
};

/// Calls f(matrix, begin, end) for all rows of all matrices, in tiles.
template <typename real_t, typename F>
void for_each_tile_row(int64_t count, int64_t n, const F& f) {
  const auto rows = lanes::for_this_machine<lanes::GapPassKernel<real_t>>().rows;
  const auto tiles = (n + rows - 1) / rows;
  at::parallel_for(0, count * tiles, entries_per_task / (n * rows) + 1, [&](int64_t begin, int64_t end) {
    for (auto i = begin; i < end;) {
      const auto matrix = i / tiles;
      const auto first = i % tiles;
      const auto last = std::min(tiles, first + end - i);
      f(matrix, first, last);
      i += last - first;
    }
  });
}

/// (X + X^H)/2, or with `from_lower` the Hermitian matrix that has X's lower triangle, in place.
void make_hermitian(const Tensor& X, bool from_lower) {
  const auto n = X.size(-1);
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(X.scalar_type()), "eigh_vjp", [&] {
    auto* data = static_cast<scalar_t*>(X.mutable_data_ptr());
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<scalar_t>>();
    const auto numbers = n * n * (X.is_complex() ? 2 : 1);
    for_each_tile_row<scalar_t>(X.numel() / (n * n), n, [&](int64_t matrix, int64_t begin, int64_t end) {
      kernel.make_hermitian(data + matrix * numbers, n, X.is_complex(), from_lower, begin, end);
    });
  });
}

/// X V^H, of which it is known that it is Hermitian: of a large one, little more than half is computed.
Tensor hermitian_product(const Tensor& X, const Tensor& V) {
  const auto n = V.size(-1);
  constexpr int64_t large = 256;
  if (n < large) {
    auto result = at::matmul(X, V.mH()).contiguous();
    make_hermitian(result, /*from_lower=*/false);
    return result;
  }
  auto result = at::empty_like(V, at::MemoryFormat::Contiguous);
  constexpr int64_t blocks = 4;
  const auto rows = (n + blocks - 1) / blocks / 16 * 16 + 16;
  for (int64_t begin = 0; begin < n; begin += rows) {
    const auto end = std::min(n, begin + rows);
    result.slice(-2, begin, end).slice(-1, 0, end).copy_(at::matmul(X.slice(-2, begin, end), V.slice(-2, 0, end).mH()));
  }
  make_hermitian(result, /*from_lower=*/true);
  return result;
}

/// The columns that a cotangent has anything in, of any matrix of the batch, if they are at most half of all; else undefined.
Tensor few_used_columns(const Tensor& eigenvalues_cotangent, const Tensor& eigenvectors_cotangent) {
  const auto n = eigenvectors_cotangent.size(-1);
  constexpr int64_t worth_looking = 128;
  if (n < worth_looking) {
    return {};
  }
  // Most often none is zero, which the first rows tell.
  if (eigenvectors_cotangent.slice(-2, 0, 1).ne(0).sum().item<int64_t>() * 2 > eigenvectors_cotangent.numel() / n) {
    return {};
  }
  auto used = eigenvectors_cotangent.reshape({-1, n}).ne(0).any(0);
  if (eigenvalues_cotangent.defined()) {
    used = used.logical_or(eigenvalues_cotangent.reshape({-1, n}).ne(0).any(0));
  }
  const auto columns = used.nonzero().squeeze(-1);
  return 2 * columns.numel() <= n ? columns : Tensor();
}

/// By matrix products, with a pass over the matrices between them.
Tensor eigh_vjp_by_products(const Inputs& inputs, const Rule& rule) {
  const auto n = inputs.n;
  const auto count = inputs.count;
  const auto& V = inputs.V;
  const auto& gV = inputs.gV;
  const auto used = gV.defined() ? few_used_columns(inputs.gL, gV) : Tensor();
  auto inner = gV.defined() ? at::matmul(V.mH(), used.defined() ? gV.index_select(-1, used) : gV).contiguous()
                            : Tensor();
  if (used.defined()) {
    inner = at::zeros(gV.sizes(), gV.options()).index_copy_(-1, used, inner);
  }
  Gravest gravest;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(V.scalar_type(), "eigh_vjp", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    if (checks() != Checks::ignore) {
      for_each_matrix(count, n, [&](int64_t begin, int64_t end) {
        for (auto i = begin; i < end; ++i) {
          gravest.note(judge_matrix<scalar_t>(inputs, i, row<scalar_t>(inner, i * n, n)), i);
        }
      });
    }
    if (!gV.defined()) {
      return;
    }
    const auto eps = tolerances::eps(c10::CppTypeToScalarType<real_t>::value);
    const auto& kernel = lanes::for_this_machine<lanes::GapPassKernel<real_t>>();
    auto* W = static_cast<real_t*>(inner.mutable_data_ptr());
    const auto numbers = n * n * (V.is_complex() ? 2 : 1);
    const auto norms = rule.gates() ? at::empty_like(inputs.L) : Tensor();
    if (rule.gates()) {
      auto* to = norms.template mutable_data_ptr<real_t>();
      for_each_matrix(count, n, [&](int64_t begin, int64_t end) {
        for (auto i = begin; i < end; ++i) {
          kernel.norm_bounds(W + i * numbers, n, V.is_complex(), to + i * n);
        }
      });
    }
    std::vector<Sizes> sizes(count);
    for (int64_t i = 0; i < count; ++i) {
      sizes[i] = {&V, &gV, i};
    }
    for_each_tile_row<real_t>(count, n, [&](int64_t matrix, int64_t begin, int64_t end) {
      const lanes::GapPass<real_t> pass{
          n,
          V.is_complex(),
          W + matrix * numbers,
          row<real_t>(inputs.L, matrix, n),
          row<real_t>(inputs.gL, matrix, n),
          derivatives::gap_rule<real_t>(rule),
          static_cast<real_t>(rule.noise() * eps),
          row<real_t>(norms, matrix, n),
          matrices<real_t>(V, matrix),
          matrices<real_t>(gV, matrix),
          Sizes::get<real_t>,
          &sizes[matrix]};
      kernel.divide(pass, begin, end);
    });
  });
  act_on(gravest.verdict());
  if (!gV.defined()) {
    return hermitian_product(V * inputs.gL.unsqueeze(-2), V);
  }
  if (!used.defined()) {
    return hermitian_product(at::matmul(V, inner), V);
  }
  // V inner V^H is the Hermitian part of V B V_used^H, B the used columns, those entries twice that have no partner among them.
  const auto columns = inner.index_select(-1, used);
  const auto B = (columns * 2).index_copy_(-2, used, columns.index_select(-2, used));
  auto result = at::matmul(at::matmul(V, B), V.index_select(-1, used).mH()).contiguous();
  make_hermitian(result, /*from_lower=*/false);
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
  const Inputs inputs(eigenvalues_cotangent, eigenvectors_cotangent, eigenvalues, eigenvectors);
  return inputs.n <= largest_in_lanes ? eigh_vjp_in_lanes(inputs, rule) : eigh_vjp_by_products(inputs, rule);
}

} // namespace spectralgrad::kernels
