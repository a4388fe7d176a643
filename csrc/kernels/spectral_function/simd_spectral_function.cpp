#include "kernels/spectral_function/simd_spectral_function.h"

#include "kernels/simd/arithmetic.h"
#include "kernels/simd/hermitian.h"
#include "kernels/simd/load_matrices.h"
#include "kernels/simd/pass.h"

// Compiled once for each instruction set. The formulas are those of math/spectral_function.h and math/closed_forms.h.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// The arithmetic of SIMD lanes for math/closed_forms.h.
template <typename T>
struct FunctionArithmetic : VectorArithmetic<T> {
  using Number = Vec<T>;

  static SPECTRALGRAD_INLINE Vec<T> number(double x) {
    return Vec<T>(static_cast<T>(x));
  }
  static SPECTRALGRAD_INLINE Vec<T> negate(const Vec<T>& x) {
    return x.neg();
  }
  static SPECTRALGRAD_INLINE Vec<T> sqrt(const Vec<T>& x) {
    return x.sqrt();
  }
  static SPECTRALGRAD_INLINE Vec<T> exp(const Vec<T>& x) {
    return x.exp();
  }
  static SPECTRALGRAD_INLINE Vec<T> expm1(const Vec<T>& x) {
    return x.expm1();
  }
  static SPECTRALGRAD_INLINE Vec<T> log(const Vec<T>& x) {
    return x.log();
  }
  static SPECTRALGRAD_INLINE Vec<T> log1p(const Vec<T>& x) {
    return x.log1p();
  }
  static SPECTRALGRAD_INLINE Vec<T> power(const Vec<T>& x, double exponent) {
    return x.pow(number(exponent));
  }
  static SPECTRALGRAD_INLINE Vec<T> smaller(const Vec<T>& x, const Vec<T>& y) {
    return simd::smaller<T>(x, y);
  }
};

/// One group of matrices; n is `known_n` if that is not 0.
template <typename T, bool is_complex, int known_n>
class SpectralFunction {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;
  using E = Entry<T, is_complex>;

  static int64_t workspace_size(int n) {
    // V, the direction, two products, the differences, and two rows.
    return static_cast<int64_t>(n) * (n | 1) * (4 * entry + W) + static_cast<int64_t>(n) * 2 * W;
  }

  SpectralFunction(const SpectralFunctionBatch<T>& batch, Memory<T> memory)
      : batch_(batch), n_(known_n == 0 ? batch.n : known_n) {
    V_ = memory.matrix(n_, entry);
    E_ = memory.matrix(n_, entry);
    X_ = memory.matrix(n_, entry);
    product_ = memory.matrix(n_, entry);
    differences_ = memory.matrix(n_, W);
    eigenvalues_ = memory.row(n_);
    singles_ = memory.row(n_);
  }

  void run(const Members& members) {
    load_matrices<T, is_complex, known_n>(batch_.eigenvectors, n_, members, V_);
    load_rows<T, known_n>(batch_.eigenvalues, n_, members, eigenvalues_);
    if (batch_.direction.data == nullptr) {
      T* values = singles_;
      find_values(members, values);
      for (int r = 0; r < n_; ++r) {
        for (int k = 0; k < n_; ++k) {
          store_entry(product_.at(r, k), scale(at(V_, r, k), load(values + k * W)));
        }
      }
    } else {
      load_matrices<T, is_complex, known_n>(batch_.direction, n_, members, E_);
      take_hermitian_part();
      multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, E_, V_, product_);
      multiply<T, is_complex, Conjugated::left, Part::lower, known_n>(n_, n_, V_.transposed(), product_, X_);
      find_differences(members);
      if (batch_.is_infinite) {
        leave_out_kernel(members);
      }
      for (int i = 0; i < n_; ++i) {
        for (int j = 0; j <= i; ++j) {
          store_entry(X_.at(i, j), scale(at(X_, i, j), load(differences_.at(i, j))));
        }
      }
      complete_hermitian<T, is_complex>(X_, n_);
      multiply<T, is_complex, Conjugated::none, Part::all, known_n>(n_, n_, V_, X_, product_);
    }
    multiply<T, is_complex, Conjugated::right, Part::lower, known_n>(n_, n_, product_, V_.transposed(), X_);
    complete_hermitian<T, is_complex>(X_, n_);
    store_matrices<T, is_complex, known_n>(X_, n_, members, batch_.result);
  }

 private:
  SPECTRALGRAD_INLINE E at(const View<T>& matrix, int i, int j) const {
    return load_entry<T, is_complex>(matrix.at(i, j));
  }

  SPECTRALGRAD_INLINE void take_hermitian_part() {
    const Vec<T> one(T(1));
    const Vec<T> half(T(0.5));
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j <= i; ++j) {
        const auto mean = scale(add_scaled(conj(at(E_, j, i)), one, at(E_, i, j)), half);
        store_entry(E_.at(i, j), mean);
        store_entry(E_.at(j, i), conj(mean));
      }
    }
  }

  void find_values(const Members& members, T* values) {
    if (batch_.form == math::Form::given) {
      return load_rows<T, known_n>(batch_.values, n_, members, values);
    }
    remove_noise_at_zero();
    math::with_form<FunctionArithmetic<T>>(batch_.form, batch_.exponent, [&](const auto& formula) {
      for (int i = 0; i < n_; ++i) {
        store(values + i * W, formula.value(load(eigenvalues_ + i * W)));
      }
    });
  }

  /// If f is singular at 0, sets eigenvalues to 0 that are 0 up to round-off.
  void remove_noise_at_zero() {
    if (!batch_.singular_at_zero) {
      return;
    }
    const auto zero = Vec<T>(batch_.zero) * larger(load(eigenvalues_).abs(), load(eigenvalues_ + (n_ - 1) * W).abs());
    singular_ = load(eigenvalues_) <= zero;
    for (int i = 0; i < n_; ++i) {
      const auto x = load(eigenvalues_ + i * W);
      store(eigenvalues_ + i * W, where(negation<T>(x <= zero), x));
    }
  }

  /// Computes the differences on and below the diagonal.
  void find_differences(const Members& members) {
    if (batch_.form == math::Form::given) {
      return load_matrices<T, false, known_n>({batch_.differences, n_, 1}, n_, members, differences_);
    }
    remove_noise_at_zero();
    math::with_form<FunctionArithmetic<T>>(batch_.form, batch_.exponent, [&](const auto& formula) {
      for (int i = 0; i < n_; ++i) {
        store(singles_ + i * W, formula.single(load(eigenvalues_ + i * W)));
      }
      for (int i = 0; i < n_; ++i) {
        const auto b = load(eigenvalues_ + i * W);
        const auto single_b = load(singles_ + i * W);
        for (int j = 0; j <= i; ++j) {
          store(differences_.at(i, j), formula.first(load(eigenvalues_ + j * W), b, load(singles_ + j * W), single_b));
        }
      }
    });
  }

  /// The mean of X's diagonal over the zero eigenvalues, in `units`, if the trace is exempt from the report; else 0.
  SPECTRALGRAD_INLINE Vec<T> exempt_mean(const Vec<T>& units) const {
    const Vec<T> zero(T(0));
    const Vec<T> one(T(1));
    auto count = zero;
    auto sum = zero;
    for (int i = 0; i < n_ && batch_.trace_is_exempt; ++i) {
      const auto inside = load(eigenvalues_ + i * W) == zero;
      count = count + where(inside, one);
      sum = sum + where(inside, real(at(X_, i, i)) * units);
    }
    return sum / larger(count, one);
  }

  /// Sets the differences between two zero eigenvalues, which would be infinite, to 0. Finds out whether this loses a
  /// part of the direction.
  void leave_out_kernel(const Members& members) {
    if (batch_.lost != nullptr) {
      for (int lane = 0; lane < members.count; ++lane) {
        batch_.lost[members.first + lane] = false;
      }
    }
    if (!any<T>(singular_)) {
      return;
    }
    const Vec<T> zero(T(0));
    Vec<T> largest(T(0));
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j <= i; ++j) {
        largest = larger(largest, abs_lower_bound(at(X_, i, j)));
      }
    }
    const Scale<T> units(largest);
    const auto mean = exempt_mean(units.to);
    Vec<T> sum(T(0));
    Vec<T> left_out(T(0));
    for (int i = 0; i < n_; ++i) {
      // Eigenvalues ascend: if the larger of two is 0, so is the smaller.
      const auto inside = load(eigenvalues_ + i * W) == zero;
      for (int j = 0; j <= i; ++j) {
        store(differences_.at(i, j), where(negation<T>(inside), load(differences_.at(i, j))));
        const auto entry = scale(at(X_, i, j), units.to);
        sum = add_squared(entry, sum);
        if (j < i) {
          left_out = larger(left_out, where(inside, size_of(entry)));
          sum = add_squared(entry, sum);
        } else {
          left_out = larger(left_out, where(inside, (real(entry) - mean).abs()));
        }
      }
    }
    if (batch_.lost != nullptr) {
      store_mask<T>(Vec<T>(batch_.gauge) * sum.sqrt() < left_out, members, batch_.lost);
    }
  }

  const SpectralFunctionBatch<T>& batch_;
  int n_;
  View<T> V_;
  View<T> E_;
  View<T> X_;
  View<T> product_;
  View<T> differences_;
  T* eigenvalues_;
  T* singles_;
  Mask<T> singular_;
};

template <typename T>
constexpr SpectralFunctionKernel<T> kernel = kernel_of_pass<SpectralFunction, SpectralFunctionBatch, T>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(SpectralFunctionKernel)

} // namespace spectralgrad::kernels::simd
