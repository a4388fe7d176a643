#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <optional>

namespace spectralgrad::ops {

/// The arguments of a truncation, see `math::Truncation`.
struct TruncationArguments {
  std::optional<c10::SymInt> rank;
  std::optional<double> rtol;
  std::optional<double> atol;
  bool keep_multiplets;

  /// Raises `c10::ValueError`, naming `function`, unless all of them are nonnegative and the tolerances are finite.
  void check(const char* function) const;

  /// Returns how many of the singular values (*, k) of m x n matrices are kept. Unless `rank` alone decides, that
  /// depends on their values. Then a tensor on the meta device raises `c10::NotImplementedError`, and transforms that
  /// trace raise their error for reading a value.
  c10::SymInt number_kept(const char* function, const at::Tensor& singular_values, const c10::SymInt& larger_side)
      const;
};

} // namespace spectralgrad::ops
