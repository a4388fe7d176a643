#include "math/near_defective_gradient.h"

#include "autograd/operator_handle.h"
#include "core/scalar_traits.h"
#include "core/tolerances.h"
#include "math/inverse.h"
#include "math/near_defective_clusters.h"
#include "math/pairs/near_defective.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_inv_ex.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_solve_ex.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace spectralgrad {
namespace {

using at::Tensor;
using complex_t = c10::complex<double>;
using math::Cluster;

Tensor columns(const Tensor& x, const Cluster& cluster) {
  return x.index_select(-1, at::tensor(cluster));
}

/// Improves an orthonormal basis X of the invariant subspace of eigenvalues around `mean`. In the basis [X, W],
/// A = [[B, C], [E, D]] with a small E. The subspace is that of X + W S, with D S - S B = -E up to squares of S. It is
/// solved by S = (D - mean)^-1 (S (B - mean) - E), which converges because B - mean is nearly nilpotent.
///
/// Stewart (1973), "Error and perturbation bounds for subspaces associated with certain eigenvalue problems".
Tensor improved_subspace(const Tensor& A, const Tensor& X, complex_t mean) {
  const auto m = X.size(-1);
  const auto W = std::get<0>(at::linalg_qr(X, "complete")).slice(-1, m);
  const auto AX = at::matmul(A, X);
  const auto E = at::matmul(W.mH(), AX);
  const auto B = at::matmul(X.mH(), AX) - c10::Scalar(mean) * at::eye(m, A.options());
  const auto D = at::matmul(W.mH(), at::matmul(A, W)) - c10::Scalar(mean) * at::eye(W.size(-1), A.options());
  const auto inverse = std::get<0>(at::linalg_inv_ex(D));
  auto S = at::zeros_like(E);
  for (int64_t i = 0; i < m + tolerances::subspace_steps; ++i) {
    S = at::matmul(inverse, at::matmul(S, B) - E);
  }
  const auto result = X + at::matmul(W, S);
  return at::isfinite(result).all().item<bool>() ? std::get<0>(at::linalg_qr(result)) : X;
}

/// An orthonormal basis of the invariant subspace of a cluster.
template <typename real_t>
Tensor invariant_subspace(const math::NearDefectiveProblem<real_t>& problem, const Cluster& cluster) {
  auto identity = at::eye(problem.n, problem.A.options());
  if (static_cast<int64_t>(cluster.size()) == problem.n) {
    return identity;
  }
  complex_t sum(0);
  for (const auto i : cluster) {
    sum += problem.values[i];
  }
  const auto mean = sum / static_cast<double>(cluster.size());
  auto X = std::get<0>(at::linalg_qr(columns(problem.V, cluster)));
  // Inverse iteration, because eigenvectors may be equal to working precision. The nearer the shift, the more digits of
  // the other directions are lost beside an eigenvector.
  const auto shifted = problem.A - c10::Scalar(mean + tolerances::subspace_shift * problem.largest) * identity;
  for (int step = 0; step < tolerances::subspace_steps; ++step) {
    const auto next = std::get<0>(at::linalg_solve_ex(shifted, X));
    if (at::isfinite(next).all().template item<bool>()) {
      X = std::get<0>(at::linalg_qr(next));
    }
  }
  X = improved_subspace(problem.A, X, mean);
  return improved_subspace(problem.A, X, mean);
}

/// q(B) for the polynomial q that interpolates conj(g_lambda), in Newton's form; the mean of it times the identity if
/// the loss distinguishes eigenvalues that are equal to working precision.
template <typename real_t>
Tensor interpolated(const math::NearDefectiveProblem<real_t>& problem, const Cluster& cluster, const Tensor& B) {
  const auto m = cluster.size();
  const auto identity = at::eye(static_cast<int64_t>(m), B.options());
  const auto node = [&](size_t i) {
    return problem.values[cluster[i]];
  };
  std::vector<complex_t> differences(m);
  double most = 0;
  complex_t sum(0);
  for (size_t i = 0; i < m; ++i) {
    differences[i] = std::conj(problem.cotangents[cluster[i]]);
    most = std::max(most, std::abs(differences[i]));
    sum += differences[i];
  }
  const auto cotangent = [&](int64_t i) {
    return static_cast<c10::complex<real_t>>(problem.cotangents[i]);
  };
  for (const auto i : cluster) {
    for (const auto j : cluster) {
      const auto pair = problem.pair(i, j);
      if (i < j && pair.is_degenerate() &&
          pair.are_distinguished(cotangent(i), cotangent(j), static_cast<real_t>(most))) {
        return c10::Scalar(sum / static_cast<double>(m)) * identity;
      }
    }
  }
  for (size_t order = 1; order < m; ++order) {
    for (auto i = m - 1; i >= order; --i) {
      const auto gap = node(i) - node(i - order);
      const auto difference = differences[i] - differences[i - 1];
      differences[i] = gap == complex_t(0) ? complex_t(0) : difference / gap;
    }
  }
  auto result = c10::Scalar(differences[m - 1]) * identity;
  for (auto i = m - 1; i > 0; --i) {
    result = at::matmul(B - c10::Scalar(node(i - 1)) * identity, result) + c10::Scalar(differences[i - 1]) * identity;
  }
  return result;
}

/// Returns the gradient, or an undefined tensor if no eigenvectors are nearly parallel.
template <typename real_t>
Tensor gradient_of(const math::NearDefectiveProblem<real_t>& problem) {
  const auto clusters = math::near_defective_clusters(problem);
  if (clusters.empty()) {
    return {};
  }
  // A = basis inner basis^-1, with inner diagonal but for the clusters. q acts on inner.
  const auto basis = problem.V.clone();
  for (const auto& cluster : clusters) {
    basis.index_copy_(-1, at::tensor(cluster), invariant_subspace(problem, cluster));
  }
  const auto inverse = std::get<0>(at::linalg_inv_ex(basis));
  auto result = at::zeros_like(problem.A);
  std::vector<bool> is_clustered(problem.n);
  for (const auto& cluster : clusters) {
    const auto indices = at::tensor(cluster);
    const auto X = basis.index_select(-1, indices);
    const auto Y = inverse.index_select(-2, indices);
    result += at::matmul(X, at::matmul(interpolated(problem, cluster, at::matmul(Y, at::matmul(problem.A, X))), Y));
    for (const auto i : cluster) {
      is_clustered[i] = true;
    }
  }
  for (int64_t i = 0; i < problem.n; ++i) {
    if (!is_clustered[i]) {
      result += c10::Scalar(std::conj(problem.cotangents[i])) *
          at::matmul(basis.slice(-1, i, i + 1), inverse.slice(-2, i, i + 1));
    }
  }
  return result.mH();
}

std::tuple<Tensor, Tensor> gradient_kernel(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& A) {
  const auto n = eigenvalues.size(-1);
  auto gradient = at::zeros(eigenvectors.sizes(), eigenvectors.options());
  auto found = at::zeros(eigenvalues.sizes().slice(0, eigenvalues.dim() - 1), eigenvalues.options().dtype(at::kBool));
  if (eigenvalues.numel() == 0) {
    return {std::move(gradient), std::move(found)};
  }
  const auto in_double = [](const Tensor& x) {
    return x.resolve_conj().resolve_neg().to(at::kCPU, at::kComplexDouble).contiguous();
  };
  const auto V = in_double(eigenvectors).view({-1, n, n});
  const auto conditions = at::linalg_vector_norm(math::inverse(V), 2, at::IntArrayRef{-1}).contiguous();
  // The angle between eigenvectors i and j has a sine of at least 1/kappa_i. NaN, of a singular V, passes.
  const auto suspicious = (conditions < 1 / tolerances::parallel).all(-1).logical_not().nonzero().reshape({-1});
  if (suspicious.numel() == 0) {
    return {std::move(gradient), std::move(found)};
  }
  const auto matrices = in_double(A).view({-1, n, n});
  const auto values = in_double(eigenvalues).view({-1, n});
  const auto cotangents = in_double(eigenvalues_cotangent).view({-1, n});
  const auto size = math::size_of_matrix(matrices, values).contiguous();
  const auto* sizes = size.const_data_ptr<double>();
  const auto* kappa = conditions.const_data_ptr<double>();
  const auto gradients = gradient.view({-1, n, n});
  const auto flags = found.view({-1});
  const auto process = [&](auto zero, int64_t matrix) {
    math::NearDefectiveProblem<decltype(zero)> problem{
        matrices[matrix],
        V[matrix],
        values.const_data_ptr<complex_t>() + matrix * n,
        cotangents.const_data_ptr<complex_t>() + matrix * n,
        {kappa + matrix * n, kappa + (matrix + 1) * n},
        0,
        n};
    problem.largest = sizes[matrix];
    for (int64_t i = 0; i < n; ++i) {
      if (std::isnan(problem.conditions[i])) {
        problem.conditions[i] = std::numeric_limits<double>::infinity();
      }
    }
    if (!std::isfinite(problem.largest)) {
      return;
    }
    const auto result = gradient_of(problem);
    if (result.defined()) {
      gradients[matrix].copy_(result);
      flags[matrix].fill_(true);
    }
  };
  const auto* indices = suspicious.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < suspicious.numel(); ++i) {
    if (eigenvalues.scalar_type() == at::kComplexDouble) {
      process(double(0), indices[i]);
    } else {
      process(float(0), indices[i]);
    }
  }
  return {std::move(gradient), std::move(found)};
}

std::tuple<Tensor, Tensor> gradient_meta(
    const Tensor&,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor&) {
  return {
      at::empty_like(eigenvectors, at::MemoryFormat::Contiguous),
      at::empty_symint(
          eigenvalues.sym_sizes().slice(0, eigenvalues.dim() - 1),
          eigenvalues.options().dtype(at::kBool))};
}

constexpr autograd::OperatorHandle<"spectralgrad::near_defective_gradient", gradient_meta> gradient_op;

} // namespace

namespace math {

std::pair<Tensor, Tensor> near_defective_gradient(
    const Tensor& eigenvalues_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& A) {
  auto [gradient, found] = gradient_op.call(eigenvalues_cotangent, eigenvalues, eigenvectors, A);
  return {std::move(gradient), std::move(found)};
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "near_defective_gradient(Tensor eigenvalues_cotangent, Tensor eigenvalues, Tensor eigenvectors, Tensor A) "
      "-> (Tensor gradient, Tensor found)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("near_defective_gradient", gradient_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("near_defective_gradient", gradient_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("near_defective_gradient", gradient_op.constant_kernel());
}

} // namespace spectralgrad
