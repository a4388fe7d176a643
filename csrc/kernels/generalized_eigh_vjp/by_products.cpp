#include "kernels/generalized_eigh_vjp/by_products.h"

#include "core/interruptible.h"
#include "kernels/eigh_vjp/by_products/batch_gate.h"
#include "kernels/eigh_vjp/by_products/columns.h"
#include "kernels/eigh_vjp/by_products/gap_division.h"
#include "kernels/eigh_vjp/by_products/hermitian_product.h"
#include "kernels/eigh_vjp/by_products/products.h"
#include "kernels/eigh_vjp/column_norms.h"
#include "kernels/eigh_vjp/parallel_parts.h"
#include "math/pairs/amplification.h"
#include "math/pairs/gauge_report.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

/// The formulas of math/generalized_eigh.h for a piece of the batch, (count, n, n).
template <typename scalar_t>
class PieceVjp {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  /// `amplification` (count) is that of math/pairs/amplification.h.
  PieceVjp(const Inputs& inputs, const Tensor& amplification, const Rule& rule, int64_t itype, bool needs_B)
      : inputs_(inputs),
        amplification_(
            amplification.const_data_ptr<real_t>(),
            amplification.const_data_ptr<real_t>() + amplification.numel()),
        of_eigenvalues_(itype == 1 ? real_t(-1) : real_t(1)),
        of_norm_(itype == 3 ? real_t(1) : real_t(-1)) {
    if (!inputs.gV.defined()) {
      judge(Tensor(), Tensor());
      return;
    }
    W_ = product(inputs.V.mH(), inputs.gV);
    // Upper bounds of what columns of gV contribute to N. V^H gV grows with the norms of V's columns.
    const auto norms = norm_bounds<real_t>(inputs.gV) * norm_bounds<real_t>(inputs.V).amax({-1}, /*keepdim=*/true);
    judge(W_, norms);
    if (needs_B) {
      hermitian_ = W_.clone();
      make_hermitian(hermitian_, /*from_upper=*/false);
    }
    const BatchGate<real_t> gate(inputs, rule, norms, amplification_);
    GapDivision<scalar_t>(inputs, rule, gate, norms, all_columns()).run(W_);
  }

  /// P Q P^H
  void write_A(const Tensor& P, const Tensor& result) const {
    hermitian_product(W_.defined() ? product(P, W_) : P * inputs_.gL.unsqueeze(-2), P, result);
  }

  /// R [of_eigenvalues (Lambda Q + Q Lambda)/2 + of_norm H/2] R^H
  void write_B(const Tensor& R, const Tensor& result) {
    if (!W_.defined()) {
      hermitian_product(R * (of_eigenvalues_ * inputs_.gL * inputs_.L).unsqueeze(-2), R, result);
      return;
    }
    add_eigenvalue_part();
    hermitian_product(product(R, hermitian_), R, result);
  }

 private:
  const Columns& all_columns() {
    const auto n = inputs_.n;
    columns_ = {selected(std::vector<bool>(static_cast<size_t>(n), true)), n};
    return columns_;
  }

  void judge(const Tensor& W, const Tensor& norms) const {
    const auto n = inputs_.n;
    MostSevere most_severe;
    for_each_part(checks() == Checks::ignore ? 0 : inputs_.count, 1, n * n, [&](int64_t matrix, int64_t, int64_t) {
      const auto* entries = W.defined() ? W.template const_data_ptr<scalar_t>() + matrix * n * n : nullptr;
      const auto entry = [&](int64_t i, int64_t j) {
        return entries[i * n + j];
      };
      const auto scale = [&] {
        return cotangent_scale<real_t>(inputs_, norms, matrix);
      };
      const auto amplification = amplification_[static_cast<size_t>(matrix)];
      most_severe.note(judge_matrix<scalar_t>(inputs_, matrix, entry, scale, amplification), matrix);
    });
    math::report(most_severe.verdict());
  }

  void add_eigenvalue_part() const {
    const auto n = inputs_.n;
    const auto* of_Q = W_.template const_data_ptr<scalar_t>();
    const auto* of_L = inputs_.L.template const_data_ptr<real_t>();
    auto* of_inner = hermitian_.template mutable_data_ptr<scalar_t>();
    for_each_part(inputs_.count, n, n, [&](int64_t matrix, int64_t begin, int64_t end) {
      const auto* L = of_L + matrix * n;
      for (auto i = begin; i < end; ++i) {
        const auto at = (matrix * n + i) * n;
        for (int64_t j = 0; j < n; ++j) {
          const auto mean = of_eigenvalues_ * (L[i] / 2 + L[j] / 2);
          of_inner[at + j] = of_norm_ / 2 * of_inner[at + j] + mean * of_Q[at + j];
        }
      }
    });
  }

  const Inputs& inputs_;
  std::vector<real_t> amplification_;
  real_t of_eigenvalues_;
  real_t of_norm_;
  Columns columns_;
  Tensor W_; // then Q
  Tensor hermitian_; // H, then the inner matrix of gB
};

} // namespace

GeneralizedGradients generalized_vjp_by_products(
    const Inputs& inputs,
    const Tensor& B_diagonal,
    const Tensor& U,
    int64_t itype,
    bool needs_A,
    bool needs_B,
    const Rule& rule) {
  // Pieces of about a tenth of a second, at least one matrix each.
  constexpr int64_t operations_per_piece = int64_t(1) << 33;
  const auto n = inputs.n;
  const auto step = std::max<int64_t>(1, operations_per_piece / (10 * n * n * n));
  const auto gradient = [&](bool is_needed) {
    return is_needed ? at::empty({inputs.count, n, n}, inputs.V.options()) : Tensor();
  };
  GeneralizedGradients gradients{gradient(needs_A), gradient(needs_B)};
  const Inputs duals(Tensor(), U, inputs.L, inputs.V);
  const Inputs diagonals(B_diagonal, Tensor(), inputs.L, inputs.V);
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(inputs.V.scalar_type(), "generalized_eigh_vjp", [&] {
    for (int64_t begin = 0; begin < inputs.count; begin += step) {
      check_interrupt();
      const auto end = std::min(inputs.count, begin + step);
      const auto piece = inputs.piece(begin, end);
      const auto dual = duals.piece(begin, end).gV;
      const auto& R = itype == 3 ? dual : piece.V;
      const auto amplification = math::amplification(diagonals.piece(begin, end).gL, R).contiguous();
      PieceVjp<scalar_t> vjp(piece, amplification, rule, itype, needs_B);
      if (needs_A) {
        vjp.write_A(itype == 2 ? dual : piece.V, gradients.A.slice(0, begin, end));
      }
      if (needs_B) {
        vjp.write_B(R, gradients.B.slice(0, begin, end));
      }
    }
  });
  for (auto* x : {&gradients.A, &gradients.B}) {
    if (x->defined()) {
      *x = x->view(inputs.V.sizes());
    }
  }
  return gradients;
}

} // namespace spectralgrad::kernels
