#include "ops/eigenvector_arguments.h"

#include "ops/arguments.h"
#include "ops/check_rtol.h"

#include <c10/util/Exception.h>

namespace spectralgrad::ops {

using at::Tensor;

void check_eigenvectors(const char* function, const Tensor& L, const Tensor& V, const std::optional<double>& rtol) {
  check_matrix(function, V, "V");
  TORCH_CHECK(
      V.sym_size(-1) <= V.sym_size(-2),
      "spectralgrad.",
      function,
      ": Expected V to have at most as many columns as rows, but its matrices are ",
      V.sym_size(-2),
      " by ",
      V.sym_size(-1));
  auto expected = V.sym_sizes().slice(0, V.dim() - 2).vec();
  expected.push_back(V.sym_size(-1));
  TORCH_CHECK(
      L.sym_sizes() == c10::SymIntArrayRef(expected),
      "spectralgrad.",
      function,
      ": Expected L to have the shape ",
      c10::SymIntArrayRef(expected),
      ", an eigenvalue for each column of V, but its shape is ",
      L.sym_sizes());
  const auto real = c10::toRealValueType(V.scalar_type());
  TORCH_CHECK(
      L.scalar_type() == real,
      "spectralgrad.",
      function,
      ": Expected L to be ",
      real,
      ", as V is ",
      V.scalar_type(),
      ", but got ",
      L.scalar_type());
  check_rtol(function, rtol);
}

} // namespace spectralgrad::ops
