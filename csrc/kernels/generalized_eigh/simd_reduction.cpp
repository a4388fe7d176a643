#include "kernels/generalized_eigh/simd_reduction.h"

#include "kernels/simd/hermitian.h"
#include "kernels/simd/load_matrices.h"
#include "kernels/simd/pass.h"

#include <limits>

// Compiled once for each instruction set. The algorithms are LAPACK's potf2 and sygs2, one problem in each lane.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T, bool is_complex, int known_n>
class Reduction {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;
  using E = Entry<T, is_complex>;

  static int64_t workspace_size(int n) {
    // A, L, a vector, and the inverse diagonal of L.
    return static_cast<int64_t>(n) * (n | 1) * 2 * entry + static_cast<int64_t>(n) * (entry + W);
  }

  Reduction(const ReductionBatch<T>& batch, Memory<T> memory) : batch_(batch), n_(known_n == 0 ? batch.n : known_n) {
    A_ = memory.matrix(n_, entry);
    L_ = memory.matrix(n_, entry);
    x_ = memory.take(static_cast<int64_t>(n_) * entry);
    inverse_ = memory.row(n_);
    for (int i = 0; i < n_; ++i) {
      for (int j = i + 1; j < n_; ++j) {
        store_entry(L_.at(i, j), zero_entry<T, is_complex>());
      }
    }
  }

  void run(const Members& members) {
    const auto nan_or_zero = load_triangles(members);
    factorize();
    if (batch_.multiplies) {
      multiply();
    } else {
      divide();
    }
    // The reduced matrix is not finite in lanes in which A or B is not, or B is not positive definite.
    const Vec<T> zero(T(0));
    const auto fails = negation<T>(minor_ == zero);
    const auto added = select<T>(fails, Vec<T>(std::numeric_limits<T>::quiet_NaN()), nan_or_zero);
    store_entry(A_.at(0, 0), real_entry<T, is_complex>(real(at(A_, 0, 0)) + added));
    complete_hermitian<T, is_complex>(A_, n_);
    store_matrices<T, is_complex, known_n>(L_, n_, members, batch_.factor);
    store_matrices<T, is_complex, known_n>(A_, n_, members, batch_.reduced);
    store_minors(members, nan_or_zero);
  }

 private:
  SPECTRALGRAD_INLINE E at(const View<T>& matrix, int i, int j) const {
    return load_entry<T, is_complex>(matrix.at(i, j));
  }
  SPECTRALGRAD_INLINE E x(int i) const {
    return load_entry<T, is_complex>(x_ + i * entry);
  }
  SPECTRALGRAD_INLINE void set_x(int i, const E& value) {
    store_entry(x_ + i * entry, value);
  }

  /// Returns NaN in lanes in which A or B is not finite, zero in the others.
  SPECTRALGRAD_INLINE Vec<T> load_triangles(const Members& members) {
    load_triangle<T, is_complex>(batch_.A, n_, batch_.upper, members, [&](int i, int j) { return A_.at(i, j); });
    load_triangle<T, is_complex>(batch_.B, n_, batch_.upper, members, [&](int i, int j) { return L_.at(i, j); });
    Extent<T> extent;
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j <= i; ++j) {
        extent.add(at(A_, i, j));
        extent.add(at(L_, i, j));
      }
    }
    return extent.zeros * Vec<T>(T(0));
  }

  /// B = L L^H, in place.
  SPECTRALGRAD_INLINE void factorize() {
    const Vec<T> zero(T(0));
    minor_ = zero;
    for (int j = 0; j < n_; ++j) {
      auto pivot = real(at(L_, j, j));
      for (int k = 0; k < j; ++k) {
        pivot = pivot - squared(at(L_, j, k));
      }
      const auto fails = negation<T>(zero < pivot) & (minor_ == zero);
      minor_ = select<T>(fails, Vec<T>(static_cast<T>(j + 1)), minor_);
      const auto root = pivot.sqrt();
      const auto inverse = Vec<T>(T(1)) / root;
      store(inverse_ + j * W, inverse);
      store_entry(L_.at(j, j), real_entry<T, is_complex>(root));
      for (int i = j + 1; i < n_; ++i) {
        auto sum = at(L_, i, j);
        for (int k = 0; k < j; ++k) {
          sum = subtract_product_conj(at(L_, i, k), at(L_, j, k), sum);
        }
        store_entry(L_.at(i, j), scale(sum, inverse));
      }
    }
  }

  /// A = L^-1 A L^-H, the lower triangle.
  SPECTRALGRAD_INLINE void divide() {
    for (int k = 0; k < n_; ++k) {
      const auto inverse = load(inverse_ + k * W);
      const auto diagonal = real(at(A_, k, k)) * inverse * inverse;
      store_entry(A_.at(k, k), real_entry<T, is_complex>(diagonal));
      const auto half = diagonal * Vec<T>(T(-0.5));
      for (int i = k + 1; i < n_; ++i) {
        set_x(i, add_scaled(at(L_, i, k), half, scale(at(A_, i, k), inverse)));
      }
      for (int i = k + 1; i < n_; ++i) {
        const auto x_i = x(i);
        const auto l_i = at(L_, i, k);
        for (int j = k + 1; j <= i; ++j) {
          const auto sum = subtract_product_conj(x_i, at(L_, j, k), at(A_, i, j));
          store_entry(A_.at(i, j), subtract_product_conj(l_i, x(j), sum));
        }
      }
      for (int i = k + 1; i < n_; ++i) {
        auto sum = add_scaled(at(L_, i, k), half, x(i));
        for (int j = k + 1; j < i; ++j) {
          sum = subtract_product(at(L_, i, j), x(j), sum);
        }
        const auto solved = scale(sum, load(inverse_ + i * W));
        set_x(i, solved);
        store_entry(A_.at(i, k), solved);
      }
    }
  }

  /// A = L^H A L, the lower triangle.
  SPECTRALGRAD_INLINE void multiply() {
    for (int k = 0; k < n_; ++k) {
      const auto pivot = real(at(L_, k, k));
      const auto diagonal = real(at(A_, k, k));
      const auto half = diagonal * Vec<T>(T(0.5));
      for (int i = 0; i < k; ++i) {
        auto sum = scale(conj(at(L_, k, i)), half);
        for (int j = i; j < k; ++j) {
          sum = add_conj_product(at(L_, j, i), conj(at(A_, k, j)), sum);
        }
        set_x(i, sum);
      }
      for (int i = 0; i < k; ++i) {
        const auto minus_x = negate(x(i));
        const auto minus_l = negate(conj(at(L_, k, i)));
        for (int j = 0; j <= i; ++j) {
          const auto sum = subtract_product_conj(minus_x, conj(at(L_, k, j)), at(A_, i, j));
          store_entry(A_.at(i, j), subtract_product_conj(minus_l, x(j), sum));
        }
      }
      for (int i = 0; i < k; ++i) {
        const auto l_i = conj(at(L_, k, i));
        store_entry(A_.at(k, i), conj(scale(add_scaled(l_i, half, x(i)), pivot)));
      }
      store_entry(A_.at(k, k), real_entry<T, is_complex>(diagonal * pivot * pivot));
    }
  }

  SPECTRALGRAD_INLINE void store_minors(const Members& members, const Vec<T>& nan_or_zero) {
    alignas(64) T minors[W];
    store(minors, minor_);
    const int finite = (nan_or_zero == Vec<T>(T(0))).zero_mask();
    for (int lane = 0; lane < members.count; ++lane) {
      const bool not_finite = (finite >> lane & 1) != 0;
      batch_.minors[members.first + lane] = not_finite ? ReductionBatch<T>::not_finite
                                                       : static_cast<int32_t>(minors[lane]);
    }
  }

  const ReductionBatch<T>& batch_;
  int n_;
  View<T> A_;
  View<T> L_;
  T* x_;
  T* inverse_;
  Vec<T> minor_;
};

template <typename T>
constexpr ReductionKernel<T> kernel = kernel_of_pass<Reduction, ReductionBatch, T>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(ReductionKernel)

} // namespace spectralgrad::kernels::simd
