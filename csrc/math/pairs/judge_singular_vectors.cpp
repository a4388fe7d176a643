#include "math/pairs/judge_singular_vectors.h"

#include "autograd/operator_handle.h"
#include "core/caller_name.h"
#include "math/pairs/gauge_report.h"
#include "math/pairs/judge_batch.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

namespace spectralgrad {
namespace {

using at::Tensor;

/// The arguments of the operator, on the host and contiguous. Any but the singular values may be undefined.
struct SingularVectorCotangents {
  Tensor singular_values_cotangent;
  Tensor W_together;
  Tensor W_against;
  Tensor magnitude;
  Tensor outer;
  Tensor singular_values;

  /// The number of singular values that the loss sees.
  int64_t number_kept() const {
    return (W_together.defined() ? W_together : singular_values_cotangent).size(-1);
  }
};

template <typename scalar_t>
math::Verdict judge_factors(const SingularVectorCotangents& cotangents, int64_t matrix) {
  using real_t = typename RealOf<scalar_t>::type;
  const auto k = cotangents.singular_values.size(-1);
  const auto r = cotangents.number_kept();
  const auto* sigma = math::numbers_or_null<real_t>(cotangents.singular_values, matrix, k);
  const auto* g_kept = math::numbers_or_null<real_t>(cotangents.singular_values_cotangent, matrix, r);
  const auto* together = math::numbers_or_null<scalar_t>(cotangents.W_together, matrix, k * r);
  const auto* against = math::numbers_or_null<scalar_t>(cotangents.W_against, matrix, k * r);
  const auto* N = math::numbers_or_null<real_t>(cotangents.magnitude, matrix, k * r);
  const auto* outer = math::numbers_or_null<real_t>(cotangents.outer, matrix, r);
  const auto entry = [&](const scalar_t* W, int64_t i, int64_t j) {
    return j < r ? W[i * r + j] : scalar_t(0);
  };
  const auto magnitude = [&](int64_t i, int64_t j) {
    return j < r ? N[i * r + j] : i < r ? N[j * r + i] : real_t(0);
  };
  const auto scale = [&] {
    return std::max(largest_size(N, k * r), sigma[0] * largest_size(g_kept, r));
  };
  // Dropped singular values have a cotangent of 0.
  std::vector<real_t> padded;
  if (g_kept != nullptr && r < k) {
    padded.assign(g_kept, g_kept + r);
    padded.resize(k);
  }
  const auto* g_sigma = padded.empty() ? g_kept : padded.data();
  std::vector<real_t> ascending(sigma, sigma + k);
  for (auto& x : ascending) {
    x = -x;
  }
  auto verdict = math::judge<scalar_t>(
      k,
      ascending.data(),
      g_sigma,
      together != nullptr,
      [&](int64_t i, int64_t j) { return entry(together, i, j); },
      magnitude,
      scale);
  if (verdict.finding != math::Finding::none && verdict.first < r && verdict.second >= r) {
    verdict.finding = math::Finding::cut;
  }
  if (against != nullptr) {
    const auto found = math::judge_null_spaces<scalar_t>(
        k,
        sigma,
        [&](int64_t i, int64_t j) { return entry(against, i, j); },
        [&](int64_t i) { return outer == nullptr || i >= r ? real_t(0) : outer[i]; },
        magnitude,
        scale);
    if (found.is_more_severe_than(verdict)) {
      verdict = found;
    }
  }
  return verdict;
}

Tensor judge_singular_vectors_kernel(
    const OptionalTensor& singular_values_cotangent,
    const OptionalTensor& W_together,
    const OptionalTensor& W_against,
    const OptionalTensor& magnitude,
    const OptionalTensor& outer,
    const Tensor& singular_values,
    std::string_view caller) {
  auto result = at::zeros(singular_values.sizes(), singular_values.options());
  if (checks() == Checks::ignore || singular_values.numel() == 0) {
    return result;
  }
  const CallerNameGuard guard(caller);
  using math::on_host;
  const SingularVectorCotangents cotangents{
      on_host(singular_values_cotangent),
      on_host(W_together),
      on_host(W_against),
      on_host(magnitude),
      on_host(outer),
      on_host(singular_values)};
  const auto dtype = (W_together ? *W_together : singular_values).scalar_type();
  math::report(AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(dtype, "judge_singular_vectors", [&] {
    const auto count = singular_values.numel() / singular_values.size(-1);
    return math::most_severe_verdict(count, [&](int64_t matrix) {
      return judge_factors<scalar_t>(cotangents, matrix);
    });
  }));
  return result;
}

Tensor judge_singular_vectors_meta(
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const OptionalTensor&,
    const Tensor& singular_values,
    std::string_view) {
  return at::empty_symint(singular_values.sym_sizes(), singular_values.options());
}

constexpr autograd::OperatorHandle<"spectralgrad::judge_singular_vectors", judge_singular_vectors_meta>
    judge_singular_vectors_op;

} // namespace

namespace math {

Tensor judge_singular_vectors(
    const Tensor& singular_values_cotangent,
    const Tensor& W_together,
    const Tensor& W_against,
    const Tensor& magnitude,
    const Tensor& outer,
    const Tensor& singular_values) {
  const auto zeros = judge_singular_vectors_op.call(
      optional(singular_values_cotangent),
      optional(W_together),
      optional(W_against),
      optional(magnitude),
      optional(outer),
      singular_values,
      caller_name("svd"));
  const auto kept = (W_together.defined() ? W_together : singular_values_cotangent).sym_size(-1);
  return with_zeros(singular_values_cotangent, zeros.sym_size(-1) == kept ? zeros : zeros.slice_symint(-1, 0, kept));
}

} // namespace math

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def(
      "judge_singular_vectors(Tensor? singular_values_cotangent, Tensor? W_together, Tensor? W_against, "
      "Tensor? magnitude, Tensor? outer, Tensor singular_values, str caller=\"svd\") -> Tensor");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("judge_singular_vectors", judge_singular_vectors_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("judge_singular_vectors", judge_singular_vectors_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("judge_singular_vectors", judge_singular_vectors_op.constant_kernel());
}

} // namespace spectralgrad
