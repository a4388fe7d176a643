#include "kernels/canonical_gauge/canonical_frame.h"

#include "core/interruptible.h"
#include "core/scalar_traits.h"
#include "core/tolerances.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <vector>

namespace spectralgrad::kernels {
namespace {

using at::Tensor;

double squared(double x) {
  return x * x;
}

double squared(const c10::complex<double>& x) {
  return x.real() * x.real() + x.imag() * x.imag();
}

/// Turns the clusters of one matrix. Computes in double precision.
template <typename scalar_t>
class Turner {
 public:
  using wide_t = std::conditional_t<c10::is_complex<scalar_t>::value, c10::complex<double>, double>;

  Turner(int64_t rows, int64_t columns) : rows_(rows), columns_(columns), norms_(rows) {}

  /// Turns the columns `first` to `first` + k of `from` (rows, columns), and writes their pivots.
  void turn(const scalar_t* from, int64_t first, int64_t k, scalar_t* to, int64_t* pivots) {
    rest_.resize(rows_ * k);
    basis_.assign(k * k, wide_t(0));
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        rest_[i * k + j] = static_cast<wide_t>(from[i * columns_ + first + j]);
      }
    }
    for (int64_t step = 0; step < k; ++step) {
      const auto pivot = next_pivot(k);
      pivots[first + step] = pivot;
      auto* q = basis_.data() + step * k;
      std::transform(&rest_[pivot * k], &rest_[pivot * k] + k, q, [](const wide_t& x) { return conjugate(x); });
      normalise(q, step, k);
      for (int64_t i = 0; i < rows_; ++i) {
        remove(&rest_[i * k], q, k);
        wide_t sum(0);
        for (int64_t j = 0; j < k; ++j) {
          sum += static_cast<wide_t>(from[i * columns_ + first + j]) * q[j];
        }
        to[i * columns_ + first + step] = static_cast<scalar_t>(sum);
      }
    }
    // The lower triangle, exactly.
    for (int64_t step = 0; step < k; ++step) {
      auto* row = to + pivots[first + step] * columns_ + first;
      row[step] = scalar_t(real_part(row[step]));
      std::fill(row + step + 1, row + k, scalar_t(0));
    }
  }

 private:
  /// The first row of `rest_` whose norm is close to the largest one.
  int64_t next_pivot(int64_t k) {
    for (int64_t i = 0; i < rows_; ++i) {
      norms_[i] = 0;
      for (int64_t j = 0; j < k; ++j) {
        norms_[i] += squared(rest_[i * k + j]);
      }
    }
    const auto largest = *std::max_element(norms_.begin(), norms_.end());
    const auto found = std::find_if(norms_.begin(), norms_.end(), [&](double x) { return x >= pivot_share * largest; });
    return found == norms_.end() ? 0 : found - norms_.begin(); // without one if an entry is NaN
  }

  /// Makes the row `q` of `basis_` orthogonal to the rows before it, to working precision, and of norm 1.
  void normalise(wide_t* q, int64_t before, int64_t k) {
    for (int64_t i = 0; i < before; ++i) {
      const auto* other = basis_.data() + i * k;
      wide_t overlap(0);
      for (int64_t j = 0; j < k; ++j) {
        overlap += conjugate(other[j]) * q[j];
      }
      for (int64_t j = 0; j < k; ++j) {
        q[j] -= overlap * other[j];
      }
    }
    double norm = 0;
    for (int64_t j = 0; j < k; ++j) {
      norm += squared(q[j]);
    }
    for (int64_t j = 0; j < k; ++j) {
      q[j] /= std::sqrt(norm);
    }
  }

  /// Removes the direction of q from a row.
  static void remove(wide_t* row, const wide_t* q, int64_t k) {
    wide_t along(0);
    for (int64_t j = 0; j < k; ++j) {
      along += row[j] * q[j];
    }
    for (int64_t j = 0; j < k; ++j) {
      row[j] -= along * conjugate(q[j]);
    }
  }

  int64_t rows_;
  int64_t columns_;
  std::vector<double> norms_;
  std::vector<wide_t> rest_; // the rows of V_c, without the directions of `basis_`
  std::vector<wide_t> basis_; // the columns of the unitary matrix, one in each row
};

} // namespace

CanonicalFrame canonical_frame(const Tensor& L, const Tensor& V, std::optional<double> rtol) {
  const auto values = L.cpu().contiguous();
  const auto vectors = V.resolve_conj().resolve_neg().cpu().contiguous();
  const auto integers = values.options().dtype(at::kLong);
  CanonicalFrame result{
      at::empty_like(vectors, at::MemoryFormat::Contiguous),
      at::empty(values.sizes(), integers),
      at::empty(values.sizes(), integers)};
  const auto rows = V.size(-2);
  const auto columns = V.size(-1);
  const auto size = rows * columns;
  if (size > 0) {
    AT_DISPATCH_FLOATING_AND_COMPLEX_TYPES(V.scalar_type(), "canonical_gauge", [&] {
      using real_t = typename RealOf<scalar_t>::type;
      const auto relative = rtol.value_or(tolerances::same_eigenvalue * tolerances::eps(V.scalar_type()));
      const auto* all_values = values.const_data_ptr<real_t>();
      const auto* from = vectors.const_data_ptr<scalar_t>();
      auto* to = result.vectors.mutable_data_ptr<scalar_t>();
      auto* pivots = result.pivots.mutable_data_ptr<int64_t>();
      auto* clusters = result.clusters.mutable_data_ptr<int64_t>();
      interruptible_parallel_for(vectors.numel() / size, 4 * size, [&](int64_t begin, int64_t end) {
        Turner<scalar_t> turner(rows, columns);
        for (auto i = begin; i < end; ++i) {
          const auto* x = all_values + i * columns;
          const auto width = relative * static_cast<double>(largest_size(x, columns));
          int64_t number = 0;
          for (int64_t first = 0; first < columns; ++number) {
            auto last = first + 1;
            while (last < columns &&
                   std::abs(static_cast<double>(x[last]) - static_cast<double>(x[last - 1])) <= width) {
              ++last;
            }
            turner.turn(from + i * size, first, last - first, to + i * size, pivots + i * columns);
            std::fill(clusters + i * columns + first, clusters + i * columns + last, number);
            first = last;
          }
        }
      });
    });
  }
  const auto device = V.device();
  return {result.vectors.to(device), result.pivots.to(device), result.clusters.to(device)};
}

} // namespace spectralgrad::kernels
