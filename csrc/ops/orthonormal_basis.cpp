#include "ops/orthonormal_basis.h"

#include "autograd/constant.h"
#include "math/hermitian_part.h"
#include "ops/hermitian.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/real.h>
#include <ATen/ops/where.h>
#include <c10/util/Exception.h>

#include <limits>
#include <string>
#include <utility>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

Tensor cholesky_factor(const Tensor& S) {
  if (checks() == Checks::ignore) {
    const auto [factor, info] = at::linalg_cholesky_ex(S);
    return at::where((info == 0).unsqueeze(-1).unsqueeze(-1), factor, std::numeric_limits<double>::quiet_NaN());
  }
  try {
    return at::linalg_cholesky(S);
  } catch (const c10::LinAlgError& error) {
    const std::string message = error.what_without_backtrace();
    const auto batch = message.find("(Batch element");
    const auto end = message.find("):");
    TORCH_CHECK_LINALG(
        false,
        "spectralgrad.density_matrix: ",
        batch == std::string::npos ? "" : message.substr(batch, end + 3 - batch),
        "Expected overlap to be positive definite, but it is not");
  }
}

} // namespace

OrthonormalBasis::OrthonormalBasis(const std::optional<Tensor>& overlap) {
  if (overlap) {
    factor_ = cholesky_factor(hermitian(*overlap, "density_matrix", "overlap"));
  }
}

OrthonormalBasis OrthonormalBasis::of_factor(Tensor factor) {
  OrthonormalBasis basis;
  basis.factor_ = std::move(factor);
  return basis;
}

Tensor OrthonormalBasis::reduce(const Tensor& H) const {
  if (!factor_.defined()) {
    return H;
  }
  const auto left = at::linalg_solve_triangular(factor_, H, /*upper=*/false);
  return math::hermitian_part(at::linalg_solve_triangular(factor_.mH(), left, /*upper=*/true, /*left=*/false));
}

Tensor OrthonormalBasis::restore(const Tensor& D) const {
  if (!factor_.defined()) {
    return D;
  }
  const auto left = restore_vectors(D);
  return math::hermitian_part(at::linalg_solve_triangular(factor_, left, /*upper=*/false, /*left=*/false));
}

Tensor OrthonormalBasis::restore_vectors(const Tensor& Y) const {
  return factor_.defined() ? at::linalg_solve_triangular(factor_.mH(), Y, /*upper=*/true) : Y;
}

Tensor OrthonormalBasis::amplification() const {
  if (!factor_.defined() || factor_.sym_size(-1) == 0) {
    return {};
  }
  const auto diagonal = at::real(autograd::recorded_constant(factor_).diagonal(0, -2, -1));
  return (diagonal.amax({-1}) / diagonal.amin({-1})).square();
}

} // namespace spectralgrad::ops
