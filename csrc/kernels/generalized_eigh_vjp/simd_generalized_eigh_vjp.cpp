#include "kernels/generalized_eigh_vjp/simd_generalized_eigh_vjp.h"

#include "kernels/eigh_vjp/lane_suspicion.h"
#include "kernels/simd/hermitian.h"

// Compiled once for each instruction set. Implements the formulas of math/generalized_eigh.h.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// The vjp of one group of problems, one in each SIMD lane. `known_n` is n as a compile-time constant, or 0.
template <typename T, bool is_complex, int known_n>
class GeneralizedVjp : private JudgedLaneCotangents<T, is_complex, known_n, /*columns_grow=*/true> {
 public:
  using Base = JudgedLaneCotangents<T, is_complex, known_n, /*columns_grow=*/true>;
  using Base::entry;
  using Base::W;

  static int64_t workspace_size(int n) {
    return Base::cotangents_size(n) + 3 * static_cast<int64_t>(n) * (n | 1) * entry + static_cast<int64_t>(n) * W;
  }

  GeneralizedVjp(const GeneralizedVjpBatch<T>& batch, Memory<T> memory)
      : Base(batch, memory),
        given_(batch),
        U_(memory.matrix(n_, entry)),
        inner_(memory.matrix(n_, entry)),
        product_(memory.matrix(n_, entry)),
        B_diagonal_(memory.row(n_)) {}

  void run(const Members& members) {
    this->load_decomposition(members);
    if (given_.dual.data != nullptr) {
      load_matrices<T, is_complex, known_n>(given_.dual, n_, members, U_);
    }
    find_amplification(members);
    const auto largest = largest_eigenvalue(eigenvalues_, n_);
    if (this->has_eigenvectors_cotangent()) {
      const auto units = this->project(members);
      judge(members, largest);
      keep_hermitian_part(units.from);
      this->divide_by_gaps(largest, units);
      // These were scaled for the division.
      load_rows<T, known_n>(batch_.eigenvalues, n_, members, eigenvalues_);
    } else {
      judge(members, largest);
      fill_diagonal();
    }
    if (given_.A != nullptr) {
      store_congruence(given_.P_is_dual ? U_ : V_, W_, members, given_.A);
    }
    if (given_.B != nullptr) {
      add_eigenvalue_part();
      store_congruence(given_.R_is_dual ? U_ : V_, inner_, members, given_.B);
    }
  }

 private:
  using Base::amplification_;
  using Base::batch_;
  using Base::cotangents_;
  using Base::eigenvalues_;
  using Base::gV_;
  using Base::n_;
  using Base::V_;
  using Base::W_;

  /// The formula of math/pairs/amplification.h.
  SPECTRALGRAD_INLINE void find_amplification(const Members& members) {
    load_rows<T, known_n>(given_.B_diagonal, n_, members, B_diagonal_);
    const auto& R = given_.R_is_dual ? U_ : V_;
    Vec<T> most(T(0));
    for (int i = 0; i < n_; ++i) {
      const auto root = load(B_diagonal_ + i * W).sqrt();
      Vec<T> sum(T(0));
      for (int j = 0; j < n_; ++j) {
        sum = add_squared(scale(this->at(R, i, j), root), sum);
      }
      most = larger(most, sum);
    }
    const Vec<T> one(T(1));
    amplification_ = larger(one, most - one);
  }

  SPECTRALGRAD_INLINE void judge(const Members& members, const Vec<T>& largest) {
    if (this->judges()) {
      store_mask<T>(this->suspicious(largest), members, batch_.suspicion.found);
    }
  }

  /// inner = of_norm H/2, H the Hermitian part of W, which is in other units.
  SPECTRALGRAD_INLINE void keep_hermitian_part(const Vec<T>& from_units) {
    const auto factor = from_units * Vec<T>(given_.of_norm * T(0.25));
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j <= i; ++j) {
        const auto twice = add_scaled(conj(this->at(W_, j, i)), Vec<T>(T(1)), this->at(W_, i, j));
        const auto entry = scale(twice, factor);
        store_entry(inner_.at(i, j), entry);
        store_entry(inner_.at(j, i), conj(entry));
      }
    }
  }

  /// W = diag(g_lambda) and inner = 0, for losses of the eigenvalues alone.
  SPECTRALGRAD_INLINE void fill_diagonal() {
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j < n_; ++j) {
        const auto cotangent = i == j ? load(cotangents_ + i * W) : Vec<T>(T(0));
        store_entry(W_.at(i, j), real_entry<T, is_complex>(cotangent));
        store_entry(inner_.at(i, j), zero_entry<T, is_complex>());
      }
    }
  }

  /// Adds of_eigenvalues (Lambda Q + Q Lambda)/2, Q = W.
  SPECTRALGRAD_INLINE void add_eigenvalue_part() {
    const Vec<T> half(given_.of_eigenvalues * T(0.5));
    for (int i = 0; i < n_; ++i) {
      const auto here = load(eigenvalues_ + i * W) * half;
      for (int j = 0; j < n_; ++j) {
        const auto mean = fma(load(eigenvalues_ + j * W), half, here);
        store_entry(inner_.at(i, j), add_scaled(this->at(W_, i, j), mean, this->at(inner_, i, j)));
      }
    }
  }

  /// Stores basis * inner * basis^H. Overwrites the cotangent.
  SPECTRALGRAD_INLINE void store_congruence(const View<T>& basis, const View<T>& inner, const Members& members, T* to) {
    multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, basis, inner, product_);
    multiply<T, is_complex, Conjugated::right, Part::lower, known_n>(n_, n_, product_, basis.transposed(), gV_);
    complete_hermitian<T, is_complex>(gV_, n_);
    store_matrices<T, is_complex, known_n>(gV_, n_, members, to);
  }

  const GeneralizedVjpBatch<T>& given_;
  View<T> U_;
  View<T> inner_;
  View<T> product_;
  T* B_diagonal_;
};

template <typename T>
constexpr GeneralizedVjpKernel<T> kernel = kernel_of_pass<GeneralizedVjp, GeneralizedVjpBatch, T, FewKnownSizes>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(GeneralizedVjpKernel)

} // namespace spectralgrad::kernels::simd
