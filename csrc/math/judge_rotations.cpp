#include "math/judge_rotations.h"

#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/optional_tensor.h"
#include "core/report.h"
#include "core/tolerances.h"
#include "math/hermitian_part.h"
#include "math/pairs/cluster_pairs.h"
#include "math/pairs/gauge_report.h"
#include "math/pairs/judge.h"
#include "math/pairs/pairs.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>

#include <array>

namespace spectralgrad {
namespace {

using at::Tensor;

/// W = V^H gV and the magnitude N of its entries (math/pairs/pairs.h).
struct Products {
  Tensor W;
  Tensor magnitude;

  Products(const Tensor& V, const Tensor& gV)
      : W(at::matmul(V.mH(), gV)), magnitude(math::cotangent_magnitude(V, gV)) {}
};

/// The sizes that cotangents are compared with, over all sets of eigenpairs: (*, 1, 1).
struct Sizes {
  Tensor floor; // round-off of the whole matrix; only a larger statistic is a finding
  Tensor slope; // the largest derivative with respect to an eigenvalue
  Tensor largest; // max|lambda|

  Sizes(const std::array<OptionalTensor, 4>& cotangents, const Tensor& eigenvalues) {
    const auto or_undefined = [&](int i) {
      const auto& x = cotangents[static_cast<size_t>(i)];
      return x ? *x : Tensor();
    };
    auto M = math::cotangent_scale(eigenvalues, or_undefined(0), or_undefined(1));
    if (cotangents[2] || cotangents[3]) {
      const auto scale_of_sets = math::cotangent_scale(eigenvalues.unsqueeze(-2), or_undefined(2), or_undefined(3));
      M = at::maximum(M, scale_of_sets.amax({-3}));
    }
    floor = (tolerances::finding_floor * tolerances::eps(eigenvalues.scalar_type())) * M;
    largest = eigenvalues.abs().amax({-1}, /*keepdim=*/true).unsqueeze(-1);
    slope = at::zeros_like(largest);
    if (cotangents[0]) {
      slope = cotangents[0]->abs().amax({-1}, /*keepdim=*/true).unsqueeze(-1);
    }
    if (cotangents[2]) {
      slope = at::maximum(slope, cotangents[2]->abs().amax({-2, -1}, /*keepdim=*/true));
    }
  }
};

void judge_phases(const Products& products, double tolerance, const Sizes& sizes) {
  const auto phases = at::imag(products.W.diagonal(0, -2, -1)).abs();
  const auto found =
      (phases > tolerance * products.magnitude.diagonal(0, -2, -1)).logical_and(phases > sizes.floor.squeeze(-1));
  if (found.any().item<bool>()) {
    math::report({math::Finding::phases});
  }
}

/// Masks (*, rounds, n) of the pairs whose rotated evaluations are not consistent with a gauge-invariant function.
struct BasisDependence {
  Tensor mismatch; // all such pairs; they are rejected
  Tensor finding; // those that a kink inside the cluster cannot explain; they are reported
};

/// Finds the pairs on whose basis the function depends. For a gauge-invariant function, the entry S_ab of the
/// skew-Hermitian part of V^H gV at a rotated pair is the gap times the derivative along v_a' v_b'^H. That derivative
/// follows from `lost_entries`.
BasisDependence depends_on_basis(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& rotated_cotangent,
    const Tensor& rotated_vectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    const Tensor& partners,
    const Sizes& sizes) {
  const auto rounds = partners.size(-2);
  const auto rotated = math::rotated_eigenpairs(eigenvalues, eigenvectors, rounds);
  const Products products(rotated[3], rotated_vectors_cotangent);
  const auto skew = math::skew_hermitian_part(products.W);
  auto G = rotated_cotangent ? math::lost_entries(*rotated_cotangent, partners, eigenvectors.is_complex())
                             : at::zeros_like(eigenvectors);
  if (eigenvalues_cotangent) {
    G = G + at::diag_embed(*eigenvalues_cotangent);
  }
  const auto& V = rotated[3];
  // G in the basis of each set: U^H G U, U = V^H V'. Only the entries of the rotated pairs are used.
  const auto U = at::matmul(eigenvectors.mH().unsqueeze(-3), V);
  const auto turned = at::matmul(at::matmul(U.mH(), G.unsqueeze(-3)), U);
  const auto gaps = rotated[2].unsqueeze(-2) - rotated[2].unsqueeze(-1);
  const auto expected = gaps * turned;
  const auto noise = tolerances::gauge(eigenvalues.scalar_type()) * products.magnitude +
      tolerances::pair_mismatch * expected.abs() + sizes.floor.unsqueeze(-3);
  const auto difference = (skew - expected).abs();
  const auto any_set = [&](const Tensor& differs) {
    auto either = at::zeros_like(partners, partners.options().dtype(at::kBool));
    const auto sets = differs.size(-3) - 1;
    for (int64_t first = 0; first < sets; first += rounds) {
      const auto of_set = differs.slice(-3, first, first + rounds);
      either = either.logical_or(of_set.gather(-1, partners.unsqueeze(-1)).squeeze(-1));
    }
    return either;
  };
  // A kink inside the cluster changes S by up to the gap times the largest slope.
  const auto kink = gaps.abs() * sizes.slope.unsqueeze(-3);
  return {any_set(difference > noise), any_set(difference > noise + kink)};
}

/// Warns or raises about the first pair in `rejected` (*, rounds, n), unless checks are off.
void report_first_pair(const Tensor& rejected, const Tensor& partners, const std::string& what) {
  const auto n = partners.size(-1);
  const auto rounds = partners.size(-2);
  const auto found = rejected.reshape({-1}).nonzero();
  if (found.numel() == 0 || checks() == Checks::ignore) {
    return;
  }
  const auto index = found[0].item<int64_t>();
  warn_or_raise(
      c10::str(
          "spectralgrad.spectral_map: The function ",
          what,
          " (eigenvalues ",
          index % n,
          " and ",
          partners.reshape({-1})[index].item<int64_t>(),
          " of matrix ",
          index / n / rounds,
          " of the batch, which are a cluster), so it has no derivative there. For this pair the gradient of plain "
          "eigh is used instead."));
}

Tensor judge_rotations_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& eigenvectors_cotangent,
    const OptionalTensor& rotated_cotangent,
    const OptionalTensor& rotated_vectors_cotangent,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  const autograd::TensorCode tensor_code;
  auto partners = math::partners(eigenvalues, rounds);
  if (partners.numel() == 0) {
    return partners;
  }
  const auto tolerance = tolerances::gauge(eigenvalues.scalar_type());
  const Sizes sizes(
      {eigenvalues_cotangent, eigenvectors_cotangent, rotated_cotangent, rotated_vectors_cotangent},
      eigenvalues);
  const auto places = at::arange(partners.size(-1), partners.options());
  // Rejected pairs keep the gradient of plain eigh.
  const auto reject = [&](const Tensor& which, const Tensor& reported, const std::string& what) {
    report_first_pair(reported.logical_and(partners != places), partners, what);
    partners = at::where(which, places, partners);
  };
  if (eigenvectors_cotangent) {
    const Products products(eigenvectors, *eigenvectors_cotangent);
    if (eigenvectors.is_complex() && checks() != Checks::ignore) {
      judge_phases(products, tolerance, sizes);
    }
    // For pairs that are equal to round-off, S at A itself must be zero.
    const auto skew = math::skew_hermitian_part(products.W).abs();
    const auto at_partner = [&](const Tensor& x) {
      auto shape = partners.sizes().vec();
      shape.push_back(x.size(-1));
      return x.unsqueeze(-3).expand(shape).gather(-1, partners.unsqueeze(-1)).squeeze(-1);
    };
    const auto gaps = (eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)).abs();
    const auto same = tolerances::same_eigenvalue * tolerances::eps(eigenvalues.scalar_type()) *
        eigenvalues.abs().amax({-1}, /*keepdim=*/true).unsqueeze(-2);
    const auto found = (at_partner(skew) > tolerance * at_partner(products.magnitude))
                           .logical_and(at_partner(skew) > sizes.floor.squeeze(-1).unsqueeze(-2))
                           .logical_and(at_partner(gaps) <= same);
    reject(found, found, "depends on the choice of eigenvectors inside an eigenspace");
  }
  if (rotated_vectors_cotangent) {
    const auto dependence = depends_on_basis(
        eigenvalues_cotangent,
        rotated_cotangent,
        *rotated_vectors_cotangent,
        eigenvalues,
        eigenvectors,
        partners,
        sizes);
    reject(dependence.mismatch, dependence.finding, "depends on the choice of eigenvectors inside an eigenspace");
  }
  if (rotated_cotangent) {
    const auto exchanged = rotated_cotangent->select(-2, -1);
    const auto direct = eigenvalues_cotangent ? *eigenvalues_cotangent : at::zeros_like(eigenvalues);
    const auto successors = math::successors(eigenvalues);
    const auto change = (exchanged - direct.gather(-1, successors)).abs();
    // A function that treats equal eigenvalues alike has the same derivatives in permuted order, even at a kink.
    const auto unit = at::where(sizes.largest == 0, at::ones_like(sizes.largest), sizes.largest);
    const auto allowed = (tolerance * sizes.slope + sizes.floor / unit).squeeze(-1);
    const auto differs = (change > allowed).unsqueeze(-2);
    const auto partner_differs = differs.expand(partners.sizes()).gather(-1, partners);
    const auto found = differs.logical_or(partner_differs);
    reject(found, found, "treats equal eigenvalues differently");
  }
  return partners;
}

Tensor judge_rotations_meta(
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

constexpr autograd::OperatorHandle<"spectralgrad::judge_rotations", judge_rotations_meta> judge_rotations_op;

} // namespace

namespace math {

Tensor judge_rotations(
    const RotatedEigenpairs& cotangents,
    const Tensor& eigenvalues,
    const Tensor& eigenvectors,
    int64_t rounds) {
  return judge_rotations_op.call(
      optional(cotangents[0]),
      optional(cotangents[1]),
      optional(cotangents[2]),
      optional(cotangents[3]),
      eigenvalues,
      eigenvectors,
      rounds);
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_rotations(Tensor? eigenvalues_cotangent, Tensor? eigenvectors_cotangent, Tensor? rotated_cotangent, "
      "Tensor? rotated_vectors_cotangent, Tensor eigenvalues, Tensor eigenvectors, int rounds) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_rotations", judge_rotations_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_rotations", judge_rotations_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_rotations", judge_rotations_op.constant_kernel());
}

} // namespace spectralgrad
