#include "kernels/eigh_vjp/simd_eigh_vjp.h"

#include "kernels/eigh_vjp/lane_suspicion.h"
#include "kernels/simd/hermitian.h"

// Compiled once for each instruction set. Implements the formulas of math/eigh.h.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// The vjp of one group of matrices, one in each SIMD lane. `known_n` is n as a compile-time constant, or 0.
template <typename T, bool is_complex, int known_n>
class Vjp : private JudgedLaneCotangents<T, is_complex, known_n> {
 public:
  using Base = JudgedLaneCotangents<T, is_complex, known_n>;
  using Base::entry;
  using Base::W;

  static int64_t workspace_size(int n) {
    return Base::cotangents_size(n) + static_cast<int64_t>(n) * (n | 1) * entry;
  }

  Vjp(const EighVjpBatch<T>& batch, Memory<T> memory)
      : Base(batch, memory), result_(batch.result), product_(memory.matrix(n_, entry)) {}

  void run(const Members& members) {
    this->load_decomposition(members);
    const auto largest = largest_eigenvalue(eigenvalues_, n_);
    Mask<T> suspicious(T(0));
    if (!this->has_eigenvectors_cotangent()) {
      for (int r = 0; r < n_; ++r) {
        for (int k = 0; k < n_; ++k) {
          store_entry(product_.at(r, k), scale(this->at(V_, r, k), load(cotangents_ + k * W)));
        }
      }
      if (this->judges()) {
        suspicious = this->suspicious(largest);
      }
    } else {
      const auto units = this->project(members);
      if (this->judges()) {
        suspicious = this->suspicious(largest);
      }
      this->divide_by_gaps(largest, units);
      multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, V_, W_, product_);
    }
    multiply<T, is_complex, Conjugated::right, Part::lower, known_n>(n_, n_, product_, V_.transposed(), W_);
    complete_hermitian<T, is_complex>(W_, n_);
    store_matrices<T, is_complex, known_n>(W_, n_, members, result_);
    if (this->judges()) {
      store_mask<T>(suspicious, members, batch_.suspicion.found);
    }
  }

 private:
  using Base::batch_;
  using Base::cotangents_;
  using Base::eigenvalues_;
  using Base::n_;
  using Base::V_;
  using Base::W_;

  T* result_;
  View<T> product_;
};

template <typename T>
constexpr EighVjpKernel<T> kernel = kernel_of_pass<Vjp, EighVjpBatch, T>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(EighVjpKernel)

} // namespace spectralgrad::kernels::simd
