#pragma once

#include <type_traits>
#include <utility>

// Sizes that are known at compile time. For these the compiler unrolls all loops, and keeps the smallest matrices in
// registers. -ffp-contract=off gives every instance the same bits.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The sizes that a pass is compiled for, besides one instance for any size, which is as fast from n = 4 on. There are
/// none for x86 processors without AVX2: these are rare, and compilation takes most of its time for such instances.
#if defined(__x86_64__) && defined(CPU_CAPABILITY_DEFAULT)
using KnownSizes = std::integer_sequence<int>;
using FewKnownSizes = std::integer_sequence<int>;
#else
using KnownSizes = std::integer_sequence<int, 2, 3>;
/// For passes that take long to compile.
using FewKnownSizes = std::integer_sequence<int, 3>;
#endif

/// Returns f(std::integral_constant<int, size>()), with the size n if it is among `sizes`, else with 0.
template <typename F>
auto with_known_size(std::integer_sequence<int> /*sizes*/, int /*n*/, const F& f) {
  return f(std::integral_constant<int, 0>());
}

template <int first, int... others, typename F>
auto with_known_size(std::integer_sequence<int, first, others...> /*sizes*/, int n, const F& f) {
  return n == first ? f(std::integral_constant<int, first>())
                    : with_known_size(std::integer_sequence<int, others...>(), n, f);
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
