#include "kernels/eigh_jvp/simd_eigh_jvp.h"

#include "kernels/simd/arithmetic.h"
#include "kernels/simd/hermitian.h"
#include "kernels/simd/load_matrices.h"
#include "kernels/simd/pass.h"

// Compiled once for each instruction set. The formulas are those of math/eigh.h and math/pairs.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// The jvp of one register of matrices at a time. `known_n` is n if that is known at compile time, else 0.
template <typename T, bool is_complex, int known_n>
class Jvp {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;
  using E = Entry<T, is_complex>;

  static int64_t workspace_size(int n) {
    // V_, X_, product_, and two rows.
    return static_cast<int64_t>(n) * (n | 1) * 3 * entry + static_cast<int64_t>(n) * 2 * W;
  }

  Jvp(const EighJvpBatch<T>& batch, Memory<T> memory) : batch_(batch), n_(known_n == 0 ? batch.n : known_n) {
    V_ = memory.matrix(n_, entry);
    X_ = memory.matrix(n_, entry);
    product_ = memory.matrix(n_, entry);
    eigenvalues_ = memory.row(n_);
    tangents_ = memory.row(n_);
  }

  void run(const Members& members) {
    load_matrices<T, is_complex, known_n>(batch_.eigenvectors, n_, members, V_);
    load_matrices<T, is_complex, known_n>(batch_.tangent, n_, members, X_);
    load_rows<T, known_n>(batch_.eigenvalues, n_, members, eigenvalues_);
    const Scale<T> unit(make_hermitian<T, is_complex>(X_, n_));
    multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, X_, V_, product_);
    multiply<T, is_complex, Conjugated::left, Part::lower, known_n>(n_, n_, V_.transposed(), product_, X_);
    for (int i = 0; i < n_; ++i) {
      store(tangents_ + i * W, real(at(X_, i, i)) * unit.from);
    }
    const Cursor<T, false> tangents({tangents_, 0, W}, n_);
    store_numbers<T, known_n>(batch_.eigenvalues_tangent, n_, n_, members, tangents);
    divide_by_gaps(unit.from);
    multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, V_, X_, product_);
    const auto result = batch_.by_columns ? product_.transposed() : product_;
    store_matrices<T, is_complex, known_n>(result, n_, members, batch_.eigenvectors_tangent);
  }

 private:
  SPECTRALGRAD_INLINE E at(const View<T>& matrix, int i, int j) const {
    return load_entry<T, is_complex>(matrix.at(i, j));
  }

  /// Replaces X by F o X. On entry, X is in units of `tangent`, and only its lower triangle is set.
  SPECTRALGRAD_INLINE void divide_by_gaps(const Vec<T>& tangent) {
    const Vec<T> one(T(1));
    const auto largest = largest_eigenvalue(eigenvalues_, n_);
    using A = VectorArithmetic<T>;
    const math::DenominatorUnit<A> denominator_unit(largest, one, batch_.rule.absolute_width);
    const math::BroadenedInverse<A> inverse(batch_.rule, denominator_unit, tolerances::negligible<T>);
    // Eigenvalues are scaled by a power of two, so that the inverse of the scale does not overflow.
    const Scale<T> unit(denominator_unit.size);
    const auto inverse_scale = one / unit.size;
    for (int i = 0; i < n_; ++i) {
      store(eigenvalues_ + i * W, load(eigenvalues_ + i * W) * unit.to);
    }
    const auto close = Vec<T>(batch_.close_gap) * unit.size;
    // Both units are applied as one factor, or one after the other in lanes where that factor is out of range.
    const auto ratio = tangent * unit.to;
    using Limits = std::numeric_limits<T>;
    const auto in_range = (Vec<T>(Limits::min()) <= ratio) & (ratio <= Vec<T>(Limits::max()));
    const auto first = select<T>(in_range, ratio, tangent);
    const auto second = select<T>(in_range, one, unit.to);
    for (int i = 0; i < n_; ++i) {
      const auto here = load(eigenvalues_ + i * W);
      for (int j = 0; j < i; ++j) {
        const auto gap = math::denominator(math::Denominator::difference, load(eigenvalues_ + j * W), here);
        const auto kept = where_entry(negation<T>(gap.abs() <= close), at(X_, i, j));
        const auto F = inverse(gap * inverse_scale) * inverse_scale;
        const auto divided = scale(scale(scale(kept, F), first), second);
        store_entry(X_.at(j, i), conj(divided));
        store_entry(X_.at(i, j), negate(divided));
      }
      store_entry(X_.at(i, i), zero_entry<T, is_complex>());
    }
  }

  const EighJvpBatch<T>& batch_;
  int n_;
  View<T> V_;
  View<T> X_;
  View<T> product_;
  T* eigenvalues_;
  T* tangents_;
};

template <typename T>
constexpr EighJvpKernel<T> kernel = kernel_of_pass<Jvp, EighJvpBatch, T>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(EighJvpKernel)

} // namespace spectralgrad::kernels::simd
