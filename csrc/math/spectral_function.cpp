#include "math/spectral_function.h"

#include "core/report.h"
#include "core/tolerances.h"
#include "math/hermitian_part.h"
#include "math/third_differences.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/broadcast_tensors.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/real.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
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

/// The norm of each matrix, (*, 1, 1).
Tensor norm(const Tensor& X) {
  return at::linalg_vector_norm(X, 2, {-2, -1}, /*keepdim=*/true);
}

/// The largest entry of each X (*, n, n) between eigenvectors of the null space `kernel` (*, n), as a fraction of X's
/// norm: (*).
Tensor kernel_fraction(const Tensor& kernel, const Tensor& X, bool trace_is_exempt) {
  const auto largest = X.abs().amax({-2, -1}, /*keepdim=*/true);
  const auto entries = X / at::where(largest > 0, largest, at::ones_like(largest));
  auto block = entries.masked_fill(kernel.unsqueeze(-1).logical_and(kernel.unsqueeze(-2)).logical_not(), 0);
  if (trace_is_exempt) {
    const auto count = kernel.sum(-1, /*keepdim=*/true).clamp_min(1);
    const auto mean = at::real(block.diagonal(0, -2, -1)).sum(-1, /*keepdim=*/true) / count;
    block = block - at::diag_embed(mean * kernel);
  }
  return block.abs().amax({-2, -1}) / norm(entries).squeeze(-1).squeeze(-1);
}

/// The mask (*, n) of the eigenvalues that f treats as 0, if f has exactly `finite` finite derivatives there. Undefined
/// if there are none.
Tensor kernel_of(const ScalarFunction& f, const Tensor& eigenvalues, int64_t finite) {
  if (f.name != "powers") {
    return finite_derivatives_at_zero(f) == finite ? singular_eigenvalues(f, eigenvalues) : Tensor();
  }
  if (f.jets.size(-2) <= finite + 1) {
    return {};
  }
  const auto is_finite = f.jets.select(-2, finite).isinf().logical_not();
  return at::isinf(f.jets.select(-2, finite + 1)).logical_and(is_finite).logical_and(eigenvalues == 0);
}

/// Reports an infinite derivative along the one to three directions X, which is due to their parts inside the null
/// space. If f has k finite derivatives at 0, k + 1 of the directions must have such a part.
void judge_kernel_parts(const ScalarFunction& f, const Tensor& eigenvalues, const std::vector<Tensor>& X) {
  const auto kind = direction_kind(f);
  if (checks() == Checks::ignore || kind == DirectionKind::change) {
    return;
  }
  const auto count = static_cast<int64_t>(X.size());
  for (int64_t finite = 0; finite < count; ++finite) {
    const auto kernel = kernel_of(f, eigenvalues, finite);
    if (!kernel.defined() || !kernel.any().item<bool>()) {
      continue;
    }
    std::vector<Tensor> fractions;
    for (size_t k = 0; k < X.size(); ++k) {
      const bool is_tangent = k + 1 == X.size() && kind == DirectionKind::tangent;
      fractions.push_back(kernel_fraction(kernel, X[k], /*trace_is_exempt=*/finite == 0 && !is_tangent));
    }
    const auto all = at::stack(at::broadcast_tensors(fractions), 0);
    const auto fraction = std::get<0>(all.sort(0, /*descending=*/true)).narrow(0, 0, finite + 1).prod(0);
    const auto matrices = (fraction > tolerances::gauge(fraction.scalar_type())).reshape({-1}).nonzero();
    if (matrices.numel() > 0) {
      return warn_of_infinite_derivative(f, matrices[0].item<int64_t>());
    }
  }
}

/// Reports if X, a direction in the eigenbasis, has a part inside a degenerate level that is partly filled: if its
/// block there is not a multiple of the identity.
void judge_look_inside_level(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X) {
  if (checks() == Checks::ignore) {
    return;
  }
  const auto y = f.jets.select(-2, 0);
  const auto partly = (y != 0).logical_and(y != 1).to(y.dtype());
  const auto block = partly.unsqueeze(-1) * partly.unsqueeze(-2);
  const auto multiplicity = partly.sum(-1);
  const auto mean = (at::real(X.diagonal(0, -2, -1)) * partly).sum(-1) / multiplicity.clamp_min(1);
  const auto inside = (X - at::diag_embed(partly * mean.unsqueeze(-1))) * block;
  const auto size = inside.abs().amax(at::IntArrayRef{-2, -1});
  // The whole direction may be round-off of a matrix, or of occupations.
  const auto rounding = tolerances::cancelled_cotangent(y.scalar_type()) * eigenvalues.abs().amax(-1).clamp_min(1);
  const auto tolerance = at::maximum(tolerances::gauge(y.scalar_type()) * norm(X).squeeze(-1).squeeze(-1), rounding);
  const auto found = (size > tolerance).reshape({-1}).nonzero();
  if (found.numel() == 0) {
    return;
  }
  const auto matrix = found[0].item<int64_t>();
  const auto level = (eigenvalues * partly).sum(-1) / multiplicity;
  warn_or_raise(
      c10::str(
          "spectralgrad.density_matrix: The loss or the perturbation looks inside the level ",
          level.expand(size.sizes()).reshape({-1})[matrix].item<double>(),
          " of multiplicity ",
          multiplicity.expand(size.sizes()).reshape({-1})[matrix].item<double>(),
          " of matrix ",
          matrix,
          " of the batch. At kT = 0 that level is filled in part, so there is no derivative where it splits. "
          "That part is left out: what is given is the derivative at equal fractions. At kT > 0 there is a "
          "derivative."));
}

Tensor second_order(const ScalarFunction& f, const Tensor& eigenvalues, const Tensor& X, const Tensor& Y) {
  const auto n = eigenvalues.size(-1);
  auto sum = at::zeros_like(X);
  // Computes the n^3 differences a few million at a time.
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto step = std::max<int64_t>(1, entries_at_a_time / std::max<int64_t>(1, X.numel()));
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
    sum += (differences * (left(X) * right(Y) + left(Y) * right(X))).sum(-1);
  }
  return sum;
}

/// The pairs i <= j of n positions: i and j of each, and the index of the pair (i, j) or (j, i), (n, n).
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
    // Counts row by row, each row from the diagonal on.
    place = low * n - (low * (low - 1)).floor_divide(2) + high - low;
  }
};

/// Returns sum_kl f[i,k,l,j] (X_ik Y_kl Z_lj + permutations) for Hermitian X, Y, Z. Computes only the terms with i <= j
/// and k <= l, because differences are symmetric in all arguments.
Tensor third_order(const ScalarFunction& f, const Tensor& eigenvalues, const std::array<Tensor, 3>& X) {
  const auto n = eigenvalues.size(-1);
  const ThirdDifferences all(f, eigenvalues);
  const SortedPairs pairs(n, eigenvalues.device());
  const auto count = pairs.i.size(0);
  constexpr int64_t entries_at_a_time = 1 << 21;
  const auto step = std::max<int64_t>(1, entries_at_a_time / std::max<int64_t>(1, count * (eigenvalues.numel() / n)));
  Tensor sum;
  for (int64_t start = 0; start < count; start += step) {
    const auto length = std::min(step, count - start);
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
  }
  const auto upper = sum.index_select(-1, pairs.place.flatten()).unflatten(-1, {n, n});
  return upper.triu() + upper.mH().tril(-1);
}

/// For each sorted triple: the sum of Re tr(E_0 D_2(E_1, E_2)) over its permutations without the factor f[i,k,j], (*,
/// T).
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
      "spectralgrad.funm: Expected df and d2f to be given where autograd cannot differentiate f, or where a function "
      "is exported and differentiated, but only f is known");
  TORCH_CHECK(
      known >= order,
      "spectralgrad.funm: Expected one more derivative of f where that many derivatives in the matrix are asked for, "
      "but it is not known: give it (df, d2f, d3f), or functions that autograd can differentiate");
}

void warn_of_infinite_derivative(const ScalarFunction& f, int64_t matrix) {
  const auto* name = f.name == "sqrt" ? "sqrtm" : f.name == "power" || f.name == "powers" ? "powm" : "funm";
  warn_or_raise(
      c10::str(
          "spectralgrad.",
          name,
          ": A is singular (matrix ",
          matrix,
          " of the batch), and its derivative is infinite along directions inside the kernel. That part is "
          "left out: what is given is the derivative among matrices of the same rank."));
}

bool has_partly_filled_level(const ScalarFunction& f) {
  if (f.name != "steps") {
    return false;
  }
  const auto y = f.jets.select(-2, 0);
  return (y != 0).logical_and(y != 1).any().item<bool>();
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
