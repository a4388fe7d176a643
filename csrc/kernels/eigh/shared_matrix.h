#pragma once

#include <c10/util/FunctionRef.h>

// The method `single` on several threads that share one matrix.
namespace spectralgrad::kernels {

/// The least n for which the work on one matrix is divided into tasks.
inline constexpr int least_shared_size = 128;

/// Runs task(0), ..., task(count - 1), in any order and in one thread or several.
using RunTasks = c10::function_ref<void(int count, c10::function_ref<void(int)> task)>;

} // namespace spectralgrad::kernels
