from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ._arguments import check_tensor, overridable, tolerance


@overridable
def pinvm(A: Tensor, rtol: float | None = None) -> Tensor:
    """The pseudo-inverse of Hermitian matrices, with derivatives that are exact at degenerate eigenvalues.

    1/λ if |λ| > rtol·max|λ|, else 0, as ``torch.linalg.pinv(A, rtol=rtol, hermitian=True)``. Derivatives
    are those among matrices of the same rank: Golub and Pereyra (1973). See `funm` for transforms and other errors.

    Args:
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the lower triangle is read.
        rtol: by default n·eps.

    Returns:
        ``(*, n, n)``, Hermitian, of the dtype of `A`.

    Raises:
        ValueError: `rtol` is negative or not finite.

    .. note:: If the cutoff separates eigenvalues that are equal up to round-off, round-off decides the rank. A
        `GaugeWarning` (`GaugeError` under ``checks("raise")``) reports this.

    Example::

        >>> A = torch.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
        >>> P = sg.pinvm(A)
        >>> P[0, 1].backward()
        >>> P.detach(), A.grad
        (tensor([[0.5000, 0.0000],
                [0.0000, 0.0000]]), tensor([[0.0000, 0.1250],
                [0.1250, 0.0000]]))
    """
    check_tensor("pinvm", A)
    return cast("Tensor", torch.ops.spectralgrad.pinvm.default(A, tolerance("pinvm", "rtol", rtol)))


@overridable
def pseudo_logdet(A: Tensor, rtol: float | None = None) -> Tensor:
    """log|pdet A| = Σ log|λ| over the eigenvalues with |λ| > rtol·max|λ|; 0 for a zero matrix.

    The gradient is ``pinvm(A, rtol)``. See `pinvm` for arguments, errors and warnings.

    Returns:
        ``(*)``, real.

    Example::

        >>> A = torch.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
        >>> sg.pseudo_logdet(A).backward()
        >>> A.grad
        tensor([[0.5000, 0.0000],
                [0.0000, 0.0000]])
    """
    check_tensor("pseudo_logdet", A)
    return cast("Tensor", torch.ops.spectralgrad.pseudo_logdet.default(A, tolerance("pseudo_logdet", "rtol", rtol)))
