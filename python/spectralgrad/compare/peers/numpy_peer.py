"""The adapter of NumPy: ``numpy.linalg.eigh`` and the textbook formula, written out.

NumPy decomposes single precision matrices in double precision and rounds the result. Therefore its errors differ from
those of a single precision LAPACK.
"""

from __future__ import annotations

import numpy as np

from ..losses import Array, Loss, Parameters
from . import TITLES, Peer, one_by_one


def textbook_gradient(values: Array, vectors: Array, value_cotangent: Array, vector_cotangent: Array | None) -> Array:
    """Returns V (diag(gL) + F o skew(V^H gV)) V^H with F_ij = 1/(lambda_j - lambda_i), (n, n) (Giles 2008).

    Without a cotangent of V there is no division by a gap, as in PyTorch and JAX.
    """
    if vector_cotangent is None:
        return np.asarray((vectors * value_cotangent) @ vectors.conj().T)
    work = vectors.conj().T @ vector_cotangent
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = (work - work.conj().T) / 2 / (values[None, :] - values[:, None])
        quotient[np.diag_indices(len(values))] = value_cotangent
        return np.asarray(vectors @ quotient @ vectors.conj().T)


class NumPyPeer(Peer):
    label = TITLES["numpy"]
    rule = "1/Δ, by hand"

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        def gradient(matrix: Array) -> Array:
            values, vectors = np.linalg.eigh(matrix)
            result = textbook_gradient(values, vectors, *loss.cotangents(matrix, values, vectors, p))
            return result if loss.direct is None else result + loss.direct(vectors, p)

        return one_by_one(gradient, matrices)


def create() -> Peer:
    return NumPyPeer()
