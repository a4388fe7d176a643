#include "math/spectral_function.h"

#include "math/hermitian_part.h"
#include "math/judge_directions.h"
#include "math/positions.h"
#include "math/second_differences.h"
#include "math/third_differences.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <array>

namespace spectralgrad::math {
namespace {

using at::Tensor;

/// Returns V^H E V for the Hermitian part of E.
Tensor in_eigenbasis(const Tensor& E, const Tensor& V) {
  return at::matmul(V.mH(), at::matmul(hermitian_part(E), V));
}

Tensor from_eigenbasis(const Tensor& inner, const Tensor& V) {
  return hermitian_part(at::matmul(at::matmul(V, inner), V.mH()));
}

Tensor second_order(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X, const Tensor& Y) {
  const auto n = eigenvalues.size(-1);
  auto sum = at::zeros_like(X);
  const SecondDifferences all(f, eigenvalues);
  in_parts(n, X.numel(), [&](int64_t start, int64_t count) {
    const auto differences = all.slice(start, count);
    const auto left = [&](const Tensor& M) {
      return M.narrow(-1, start, count).unsqueeze(-2);
    };
    const auto right = [&](const Tensor& M) {
      return M.narrow(-2, start, count).mT().unsqueeze(-3);
    };
    sum += (differences * (left(X) * right(Y) + left(Y) * right(X))).sum(-1);
  });
  return sum;
}

/// Returns sum_kl f[i,k,l,j] (X_ik Y_kl Z_lj + permutations) for Hermitian X, Y, Z. Computes only the terms with i <= j
/// and k <= l, because differences are symmetric in all arguments.
Tensor third_order(const ScalarFunction& f, const Tensor& eigenvalues, const std::array<Tensor, 3>& X) {
  const auto n = eigenvalues.size(-1);
  const ThirdDifferences all(f, eigenvalues);
  const SortedPairs pairs(n, eigenvalues.device());
  const auto count = pairs.i.size(0);
  Tensor sum;
  in_parts(count, count * (eigenvalues.numel() / n), [&](int64_t start, int64_t length) {
    const auto k = pairs.i.narrow(0, start, length);
    const auto l = pairs.j.narrow(0, start, length);
    const auto shape = std::array{count, length};
    const auto differences = all.at(
        {pairs.i.unsqueeze(-1).expand(shape), k.expand(shape), l.expand(shape), pairs.j.unsqueeze(-1).expand(shape)});
    // A term counts twice, for k before l and for l before k, but only once if they are equal.
    const auto path = [&](const Tensor& first, const Tensor& second) {
      std::array<Tensor, 3> left, middle, right;
      for (size_t m = 0; m < 3; ++m) {
        left[m] = X[m].index_select(-2, pairs.i).index_select(-1, first);
        middle[m] = X[m].flatten(-2).index_select(-1, first * n + second).unsqueeze(-2);
        right[m] = X[m].index_select(-1, pairs.j).index_select(-2, second).mT();
      }
      const auto from = [&](size_t a, size_t b, size_t c) {
        return left[a] * (middle[b] * right[c] + middle[c] * right[b]);
      };
      return from(0, 1, 2) + from(1, 0, 2) + from(2, 0, 1);
    };
    const auto factor = path(k, l) + path(l, k).masked_fill(k == l, 0);
    const auto part = (differences * factor).sum(-1);
    sum = sum.defined() ? sum + part : part;
  });
  const auto upper = sum.index_select(-1, pairs.place.flatten()).unflatten(-1, {n, n});
  return upper.triu() + upper.mH().tril(-1);
}

/// For each sorted triple: the sum of Re tr(E_0 D_2(E_1, E_2)) over its permutations without the factor f[i,k,j], (*,
/// T).
Tensor weights_of_triples(const std::array<Tensor, 3>& X) {
  const auto n = X[0].size(-1);
  const auto all = all_positions(n, X[0].device());
  const auto i = all.view({n, 1}).expand({n, n});
  const auto j = all.view({1, n}).expand({n, n});
  auto shape = X[0].sizes().slice(0, X[0].dim() - 2).vec();
  shape.push_back(triple_count(n));
  auto weights = at::zeros(shape, at::real(X[0]).options());
  for (int64_t k = 0; k < n; ++k) {
    const auto through = [k](const Tensor& Y, const Tensor& Z) {
      return Y.narrow(-1, k, 1) * Z.narrow(-2, k, 1);
    };
    const auto terms = at::real(X[0].conj() * (through(X[1], X[2]) + through(X[2], X[1])));
    const auto index = triple_index(sorted({i, j, at::full_like(i, k)}));
    weights.index_add_(-1, index.flatten(), terms.flatten(-2));
  }
  return weights;
}

} // namespace

void require_derivatives(const ScalarFunction& f, int64_t order) {
  if (f.name != "jets" || !f.jets.defined()) {
    return;
  }
  const auto known = f.jets.size(-2) - 1;
  TORCH_CHECK(
      known > 0,
      "spectralgrad.funm: Expected df and d2f to be given where autograd cannot differentiate f, or where a function "
      "is exported and differentiated, but only f is known");
  TORCH_CHECK(
      known >= order,
      "spectralgrad.funm: Expected one more derivative of f where that many derivatives in the matrix are asked for, "
      "but it is not known: give it (df, d2f, d3f), or functions that autograd can differentiate");
}

Tensor spectral_function(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const std::vector<Tensor>& directions) {
  if (eigenvectors.numel() == 0) {
    return at::zeros_like(eigenvectors, at::MemoryFormat::Contiguous);
  }
  if (directions.empty()) {
    const auto y = values(f, eigenvalues);
    return hermitian_part(at::matmul(eigenvectors * y.unsqueeze(-2), eigenvectors.mH()));
  }
  require_derivatives(f, static_cast<int64_t>(directions.size()));
  const bool judge_level = has_partly_filled_level(f);
  std::vector<Tensor> X;
  for (const auto& E : directions) {
    X.push_back(in_eigenbasis(E, eigenvectors));
    if (judge_level) {
      judge_look_inside_level(f, eigenvalues, X.back());
    }
  }
  judge_kernel_parts(f, eigenvalues, X);
  if (X.size() == 1) {
    return from_eigenbasis(first_differences(f, eigenvalues) * X[0], eigenvectors);
  }
  if (X.size() == 2) {
    return from_eigenbasis(second_order(f, eigenvalues, X[0], X[1]), eigenvectors);
  }
  return from_eigenbasis(third_order(f, eigenvalues, {X[0], X[1], X[2]}), eigenvectors);
}

Tensor spectral_function_transposed(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const std::vector<Tensor>& directions) {
  if (eigenvectors.numel() == 0) {
    return at::zeros_like(f.jets, at::MemoryFormat::Contiguous);
  }
  const auto X = in_eigenbasis(directions[0], eigenvectors);
  if (directions.size() == 3) {
    require_derivatives(f, 2);
    const auto Y = in_eigenbasis(directions[1], eigenvectors);
    const auto Z = in_eigenbasis(directions[2], eigenvectors);
    return second_differences_transposed(f, eigenvalues, weights_of_triples({X, Y, Z}));
  }
  if (directions.size() == 2) {
    const auto Y = in_eigenbasis(directions[1], eigenvectors);
    return first_differences_transposed(f, eigenvalues, at::real(X.conj() * Y));
  }
  const auto order = f.jets.size(-2) - 1;
  const auto diagonal = at::real(X.diagonal(0, -2, -1)).unsqueeze(-2);
  auto shape = diagonal.sizes().vec();
  shape[shape.size() - 2] = order;
  return at::cat({diagonal, at::zeros(shape, diagonal.options())}, -2);
}

} // namespace spectralgrad::math
