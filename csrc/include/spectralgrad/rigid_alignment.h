#pragma once

#include <spectralgrad/export.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace spectralgrad {

/// The rigid motion of a point cloud onto another that minimizes sum_i w_i |scale rotation source_i + translation -
/// target_i|^2: Kabsch (1976, 1978); Umeyama (1991), "Least-squares estimation of transformation parameters between two
/// point patterns".
///
/// `source` and `target` are (*, n, d), float32 or float64, of one dtype, and `weights` are (*, n), at least 0, all 1
/// if absent. The batches broadcast. Returns the rotation (*, d, d), of determinant +1, the translation (*, d) and the
/// scale (*), which is 1 unless `scale`. If the points of the source coincide or have no weight, the scale is 1, too.
///
/// Derivatives in all arguments, of every order, are exact for symmetric clouds, too, and for points in a plane. If
/// points are collinear (in three dimensions) or coincident, the rotation is not unique. A loss that depends on the
/// choice has no gradient; its backward warns, or raises `GaugeError` (see `checks.h`).
///
/// Raises `c10::Error` for fewer than 2 dimensions, `c10::ValueError` for other shapes or dtypes that do not fit, for
/// clouds without points and for weights that are negative or not finite, `c10::NotImplementedError` for other dtypes
/// or layouts, and `c10::LinAlgError` if points are not finite.
///
/// ```
/// auto source = torch::randn({20, 3}, torch::kFloat64);
/// auto [rotation, translation, scale] = spectralgrad::rigid_alignment(source, source.flip(-1));
/// auto aligned = source.matmul(rotation.mT()) + translation;
/// ```
SPECTRALGRAD_API std::tuple<at::Tensor, at::Tensor, at::Tensor> rigid_alignment(
    const at::Tensor& source,
    const at::Tensor& target,
    const std::optional<at::Tensor>& weights = std::nullopt,
    bool scale = false);

} // namespace spectralgrad
