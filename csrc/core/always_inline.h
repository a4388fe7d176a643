#pragma once

/// For functions of SIMD kernels and of formulas that kernels share with other code. They must be inlined: a copy that
/// the linker keeps would run on every processor, whatever instruction set it was compiled for.
#define SPECTRALGRAD_INLINE inline __attribute__((always_inline))
