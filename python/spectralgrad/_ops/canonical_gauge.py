from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ._arguments import check_tensor, overridable, tolerance


@overridable
def canonical_gauge(L: Tensor, V: Tensor, *, rtol: float | None = None) -> Tensor:
    """Eigenvectors with deterministic signs, phases, and bases of the eigenspaces.

    The result depends on the eigenspaces only. So it is the same, up to round-off, for every batch position, number of
    threads and LAPACK, and a loss of it has an exact gradient through `eigh`, at repeated eigenvalues too.

    Args:
        L: ``(*, c)``, the eigenvalues, equal ones side by side, real, in the precision of `V`.
        V: ``(*, m, c)`` with c ≤ m, the eigenvectors in columns: the results of `eigh` or `eigh_subset`.
        rtol: neighbours in `L` that are at most rtol·max|L| apart are equal, and their eigenvectors span one
        eigenspace.
            By default 8·eps: round-off of `eigh`.

    Returns:
        V′ ``(*, m, c)``: `V`, with the columns of each eigenspace multiplied by a unitary matrix from the right.

    Raises:
        RuntimeError: the shapes or dtypes of `L` and `V` do not fit.
        NotImplementedError: `V` is of another dtype than float32, float64, complex64 or complex128.
        TypeError, ValueError: `rtol` is no number ≥ 0.

    In each column of a simple eigenvalue, the pivot is real and positive: the first entry whose squared modulus is at
    least 0.77 of the largest one. The basis of an eigenspace is a Cholesky factor of its projector P, with pivots in
    its diagonal chosen in the same way. So the entries of the columns at the pivots form a lower triangle with a
    positive diagonal.

    Ties that are exact up to round-off are decided by index, and small changes of `A` keep the pivots. While pivots and
    eigenspaces stay, V′ is a smooth function of `A`; the derivative takes them as constant, to every order.

    .. note:: No rule gives eigenvectors that are continuous everywhere. Around a conical intersection a real
    eigenvector
        must change its sign, so V′ jumps where a pivot changes. `track` follows eigenvectors along a path.

    .. note:: The basis inside an eigenspace has nothing to do with those of near matrices in which the eigenvalues are
        apart: V′ jumps there, too. On a GPU, the pivots are chosen on the host.

    Example::

        >>> A = torch.ones(3, 3, dtype=torch.float64, requires_grad=True)  # the eigenvalues 0, 0 and 3
        >>> V = sg.canonical_gauge(*sg.eigh(A))
        >>> V.detach()
        tensor([[ 0.8165,  0.0000,  0.5774],
                [-0.4082,  0.7071,  0.5774],
                [-0.4082, -0.7071,  0.5774]], dtype=torch.float64)
        >>> torch.autograd.grad(V[1, 0], A)[0]
        tensor([[-0.0907, -0.0567,  0.0113],
                [-0.0567, -0.0227,  0.0454],
                [ 0.0113,  0.0454,  0.1134]], dtype=torch.float64)
    """
    check_tensor("canonical_gauge", V, "V")
    check_tensor("canonical_gauge", L, "L")
    rtol = tolerance("canonical_gauge", "rtol", rtol)
    return cast("Tensor", torch.ops.spectralgrad.canonical_gauge.default(L, V, rtol))
