from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._arguments import check_tensor, from_iterable, overridable


@from_iterable
class RigidAlignmentResult(NamedTuple):
    """The result of `rigid_alignment`: a point x of the source goes to ``scale * rotation @ x + translation``."""

    rotation: Tensor
    translation: Tensor
    scale: Tensor


@overridable
def rigid_alignment(
    source: Tensor, target: Tensor, *, weights: Tensor | None = None, scale: bool = False
) -> RigidAlignmentResult:
    """The rotation, translation and scale that take one point cloud nearest to another.

    Minimizes Σ wi |scale·rotation·source_i + translation - target_i|²: Kabsch (1976, 1978); Umeyama (1991),
    "Least-squares estimation of transformation parameters between two point patterns". Derivatives in all arguments,
    of every order, are exact for symmetric clouds, whose covariance has repeated singular values, and for points in a
    plane.

    Args:
        source: ``(*, n, d)``, n points of dimension d, float32 or float64.
        target: ``(*, n, d)``, of the dtype of `source`; the batches broadcast.
        weights: ``(*, n)``, of the same dtype, not negative; 1 by default.
        scale: whether the scale is fitted, too; otherwise it is 1.

    Returns:
        A named tuple ``(rotation, translation, scale)``: ``(*, d, d)``, of determinant +1, ``(*, d)`` and ``(*)``. If
        all points of the source coincide, or have no weight, the scale is 1.

    Raises:
        ValueError: shapes or dtypes do not fit, there are no points, points are complex, or a weight is negative or not
            finite.
        RuntimeError: `source` or `target` has fewer than 2 dimensions.
        NotImplementedError: they are of another dtype.
        torch.linalg.LinAlgError: `source` or `target` holds a NaN or an Inf.

    .. warning:: The rotation is not unique if the points are coincident, or collinear in three dimensions, up to the
        round-off of their coordinates. Then a loss that depends on the choice has no gradient: its backward gives a
        `GaugeWarning` (`GaugeError` under ``checks("raise")``). Distances between aligned points do not depend on it.

    Example::

        >>> source = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> target = 2 * source @ turn.T + 3
        >>> rotation, translation, scale = sg.rigid_alignment(source, target, scale=True)
        >>> translation, scale
        (tensor([3., 3.], dtype=torch.float64), tensor(2., dtype=torch.float64))
    """
    check_tensor("rigid_alignment", source, "source")
    check_tensor("rigid_alignment", target, "target")
    if weights is not None:
        check_tensor("rigid_alignment", weights, "weights")
    if not isinstance(scale, bool):
        raise TypeError(f"spectralgrad.rigid_alignment: Expected scale to be a bool, but got {type(scale).__name__}")
    return RigidAlignmentResult(*torch.ops.spectralgrad.rigid_alignment.default(source, target, weights, scale))
