#include "kernels/generalized_eigh/simd_restoration.h"

#include "kernels/simd/load_matrices.h"
#include "kernels/simd/pass.h"

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T, bool is_complex, int known_n>
class Restoration {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;
  using E = Entry<T, is_complex>;

  static int64_t workspace_size(int n) {
    return static_cast<int64_t>(n) * (n | 1) * 2 * entry + static_cast<int64_t>(n) * W;
  }

  Restoration(const RestorationBatch<T>& batch, Memory<T> memory)
      : batch_(batch), n_(known_n == 0 ? batch.n : known_n) {
    L_ = memory.matrix(n_, entry);
    Y_ = memory.matrix(n_, entry);
    inverse_ = memory.row(n_);
  }

  void run(const Members& members) {
    constexpr int most = is_complex ? 2 : 4;
    constexpr int width = known_n != 0 && known_n < most ? known_n : most;
    load_matrices<T, is_complex, known_n>({batch_.factor, n_, 1}, n_, members, L_);
    load_matrices<T, is_complex, known_n>(batch_.vectors, n_, members, Y_);
    for (int i = 0; i < n_; ++i) {
      store(inverse_ + i * W, Vec<T>(T(1)) / real(at(L_, i, i)));
    }
    int column = 0;
    for (; column + width <= n_; column += width) {
      restore<width>(column);
    }
    for (; column < n_; ++column) {
      restore<1>(column);
    }
    store_matrices<T, is_complex, known_n>(Y_.transposed(), n_, members, batch_.result);
  }

 private:
  SPECTRALGRAD_INLINE E at(const View<T>& matrix, int i, int j) const {
    return load_entry<T, is_complex>(matrix.at(i, j));
  }

  /// Restores columns column <= c < column + width of Y, from the last row on.
  template <int width>
  SPECTRALGRAD_INLINE void restore(int column) {
    for (int i = n_ - 1; i >= 0; --i) {
      E sum[width];
      for (int c = 0; c < width; ++c) {
        sum[c] = at(Y_, i, column + c);
      }
      if (batch_.multiplies) {
        const auto diagonal = real(at(L_, i, i));
        for (int c = 0; c < width; ++c) {
          sum[c] = scale(sum[c], diagonal);
        }
        for (int k = 0; k < i; ++k) {
          const auto l = at(L_, i, k);
          for (int c = 0; c < width; ++c) {
            sum[c] = add_product(l, at(Y_, k, column + c), sum[c]);
          }
        }
      } else {
        for (int k = i + 1; k < n_; ++k) {
          const auto l = negate(at(L_, k, i));
          for (int c = 0; c < width; ++c) {
            sum[c] = add_conj_product(l, at(Y_, k, column + c), sum[c]);
          }
        }
        for (int c = 0; c < width; ++c) {
          sum[c] = scale(sum[c], load(inverse_ + i * W));
        }
      }
      for (int c = 0; c < width; ++c) {
        store_entry(Y_.at(i, column + c), sum[c]);
      }
    }
  }

  const RestorationBatch<T>& batch_;
  int n_;
  View<T> L_;
  View<T> Y_;
  T* inverse_;
};

template <typename T>
constexpr RestorationKernel<T> kernel = kernel_of_pass<Restoration, RestorationBatch, T>;

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(RestorationKernel)

} // namespace spectralgrad::kernels::simd
