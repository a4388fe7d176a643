#pragma once

#include <spectralgrad/rule.h>

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace spectralgrad::ops {

/// U (*, m, k), sigma (*, k) and V^H (*, k, n).
using SingularTriples = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

/// Returns the thin decomposition of `A` (*, m, n), k = min(m, n), as constants of any differentiation. Raises the
/// errors of `svd`, which name `function`.
SingularTriples singular_triples(const char* function, const at::Tensor& A, std::optional<std::string_view> driver);

/// Returns the first `count` of the triples that `singular_triples` returned for `A`, as differentiable functions of A.
/// The values are those of `rule`: `Rule::split` moves singular values apart.
SingularTriples leading_singular_triples(
    const char* function,
    const at::Tensor& A,
    const SingularTriples& triples,
    const c10::SymInt& count,
    const Rule& rule);

} // namespace spectralgrad::ops
