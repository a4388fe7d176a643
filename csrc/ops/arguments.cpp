#include "ops/arguments.h"

#include "core/lowest_index.h"
#include "kernels/eigh/hermitian_matrix.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/view_as_real.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <c10/util/accumulate.h>

#include <cmath>
#include <cstdint>

namespace spectralgrad::ops {
namespace {

using at::Tensor;

c10::IntArrayRef batch_shape(const Tensor& A) {
  return A.sizes().slice(0, A.dim() - 2);
}

/// Calls `f(matrix, position)` with `first_not_finite()` of each matrix of a CPU batch, from several threads.
template <typename F>
void scan(const Tensor& A, std::string_view UPLO, const F& f) {
  const auto n = A.size(-1);
  const auto plain = A.is_contiguous() ? A : A.resolve_conj().resolve_neg().contiguous();
  constexpr int64_t entries_per_task = 1 << 15;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "check_finite", [&] {
    const auto* data = static_cast<const scalar_t*>(plain.const_data_ptr());
    at::parallel_for(
        0,
        c10::multiply_integers(batch_shape(A)),
        entries_per_task / (n * n + 1) + 1,
        [&](int64_t begin, int64_t end) {
          for (auto i = begin; i < end; ++i) {
            f(i, kernels::HermitianMatrix<scalar_t>{data + i * n * n, n, is_upper(UPLO)}.first_not_finite());
          }
        });
  });
}

/// Raises `c10::LinAlgError` that names the first entry of `what` that is not finite.
void raise_not_finite(
    const char* function,
    const std::string& what,
    const Tensor& A,
    int64_t matrix,
    int64_t row,
    int64_t column) {
  TORCH_CHECK_LINALG(
      false,
      "spectralgrad.",
      function,
      ": ",
      batch_element(A.dim() > 2, matrix),
      "Expected ",
      what,
      " to be finite, but the entry (",
      row,
      ", ",
      column,
      ") is ",
      A.reshape({-1, A.size(-2), A.size(-1)})[matrix][row][column].item());
}

} // namespace

void check_matrix(const char* function, const Tensor& A, std::string_view name) {
  TORCH_CHECK(
      A.dim() >= 2,
      "spectralgrad.",
      function,
      ": The input tensor ",
      name,
      " must have at least 2 dimensions, but it has ",
      A.dim());
  TORCH_CHECK_NOT_IMPLEMENTED(
      A.layout() == at::kStrided,
      "spectralgrad.",
      function,
      ": Expected ",
      name,
      " to be a dense tensor, but its layout is ",
      A.layout(),
      "; call to_dense() first");
  const auto dtype = A.scalar_type();
  TORCH_CHECK_NOT_IMPLEMENTED(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kComplexFloat || dtype == at::kComplexDouble,
      "\"spectralgrad.",
      function,
      "\" not implemented for '",
      c10::toString(dtype),
      "': Expected ",
      name,
      " to be float32, float64, complex64 or complex128");
}

void check_square_matrix(const char* function, const Tensor& A, std::string_view name) {
  check_matrix(function, A, name);
  TORCH_CHECK(
      A.sym_size(-1) == A.sym_size(-2),
      "spectralgrad.",
      function,
      ": ",
      name,
      " must be batches of square matrices, but they are ",
      A.sym_size(-2),
      " by ",
      A.sym_size(-1),
      " matrices");
}

void check_hermitian_arguments(const char* function, const Tensor& A, std::string_view UPLO, std::string_view name) {
  check_square_matrix(function, A, name);
  TORCH_CHECK(
      UPLO == "L" || UPLO == "U" || UPLO == "l" || UPLO == "u",
      "spectralgrad.",
      function,
      ": Expected UPLO argument to be 'L' or 'U', but got ",
      UPLO);
}

std::string mismatch(const Tensor& A, const Tensor& B, std::string_view extent, std::string_view name) {
  if (A.sym_size(-2) != B.sym_size(-2) || A.sym_size(-1) != B.sym_size(-1)) {
    return c10::str(
        "Expected A and ",
        name,
        " to be matrices of one ",
        extent,
        ", but they are ",
        A.sym_size(-2),
        " by ",
        A.sym_size(-1),
        " and ",
        B.sym_size(-2),
        " by ",
        B.sym_size(-1));
  }
  if (A.scalar_type() != B.scalar_type()) {
    return c10::str("Expected A and ", name, " to have one dtype, but got ", A.scalar_type(), " and ", B.scalar_type());
  }
  return {};
}

std::string batch_element(bool is_batch, int64_t matrix) {
  return is_batch ? c10::str("(Batch element ", matrix, "): ") : "";
}

Tensor is_not_finite(const Tensor& A, std::string_view UPLO) {
  if (A.device().is_cpu()) {
    auto result = at::empty(batch_shape(A), A.options().dtype(at::kBool));
    auto* not_finite = result.mutable_data_ptr<bool>();
    scan(A, UPLO, [&](int64_t matrix, int64_t position) { not_finite[matrix] = position >= 0; });
    return result;
  }
  const auto triangle = is_upper(UPLO) ? A.triu() : A.tril();
  return at::isfinite(triangle).logical_not().any(-1).any(-1);
}

void check_finite(const char* function, const Tensor& A, std::string_view UPLO, std::string_view name) {
  if (!A.device().is_cpu()) {
    if (is_not_finite(A, UPLO).any().item<bool>()) {
      check_finite(function, A.cpu(), UPLO, name);
    }
    return;
  }
  const auto n = A.size(-1);
  kernels::LowestIndex not_finite; // index in the whole batch
  scan(A, UPLO, [&](int64_t matrix, int64_t position) {
    if (position >= 0) {
      not_finite.found(matrix * n * n + position);
    }
  });
  if (!not_finite.any()) {
    return;
  }
  const auto first = not_finite.value();
  const auto triangle = c10::str("the ", is_upper(UPLO) ? "upper" : "lower", " triangle of ", name);
  raise_not_finite(function, triangle, A, first / (n * n), first % (n * n) / n, first % n);
}

void check_all_finite(const char* function, const Tensor& A, std::string_view name) {
  // If the sum is finite, so is each number. This is one pass instead of several. The sum of finite numbers may
  // overflow.
  const auto parts = A.is_complex() ? at::view_as_real(A.resolve_conj()) : A;
  if (std::isfinite(parts.sum().item<double>())) {
    return;
  }
  const auto finite = at::isfinite(A);
  if (finite.all().item<bool>()) {
    return;
  }
  const auto first = finite.reshape({-1, A.size(-2), A.size(-1)}).logical_not().nonzero()[0];
  const auto index = [&](int64_t i) {
    return first[i].item<int64_t>();
  };
  raise_not_finite(function, std::string(name), A, index(0), index(1), index(2));
}

void write_out(const Tensor& result, const Tensor& out) {
  TORCH_CHECK(
      out.scalar_type() == result.scalar_type(),
      "Expected out tensor to have dtype ",
      result.dtype(),
      ", but got ",
      out.dtype(),
      " instead");
  TORCH_CHECK(
      out.device() == result.device(),
      "Expected out tensor to have device ",
      result.device(),
      ", but got ",
      out.device(),
      " instead");
  at::native::resize_output(out, result.sizes());
  out.copy_(result);
}

void check_out_not_differentiated(const char* function, at::TensorList tensors) {
  for (const auto& x : tensors) {
    TORCH_CHECK(
        !(at::GradMode::is_enabled() && x.requires_grad()) && !x._fw_grad(/*level=*/0).defined(),
        "spectralgrad.",
        function,
        "(): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
        "requires grad.");
  }
}

} // namespace spectralgrad::ops
