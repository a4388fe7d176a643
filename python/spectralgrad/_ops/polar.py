from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._arguments import check_tensor, from_iterable, overridable


@from_iterable
class PolarResult(NamedTuple):
    """The result of `polar`."""

    U: Tensor
    P: Tensor


@overridable
def polar(A: Tensor, side: str = "right") -> PolarResult:
    """Polar decomposition A = U P (or P U), with derivatives that are exact at degenerate singular values.

    Is `scipy.linalg.polar`, batched and differentiable to every order. A rotation has equal singular values only.
    There, code that differentiates `torch.linalg.svd` returns NaN.

    Args:
        A: ``(*, m, n)``, float32, float64, complex64 or complex128.
        side: "right" for A = U P, "left" for A = P U.

    Returns:
        A named tuple ``(U, P)``, of the dtype of `A`: U ``(*, m, n)``, with orthonormal columns or, if m < n, rows; and
        P, Hermitian and positive semidefinite, ``(*, n, n)`` on the right side, ``(*, m, m)`` on the left.

    Raises:
        ValueError: `side` is another string.
        RuntimeError: `A` has fewer than 2 dimensions.
        NotImplementedError: `A` is of another dtype.
        torch.linalg.LinAlgError: `A` holds a NaN or an Inf.

    .. warning:: U is unique if `A` has full rank. Otherwise a loss that depends on the choice has no gradient: its
        backward gives a `GaugeWarning` (`GaugeError` under ``checks("raise")``). At a singular value 0, P has no
        derivative in some directions, as abs has none at 0; there the gradient is a subgradient.

    With E = dA, Uᴴ dU = Ω is the skew-Hermitian solution of P Ω + Ω P = Uᴴ E - Eᴴ U, and
    dU = U Ω + (1 - U Uᴴ) E P⁻¹ for m ≥ n: Kenney and Laub (1991), "Polar decomposition and matrix sign function
    condition estimates"; Higham (2008), *Functions of Matrices*, chapter 8.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> U, P = sg.polar(A)
        >>> U[0, 1].backward()
        >>> A.grad
        tensor([[ 0.0000,  0.5000],
                [-0.5000,  0.0000]], dtype=torch.float64)
    """
    check_tensor("polar", A)
    if not isinstance(side, str):
        raise TypeError(f"spectralgrad.polar: Expected side to be a str, but got {type(side).__name__}")
    return PolarResult(*torch.ops.spectralgrad.polar.default(A, side))
