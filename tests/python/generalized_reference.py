"""Gradients of projector losses of the generalized problem, from contour integrals of resolvents in 50 digits.

No step chooses eigenvectors, so nothing is special about degenerate eigenvalues. With V of `sg.generalized_eigh`,

    type 1: V (z - Λ)⁻¹ Vᴴ = (z B - A)⁻¹
    type 2: V (z - Λ)⁻¹ Vᴴ = (z B - B A B)⁻¹
    type 3: V (z - Λ)⁻¹ Vᴴ = (z B⁻¹ - A)⁻¹

and V_c V_cᴴ is the integral of it around the eigenvalues of c, divided by 2πi.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import mpmath
import numpy as np
import torch
from torch import Tensor

DIGITS = 50


class Gradients(NamedTuple):
    value: Tensor
    A: Tensor
    B: Tensor


def _to_mpmath(x: np.ndarray) -> np.ndarray:
    """As an array of mpmath numbers, with which NumPy computes several times as fast as mpmath.matrix."""
    return np.vectorize(lambda y: mpmath.mpmathify(complex(y) if np.iscomplexobj(x) else float(y)), otypes=[object])(x)


def _inverse(x: np.ndarray) -> np.ndarray:
    """By Gauss-Jordan elimination with partial pivoting."""
    n = len(x)
    rows = np.concatenate([x, np.eye(n, dtype=int).astype(object)], 1)
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(rows[i, k]))
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] = rows[k] / rows[k, k]
        others = [i for i in range(n) if i != k]
        rows[others] -= np.outer(rows[others, k], rows[k])
    return rows[:, n:]


def _to_tensor(x: np.ndarray, dtype: torch.dtype) -> Tensor:
    wide = x.astype(complex)
    return torch.from_numpy(wide if dtype.is_complex else wide.real).to(dtype)


def projector_loss(
    A: Tensor, B: Tensor, G: Tensor, itype: int, center: float, radius: float, points: int = 40
) -> Gradients:
    """tr(G V_c V_cᴴ) and its gradients, for a Hermitian G and the eigenvalues inside a circle on the real axis.

    The trapezoidal rule converges geometrically: choose the circle so that eigenvalues inside it are at most half, and
    those outside at least twice its radius from the center.
    """
    a, b, g = (x.detach().resolve_conj().numpy() for x in (A, B, G))
    exact = projector_loss_mp(a, b, g, itype, center, radius, points)
    return Gradients(*(_to_tensor(x, A.dtype) for x in exact))


def projector_loss_mp(
    A: np.ndarray, B: np.ndarray, G: np.ndarray, itype: int, center: float, radius: float, points: int = 40
) -> tuple[Any, Any, Any]:
    """`projector_loss` of arrays of one dtype, as arrays of mpmath numbers."""
    a, b, g = (np.ascontiguousarray(x) for x in (A, B, G))
    return _projector_loss(a.tobytes(), b.tobytes(), g.tobytes(), a.dtype.str, len(a), itype, center, radius, points)


class _Point(NamedTuple):
    """A point of the circle, its resolvent and its weight in the integral."""

    z: Any
    resolvent: np.ndarray
    weight: Any


@functools.lru_cache(maxsize=16)
def _resolvents(
    a: bytes, b: bytes, kind: str, n: int, itype: int, center: float, radius: float, points: int
) -> list[_Point]:
    """Half of the circle: the other half gives the adjoint matrices. Several losses of one problem need them."""
    A, B = (_to_mpmath(np.frombuffer(x, kind).reshape(n, n)) for x in (a, b))
    left, right = (_inverse(B) if itype == 3 else B), (B @ A @ B if itype == 2 else A)
    found = []
    for k in range(points // 2):
        arm = radius * mpmath.expjpi(2 * (mpmath.mpf(k) + mpmath.mpf("0.5")) / points)
        z = center + arm
        found.append(_Point(z, _inverse(z * left - right), arm / points))
    return found


@functools.lru_cache(maxsize=256)
def _projector_loss(
    a: bytes,
    b: bytes,
    g: bytes,
    kind: str,
    n: int,
    itype: int,
    center: float,
    radius: float,
    points: int,
) -> tuple[Any, Any, Any]:
    with mpmath.workdps(DIGITS):
        A, B, G = (_to_mpmath(np.frombuffer(x, kind).reshape(n, n)) for x in (a, b, g))
        circle = _resolvents(a, b, kind, n, itype, center, radius, points)
        value = sum(weight * R for _, R, weight in circle)
        # The integrals of R G R and of z R G R. Products with A and B follow, because all points share them.
        terms = [(z, weight * (R @ G @ R)) for z, R, weight in circle]
        T, zT = sum(term for _, term in terms), sum(z * term for z, term in terms)
        if itype == 1:
            of_A, of_B = T, -zT
        elif itype == 2:
            of_A, of_B = B @ T @ B, A @ B @ T + T @ B @ A - zT
        else:
            inverse = _inverse(B)
            of_A, of_B = T, inverse @ zT @ inverse
        return tuple(x + x.conj().T for x in (value, of_A, of_B))
