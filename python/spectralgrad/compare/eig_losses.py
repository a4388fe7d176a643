"""Losses of ``eig`` at a matrix with a pair of eigenvalues near a Jordan block; ``loss`` explains the symbols.

The eigenvalues of the pair have positive real parts, and no others do. So the pair's Riesz projector P is (I + sign A)
/ 2, from which all references follow; see ``_high_precision.riesz``. With the right and left eigenvectors x and y of an
eigenvalue, P is the sum of x y^H / (y^H x) over the pair. Its terms grow without bound at a Jordan block; P does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .loss import EIG, Array, Loss, Operations, Parameters

# Derivatives by lambda and V.
Cotangents = tuple[Array, Array | None]

# The loss of a single eigenvalue is Re(weight lambda) = Re lambda + Im lambda. It tells the eigenvalues of a pair
# apart, real or complex. The real part alone would be half of the pair's sum for two conjugate eigenvalues.
_WEIGHT = 1 - 1j


def _eigenvalue_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    return ops.real(_WEIGHT * values[p.start])


def _eigenvalue_cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(values)
    cotangent[p.start] = np.conj(_WEIGHT)
    return cotangent, None


def _sum_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    return ops.real(ops.sum(values[p.start : p.stop]))


def _sum_cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(values)
    cotangent[p.start : p.stop] = 1
    return cotangent, None


def _projector_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    projector = vectors[:, p.start : p.stop] @ ops.inv(vectors)[p.start : p.stop]
    return ops.real(ops.sum(ops.conj(p.arrays["M"]) * projector))


def _projector_cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    """The derivative of tr(M^H V_s W_s) by V, where W is the inverse of V and dW = -W dV W."""
    inverse = np.linalg.inv(vectors)
    inside = slice(p.start, p.stop)
    projector = vectors[:, inside] @ inverse[inside]
    rows = p.arrays["M"] @ inverse.conj().T
    cotangent = -projector.conj().T @ rows
    cotangent[:, inside] += rows[:, inside]
    return np.zeros_like(values), cotangent


_TABLE = (
    Loss(
        "pair_eigenvalue",
        "one eigenvalue of the pair (ill-posed)",
        "one λₖ of the pair",
        "Re λₖ + Im λₖ",
        _eigenvalue_value,
        _eigenvalue_cotangents,
        exact=lambda riesz, p: riesz.eigenvalue_gradient(_WEIGHT),
        exists_inside_degeneracy=False,
        of_values=True,
        task=EIG,
    ),
    Loss(
        "pair_sum",
        "sum of the eigenvalues of the pair",
        "sum over the pair",
        "Re Σ λₖ, λₖ of the pair",
        _sum_value,
        _sum_cotangents,
        exact=lambda riesz, p: riesz.sum_gradient(),
        of_values=True,
        task=EIG,
    ),
    Loss(
        "trace",
        "sum of all eigenvalues",
        "trace",
        "Re Σ λₖ",
        _sum_value,
        _sum_cotangents,
        exact=lambda riesz, p: riesz.trace_gradient(),
        of_values=True,
        task=EIG,
    ),
    Loss(
        "riesz_projector",
        "Riesz projector of the pair",
        "Riesz projector",
        "Re tr(Mᴴ P)",
        _projector_value,
        _projector_cotangents,
        exact=lambda riesz, p: riesz.projector_gradient(p.arrays["M"]),
        task=EIG,
    ),
)

EIG_LOSSES: dict[str, Loss] = {loss.name: loss for loss in _TABLE}
