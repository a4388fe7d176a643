#include "kernels/eigh_jvp/tangent_pass.h"

#include "kernels/eigh_vjp/by_products/tile_pairs.h"
#include "kernels/eigh_vjp/gap_quotient.h"

// Compiled once for each instruction set. The formulas are those of math/eigh.h and math/pairs.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T>
void divide(const TangentPass<T>& pass, const BlockPair& blocks) {
  const auto size_of_end = Vec<T>(pass.eigenvalues[pass.n - 1]).abs();
  const auto largest = larger(Vec<T>(pass.eigenvalues[0]).abs(), size_of_end);
  const GapQuotient<T> quotient(largest, pass.rule, math::NoiseGate<T>());
  const Vec<T> half(T(0.5));
  const Vec<T> close(pass.close_gap);
  with_constant(pass.is_complex, [&](auto is_complex) {
    with_constant(pass.from_upper, [&](auto from_upper) {
      using E = Entry<T, is_complex>;
      const auto row = [&](int64_t i, int64_t column, int count, const E& upper, const E& lower) {
        const auto X = add_scaled(upper, half, scale(lower, half));
        const auto along_row = load_along<T, false>(pass.eigenvalues + column, count) * quotient.headroom;
        const auto here = Vec<T>(pass.eigenvalues[i]) * quotient.headroom;
        const auto gap = math::denominator(math::Denominator::difference, here, along_row);
        const auto kept = where_entry(negation<T>(quotient.over_unit(gap).abs() <= close), quotient.divide(X, gap));
        if (i < column || i >= column + count) {
          return kept;
        }
        const auto lane = static_cast<int>(i - column);
        T numbers[lane_count<T>];
        store(numbers, real(X));
        pass.eigenvalues_tangent[i] = numbers[lane];
        return put<T>(kept, lane, T(0));
      };
      for_tile_pairs<T, is_complex, from_upper, true>(pass.X, pass.n, blocks, row);
    });
  });
}

template <typename T>
constexpr TangentPassKernel<T> kernel{divide<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(TangentPassKernel)

} // namespace spectralgrad::kernels::simd
