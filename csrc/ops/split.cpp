#include "ops/split.h"

#include "core/lowest_index.h"
#include "core/report.h"
#include "core/tolerances.h"

#include <spectralgrad/checks.h>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace spectralgrad::ops {
namespace {

/// Adjacent eigenvalues that will be equally spaced about their mean.
struct Pool {
  int64_t size;
  double mean_eigenvalue;
  double mean_index;

  double level(double width) const {
    return mean_eigenvalue - mean_index * width;
  }
};

Pool merge(const Pool& a, const Pool& b) {
  const auto size = a.size + b.size;
  const auto share = static_cast<double>(b.size) / static_cast<double>(size);
  return {
      size,
      a.mean_eigenvalue + share * (b.mean_eigenvalue - a.mean_eigenvalue),
      a.mean_index + share * (b.mean_index - a.mean_index)};
}

/// Returns -1, 0 or 1: below -threshold, in between, or above threshold.
int sign_beyond(double threshold, double eigenvalue) {
  return (eigenvalue > threshold ? 1 : 0) - (eigenvalue < -threshold ? 1 : 0);
}

/// Splits the ascending eigenvalues of one matrix in place, to at least `least` widths for the smallest one. Returns
/// whether one crossed n*eps*max|lambda| or its negative: then code that counts or clips eigenvalues by size or sign
/// may give a different result. `pools` is workspace.
template <typename T>
bool split_one(T* eigenvalues, int64_t n, double relative_width, double least, std::vector<Pool>& pools) {
  const double largest = std::max(std::abs(double(eigenvalues[0])), std::abs(double(eigenvalues[n - 1])));
  const double width = largest == 0 ? relative_width : relative_width * largest;
  pools.clear();
  for (int64_t i = 0; i < n; ++i) {
    pools.push_back({1, double(eigenvalues[i]), double(i)});
    while (pools.size() > 1 && pools[pools.size() - 2].level(width) > pools.back().level(width)) {
      const auto last = pools.back();
      pools.pop_back();
      pools.back() = merge(pools.back(), last);
    }
  }
  // The default threshold of matrix_rank and pinv.
  const double threshold = tolerances::zero_eigenvalue(c10::CppTypeToScalarType<T>::value, n) * largest;
  bool crosses = false;
  int64_t i = 0;
  for (const auto& pool : pools) {
    for (int64_t k = 0; k < pool.size; ++k, ++i) {
      const auto lower_bound = (least + double(i)) * width;
      if (pool.size > 1 || pool.mean_eigenvalue < lower_bound) {
        const auto moved = static_cast<T>(
            std::max(pool.mean_eigenvalue + (double(i) - pool.mean_index) * width, lower_bound));
        crosses |= sign_beyond(threshold, double(eigenvalues[i])) != sign_beyond(threshold, double(moved));
        eigenvalues[i] = moved;
      }
    }
  }
  return crosses;
}

/// Splits ascending `eigenvalues` (*, n), not empty, to at least `least` widths for the smallest one. `value` is the
/// word for them, and `remedy` the end of the warning.
at::Tensor split(const at::Tensor& eigenvalues, const Rule& rule, double least, const char* value, const char* remedy) {
  const auto n = eigenvalues.size(-1);
  const auto dtype = eigenvalues.scalar_type();
  const double width = rule.width().value_or(tolerances::split_width(dtype, rule.order()));
  // Runs on the CPU, because n numbers per matrix are not worth a kernel for other devices.
  auto result = eigenvalues.to(at::kCPU, dtype, /*non_blocking=*/false, /*copy=*/true).contiguous();
  AT_DISPATCH_FLOATING_TYPES(dtype, "split_eigenvalues", [&] {
    auto* data = result.mutable_data_ptr<scalar_t>();
    kernels::LowestIndex crossing;
    constexpr int64_t eigenvalues_per_task = 1 << 14;
    at::parallel_for(0, result.numel() / n, eigenvalues_per_task / n + 1, [&](int64_t begin, int64_t end) {
      std::vector<Pool> pools;
      for (auto i = begin; i < end; ++i) {
        if (split_one(data + i * n, n, width, least, pools)) {
          crossing.found(i);
        }
      }
    });
    if (crossing.any() && checks() != Checks::ignore) {
      warn_or_raise(
          c10::str(
              "spectralgrad.Split: Matrix ",
              crossing.value(),
              " of the batch has ",
              value,
              "s near zero that were moved by more than rounding: a returned ",
              value,
              " crossed n*eps*max|",
              value,
              "|. Code that clips ",
              value,
              "s or counts those that are not zero (clamp, matrix_rank, pinv) is wrong there. Use ",
              remedy));
    }
  });
  return result.to(eigenvalues.device());
}

bool splits(const at::Tensor& values, const Rule& rule) {
  return rule.kind() == Rule::Kind::split && values.numel() > 0;
}

} // namespace

at::Tensor split_eigenvalues(const at::Tensor& eigenvalues, const Rule& rule) {
  constexpr auto unbounded = -std::numeric_limits<double>::infinity();
  return splits(eigenvalues, rule) ? split(
                                         eigenvalues,
                                         rule,
                                         unbounded,
                                         "eigenvalue",
                                         "spectralgrad.funm, which moves no eigenvalue, or the default rule.")
                                   : eigenvalues;
}

at::Tensor split_singular_values(const at::Tensor& singular_values, bool is_square, const Rule& rule) {
  return splits(singular_values, rule)
      ? split(singular_values.flip({-1}), rule, is_square ? 0.5 : 1, "singular value", "the default rule.").flip({-1})
      : singular_values;
}

} // namespace spectralgrad::ops
