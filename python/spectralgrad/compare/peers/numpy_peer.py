"""The adapter of NumPy: the decompositions of ``numpy.linalg``, and the textbook formulas, written out.

NumPy decomposes single precision matrices in double precision and rounds the result. Therefore its errors differ from
those of a single precision LAPACK.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..loss import ALIGNMENT, EIG, EIGH, GENERALIZED, SVD, Array, Loss, Parameters
from . import TITLES, Peer, one_by_one


class _Operations:
    """The operations before a decomposition. The losses themselves have derivatives by hand."""

    def adjoint(self, x: Any) -> Any:
        return x.conj().T

    def centred(self, points: Any) -> Any:
        return points - points.mean(axis=0)


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


def _skew(x: Array) -> Array:
    return np.asarray(x - x.conj().T)


def textbook_svd_gradient(
    u: Array, s: Array, vh: Array, u_cotangent: Array | None, s_cotangent: Array, v_cotangent: Array | None
) -> Array:
    """Returns the gradient by A = U diag(s) V^H, (m, n), with F_ij = 1/(s_j^2 - s_i^2) (Giles 2008; Wan, Zhang 2019).

    Without cotangents of U and V there is no division by a gap, as in PyTorch and JAX.
    """
    v = vh.conj().T
    inner: Array = np.diag(s_cotangent).astype(u.dtype)
    if u_cotangent is None and v_cotangent is None:
        return np.asarray(u @ inner @ vh)
    result = np.zeros((len(u), len(v)), dtype=u.dtype)
    with np.errstate(all="ignore"):
        f = 1 / (s[None, :] ** 2 - s[:, None] ** 2)
        np.fill_diagonal(f, 0)
        if u_cotangent is not None:
            inner = inner + f * _skew(u.conj().T @ u_cotangent) * s
            if len(u) > len(s):
                result = result + (u_cotangent - u @ (u.conj().T @ u_cotangent)) / s @ vh
        if v_cotangent is not None:
            phases = np.diag(_skew(v.conj().T @ v_cotangent))
            inner = inner + s[:, None] * f * _skew(v.conj().T @ v_cotangent) - np.diag(phases / (2 * s))
            if len(v) > len(s):
                result = result + (u / s) @ (v_cotangent - v @ (vh @ v_cotangent)).conj().T
        return np.asarray(result + u @ inner @ vh)


def sorted_eig(a: Array) -> tuple[Array, Array]:
    """Returns complex eigenvalues and eigenvectors in ascending order of Re + Im."""
    values, vectors = np.linalg.eig(a)
    order = np.argsort(values.real + values.imag)
    dtype = np.result_type(values, np.complex64)
    return values[order].astype(dtype), vectors[:, order].astype(dtype)


def textbook_eig_gradient(
    values: Array, vectors: Array, value_cotangent: Array, vector_cotangent: Array | None
) -> Array:
    """Returns the gradient by A = V diag(lambda) V^-1, (n, n) (Boeddeker et al. 2017, arXiv:1701.00392).

    It is V^-H (diag(gL) + conj(F) o (W - V^H V diag(Re W))) V^H with W = V^H gV and F_ij = 1/(lambda_j - lambda_i).
    """
    adjoint = vectors.conj().T
    inner = np.diag(value_cotangent)
    if vector_cotangent is not None:
        work = adjoint @ vector_cotangent
        with np.errstate(all="ignore"):
            quotient = (work - adjoint @ vectors * np.diag(work).real) / np.conj(values[None, :] - values[:, None])
            np.fill_diagonal(quotient, 0)
            inner = inner + quotient
    return np.asarray(np.linalg.solve(adjoint, inner @ adjoint))


def generalized_eigh(a: Array, b: Array) -> tuple[Array, Array]:
    """Solves A v = lambda B v by the Cholesky factor of B."""
    factor = np.linalg.cholesky(b)
    half = np.linalg.solve(factor, a)
    values, vectors = np.linalg.eigh(np.linalg.solve(factor, half.conj().T))
    return values, np.linalg.solve(factor.conj().T, vectors)


def textbook_generalized_gradients(
    values: Array, vectors: Array, value_cotangent: Array, vector_cotangent: Array
) -> tuple[Array, Array]:
    """Returns the gradients by A and by B, (n, n), for V^H B V = I (Fox, Kapoor 1968).

    With W = V^H gV and F_ij = 1/(lambda_j - lambda_i) they are V (diag(gL) + F o W) V^H and
    -V ((diag(gL) + F o W) diag(lambda) + diag(W)/2) V^H.
    """
    adjoint = vectors.conj().T
    work = adjoint @ vector_cotangent
    with np.errstate(all="ignore"):
        quotient = work / (values[None, :] - values[:, None])
        np.fill_diagonal(quotient, value_cotangent)
        by_a = vectors @ quotient @ adjoint
        by_b = -vectors @ (quotient * values + np.diag(np.diag(work) / 2)) @ adjoint
    return by_a, by_b


class NumPyPeer(Peer):
    label = TITLES["numpy"]
    rules = dict.fromkeys((SVD, ALIGNMENT), "1/(σⱼ² - σᵢ²), by hand") | dict.fromkeys(
        (EIGH, EIG, GENERALIZED), "1/Δ, by hand"
    )

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        def of_eigh(matrix: Array) -> Array:
            values, vectors = np.linalg.eigh(matrix)
            result = textbook_gradient(values, vectors, *loss.cotangents(matrix, values, vectors, p))
            return result if loss.direct is None else result + loss.direct(vectors, p)

        def of_svd(a: Array) -> Array:
            u, s, vh = np.linalg.svd(loss.decomposed(_Operations(), a, p), full_matrices=False)
            return loss.pull_back(textbook_svd_gradient(u, s, vh, *loss.cotangents(a, u, s, vh, p)), p)

        def of_eig(a: Array) -> Array:
            values, vectors = sorted_eig(a)
            result = textbook_eig_gradient(values, vectors, *loss.cotangents(a, values, vectors, p))
            return result if np.iscomplexobj(a) else result.real

        def of_generalized(matrix: Array) -> Array:
            values, vectors = generalized_eigh(*loss.decomposed(_Operations(), matrix, p))
            by_a, by_b = textbook_generalized_gradients(values, vectors, *loss.cotangents(matrix, values, vectors, p))
            if "A" in p.arrays:
                return by_b
            return by_a if loss.direct is None else by_a + loss.direct(vectors, p)

        of_task = {EIGH: of_eigh, EIG: of_eig, GENERALIZED: of_generalized}
        return one_by_one(of_task.get(loss.task, of_svd), matrices)


def create() -> Peer:
    return NumPyPeer()
