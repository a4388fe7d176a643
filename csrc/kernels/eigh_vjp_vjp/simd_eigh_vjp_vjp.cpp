#include "kernels/eigh_vjp_vjp/simd_eigh_vjp_vjp.h"

#include "kernels/eigh_vjp/lane_cotangents.h"
#include "kernels/eigh_vjp/pair_derivatives.h"
#include "kernels/simd/hermitian.h"
#include "kernels/simd/pass.h"

// Compiled once for each instruction set. Implements `math::eigh_vjp_vjp`; math/eigh_vjp.h has the formulas.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// The vjp of the vjp of one register of matrices. `known_n` is n if that is known at compile time, else 0.
template <typename T, bool is_complex, int known_n>
class VjpVjp : private LaneCotangents<T, is_complex, known_n> {
 public:
  using Base = LaneCotangents<T, is_complex, known_n>;
  using Base::entry;
  using Base::W;
  using typename Base::E;

  static int64_t workspace_size(int n) {
    return Base::cotangents_size(n) + static_cast<int64_t>(n) * ((n | 1) * 4 * entry + W);
  }

  VjpVjp(const EighVjpVjpBatch<T>& batch, Memory<T> memory) : Base(batch, memory), batch_(batch) {
    T_ = memory.matrix(n_, entry);
    Z_ = memory.matrix(n_, entry);
    Q_ = memory.matrix(n_, entry);
    product_ = memory.matrix(n_, entry);
    values_ = memory.row(n_);
  }

  void run(const Members& members) {
    this->load_decomposition(members);
    load_matrices<T, is_complex, known_n>(batch_.cotangent, n_, members, T_);
    const Scale<T> cotangent(make_hermitian<T, is_complex>(T_, n_));
    multiply_all<Conjugated::none>(T_, V_, product_);
    multiply<T, is_complex, Conjugated::left, Part::lower, known_n>(n_, n_, V_.transposed(), product_, T_);
    complete_hermitian<T, is_complex>(T_, n_);
    // Back to the units of the cotangent: F may be tiny, and its products with a T near 1 subnormal.
    scale_entries(T_, cotangent.from);
    for (int i = 0; i < n_; ++i) {
      store(values_ + i * W, real(at(T_, i, i)));
    }
    store_values(members, batch_.of_eigenvalues_cotangent);
    if (this->has_eigenvectors_cotangent()) {
      turn_with_vectors_cotangent(members);
    } else {
      for (int r = 0; r < n_; ++r) {
        for (int k = 0; k < n_; ++k) {
          const auto twice = this->value_cotangent(k) * Vec<T>(T(2));
          store_entry(product_.at(r, k), scale(at(T_, r, k), twice));
        }
      }
    }
    multiply_all<Conjugated::none>(V_, product_, Q_);
    store_matrices<T, is_complex, known_n>(Q_, n_, members, batch_.of_eigenvectors);
  }

 private:
  using Base::at;
  using Base::n_;
  using Base::V_;
  using Base::W_;

  template <Conjugated conjugated>
  SPECTRALGRAD_INLINE void multiply_all(const View<T>& left, const View<T>& right, const View<T>& product) {
    multiply<T, is_complex, conjugated, Part::all, known_n>(n_, n_, left, right, product);
  }

  /// Computes 2 T Q - W Z into `product_`, and stores the gradients of gV and of the eigenvalues.
  SPECTRALGRAD_INLINE void turn_with_vectors_cotangent(const Members& members) {
    const auto units = this->project(members);
    differentiate_quotients(units);
    store_values(members, batch_.of_eigenvalues);
    multiply_all<Conjugated::none>(T_, Q_, product_);
    multiply_all<Conjugated::none>(V_, Z_, T_);
    store_matrices<T, is_complex, known_n>(T_, n_, members, batch_.of_eigenvectors_cotangent);
    multiply_all<Conjugated::none>(W_, Z_, Q_);
    for (int r = 0; r < n_; ++r) {
      for (int c = 0; c < n_; ++c) {
        const auto twice = scale(at(product_, r, c), Vec<T>(T(2)));
        store_entry(product_.at(r, c), subtract_scaled(at(Q_, r, c), units.from, twice));
      }
    }
  }

  /// Sets Q, Z = F o T, and the gradients of the eigenvalues in `values_`.
  SPECTRALGRAD_INLINE void differentiate_quotients(const Scale<T>& units) {
    for (int i = 0; i < n_; ++i) {
      store(values_ + i * W, Vec<T>(T(0)));
      store_entry(Q_.at(i, i), real_entry<T, is_complex>(this->value_cotangent(i)));
      store_entry(Z_.at(i, i), zero_entry<T, is_complex>());
    }
    const auto put =
        [&](int i, int j, const E& S, const Vec<T>& gap, const Mask<T>& inside, const GapQuotient<T>& quotient) {
          const PairDerivatives<T, E> pair(S, gap, inside, quotient, units.from, batch_.close_gap);
          const auto here = at(T_, i, j);
          const auto Z = scale(here, pair.factor);
          store_entry(Q_.at(i, j), pair.divided);
          store_entry(Q_.at(j, i), conj(pair.divided));
          store_entry(Z_.at(i, j), Z);
          store_entry(Z_.at(j, i), negate(conj(Z)));
          const auto slope = quotient.over_unit(add_real_product(here, pair.slope, Vec<T>(T(0))) * quotient.headroom);
          const Vec<T> two(T(2));
          store(values_ + i * W, fnma(two, slope, load(values_ + i * W)));
          store(values_ + j * W, fma(two, slope, load(values_ + j * W)));
        };
    this->for_each_pair(largest_eigenvalue(this->eigenvalues_, n_), units, put);
  }

  SPECTRALGRAD_INLINE void store_values(const Members& members, T* to) {
    store_numbers<T, known_n>(to, n_, n_, members, Cursor<T, false>({values_, 0, W}, n_));
  }

  SPECTRALGRAD_INLINE void scale_entries(const View<T>& matrix, const Vec<T>& by) {
    for (int r = 0; r < n_; ++r) {
      for (int c = 0; c < n_; ++c) {
        store_entry(matrix.at(r, c), scale(at(matrix, r, c), by));
      }
    }
  }

  const EighVjpVjpBatch<T>& batch_;
  View<T> T_;
  View<T> Z_;
  View<T> Q_;
  View<T> product_;
  T* values_;
};

template <typename T>
constexpr EighVjpVjpKernel<T> kernel = kernel_of_pass<VjpVjp, EighVjpVjpBatch, T, FewKnownSizes>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(EighVjpVjpKernel)

} // namespace spectralgrad::kernels::simd
