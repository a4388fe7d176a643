#include "kernels/lapack_eigh.h"

#include "kernels/judge.h"
#include "kernels/lowest_index.h"
#include "ops/arguments.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

// LAPACK as LibTorch carries it: LibTorch's headers declare its wrappers for real numbers only. Weak, since another build of
// LibTorch may do without. MKL's function returns the number that was set before.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
[[gnu::weak]] void ssyevd_(
    const char*,
    const char*,
    const int*,
    float*,
    const int*,
    float*,
    float*,
    const int*,
    int*,
    const int*,
    int*);
[[gnu::weak]] void dsyevd_(
    const char*,
    const char*,
    const int*,
    double*,
    const int*,
    double*,
    double*,
    const int*,
    int*,
    const int*,
    int*);
[[gnu::weak]] void cheevd_(
    const char*,
    const char*,
    const int*,
    void*,
    const int*,
    float*,
    void*,
    const int*,
    float*,
    const int*,
    int*,
    const int*,
    int*);
[[gnu::weak]] void zheevd_(
    const char*,
    const char*,
    const int*,
    void*,
    const int*,
    double*,
    void*,
    const int*,
    double*,
    const int*,
    int*,
    const int*,
    int*);
[[gnu::weak]] int MKL_Set_Num_Threads_Local(int);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

bool lapack_is_there() {
  return ssyevd_ != nullptr && dsyevd_ != nullptr && cheevd_ != nullptr && zheevd_ != nullptr;
}

/// Within it, MKL uses no threads of its own in this thread.
class SequentialLapack {
 public:
  SequentialLapack() : before_(MKL_Set_Num_Threads_Local != nullptr ? MKL_Set_Num_Threads_Local(1) : 0) {}
  SequentialLapack(const SequentialLapack&) = delete;
  SequentialLapack& operator=(const SequentialLapack&) = delete;
  ~SequentialLapack() {
    if (MKL_Set_Num_Threads_Local != nullptr) {
      MKL_Set_Num_Threads_Local(before_);
    }
  }

 private:
  int before_;
};

/// Sizes of workspaces, in entries; -1 asks for them.
struct Workspace {
  int work = -1;
  int real = -1;
  int integer = -1;
};

int syevd(char job, char uplo, int n, float* A, float* w, float* work, float*, int* integers, const Workspace& size) {
  int info = 0;
  ssyevd_(&job, &uplo, &n, A, &n, w, work, &size.work, integers, &size.integer, &info);
  return info;
}

int syevd(
    char job,
    char uplo,
    int n,
    double* A,
    double* w,
    double* work,
    double*,
    int* integers,
    const Workspace& size) {
  int info = 0;
  dsyevd_(&job, &uplo, &n, A, &n, w, work, &size.work, integers, &size.integer, &info);
  return info;
}

int syevd(
    char job,
    char uplo,
    int n,
    c10::complex<float>* A,
    float* w,
    c10::complex<float>* work,
    float* reals,
    int* integers,
    const Workspace& size) {
  int info = 0;
  cheevd_(&job, &uplo, &n, A, &n, w, work, &size.work, reals, &size.real, integers, &size.integer, &info);
  return info;
}

int syevd(
    char job,
    char uplo,
    int n,
    c10::complex<double>* A,
    double* w,
    c10::complex<double>* work,
    double* reals,
    int* integers,
    const Workspace& size) {
  int info = 0;
  zheevd_(&job, &uplo, &n, A, &n, w, work, &size.work, reals, &size.real, integers, &size.integer, &info);
  return info;
}

/// One thread's: buffers, which ATen aligns alike.
template <typename scalar_t>
class Solver {
 public:
  using real_t = typename RealOf<scalar_t>::type;

  Solver(int64_t n, char uplo, bool vectors) : n_(static_cast<int>(n)), uplo_(uplo), job_(vectors ? 'V' : 'N') {
    scalar_t work{};
    real_t reals{};
    int integers = 0;
    syevd(job_, uplo_, n_, static_cast<scalar_t*>(nullptr), nullptr, &work, &reals, &integers, Workspace());
    size_ = {static_cast<int>(c10::complex<real_t>(work).real()), static_cast<int>(reals), integers};
    matrix_ = buffer<scalar_t>(n * n);
    eigenvalues_ = buffer<real_t>(n);
    work_ = buffer<scalar_t>(size_.work);
    reals_ = buffer<real_t>(size_.real);
    integers_ = buffer<int>(size_.integer);
  }

  /// Of a matrix column by column; leaves eigenvectors, if asked for, column by column. LAPACK's info.
  int solve(const scalar_t* A, real_t* eigenvalues, scalar_t* eigenvectors) {
    const auto bytes = sizeof(scalar_t) * n_ * n_;
    auto* matrix = data<scalar_t>(matrix_);
    auto* values = data<real_t>(eigenvalues_);
    std::memcpy(matrix, A, bytes);
    const auto info = syevd(
        job_,
        uplo_,
        n_,
        matrix,
        values,
        data<scalar_t>(work_),
        data<real_t>(reals_),
        data<int>(integers_),
        size_);
    std::copy_n(values, n_, eigenvalues);
    if (eigenvectors != nullptr) {
      std::memcpy(eigenvectors, matrix, bytes);
    }
    return info;
  }

 private:
  template <typename T>
  static Tensor buffer(int64_t count) {
    return at::empty({std::max<int64_t>(count, 1) * static_cast<int64_t>(sizeof(T))}, at::kByte);
  }

  template <typename T>
  static T* data(const Tensor& bytes) {
    return static_cast<T*>(bytes.mutable_data_ptr());
  }

  int n_;
  char uplo_;
  char job_;
  Workspace size_;
  Tensor matrix_;
  Tensor eigenvalues_;
  Tensor work_;
  Tensor reals_;
  Tensor integers_;
};

} // namespace

bool use_lapack_eigh(const Tensor& A) {
  const auto n = A.size(-1);
  const auto count = n == 0 ? 0 : A.numel() / (n * n);
  // Threads inside a matrix help large ones only; those that are alone need them.
  constexpr int64_t large = 512;
  return lapack_is_there() && A.device().is_cpu() && count > 0 && (n < large || count >= at::get_num_threads());
}

std::tuple<Tensor, Tensor> lapack_eigh(
    const char* function,
    const Tensor& A,
    std::string_view UPLO,
    bool compute_eigenvectors) {
  const auto n = A.size(-1);
  const auto batch = A.sizes().slice(0, A.dim() - 2);
  const auto count = c10::multiply_integers(batch);
  const auto columns = A.mT().resolve_conj().resolve_neg().contiguous();
  const char uplo = UPLO == "L" || UPLO == "l" ? 'L' : 'U';
  auto eigenvalues = at::empty(
      A.sizes().slice(0, A.dim() - 1),
      A.options().dtype(c10::toRealValueType(A.scalar_type())));
  const auto vectors = compute_eigenvectors ? at::empty(A.sizes(), A.options()) : Tensor();
  LowestIndex failed;
  AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(A.scalar_type(), "lapack_eigh", [&] {
    using real_t = typename RealOf<scalar_t>::type;
    const auto* from = columns.const_data_ptr<scalar_t>();
    auto* values = eigenvalues.template mutable_data_ptr<real_t>();
    auto* to = compute_eigenvectors ? vectors.template mutable_data_ptr<scalar_t>() : nullptr;
    // About ten microseconds' worth.
    constexpr int64_t operations_per_task = 1 << 14;
    const auto grain = std::max<int64_t>(1, operations_per_task / (n * n * n));
    at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
      const SequentialLapack sequential;
      Solver<scalar_t> solver(n, uplo, compute_eigenvectors);
      for (auto i = begin; i < end; ++i) {
        if (solver.solve(from + i * n * n, values + i * n, to == nullptr ? nullptr : to + i * n * n) != 0) {
          failed.found(i);
        }
      }
    });
  });
  TORCH_CHECK_LINALG(
      !failed.any(),
      "spectralgrad.",
      function,
      ": ",
      ops::batch_element(A.dim() > 2, failed.value()),
      "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated eigenvalues.");
  return {std::move(eigenvalues), compute_eigenvectors ? vectors.mT() : Tensor()};
}

} // namespace spectralgrad::kernels
