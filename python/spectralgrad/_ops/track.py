from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._arguments import check_tensor, from_iterable, overridable, tolerance


@from_iterable
class TrackResult(NamedTuple):
    """The result of `track`."""

    eigenvalues: Tensor
    eigenvectors: Tensor


@overridable
def track(L: Tensor, V: Tensor, *, rtol: float | None = None) -> TrackResult:
    """Eigenvalues and eigenvectors along a path of matrices, ordered and turned such that they are continuous.

    Follows bands of a band structure, or vibrations along a reaction path, through crossings.

    Args:
        L: ``(*, T, c)``, the eigenvalues of T matrices, real, in the precision of `V`.
        V: ``(*, T, m, c)`` with c ≤ m, their eigenvectors in columns: the results of `eigh` for a batch of matrices.
        rtol: which neighbours in `L` are equal, as for `canonical_gauge`.

    Returns:
        A named tuple ``(eigenvalues, eigenvectors)`` of the same shapes. Column i of each matrix continues column i of
        the matrix before, so the eigenvalues are no longer ascending. The first matrix keeps its order.

    Raises:
        RuntimeError: the shapes or dtypes of `L` and `V` do not fit.
        NotImplementedError: `V` is of another dtype than float32, float64, complex64 or complex128.
        TypeError, ValueError: `rtol` is no number ≥ 0.
        torch.linalg.LinAlgError: `V` holds a NaN or an Inf.

    - **Order.** Of all assignments of the columns of a matrix to those of its neighbour, the one with the largest sum
      of squared overlaps is taken (the Hungarian method).
    - **Phases** are the closest to those of the neighbour: parallel transport.
    - **Equal eigenvalues** take the basis of their eigenspace that is closest to the vectors of the neighbour: the
      polar factor of the overlaps, as in `orthogonal_procrustes`.
    - **Start.** The vectors start at the first matrix with the most different eigenvalues, and continue from there in
      both directions. So a path may start at a point of high symmetry.

    Derivatives in `L` and `V` take the assignment and the eigenspaces as constant. They are exact at crossings.

    .. warning:: V′ depends on the phases of `V` at the start, and a loss that depends on them has no gradient.
        ``track(L, canonical_gauge(L, V))`` has none of this freedom.

    .. note:: Levels that avoid each other are followed as levels if the path is sampled more finely than their gap, and
        as a crossing otherwise. Around a closed path, a vector may return with another phase. This phase, Berry's, is
        -1 around a conical intersection, and no choice of signs removes it.

    Example::

        >>> t = torch.linspace(-1, 1, 5, dtype=torch.float64)
        >>> L, V = sg.eigh(torch.diag_embed(torch.stack([t, -t], -1)))
        >>> L[:, 0]  # ascending eigenvalues have a kink at the crossing
        tensor([-1.0000, -0.5000,  0.0000, -0.5000, -1.0000], dtype=torch.float64)
        >>> sg.track(L, V).eigenvalues[:, 0]
        tensor([-1.0000, -0.5000,  0.0000,  0.5000,  1.0000], dtype=torch.float64)
    """
    check_tensor("track", V, "V")
    check_tensor("track", L, "L")
    rtol = tolerance("track", "rtol", rtol)
    return TrackResult(*torch.ops.spectralgrad.track.default(L, V, rtol))
