#include "kernels/eigh_vjp/by_products/hermitian_pass.h"

#include "kernels/eigh_vjp/by_products/tile_pairs.h"

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

template <typename T>
void make_hermitian(T* X, int64_t n, bool complex, bool upper, const BlockPair& blocks) {
  const Vec<T> half(T(0.5));
  with_constant(complex, [&](auto is_complex) {
    with_constant(upper, [&](auto from_upper) {
      using E = Entry<T, is_complex>;
      const auto mean = [&](int64_t, int64_t, int, const E& upper, const E& lower) {
        return scale(add_scaled(lower, Vec<T>(T(1)), upper), half);
      };
      for_tile_pairs<T, is_complex, from_upper>(X, n, blocks, mean);
    });
  });
}

template <typename T>
constexpr HermitianPassKernel<T> kernel{make_hermitian<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(HermitianPassKernel)

} // namespace spectralgrad::kernels::simd
