#include "derivatives/judge_rotations.h"

#include "autograd/differentiable_op.h"
#include "derivatives/gaps.h"
#include "derivatives/hermitian_part.h"
#include "derivatives/tolerances.h"
#include "kernels/cluster_pairs.h"
#include "kernels/judge.h"
#include "ops/arguments.h"
#include "ops/tensor_code.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>

namespace spectralgrad {
namespace {

using at::Tensor;
using ops::optional;
using ops::OptionalTensor;

const auto& judge_rotations_op() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("spectralgrad::judge_rotations", "")
                             .typed<Tensor(
                                 const OptionalTensor&,
                                 const OptionalTensor&,
                                 const OptionalTensor&,
                                 const OptionalTensor&,
                                 const Tensor&,
                                 const Tensor&,
                                 int64_t)>();
  return op;
}

/// V^H gV and the magnitude that its entries were summed from.
struct Products {
  Tensor W;
  Tensor magnitude;

  Products(const Tensor& V, const Tensor& gV)
      : W(at::matmul(V.mH(), gV)), magnitude(derivatives::cotangent_magnitude(V, gV)) {}
};

void judge_phases(const Products& products, double tolerance) {
  const auto phases = at::imag(products.W.diagonal(0, -2, -1)).abs();
  if ((phases > tolerance * products.magnitude.diagonal(0, -2, -1)).any().item<bool>()) {
    kernels::act_on({kernels::Finding::phases});
  }
}

/// Whether the function depends on the basis of a pair, (*, rounds, n): S_ab, the skew-Hermitian part of V^H gV, at the turned pair
/// should be its gap times the derivative along v_a' v_b'^H, which follows from the entries that were found.
Tensor depends_on_basis(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& rotated_cotangent,
    const Tensor& rotated_vectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& partners) {
  const auto rounds = partners.size(-2);
  const auto rotated = derivatives::rotated_eigenpairs(eigenvalues, eigenvectors, rounds);
  const Products products(rotated[3], rotated_vectors_cotangent);
  const auto skew = derivatives::skew_hermitian_part(products.W);
  auto G = rotated_cotangent ? derivatives::lost_entries(*rotated_cotangent, partners, eigenvectors.is_complex())
                             : at::zeros_like(eigenvectors);
  if (eigenvalues_cotangent) {
    G = G + at::diag_embed(*eigenvalues_cotangent);
  }
  const auto& V = rotated[3];
  // In the basis of each set, as far as the pair goes: U^H G U, U = V^H V'.
  const auto U = at::matmul(eigenvectors.mH().unsqueeze(-3), V);
  const auto turned = at::matmul(at::matmul(U.mH(), G.unsqueeze(-3)), U);
  const auto gaps = rotated[2].unsqueeze(-2) - rotated[2].unsqueeze(-1);
  const auto expected = gaps * turned;
  const auto noise = tolerances::gauge(eigenvalues.scalar_type()) * products.magnitude +
      tolerances::pair_mismatch * expected.abs();
  const auto differs = (skew - expected).abs() > noise;
  auto either = at::zeros_like(partners, partners.options().dtype(at::kBool));
  const auto sets = differs.size(-3) - 1;
  for (int64_t first = 0; first < sets; first += rounds) {
    const auto of_set = differs.slice(-3, first, first + rounds);
    either = either.logical_or(of_set.gather(-1, partners.unsqueeze(-1)).squeeze(-1));
  }
  return either;
}

/// Tells of the first pair in `rejected` (*, rounds, n).
void tell(const Tensor& rejected, const Tensor& partners, const std::string& what) {
  const auto n = partners.size(-1);
  const auto rounds = partners.size(-2);
  const auto found = rejected.reshape({-1}).nonzero();
  if (found.numel() == 0 || checks() == Checks::ignore) {
    return;
  }
  const auto index = found[0].item<int64_t>();
  kernels::warn_or_raise(
      c10::str(
          "spectralgrad.spectral_map: The function ",
          what,
          " (eigenvalues ",
          index % n,
          " and ",
          partners.reshape({-1})[index].item<int64_t>(),
          " of matrix ",
          index / n / rounds,
          " of the batch, which are a cluster), so it has no derivative there. Of that pair, what eigh would give is kept."));
}

Tensor judge_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const OptionalTensor& rotated_cotangent,
    const OptionalTensor& rotated_vectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  const ops::TensorCode tensor_code;
  auto partners = kernels::partners(eigenvalues, rounds);
  if (partners.numel() == 0) {
    return partners;
  }
  const auto tolerance = tolerances::gauge(eigenvalues.scalar_type());
  const auto places = at::arange(partners.size(-1), partners.options());
  const auto reject = [&](const Tensor& which, const std::string& what) {
    const auto rejected = which.logical_and(partners != places);
    tell(rejected, partners, what);
    partners = at::where(rejected, places, partners);
  };
  if (eigenvectors_cotangent) {
    const Products products(eigenvectors, *eigenvectors_cotangent);
    if (eigenvectors.is_complex() && checks() != Checks::ignore) {
      judge_phases(products, tolerance);
    }
    // Where the eigenvalues are equal to rounding, as they are.
    const auto skew = derivatives::skew_hermitian_part(products.W).abs();
    const auto of_pair = [&](const Tensor& x) {
      auto shape = partners.sizes().vec();
      shape.push_back(x.size(-1));
      return x.unsqueeze(-3).expand(shape).gather(-1, partners.unsqueeze(-1)).squeeze(-1);
    };
    const auto gaps = (eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)).abs();
    const auto same = tolerances::same_eigenvalue * tolerances::eps(eigenvalues.scalar_type()) *
        eigenvalues.abs().amax({-1}, /*keepdim=*/true).unsqueeze(-2);
    reject(
        (of_pair(skew) > tolerance * of_pair(products.magnitude)).logical_and(of_pair(gaps) <= same),
        "depends on the choice of eigenvectors inside an eigenspace");
  }
  if (rotated_vectors_cotangent) {
    reject(
        depends_on_basis(
            eigenvalues_cotangent,
            rotated_cotangent,
            *rotated_vectors_cotangent,
            eigenvalues,
            eigenvectors,
            partners),
        "depends on the choice of eigenvectors inside an eigenspace");
  }
  if (rotated_cotangent) {
    const auto exchanged = rotated_cotangent->select(-2, -1);
    const auto direct = eigenvalues_cotangent ? *eigenvalues_cotangent : at::zeros_like(eigenvalues);
    const auto successors = kernels::successors(eigenvalues);
    const auto change = (exchanged - direct.gather(-1, successors)).abs();
    const auto gaps = (eigenvalues.gather(-1, successors) - eigenvalues).abs() / eigenvalues.abs().amax({-1}, true);
    const auto allowed = (gaps.nan_to_num() * tolerances::alike_per_gap + tolerance) * direct.abs().amax({-1}, true);
    const auto differs = (change > allowed).unsqueeze(-2);
    const auto of_partner = differs.expand(partners.sizes()).gather(-1, partners);
    reject(differs.logical_or(of_partner), "treats equal eigenvalues differently");
  }
  return partners;
}

Tensor judge_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& eigenvalues,
    const Tensor&,
    int64_t rounds) {
  auto shape = eigenvalues.sizes().vec();
  shape.insert(shape.end() - 1, rounds);
  return at::empty(shape, eigenvalues.options().dtype(at::kLong));
}

Tensor judge_autograd(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const OptionalTensor& rotated_cotangent,
    const OptionalTensor& rotated_vectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  return autograd::below_autograd([&] {
    return judge_rotations_op().call(
        eigenvalues_cotangent,
        eigenvectors_cotangent,
        rotated_cotangent,
        rotated_vectors_cotangent,
        eigenvalues,
        eigenvectors,
        rounds);
  });
}

} // namespace

namespace derivatives {

Tensor judge_rotations(
    const RotatedEigenpairs& cotangents,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  return judge_rotations_op().call(
      optional(cotangents[0]),
      optional(cotangents[1]),
      optional(cotangents[2]),
      optional(cotangents[3]),
      eigenvalues,
      eigenvectors,
      rounds);
}

} // namespace derivatives

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_rotations(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor? rotated_cotangent, "
      "Tensor? rotated_vectors_cotangent, Tensor eigenvalues, Tensor eigenvectors, int rounds) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_rotations", judge_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_rotations", judge_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_rotations", judge_autograd);
}

} // namespace spectralgrad
