#include "derivatives/judge_cotangents.h"

#include "autograd/differentiable_op.h"
#include "derivatives/tolerances.h"

#include <spectralgrad/checks.h>

#include <ATen/TensorOperators.h>
#include <ATen/Dispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/complex.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace spectralgrad {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

const auto& judge_op() {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("spectralgrad::judge_cotangents", "")
          .typed<Tensor(const OptionalTensor&, const OptionalTensor&, const OptionalTensor&, const Tensor&)>();
  return op;
}

enum class Finding { none, phases, basis, lost_limit, not_differentiable };

struct Verdict {
  Finding finding = Finding::none;
  int64_t matrix = 0;
  int64_t first = 0; // the two eigenvalues concerned
  int64_t second = 0;
};

template <typename T>
T imaginary(T) {
  return 0;
}
template <typename T>
T imaginary(c10::complex<T> z) {
  return z.imag();
}
template <typename T>
T conjugate(T x) {
  return x;
}
template <typename T>
c10::complex<T> conjugate(c10::complex<T> z) {
  return std::conj(z);
}

/// One matrix of the batch; pointers to what is absent are null.
template <typename scalar_t>
struct Cotangents {
  using real_t = typename c10::scalar_value_type<scalar_t>::type;

  int64_t n;
  double eps;
  double tolerance;
  const real_t* eigenvalues;
  const real_t* eigenvalues_cotangent;
  const scalar_t* W;
  const real_t* magnitude;

  bool phase_matters(int64_t i) const {
    return std::abs(imaginary(W[i * n + i])) > tolerance * magnitude[i * n + i];
  }

  bool basis_matters(int64_t i, int64_t j) const {
    const auto S = W[i * n + j] - conjugate(W[j * n + i]);
    return std::abs(S) > 2 * tolerance * magnitude[i * n + j];
  }

  bool limit_is_lost(int64_t i, int64_t j) const {
    const auto H = W[i * n + j] + conjugate(W[j * n + i]);
    return std::abs(H) > 2 * tolerance * magnitude[i * n + j];
  }

  bool eigenvalue_cotangents_differ(int64_t i, int64_t j) const {
    const double a = eigenvalues_cotangent[i];
    const double b = eigenvalues_cotangent[j];
    return std::abs(a - b) > tolerance * std::max(std::abs(a), std::abs(b));
  }

  Verdict judge() const {
    if (W != nullptr && c10::is_complex<scalar_t>::value) {
      for (int64_t i = 0; i < n; ++i) {
        if (phase_matters(i)) {
          return {Finding::phases, 0, i, i};
        }
      }
    }
    const double largest = std::max(std::abs(double(eigenvalues[0])), std::abs(double(eigenvalues[n - 1])));
    const double same = tolerances::same_eigenvalue * eps * largest;
    Verdict verdict;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i + 1; j < n && double(eigenvalues[j]) - double(eigenvalues[i]) <= same; ++j) {
        if (W != nullptr && basis_matters(i, j)) {
          return {Finding::basis, 0, i, j};
        }
        if (eigenvalues_cotangent == nullptr || !eigenvalue_cotangents_differ(i, j)) {
          continue;
        }
        if (W != nullptr && limit_is_lost(i, j)) {
          verdict = {Finding::lost_limit, 0, i, j};
        } else if (verdict.finding == Finding::none) {
          verdict = {Finding::not_differentiable, 0, i, j};
        }
      }
    }
    return verdict;
  }
};

std::string describe(const Verdict& verdict) {
  const auto where = c10::str(
      " (eigenvalues ", verdict.first, " and ", verdict.second, " of matrix ", verdict.matrix, " of the batch are equal)");
  switch (verdict.finding) {
    case Finding::phases:
      return "linalg_eigh_backward: The eigenvectors in the complex case are specified up to multiplication by e^{i phi}. "
             "The specified loss function depends on this quantity, so it is ill-defined.";
    case Finding::basis:
      return "spectralgrad.eigh: The loss depends on the choice of eigenvectors inside an eigenspace, so it has no "
             "gradient there" +
          where + ". Only functions of the whole eigenspace, such as its projector, are well defined.";
    case Finding::lost_limit:
      return "spectralgrad.eigh: The loss looks like tr(M f(A)) written with eigenvectors of a repeated eigenvalue" + where +
          ". Part of its gradient is a limit 0/0 that no backward of eigh can see, and is missing; "
          "rule=spectralgrad.Split() recovers it.";
    case Finding::not_differentiable:
      return "spectralgrad.eigh: The loss treats equal eigenvalues differently" + where +
          ", where they are not differentiable: only directional derivatives exist.";
    case Finding::none:
      break;
  }
  return {};
}

void act(const Verdict& verdict, Checks level) {
  if (verdict.finding == Finding::none) {
    return;
  }
  if (verdict.finding == Finding::phases || level == Checks::raise) {
    gauge_reporter().raise(describe(verdict));
  }
  gauge_reporter().warn(describe(verdict));
}

template <typename T>
const T* data_or_null(const Tensor& x, int64_t offset) {
  return x.defined() ? x.const_data_ptr<T>() + offset : nullptr;
}

/// The gravest finding in the batch, of its first matrix that has it.
Verdict judge_batch(const Tensor& eigenvalues_cotangent, const Tensor& W, const Tensor& magnitude, const Tensor& eigenvalues) {
  Verdict gravest;
  const auto n = eigenvalues.size(-1);
  const auto real = eigenvalues.scalar_type();
  const auto judge = [&](auto zero) {
    using scalar_t = decltype(zero);
    using real_t = typename c10::scalar_value_type<scalar_t>::type;
    for (int64_t i = 0; i < eigenvalues.numel() / n; ++i) {
      auto verdict = Cotangents<scalar_t>{
          n,
          tolerances::eps(real),
          tolerances::gauge(real),
          eigenvalues.const_data_ptr<real_t>() + i * n,
          data_or_null<real_t>(eigenvalues_cotangent, i * n),
          data_or_null<scalar_t>(W, i * n * n),
          data_or_null<real_t>(magnitude, i * n * n)}
                         .judge();
      if (verdict.finding != Finding::none &&
          (gravest.finding == Finding::none || verdict.finding < gravest.finding)) {
        verdict.matrix = i;
        gravest = verdict;
      }
    }
  };
  const auto dtype = W.defined() ? W.scalar_type() : real;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(dtype, "judge_cotangents", [&] { judge(scalar_t{}); });
  return gravest;
}

Tensor judge_kernel(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& W,
    const OptionalTensor& magnitude,
    const Tensor& eigenvalues) {
  auto result = at::zeros(eigenvalues.sizes(), eigenvalues.options());
  const auto level = checks();
  if (level == Checks::ignore || eigenvalues.numel() == 0) {
    return result;
  }
  // A few passes over what fits the cache, on the host whatever the device.
  const auto plain = [](const OptionalTensor& x) {
    return x && x->defined() ? x->resolve_conj().resolve_neg().cpu().contiguous() : Tensor();
  };
  act(judge_batch(plain(eigenvalues_cotangent), plain(W), plain(magnitude), plain(eigenvalues)), level);
  return result;
}

Tensor judge_meta(const OptionalTensor&, const OptionalTensor&, const OptionalTensor&, const Tensor& eigenvalues) {
  return at::empty_symint(eigenvalues.sym_sizes(), eigenvalues.options());
}

Tensor judge_autograd(
    const OptionalTensor& eigenvalues_cotangent,
    const OptionalTensor& W,
    const OptionalTensor& magnitude,
    const Tensor& eigenvalues) {
  return autograd::below_autograd(
      [&] { return judge_op().call(eigenvalues_cotangent, W, magnitude, eigenvalues); });
}

OptionalTensor optional(const Tensor& x) {
  return x.defined() ? OptionalTensor(x) : std::nullopt;
}

} // namespace

namespace derivatives {

Tensor judge_cotangents(
    const Tensor& eigenvalues_cotangent,
    const Tensor& W,
    const Tensor& magnitude,
    const Tensor& eigenvalues) {
  // The operator's result, zeros, enters the gradient, so that no compiler drops the call.
  const auto zeros = judge_op().call(optional(eigenvalues_cotangent), optional(W), optional(magnitude), eigenvalues);
  return eigenvalues_cotangent.defined() ? eigenvalues_cotangent + zeros : zeros;
}

} // namespace derivatives

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_cotangents(Tensor? eigenvalues_cotangent, Tensor? W, Tensor? magnitude, Tensor eigenvalues) -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_cotangents", judge_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_cotangents", judge_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_cotangents", judge_autograd);
}

} // namespace spectralgrad
