#include "ops/path_order.h"

#include "autograd/operator_handle.h"
#include "autograd/tensor_code.h"
#include "core/interruptible.h"
#include "core/tolerances.h"
#include "kernels/track/assignment.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

namespace spectralgrad::ops {
namespace {

using at::Tensor;
using ColumnsClustersStart = std::tuple<Tensor, Tensor, Tensor>;
using Indices = std::vector<int64_t>;

/// The number of each eigenvalue's cluster, from 0 on.
Indices number_clusters(const double* values, int64_t n, double rtol) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::abs(values[i]));
  }
  Indices result(n, 0);
  for (int64_t i = 1; i < n; ++i) {
    result[i] = result[i - 1] + (std::abs(values[i] - values[i - 1]) <= rtol * largest ? 0 : 1);
  }
  return result;
}

/// One path: `values` (T, n) and `V` (T, m, n), in double precision on the host.
class Path {
 public:
  Path(const double* values, const Tensor& V, double rtol) : V_(V), n_(V.size(-1)) {
    for (int64_t t = 0; t < V.size(0); ++t) {
      clusters_.push_back(number_clusters(values + t * n_, n_, rtol));
    }
    columns_.resize(clusters_.size(), Indices(n_));
  }

  int64_t follow() {
    const auto fewer = [](const Indices& a, const Indices& b) {
      return a.back() < b.back();
    };
    const auto start = std::max_element(clusters_.begin(), clusters_.end(), fewer) - clusters_.begin();
    std::iota(columns_[start].begin(), columns_[start].end(), 0);
    const auto count = static_cast<int64_t>(clusters_.size());
    auto curves = V_[start];
    for (auto t = start + 1; t < count; ++t) {
      curves = step(t, curves);
    }
    curves = V_[start];
    for (auto t = start - 1; t >= 0; --t) {
      curves = step(t, curves);
    }
    return start;
  }

  /// Writes the results, with the curves in the order of the first matrix.
  void write(int64_t* columns, int64_t* clusters) const {
    Indices by_first(n_);
    for (int64_t curve = 0; curve < n_; ++curve) {
      by_first[columns_[0][curve]] = curve;
    }
    for (size_t t = 0; t < columns_.size(); ++t) {
      for (int64_t i = 0; i < n_; ++i) {
        const auto column = columns_[t][by_first[i]];
        columns[t * n_ + i] = column;
        clusters[t * n_ + i] = clusters_[t][column];
      }
    }
  }

 private:
  /// Chooses the columns of matrix t that continue `curves` (m, n), and returns the curves there.
  Tensor step(int64_t t, const Tensor& curves) {
    const auto overlaps = at::matmul(V_[t].mH(), curves);
    const auto squares = overlaps.abs().square().contiguous();
    const auto* square = squares.const_data_ptr<double>();
    const auto& cluster = clusters_[t];
    std::vector<double> of_cluster((cluster.back() + 1) * n_, 0);
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t curve = 0; curve < n_; ++curve) {
        const auto x = square[i * n_ + curve];
        of_cluster[cluster[i] * n_ + curve] += std::isfinite(x) ? x : 0;
      }
    }
    std::vector<double> weights(n_ * n_);
    for (int64_t curve = 0; curve < n_; ++curve) {
      for (int64_t i = 0; i < n_; ++i) {
        weights[curve * n_ + i] = of_cluster[cluster[i] * n_ + curve];
      }
    }
    auto& columns = columns_[t];
    columns = kernels::assignment(weights, n_);
    // Inside a cluster all assignments are equal. The ascending one does not depend on the method.
    std::vector<Indices> curves_of(cluster.back() + 1);
    for (int64_t curve = 0; curve < n_; ++curve) {
      curves_of[cluster[columns[curve]]].push_back(curve);
    }
    int64_t first = 0;
    for (const auto& members : curves_of) {
      for (const auto curve : members) {
        columns[curve] = first++;
      }
    }
    const auto order = at::tensor(columns);
    // Single vectors get the phase of their overlap.
    const auto along = overlaps.gather(0, order.unsqueeze(0));
    const auto size = along.abs();
    auto result = V_[t].index_select(1, order) * at::where(size > 0, along / size, at::ones_like(along));
    first = 0;
    for (const auto& members : curves_of) {
      const auto k = static_cast<int64_t>(members.size());
      if (k > 1) {
        const auto index = at::tensor(members);
        const auto block = overlaps.slice(0, first, first + k).index_select(1, index);
        const auto [U, S, Vh] = at::linalg_svd(block.nan_to_num(), /*full_matrices=*/false);
        result.index_copy_(1, index, at::matmul(V_[t].slice(1, first, first + k), at::matmul(U, Vh)));
      }
      first += k;
    }
    return result;
  }

  Tensor V_;
  int64_t n_;
  std::vector<Indices> clusters_; // of each matrix, by column
  std::vector<Indices> columns_; // of each matrix, by curve
};

ColumnsClustersStart order_kernel(const Tensor& L, const Tensor& V, std::optional<double> rtol) {
  const autograd::TensorCode tensor_code;
  const auto T = L.size(-2);
  const auto n = L.size(-1);
  const auto integers = at::TensorOptions().dtype(at::kLong);
  const auto columns = at::empty(L.sizes(), integers);
  const auto clusters = at::empty(L.sizes(), integers);
  const auto start = at::zeros(L.sizes().slice(0, L.dim() - 2), integers);
  if (L.numel() > 0) {
    const auto values = L.to(at::kCPU, at::kDouble).contiguous();
    const auto vectors =
        V.to(at::kCPU, V.is_complex() ? at::kComplexDouble : at::kDouble).reshape({-1, T, V.size(-2), n});
    const auto relative = rtol.value_or(tolerances::same_eigenvalue * tolerances::eps(L.scalar_type()));
    auto* columns_of = columns.mutable_data_ptr<int64_t>();
    auto* clusters_of = clusters.mutable_data_ptr<int64_t>();
    auto* starts = start.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < vectors.size(0); ++i) {
      kernels::check_interrupt();
      Path path(values.const_data_ptr<double>() + i * T * n, vectors[i], relative);
      starts[i] = path.follow();
      path.write(columns_of + i * T * n, clusters_of + i * T * n);
    }
  }
  return {columns.to(L.device()), clusters.to(L.device()), start.to(L.device())};
}

ColumnsClustersStart order_meta(const Tensor& L, const Tensor&, std::optional<double>) {
  const auto integers = L.options().dtype(at::kLong);
  return {
      at::empty_symint(L.sym_sizes(), integers),
      at::empty_symint(L.sym_sizes(), integers),
      at::empty_symint(L.sym_sizes().slice(0, L.dim() - 2), integers)};
}

constexpr autograd::OperatorHandle<"spectralgrad::path_order", order_kernel> order_op;

} // namespace

PathOrder path_order(const Tensor& L, const Tensor& V, std::optional<double> rtol) {
  auto [columns, clusters, start] = order_op.call(L, V, rtol);
  return {std::move(columns), std::move(clusters), std::move(start)};
}

TORCH_LIBRARY_FRAGMENT(spectralgrad, library) {
  library.def("path_order(Tensor L, Tensor V, float? rtol=None) -> (Tensor columns, Tensor clusters, Tensor start)");
}

TORCH_LIBRARY_IMPL(spectralgrad, CompositeExplicitAutograd, library) {
  library.impl("path_order", order_kernel);
}

TORCH_LIBRARY_IMPL(spectralgrad, Meta, library) {
  library.impl("path_order", order_meta);
}

TORCH_LIBRARY_IMPL(spectralgrad, Autograd, library) {
  library.impl("path_order", order_op.constant_kernel());
}

} // namespace spectralgrad::ops
