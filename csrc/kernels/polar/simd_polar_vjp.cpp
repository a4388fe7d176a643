#include "kernels/polar/simd_polar.h"
#include "kernels/simd/load_matrices.h"
#include "kernels/simd/pass.h"
#include "math/pairs/denominators.h"

// Compiled once for each instruction set. The formula is that of ops/polar_factor.cpp, in the basis V:
//     U^H dA V = (T - T^H)_ij / (p_i + p_j),    U = W V, T = U^H gW V.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T, bool is_complex, int known_n>
class Vjp {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;
  using E = Entry<T, is_complex>;

  static int64_t workspace_size(int n) {
    return static_cast<int64_t>(n) * (n | 1) * 5 * entry + static_cast<int64_t>(n + 1) * W;
  }

  Vjp(const PolarVjpBatch<T>& batch, Memory<T> memory) : batch_(batch), n_(known_n == 0 ? batch.n : known_n) {
    factor_ = memory.matrix(n_, entry);
    V_ = memory.matrix(n_, entry);
    U_ = memory.matrix(n_, entry);
    X_ = memory.matrix(n_, entry);
    product_ = memory.matrix(n_, entry);
    values_ = memory.row(n_);
    trace_ = memory.row(1);
  }

  void run(const Members& members) {
    load_matrices<T, is_complex, known_n>(batch_.W, n_, members, factor_);
    auto vanish = Mask<T>(T(0));
    if (batch_.W_cotangent.data != nullptr) {
      load_matrices<T, is_complex, known_n>(batch_.V, n_, members, V_);
      load_matrices<T, is_complex, known_n>(batch_.W_cotangent, n_, members, X_);
      load_rows<T, known_n>(batch_.values, n_, members, values_);
      multiply_by(factor_, V_, U_);
      multiply_by(X_, V_, product_);
      multiply<T, is_complex, Conjugated::left, Part::all, known_n>(n_, n_, U_.transposed(), product_, X_);
      vanish = divide_by_sums();
      multiply_by(U_, X_, product_);
      adjoin(V_);
      multiply_by(product_, V_.transposed(), X_);
    }
    store_mask<T>(vanish, members, batch_.vanishes);
    if (batch_.trace_cotangent != nullptr) {
      load_rows<T, 1>(batch_.trace_cotangent, 1, members, trace_);
      const auto g = load(trace_);
      for_each([&](int i, int j) {
        const auto of_trace = scale(at(factor_, i, j), g);
        const bool first = batch_.W_cotangent.data == nullptr;
        store_entry(X_.at(i, j), first ? of_trace : add_scaled(at(factor_, i, j), g, at(X_, i, j)));
      });
    }
    store_matrices<T, is_complex, known_n>(X_, n_, members, batch_.gradient);
  }

 private:
  SPECTRALGRAD_INLINE E at(const View<T>& matrix, int i, int j) const {
    return load_entry<T, is_complex>(matrix.at(i, j));
  }

  template <typename F>
  SPECTRALGRAD_INLINE void for_each(const F& f) const {
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j < n_; ++j) {
        f(i, j);
      }
    }
  }

  SPECTRALGRAD_INLINE void multiply_by(const View<T>& left, const View<T>& right, const View<T>& product) const {
    multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, left, right, product);
  }

  /// Conjugates the entries.
  SPECTRALGRAD_INLINE void adjoin(const View<T>& matrix) const {
    if constexpr (is_complex) {
      for_each([&](int i, int j) { store_entry(matrix.at(i, j), conj(at(matrix, i, j))); });
    }
  }

  /// Replaces T in X by (T - T^H)_ij / (p_i + p_j), or zero where the sum is round-off. Returns whether one is.
  SPECTRALGRAD_INLINE Mask<T> divide_by_sums() const {
    const Vec<T> one(T(1));
    Vec<T> largest(T(0));
    for (int i = 0; i < n_; ++i) {
      largest = larger(largest, load(values_ + i * W).abs());
    }
    // So that the inverse of a sum does not overflow.
    const Scale<T> unit(largest);
    const auto close = unit.size * Vec<T>(batch_.close);
    auto vanish = Mask<T>(T(0));
    for (int i = 0; i < n_; ++i) {
      const auto here = load(values_ + i * W) * unit.to;
      for (int j = 0; j <= i; ++j) {
        const auto sum = math::denominator(math::Denominator::sum, load(values_ + j * W) * unit.to, here);
        const auto vanishes = sum.abs() <= close;
        if (i != j || !batch_.proper) {
          vanish = vanish | vanishes;
        }
        const auto inverse = one / select<T>(vanishes, one, sum);
        const auto below = at(X_, i, j);
        const auto difference = add_scaled(conj(at(X_, j, i)), Vec<T>(T(-1)), below);
        const auto divided = where_entry(negation<T>(vanishes), scale(scale(difference, inverse), unit.to));
        store_entry(X_.at(i, j), divided);
        store_entry(X_.at(j, i), negate(conj(divided)));
      }
      if constexpr (is_complex) {
        store(X_.at(i, i), Vec<T>(T(0)));
      }
    }
    return vanish;
  }

  const PolarVjpBatch<T>& batch_;
  int n_;
  View<T> factor_;
  View<T> V_;
  View<T> U_;
  View<T> X_;
  View<T> product_;
  T* values_;
  T* trace_;
};

template <typename T>
constexpr PolarVjpKernel<T> kernel = kernel_of_pass<Vjp, PolarVjpBatch, T>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(PolarVjpKernel)

} // namespace spectralgrad::kernels::simd
