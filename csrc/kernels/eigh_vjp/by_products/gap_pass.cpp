#include "kernels/eigh_vjp/by_products/gap_pass.h"

#include "kernels/eigh_vjp/by_products/tile_pairs.h"
#include "kernels/eigh_vjp/gap_quotient.h"
#include "math/pairs/clusters.h"

// Compiled once for each instruction set. Implements the formulas of math/pairs.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// Computes F o S, several columns of one row at a time.
template <typename T>
class Divide {
 public:
  explicit Divide(const GapPass<T>& pass)
      : quotient_(Vec<T>(pass.largest), pass.rule, pass.gate),
        reach_(Vec<T>(pass.gate.reach * pass.largest) * quotient_.headroom),
        pass_(pass) {}

  /// Returns F_ij S_ij for row i and `count` columns from `column` on, given W_ij (`upper`) and conj(W_ji) (`lower`). A
  /// row without a diagonal entry is passed as -1 - i.
  template <typename E>
  SPECTRALGRAD_INLINE E operator()(int64_t i, int64_t column, int count, const E& upper, const E& lower) const {
    auto S = quotient_.skew_part(upper, lower);
    const auto along_row = [&](const T* x) {
      return load_along<T, false>(x + column, count);
    };
    const auto eigenvalues = along_row(pass_.eigenvalues) * quotient_.headroom;
    const auto gap = math::denominator(math::Denominator::difference, eigenvalue_of_row_, eigenvalues);
    if (pass_.norms != nullptr) {
      Mask<T> inside(T(0));
      if (pass_.clusters != nullptr) {
        inside = math::in_one_cluster<VectorArithmetic<T>>(along_row(pass_.clusters), cluster_of_row_, gap, reach_);
      }
      const auto norms = norm_of_row_ + along_row(pass_.norms);
      const auto ask_later = [&](const Mask<T>& undecided, bool inside_cluster) {
        ask(i, column, count, size_of(S), undecided, inside_cluster);
        return Mask<T>(T(0)); // none
      };
      S = quotient_.without_noise(S, upper, lower, norms, inside, Vec<T>(pass_.floor), ask_later);
    }
    return quotient_.divide(S, gap);
  }

  /// Sets the row of the next calls. `norm` is zero for a row that has no column.
  SPECTRALGRAD_INLINE void set_row(T eigenvalue, T norm, const T* clusters, int64_t i) {
    eigenvalue_of_row_ = Vec<T>(eigenvalue) * quotient_.headroom;
    norm_of_row_ = Vec<T>(norm);
    cluster_of_row_ = Vec<T>(clusters == nullptr ? T(0) : clusters[i]);
  }

 private:
  __attribute__((noinline)) void ask(
      int64_t i,
      int64_t column,
      int count,
      const Vec<T>& size,
      const Mask<T>& undecided,
      bool inside_cluster) const {
    T sizes[lane_count<T>];
    store(sizes, size);
    const int unset = undecided.zero_mask();
    for (int lane = 0; lane < count; ++lane) {
      // The diagonal of S is not used.
      if ((unset >> lane & 1) == 0 && column + lane != i) {
        pass_.undecided(pass_.context, i < 0 ? -1 - i : i, column + lane, sizes[lane], inside_cluster);
      }
    }
  }

  GapQuotient<T> quotient_;
  Vec<T> reach_;
  Vec<T> eigenvalue_of_row_{T(0)};
  Vec<T> norm_of_row_{T(0)};
  Vec<T> cluster_of_row_{T(0)};
  const GapPass<T>& pass_;
};

template <typename T>
void divide(const GapPass<T>& pass, const BlockPair& blocks) {
  Divide<T> divided(pass);
  with_constant(pass.is_complex, [&](auto is_complex) {
    using E = Entry<T, is_complex>;
    const auto row = [&](int64_t i, int64_t column, int count, const E& upper, const E& lower) {
      divided.set_row(pass.eigenvalues[i], pass.norms == nullptr ? T(0) : pass.norms[i], pass.clusters, i);
      auto entries = divided(i, column, count, upper, lower);
      if (i >= column && i < column + count) {
        const auto at = static_cast<int>(i - column);
        const T cotangent = pass.eigenvalues_cotangent == nullptr ? T(0) : pass.eigenvalues_cotangent[i];
        entries = put<T>(entries, at, cotangent);
      }
      return entries;
    };
    for_tile_pairs<T, is_complex, false>(pass.W, pass.n, blocks, row);
  });
}

template <typename T>
void divide_rows(
    const GapPass<T>& pass,
    const T* eigenvalues_of_rows,
    const T* clusters_of_rows,
    const bool* has_column,
    int64_t begin,
    int64_t end) {
  Divide<T> divided(pass);
  const Vec<T> two(T(2));
  with_constant(pass.is_complex, [&](auto is_complex) {
    for (auto i = begin; i < end; ++i) {
      if (has_column[i]) {
        continue;
      }
      divided.set_row(eigenvalues_of_rows[i], T(0), clusters_of_rows, i);
      for_each_vector<T>(0, pass.n, [&](int64_t column, int count) {
        T* entries = pass.W + (i * pass.n + column) * (is_complex ? 2 : 1);
        const auto W = load_along<T, is_complex>(entries, count);
        // This row has no column of its own, hence no diagonal entry and no entries across the diagonal.
        store_along<T>(entries, scale(divided(-1 - i, column, count, W, zero_entry<T, is_complex>()), two), count);
      });
    }
  });
}

template <typename T>
constexpr GapPassKernel<T> kernel{divide<T>, divide_rows<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(GapPassKernel)

} // namespace spectralgrad::kernels::simd
