#include "derivatives/spectral_function.h"

#include "derivatives/hermitian_part.h"
#include "derivatives/third_differences.h"
#include "derivatives/tolerances.h"
#include "kernels/judge.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <array>

namespace spectralgrad::derivatives {
namespace {

using at::Tensor;

/// V^H E V of the Hermitian part of E.
Tensor in_eigenbasis(const Tensor& E, const Tensor& V) {
  return at::matmul(V.mH(), at::matmul(hermitian_part(E), V));
}

Tensor from_eigenbasis(const Tensor& inner, const Tensor& V) {
  return hermitian_part(at::matmul(at::matmul(V, inner), V.mH()));
}

/// The size of each matrix (*, 1, 1).
Tensor norm(const Tensor& X) {
  return at::linalg_vector_norm(X, 2, {-2, -1}, /*keepdim=*/true);
}

/// Whether any of `left_out`, entries of factors of `size` (*, 1, 1), is more than rounding; says so.
void judge_left_out(const ScalarFunction& f, const Tensor& left_out, const Tensor& size) {
  if (checks() == Checks::ignore) {
    return;
  }
  const auto tolerance = tolerances::gauge(left_out.scalar_type()) * size;
  const auto lost = left_out.abs().flatten(size.dim() - 2) > tolerance.flatten(-2);
  const auto matrices = lost.any(-1).reshape({-1}).nonzero();
  if (matrices.numel() > 0) {
    warn_of_infinite_derivative(f, matrices[0].item<int64_t>());
  }
}

/// `differences` o `factor`, (*, n, n) or (*, n, n, count), without the entries where a difference is infinite because an
/// eigenvalue is zero.
Tensor finite_product(
    const ScalarFunction& f,
    const Tensor& eigenvalues,
    const Tensor& differences,
    const Tensor& factor,
    const Tensor& size) {
  if (!is_singular_at_zero(f)) {
    return differences * factor;
  }
  const auto noise = tolerances::zero_eigenvalue(eigenvalues.scalar_type(), eigenvalues.size(-1)) *
      eigenvalues.abs().amax(-1);
  auto singular = eigenvalues.select(-1, 0) <= noise;
  if (!singular.any().item<bool>()) {
    return differences * factor;
  }
  while (singular.dim() < differences.dim()) {
    singular = singular.unsqueeze(-1);
  }
  const auto infinite = at::isinf(differences).logical_and(singular);
  judge_left_out(f, factor.masked_fill(infinite.logical_not(), 0), size);
  return differences.masked_fill(infinite, 0) * factor;
}

Tensor second_order(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X, const Tensor& Y) {
  const auto n = eigenvalues.size(-1);
  auto sum = at::zeros_like(X);
  // n^3 differences, a few million at a time.
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto step = std::max<int64_t>(1, entries_at_a_time / std::max<int64_t>(1, X.numel()));
  const auto size = norm(X) * norm(Y);
  const SecondDifferences all(f, eigenvalues);
  for (int64_t start = 0; start < n; start += step) {
    const auto count = std::min(step, n - start);
    const auto differences = all.slice(start, count);
    const auto left = [&](const Tensor& M) {
      return M.narrow(-1, start, count).unsqueeze(-2);
    };
    const auto right = [&](const Tensor& M) {
      return M.narrow(-2, start, count).mT().unsqueeze(-3);
    };
    sum += finite_product(f, eigenvalues, differences, left(X) * right(Y) + left(Y) * right(X), size).sum(-1);
  }
  return sum;
}

/// Pairs i <= j of n positions: i and j, and the place of (i, j) or (j, i) among them, (n, n).
struct SortedPairs {
  Tensor i;
  Tensor j;
  Tensor place;

  SortedPairs(int64_t n, const at::Device& device) {
    const auto all = at::arange(n, at::TensorOptions(device).dtype(at::kLong));
    const auto row = all.unsqueeze(-1).expand({n, n});
    const auto column = all.unsqueeze(0).expand({n, n});
    const auto ascending = row <= column;
    i = row.masked_select(ascending);
    j = column.masked_select(ascending);
    const auto low = at::minimum(row, column);
    const auto high = at::maximum(row, column);
    // Row by row, each from the diagonal on.
    place = low * n - (low * (low - 1)).floor_divide(2) + high - low;
  }
};

/// sum_kl f[i,k,l,j] (X_ik Y_kl Z_lj + permutations) of Hermitian X, Y, Z: of n^4 terms, those with i <= j and k <= l. Differences
/// are symmetric in all arguments.
Tensor third_order(const ScalarFunction& f, const Tensor& eigenvalues, const std::array<Tensor, 3>& X) {
  const auto n = eigenvalues.size(-1);
  const ThirdDifferences all(f, eigenvalues);
  const SortedPairs pairs(n, eigenvalues.device());
  const auto count = pairs.i.size(0);
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto step = std::max<int64_t>(1, entries_at_a_time / std::max<int64_t>(1, count * (eigenvalues.numel() / n)));
  const auto size = norm(X[0]) * norm(X[1]) * norm(X[2]);
  Tensor sum;
  for (int64_t start = 0; start < count; start += step) {
    const auto length = std::min(step, count - start);
    const auto k = pairs.i.narrow(0, start, length);
    const auto l = pairs.j.narrow(0, start, length);
    const auto shape = std::array{count, length};
    const auto differences = all.at(
        {pairs.i.unsqueeze(-1).expand(shape), k.expand(shape), l.expand(shape), pairs.j.unsqueeze(-1).expand(shape)});
    // Once with k before l and once after it, and once where they are the same.
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
    const auto part = finite_product(f, eigenvalues, differences, factor, size).sum(-1);
    sum = sum.defined() ? sum + part : part;
  }
  const auto upper = sum.index_select(-1, pairs.place.flatten()).reshape(X[0].sizes());
  return upper.triu() + upper.mH().tril(-1);
}

/// For each sorted triple the sum of Re tr(E_0 D_2(E_1, E_2)) over its permutations, less the factor f[i,k,j]: (*, T).
Tensor weights_of_triples(const std::array<Tensor, 3>& X) {
  const auto n = X[0].size(-1);
  const auto all = at::arange(n, at::TensorOptions(X[0].device()).dtype(at::kLong));
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
      "spectralgrad.funm: Expected df and d2f to be given where autograd cannot differentiate f, or where a function is exported "
      "and differentiated, but only f is known");
  TORCH_CHECK(
      known >= order,
      "spectralgrad.funm: Expected one more derivative of f where that many derivatives in the matrix are asked for, but it is "
      "not known: give it (df, d2f, d3f), or functions that autograd can differentiate");
}

void warn_of_infinite_derivative(const ScalarFunction& f, int64_t matrix) {
  kernels::warn_or_raise(
      c10::str(
          "spectralgrad.",
          f.name == "sqrt" ? "sqrtm" : "powm",
          ": A is singular (matrix ",
          matrix,
          " of the batch), and its derivative is infinite along directions inside the kernel. That part is left out: what is "
          "given is the derivative among matrices of the same kernel."));
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
  const auto X = in_eigenbasis(directions[0], eigenvectors);
  if (directions.size() == 3) {
    const auto Y = in_eigenbasis(directions[1], eigenvectors);
    const auto Z = in_eigenbasis(directions[2], eigenvectors);
    return from_eigenbasis(third_order(f, eigenvalues, {X, Y, Z}), eigenvectors);
  }
  if (directions.size() == 1) {
    const auto differences = first_differences(f, eigenvalues);
    return from_eigenbasis(finite_product(f, eigenvalues, differences, X, norm(X)), eigenvectors);
  }
  return from_eigenbasis(second_order(f, eigenvalues, X, in_eigenbasis(directions[1], eigenvectors)), eigenvectors);
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

} // namespace spectralgrad::derivatives
