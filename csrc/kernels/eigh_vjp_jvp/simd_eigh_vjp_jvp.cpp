#include "kernels/eigh_vjp_jvp/simd_eigh_vjp_jvp.h"

#include "kernels/eigh_vjp/lane_cotangents.h"
#include "kernels/eigh_vjp/pair_derivatives.h"
#include "kernels/simd/hermitian.h"
#include "kernels/simd/pass.h"

// Compiled once for each instruction set. Implements `math::eigh_vjp_jvp`; math/eigh_vjp.h has the formulas.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// The jvp of the vjp of one register of matrices. `known_n` is n if that is known at compile time, else 0.
template <typename T, bool is_complex, int known_n>
class VjpJvp : private LaneCotangents<T, is_complex, known_n> {
 public:
  using Base = LaneCotangents<T, is_complex, known_n>;
  using Base::entry;
  using Base::W;
  using typename Base::E;

  static int64_t workspace_size(int n) {
    return Base::cotangents_size(n) + static_cast<int64_t>(n) * ((n | 1) * 4 * entry + 2 * W);
  }

  VjpJvp(const EighVjpJvpBatch<T>& batch, Memory<T> memory) : Base(batch, memory), batch_(batch) {
    R_ = memory.matrix(n_, entry);
    X_ = memory.matrix(n_, entry);
    Q_ = memory.matrix(n_, entry);
    D_ = memory.matrix(n_, entry);
    values_tangent_ = memory.row(n_);
    value_cotangents_tangent_ = memory.row(n_);
  }

  void run(const Members& members) {
    this->load_decomposition(members);
    load_tangents(members);
    if (this->has_eigenvectors_cotangent()) {
      const auto units = this->project(members);
      find_tangent_of_W(units.from, members);
      differentiate_quotients(units);
    } else {
      clear(Q_);
      clear(D_);
    }
    for (int i = 0; i < n_; ++i) {
      store_entry(Q_.at(i, i), real_entry<T, is_complex>(this->value_cotangent(i)));
      store_entry(D_.at(i, i), real_entry<T, is_complex>(load(value_cotangents_tangent_ + i * W)));
    }
    if (turns()) {
      add_rotation();
    }
    multiply_all<Conjugated::none>(V_, D_, X_);
    multiply<T, is_complex, Conjugated::right, Part::lower, known_n>(n_, n_, X_, V_.transposed(), W_);
    complete_hermitian<T, is_complex>(W_, n_);
    store_matrices<T, is_complex, known_n>(W_, n_, members, batch_.result);
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

  /// Whether the eigenvectors have a tangent.
  SPECTRALGRAD_INLINE bool turns() const {
    return batch_.eigenvectors_tangent.data != nullptr;
  }

  SPECTRALGRAD_INLINE void clear(const View<T>& matrix) {
    for (int r = 0; r < n_; ++r) {
      for (int c = 0; c < n_; ++c) {
        store_entry(matrix.at(r, c), zero_entry<T, is_complex>());
      }
    }
  }

  SPECTRALGRAD_INLINE void load_row(const T* from, const Members& members, T* to) {
    if (from != nullptr) {
      load_rows<T, known_n>(from, n_, members, to);
      return;
    }
    for (int i = 0; i < n_; ++i) {
      store(to + i * W, Vec<T>(T(0)));
    }
  }

  /// Loads the tangents of vectors, and sets R = V^H dV.
  SPECTRALGRAD_INLINE void load_tangents(const Members& members) {
    load_row(batch_.eigenvalues_tangent, members, values_tangent_);
    load_row(batch_.eigenvalues_cotangent_tangent, members, value_cotangents_tangent_);
    if (turns()) {
      load_matrices<T, is_complex, known_n>(batch_.eigenvectors_tangent, n_, members, X_);
      multiply_all<Conjugated::left>(V_.transposed(), X_, R_);
    }
  }

  /// Sets X = dW = V^H d gV + R^H W. W is in the unit `from`.
  SPECTRALGRAD_INLINE void find_tangent_of_W(const Vec<T>& from, const Members& members) {
    if (batch_.eigenvectors_cotangent_tangent.data != nullptr) {
      load_matrices<T, is_complex, known_n>(batch_.eigenvectors_cotangent_tangent, n_, members, D_);
      multiply_all<Conjugated::left>(V_.transposed(), D_, X_);
    } else {
      clear(X_);
    }
    if (!turns()) {
      return;
    }
    multiply_all<Conjugated::left>(R_.transposed(), W_, D_);
    for (int r = 0; r < n_; ++r) {
      for (int c = 0; c < n_; ++c) {
        store_entry(X_.at(r, c), add_scaled(at(D_, r, c), from, at(X_, r, c)));
      }
    }
  }

  /// Sets Q, and D to the tangent of F o S, both except for the diagonal.
  SPECTRALGRAD_INLINE void differentiate_quotients(const Scale<T>& units) {
    const auto put =
        [&](int i, int j, const E& S, const Vec<T>& gap, const Mask<T>& inside, const GapQuotient<T>& quotient) {
          const PairDerivatives<T, E> pair(S, gap, inside, quotient, units.from, batch_.close_gap);
          const auto dS = quotient.skew_part(at(X_, i, j), conj(at(X_, j, i)));
          const auto difference = load(values_tangent_ + j * W) - load(values_tangent_ + i * W);
          const auto gap_tangent = quotient.over_unit(difference * quotient.headroom);
          const auto D = add_scaled(pair.slope, gap_tangent, scale(dS, pair.factor));
          store_entry(Q_.at(i, j), pair.divided);
          store_entry(Q_.at(j, i), conj(pair.divided));
          store_entry(D_.at(i, j), D);
          store_entry(D_.at(j, i), conj(D));
        };
    this->for_each_pair(largest_eigenvalue(this->eigenvalues_, n_), units, put);
  }

  /// D + R Q + (R Q)^H
  SPECTRALGRAD_INLINE void add_rotation() {
    multiply_all<Conjugated::none>(R_, Q_, X_);
    const Vec<T> one(T(1));
    for (int r = 0; r < n_; ++r) {
      for (int c = 0; c <= r; ++c) {
        const auto both = add_scaled(at(X_, r, c), one, conj(at(X_, c, r)));
        const auto sum = add_scaled(both, one, at(D_, r, c));
        store_entry(D_.at(r, c), sum);
        store_entry(D_.at(c, r), conj(sum));
      }
    }
  }

  const EighVjpJvpBatch<T>& batch_;
  View<T> R_;
  View<T> X_;
  View<T> Q_;
  View<T> D_;
  T* values_tangent_;
  T* value_cotangents_tangent_;
};

template <typename T>
constexpr EighVjpJvpKernel<T> kernel = kernel_of_pass<VjpJvp, EighVjpJvpBatch, T, FewKnownSizes>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(EighVjpJvpKernel)

} // namespace spectralgrad::kernels::simd
