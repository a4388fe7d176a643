from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._arguments import check_tensor, from_iterable, overridable


@from_iterable
class OrthogonalProcrustesResult(NamedTuple):
    """The result of `orthogonal_procrustes`."""

    R: Tensor
    scale: Tensor


@overridable
def orthogonal_procrustes(A: Tensor, B: Tensor, *, proper: bool = False) -> OrthogonalProcrustesResult:
    """The orthogonal matrix R that minimizes ‖A R - B‖, with derivatives that are exact at degenerate singular values.

    Is `scipy.linalg.orthogonal_procrustes`, batched and differentiable to every order: Schönemann (1966), "A
    generalized solution of the orthogonal Procrustes problem". R is the unitary polar factor of AᴴB; see `polar` for
    its derivative.

    Args:
        A: ``(*, m, n)``, float32, float64, complex64 or complex128.
        B: ``(*, m, n)``, of the dtype of `A`; the batches broadcast.
        proper: whether R must be a rotation, of determinant +1. For real matrices.

    Returns:
        A named tuple ``(R, scale)``: R ``(*, n, n)``, orthogonal, or unitary for complex matrices; and
        tr(Rᴴ Aᴴ B) ``(*)``, real, the sum of the singular values of AᴴB. If `proper` reflects, the last one counts
        negative.

    Raises:
        ValueError: the shapes or dtypes of `A` and `B` differ, or they are complex and `proper` is set.
        RuntimeError: `A` or `B` has fewer than 2 dimensions.
        NotImplementedError: they are of another dtype.
        torch.linalg.LinAlgError: AᴴB holds a NaN or an Inf.

    .. warning:: R is unique if AᴴB has full rank; with `proper`, if the sum of its two smallest singular values is not
        0, where the last one counts with the sign of the determinant. Otherwise a loss that depends on the choice has
        no gradient: its backward gives a `GaugeWarning` (`GaugeError` under ``checks("raise")``).

    Example::

        >>> A = torch.eye(2, dtype=torch.float64)
        >>> B = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
        >>> R, scale = sg.orthogonal_procrustes(A, B)
        >>> R.detach(), scale.detach()
        (tensor([[ 0.,  1.],
                [-1.,  0.]], dtype=torch.float64), tensor(2., dtype=torch.float64))
    """
    check_tensor("orthogonal_procrustes", A)
    check_tensor("orthogonal_procrustes", B, "B")
    if not isinstance(proper, bool):
        raise TypeError(
            f"spectralgrad.orthogonal_procrustes: Expected proper to be a bool, but got {type(proper).__name__}"
        )
    return OrthogonalProcrustesResult(*torch.ops.spectralgrad.orthogonal_procrustes.default(A, B, proper))
