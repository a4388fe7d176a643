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


def _to_mpmath(x: np.ndarray) -> Any:
    return mpmath.matrix([[mpmath.mpmathify(complex(y) if np.iscomplexobj(x) else float(y)) for y in r] for r in x])


def _to_tensor(x: Any, dtype: torch.dtype) -> Tensor:
    wide = np.array([[complex(x[i, j]) for j in range(x.cols)] for i in range(x.rows)])
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
    """`projector_loss` of arrays of one dtype, as matrices of mpmath."""
    a, b, g = (np.ascontiguousarray(x) for x in (A, B, G))
    return _projector_loss(a.tobytes(), b.tobytes(), g.tobytes(), a.dtype.str, len(a), itype, center, radius, points)


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
        inverse = mpmath.inverse(B) if itype == 3 else None
        value, of_A, of_B = (mpmath.zeros(n, n) for _ in range(3))
        # Half of the circle: the other half gives the adjoint matrices.
        for k in range(points // 2):
            arm = radius * mpmath.expjpi(2 * (mpmath.mpf(k) + mpmath.mpf("0.5")) / points)
            z = center + arm
            R = mpmath.inverse(z * (inverse if itype == 3 else B) - (B * A * B if itype == 2 else A))
            T = R * G * R
            weight = arm / points
            value += weight * R
            of_A += weight * (B * T * B if itype == 2 else T)
            if itype == 1:
                of_B -= weight * z * T
            elif itype == 2:
                of_B -= weight * (z * T - A * B * T - T * B * A)
            else:
                of_B += weight * z * (inverse * T * inverse)
        return tuple(x + x.H for x in (value, of_A, of_B))
