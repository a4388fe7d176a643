#include "kernels/polar/simd_polar.h"

#include "kernels/simd/load_matrices.h"
#include "kernels/simd/pass.h"

// Compiled once for each instruction set. Does the same as ops/polar_factor.cpp.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T, bool is_complex, int known_n>
class Factor {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;

  static int64_t workspace_size(int n) {
    return static_cast<int64_t>(n) * (n | 1) * 4 * entry + static_cast<int64_t>(n + 2) * W;
  }

  Factor(const PolarFactorBatch<T>& batch, Memory<T> memory) : batch_(batch), n_(known_n == 0 ? batch.n : known_n) {
    U_ = memory.matrix(n_, entry);
    Vh_ = memory.matrix(n_, entry);
    product_ = memory.matrix(n_, entry);
    eliminated_ = memory.matrix(n_, entry);
    values_ = memory.row(n_);
    trace_ = memory.row(1);
    noise_ = memory.row(1);
  }

  void run(const Members& members) {
    load_matrices<T, is_complex, known_n>(batch_.U, n_, members, U_);
    load_matrices<T, is_complex, known_n>(batch_.Vh, n_, members, Vh_);
    load_rows<T, known_n>(batch_.singular_values, n_, members, values_);
    multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, U_, Vh_, product_);
    if constexpr (!is_complex) {
      if (batch_.proper) {
        make_proper();
      }
    }
    Vec<T> trace(T(0));
    for (int i = 0; i < n_; ++i) {
      trace = trace + load(values_ + i * W);
    }
    store(trace_, trace);
    if (batch_.noise != nullptr) {
      load_rows<T, 1>(batch_.noise, 1, members, noise_);
      remove_noise(load(noise_));
    }
    store_matrices<T, is_complex, known_n>(product_, n_, members, batch_.W);
    store_numbers<T, 1>(batch_.trace, 1, 1, members, Cursor<T, false>({trace_, 0, W}, 1));
    store_numbers<T, known_n>(batch_.values, n_, n_, members, Cursor<T, false>({values_, 0, W}, n_));
    for (int i = 0; is_complex && i < n_; ++i) {
      for (int j = 0; j < n_; ++j) {
        store_entry(Vh_.at(i, j), conj(load_entry<T, is_complex>(Vh_.at(i, j))));
      }
    }
    store_matrices<T, is_complex, known_n>(Vh_.transposed(), n_, members, batch_.V);
  }

 private:
  /// Negates the last column of U and the last value in lanes where det W = -1.
  void make_proper() {
    const auto negative = has_negative_determinant();
    if (!any<T>(negative)) {
      return;
    }
    const auto negate_there = [&](T* at) {
      store(at, select<T>(negative, negate(load(at)), load(at)));
    };
    for (int i = 0; i < n_; ++i) {
      negate_there(U_.at(i, n_ - 1));
    }
    negate_there(values_ + (n_ - 1) * W);
    multiply<T, false, Conjugated::none, Part::all, known_n>(n_, n_, U_, Vh_, product_);
  }

  /// Eliminates with pivots. Pivots of orthogonal matrices are at least about 1/2^n, far from zero for small n.
  Mask<T> has_negative_determinant() {
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j < n_; ++j) {
        store(eliminated_.at(i, j), load(product_.at(i, j)));
      }
    }
    const Vec<T> zero(T(0));
    auto negative = zero;
    for (int k = 0; k < n_; ++k) {
      for (int i = k + 1; i < n_; ++i) {
        const auto swaps = load(eliminated_.at(k, k)).abs() < load(eliminated_.at(i, k)).abs();
        negative = negative ^ swaps;
        for (int j = k; j < n_; ++j) {
          const auto upper = load(eliminated_.at(k, j));
          const auto lower = load(eliminated_.at(i, j));
          store(eliminated_.at(k, j), select<T>(swaps, lower, upper));
          store(eliminated_.at(i, j), select<T>(swaps, upper, lower));
        }
      }
      const auto pivot = load(eliminated_.at(k, k));
      negative = negative ^ (pivot < zero);
      for (int i = k + 1; i < n_; ++i) {
        const auto factor = load(eliminated_.at(i, k)) / pivot;
        for (int j = k + 1; j < n_; ++j) {
          store(eliminated_.at(i, j), fnma(factor, load(eliminated_.at(k, j)), load(eliminated_.at(i, j))));
        }
      }
    }
    return negative;
  }

  /// Replaces sums of values that are at most `noise` by zero.
  void remove_noise(const Vec<T>& noise) {
    const Vec<T> zero(T(0));
    for (int i = 0; i < n_; ++i) {
      const auto value = load(values_ + i * W);
      store(values_ + i * W, select<T>(value.abs() <= noise, zero, value));
    }
    if (batch_.proper && n_ > 1) {
      T* last = values_ + (n_ - 1) * W;
      const auto before = load(last - W);
      store(last, select<T>(before + load(last) <= noise, zero - before, load(last)));
    }
  }

  const PolarFactorBatch<T>& batch_;
  int n_;
  View<T> U_;
  View<T> Vh_;
  View<T> product_;
  View<T> eliminated_;
  T* values_;
  T* trace_;
  T* noise_;
};

template <typename T>
constexpr PolarFactorKernel<T> kernel = kernel_of_pass<Factor, PolarFactorBatch, T>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(PolarFactorKernel)

} // namespace spectralgrad::kernels::simd
