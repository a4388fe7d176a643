#pragma once

#include "core/lowest_index.h"
#include "kernels/eigh/eigh_batch.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <tuple>
#include <utility>

namespace spectralgrad::kernels {

/// The input and the results of a decomposition of CPU matrices (*, n, n), which several threads fill in.
struct EighResults {
  int64_t n;
  int64_t count;
  at::Tensor matrices; // contiguous
  at::Tensor eigenvalues; // (*, n)
  at::Tensor eigenvectors; // (*, n, n), one in each row; undefined if not requested
  LowestIndex not_finite;
  LowestIndex not_converged;

  EighResults(const at::Tensor& A, bool compute_eigenvectors)
      : n(A.size(-1)),
        count(c10::multiply_integers(A.sizes().slice(0, A.dim() - 2))),
        matrices(A.resolve_conj().resolve_neg().contiguous()),
        eigenvalues(
            at::empty(A.sizes().slice(0, A.dim() - 1), A.options().dtype(c10::toRealValueType(A.scalar_type())))),
        eigenvectors(compute_eigenvectors ? at::empty(A.sizes(), A.options()) : at::Tensor()) {}

  /// The data of the eigenvectors as `T`; null if not requested.
  template <typename T>
  T* eigenvectors_or_null() const {
    return eigenvectors.defined() ? static_cast<T*>(eigenvectors.mutable_data_ptr()) : nullptr;
  }

  /// Moves out the eigenvalues, and returns the eigenvectors as columns.
  std::tuple<at::Tensor, at::Tensor, simd::EighFindings> finish() {
    return {
        std::move(eigenvalues),
        eigenvectors.defined() ? eigenvectors.mT() : at::Tensor(),
        simd::EighFindings{not_finite.value(), not_converged.value()}};
  }
};

} // namespace spectralgrad::kernels
