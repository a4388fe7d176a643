#include "kernels/svd_vjp/simd_svd_vjp.h"

#include "kernels/simd/known_size.h"
#include "kernels/svd_vjp/lane_cotangents.h"
#include "kernels/svd_vjp/lane_suspicion.h"
#include "kernels/svd_vjp/singular_value_pairs.h"

// Compiled once for each instruction set. Implements the formulas of math/svd.h and math/pairs.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// The vjp of one group of matrices, one in each SIMD lane. `known_n` is the number of rows and of columns as a
/// compile-time constant, or 0.
template <typename T, bool is_complex, int known_n>
class Vjp {
 public:
  static constexpr int W = lane_count<T>;
  static constexpr int entry = (is_complex ? 2 : 1) * W;
  using E = Entry<T, is_complex>;
  using Side = LaneSide<T, is_complex>;

  static int64_t workspace_size(int rows, int columns) {
    const auto row = static_cast<int64_t>(columns | 1) * entry;
    return Side::workspace_size(rows, columns) + Side::workspace_size(columns, columns) + 2 * row * columns +
        2 * row * rows + static_cast<int64_t>(columns) * 3 * W;
  }

  Vjp(const SvdVjpBatch<T>& batch, Memory<T> memory)
      : batch_(batch),
        m_(known_n == 0 ? batch.rows : known_n),
        n_(known_n == 0 ? batch.columns : known_n),
        left_(m_, n_, batch.left_cotangent.data != nullptr, memory),
        right_(n_, n_, batch.right_cotangent.data != nullptr, memory),
        together_(Side::rectangle(memory, n_, n_, entry)),
        against_(Side::rectangle(memory, n_, n_, entry)),
        outer_(Side::rectangle(memory, m_, n_, entry)),
        product_(Side::rectangle(memory, m_, n_, entry)),
        values_(memory.row(n_)),
        values_cotangent_(memory.row(n_)),
        clusters_(memory.row(n_)) {}

  /// Returns whether a matrix is suspicious.
  bool run(const Members& members) {
    left_.template load<known_n * known_n>(batch_.left, false, members, left_.X);
    right_.template load<known_n * known_n>(batch_.right, true, members, right_.X);
    load_rows<T, known_n>(batch_.singular_values, n_, members, values_);
    for (int i = 0; i < n_; ++i) {
      store(values_cotangent_ + i * W, Vec<T>(T(0)));
    }
    if (batch_.singular_values_cotangent != nullptr) {
      load_rows<T, known_n>(batch_.singular_values_cotangent, n_, members, values_cotangent_);
    }
    const LaneCotangents<T, is_complex>
        all{left_, right_, together_, against_, outer_, has_outer(), values_, values_cotangent_};
    bool suspicious = false;
    if (has_vectors()) {
      const auto units = load_cotangents(members);
      find_products();
      suspicious = batch_.judges && is_suspicious(all, batch_.gauge, batch_.same_value);
      SingularValuePairs<T, is_complex> pairs(batch_, all, clusters_, units);
      if (has_outer()) {
        pairs.divide_outer();
      }
      pairs.divide_inner();
      multiply<T, is_complex, Conjugated::none, Part::all, known_n>(m_, n_, n_, left_.X, together_, product_);
    } else {
      suspicious = batch_.judges && is_suspicious(all, batch_.gauge, batch_.same_value);
      for_each([&](int r, int c) {
        const auto u = load_entry<T, is_complex>(left_.X.at(r, c));
        store_entry(product_.at(r, c), scale(u, load(values_cotangent_ + c * W)));
      });
    }
    if (has_outer()) {
      for_each([&](int r, int c) {
        const auto inner = load_entry<T, is_complex>(product_.at(r, c));
        store_entry(product_.at(r, c), add_scaled(load_entry<T, is_complex>(outer_.at(r, c)), Vec<T>(T(1)), inner));
      });
    }
    multiply<T, is_complex, Conjugated::right, Part::all, known_n>(m_, n_, n_, product_, right_.X.transposed(), outer_);
    store_result(members);
    return suspicious;
  }

 private:
  bool has_vectors() const {
    return left_.has_cotangent || right_.has_cotangent;
  }
  /// Whether L has a cotangent outside its range.
  bool has_outer() const {
    return left_.has_cotangent && m_ != n_;
  }

  template <typename F>
  SPECTRALGRAD_INLINE void for_each(const F& f) const {
    for (int r = 0; r < m_; ++r) {
      for (int c = 0; c < n_; ++c) {
        f(r, c);
      }
    }
  }

  /// Loads the cotangents of the singular vectors, scaled by a power of two so that their largest entry is near 1.
  SPECTRALGRAD_INLINE Scale<T> load_cotangents(const Members& members) {
    Vec<T> largest(T(0));
    if (left_.has_cotangent) {
      left_.template load<known_n * known_n>(batch_.left_cotangent, false, members, left_.gX);
      largest = left_.largest_cotangent();
    }
    if (right_.has_cotangent) {
      right_.template load<known_n * known_n>(batch_.right_cotangent, true, members, right_.gX);
      largest = larger(largest, right_.largest_cotangent());
    }
    const Scale<T> to_one(largest);
    if (left_.has_cotangent) {
      left_.scale_cotangent(to_one.to);
    }
    if (right_.has_cotangent) {
      right_.scale_cotangent(to_one.to);
    }
    return to_one;
  }

  /// Computes W_L + W_R, W_L - W_R and, if needed, L W_L.
  SPECTRALGRAD_INLINE void find_products() {
    if (left_.has_cotangent) {
      multiply<T, is_complex, Conjugated::left, Part::all, known_n>(
          n_,
          m_,
          left_.X.transposed(),
          left_.gX,
          right_.has_cotangent ? against_ : together_);
    }
    if (has_outer()) {
      const auto& inner = right_.has_cotangent ? against_ : together_;
      multiply<T, is_complex, Conjugated::none, Part::all, known_n>(m_, n_, n_, left_.X, inner, outer_);
    }
    if (right_.has_cotangent) {
      multiply<T, is_complex, Conjugated::left, Part::all, known_n>(
          n_,
          n_,
          right_.X.transposed(),
          right_.gX,
          together_);
    }
    const Vec<T> one(T(1));
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j < n_; ++j) {
        const auto first = load_entry<T, is_complex>(together_.at(i, j));
        if (!left_.has_cotangent) {
          store_entry(against_.at(i, j), negate(first));
        } else if (!right_.has_cotangent) {
          store_entry(against_.at(i, j), first);
        } else {
          const auto left = load_entry<T, is_complex>(against_.at(i, j));
          store_entry(together_.at(i, j), add_scaled(first, one, left));
          store_entry(against_.at(i, j), subtract_scaled(first, one, left));
        }
      }
    }
  }

  /// Stores the gradient of B, which is in `outer_`, or its transpose.
  SPECTRALGRAD_INLINE void store_result(const Members& members) {
    constexpr int parts = is_complex ? 2 : 1;
    const int numbers = m_ * n_ * parts;
    const Cursor<T, is_complex> from(
        batch_.is_transposed ? outer_.transposed() : outer_,
        batch_.is_transposed ? m_ : n_);
    store_numbers<T, known_n * known_n * parts>(batch_.result, numbers, numbers, members, from);
  }

  const SvdVjpBatch<T>& batch_;
  int m_;
  int n_;
  Side left_;
  Side right_;
  View<T> together_; // W_L + W_R, then the inner part of the gradient
  View<T> against_; // W_L - W_R
  View<T> outer_; // L W_L, then the outer part of the gradient, then the result
  View<T> product_;
  T* values_;
  T* values_cotangent_;
  T* clusters_;
};

template <typename T, bool is_complex, int known_n>
bool run_known(const SvdVjpBatch<T>& batch, int64_t begin, int64_t end, T* memory) {
  constexpr int W = lane_count<T>;
  Vjp<T, is_complex, known_n> vjp(batch, Memory<T>(memory));
  bool suspicious = false;
  for (auto first = begin; first < end; first += W) {
    suspicious |= vjp.run({first, static_cast<int>(end - first < W ? end - first : W)});
  }
  return suspicious;
}

template <typename T, bool is_complex>
bool run_any(const SvdVjpBatch<T>& batch, int64_t begin, int64_t end, T* memory) {
  return with_known_size(KnownSizes(), batch.rows == batch.columns ? batch.columns : 0, [&](auto known_n) {
    return run_known<T, is_complex, known_n()>(batch, begin, end, memory);
  });
}

template <typename T>
bool run(const SvdVjpBatch<T>& batch, int64_t begin, int64_t end, T* memory) {
  return batch.is_complex ? run_any<T, true>(batch, begin, end, memory) : run_any<T, false>(batch, begin, end, memory);
}

template <typename T>
int64_t workspace(int rows, int columns, bool is_complex) {
  return is_complex ? Vjp<T, true, 0>::workspace_size(rows, columns) : Vjp<T, false, 0>::workspace_size(rows, columns);
}

template <typename T>
constexpr SvdVjpKernel<T> kernel{lane_count<T>, workspace<T>, run<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(SvdVjpKernel)

} // namespace spectralgrad::kernels::simd
