from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ._arguments import check_tensor, overridable, tolerance


@overridable
def eigvalsh_directional(A: Tensor, E: Tensor, *, rtol: float | None = None) -> Tensor:
    """The one-sided derivatives of the ordered eigenvalues of A + t·E at t = 0, for t > 0.

    Equal eigenvalues have no gradient, but these derivatives exist in every direction: the eigenvalues of V_cᴴ E V_c,
    in ascending order, for the eigenvectors V_c of each cluster of equal eigenvalues. Those for t < 0 are
    ``-eigvalsh_directional(A, -E)``.

    Args:
        A: ``(*, n, n)``, Hermitian; only the lower triangle is read. float32, float64, complex64 or complex128.
        E: ``(*, n, n)``, the direction, Hermitian, of the dtype of `A`; the batches broadcast.
        rtol: neighbouring eigenvalues that are at most rtol·max|λ| apart are equal. By default 8·eps: round-off.

    Returns:
        ``(*, n)``, real: the ascending eigenvalue i of `A` changes by t times entry i.

    Raises:
        RuntimeError: the shapes or dtypes of `A` and `E` do not fit.
        NotImplementedError: they are of another dtype.
        TypeError, ValueError: `rtol` is no number ≥ 0.
        torch.linalg.LinAlgError: a matrix contains a NaN or an Inf.

    It is differentiable in `E` wherever the result is, and in `A` with constant clusters.

    Source: Lancaster (1964), "On eigenvalues of matrices dependent on a parameter", Numerische Mathematik 6.

    Example, a step that reduces the largest eigenvalue, where this has no gradient::

        >>> A = torch.eye(2)
        >>> E = torch.diag(torch.tensor([1.0, -1.0]))
        >>> sg.eigvalsh_directional(A, E)
        tensor([-1.,  1.])
        >>> directions = torch.stack([E, -E, -torch.eye(2)])
        >>> slopes = sg.eigvalsh_directional(A, directions)[:, -1]
        >>> slopes
        tensor([ 1.,  1., -1.])
        >>> torch.linalg.eigvalsh(A + 0.1 * directions[slopes.argmin()])[-1]
        tensor(0.9000)
    """
    check_tensor("eigvalsh_directional", A)
    check_tensor("eigvalsh_directional", E, "E")
    rtol = tolerance("eigvalsh_directional", "rtol", rtol)
    return cast("Tensor", torch.ops.spectralgrad.eigvalsh_directional.default(A, E, rtol))
