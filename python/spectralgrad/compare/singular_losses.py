"""Losses of singular values and vectors, and the loss of an alignment of point clouds; ``loss`` explains the symbols.

The references are those of the Hermitian matrix H = [[0, A], [A^H, 0]]. Its eigenvalues are the singular values, their
negatives and |m - n| zeros (Jordan and Wielandt; Golub and Van Loan, *Matrix Computations*, 2013, 8.6.1). The pair of
eigenvalues sigma_i and -sigma_i has the projector diag(u u^H, v v^H), and the sign function of H has the block U V^H.
Therefore each loss is tr(M f(H)) for a step function f, or a function of the eigenvalues of H.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .loss import ALIGNMENT, SVD, Array, Loss, Operations, Parameters, exact_outer, high_precision

# Derivatives by U, sigma and V.
Cotangents = tuple[Array | None, Array, Array | None]


def _projector_value(ops: Operations, a: Any, u: Any, values: Any, vh: Any, p: Parameters) -> Any:
    inside = u[:, p.start : p.stop]
    return ops.real(ops.sum(ops.conj(p.arrays["M"]) * (inside @ ops.adjoint(inside))))


def _projector_cotangents(a: Array, u: Array, values: Array, vh: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(u)
    cotangent[:, p.start : p.stop] = 2 * p.arrays["M"] @ u[:, p.start : p.stop]
    return cotangent, np.zeros_like(values), None


def _vector_value(ops: Operations, a: Any, u: Any, values: Any, vh: Any, p: Parameters) -> Any:
    overlap = ops.sum(ops.conj(p.arrays["y"]) * u[:, p.start])
    return ops.real(ops.conj(overlap) * overlap)


def _vector_cotangents(a: Array, u: Array, values: Array, vh: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(u)
    cotangent[:, p.start] = 2 * p.arrays["y"] * (p.arrays["y"].conj() @ u[:, p.start])
    return cotangent, np.zeros_like(values), None


def _polar_value(ops: Operations, a: Any, u: Any, values: Any, vh: Any, p: Parameters) -> Any:
    return ops.real(ops.sum(ops.conj(p.arrays["M"]) * (u @ vh)))


def _polar_cotangents(a: Array, u: Array, values: Array, vh: Array, p: Parameters) -> Cotangents:
    m = p.arrays["M"]
    return m @ vh.conj().T, np.zeros_like(values), m.conj().T @ u


def _squares_value(ops: Operations, a: Any, u: Any, values: Any, vh: Any, p: Parameters) -> Any:
    inside = values[p.start : p.stop]
    return ops.sum(inside * inside)


def _squares_cotangents(a: Array, u: Array, values: Array, vh: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(values)
    cotangent[p.start : p.stop] = 2 * values[p.start : p.stop]
    return None, cotangent, None


def _pairs(values: list[Any], p: Parameters) -> list[tuple[int, int]]:
    """Returns the positions of -sigma_i and sigma_i among the ascending eigenvalues of H, for i in start:stop."""
    return [(i, len(values) - 1 - i) for i in range(p.start, p.stop)]


def _projector_weights(values: list[Any], p: Parameters) -> Array:
    steps = np.zeros(len(values), dtype=int)
    for pair in _pairs(values, p):
        steps[list(pair)] = 1
    rows = len(values) - p.columns
    if p.stop == rows:
        # Right null vectors may join a cluster at zero: the loss of U does not see them.
        steps[p.stop : len(values) - p.stop] = 1
    return np.asarray(high_precision().step_weights(values, steps))


def _sign_weights(values: list[Any], p: Parameters) -> Array:
    """Returns K of the sign function, where start:stop are all singular values. The sign of a zero is zero."""
    steps = np.zeros(len(values), dtype=int)
    for negative, positive in _pairs(values, p):
        steps[negative], steps[positive] = -1, 1
    return np.asarray(high_precision().step_weights(values, steps))


def _squares_weights(values: list[Any], p: Parameters) -> Array:
    slopes: list[Any] = [0] * len(values)
    for _, positive in _pairs(values, p):
        slopes[positive] = 2 * values[positive]
    return np.asarray(high_precision().eigenvalue_weights(values, slopes))


def _upper_block(matrix: Array, p: Parameters) -> Array:
    """Returns diag(M, 0), of the size of H."""
    m, n = len(matrix), p.columns
    whole = np.zeros((m + n, m + n), dtype=matrix.dtype)
    whole[:m, :m] = matrix
    return whole


def _off_diagonal(p: Parameters) -> Array:
    """Returns [[0, M], [M^H, 0]] / 2."""
    half = p.arrays["M"] / 2
    m, n = half.shape
    return np.block([[np.zeros((m, m)), half], [half.conj().T, np.zeros((n, n))]])


def _projector_loss(name: str, title: str, column: str, formula: str) -> Loss:
    return Loss(
        name,
        title,
        column,
        formula,
        _projector_value,
        _projector_cotangents,
        _projector_weights,
        matrix=lambda p: _upper_block(p.arrays["M"], p),
        task=SVD,
    )


# --- alignment --------------------------------------------------------------------------------------------------------


def covariance(ops: Operations, points: Any, p: Parameters) -> Any:
    """Returns yᵀ x (3, 3) of the centred points x and of the target y (n, 3), which is ``p.arrays["y"]``."""
    return ops.adjoint(ops.centred(p.arrays["y"])) @ ops.centred(points)


def _rotation_value(ops: Operations, points: Any, u: Any, values: Any, vh: Any, p: Parameters) -> Any:
    """The loss of the rotation U diag(1, 1, sign det(U Vᴴ)) Vᴴ (Kabsch 1976, 1978; Umeyama 1991), written out."""
    rotation = u[:, :2] @ vh[:2] + ops.sign_of_det(u @ vh) * (u[:, 2:] @ vh[2:])
    return loss_of_rotation(ops, rotation, p)


def loss_of_rotation(ops: Operations, rotation: Any, p: Parameters) -> Any:
    return ops.sum(p.arrays["M"] * rotation)


def _centred(x: Array) -> Array:
    return np.asarray(x - x.mean(axis=0))


_TABLE = (
    _projector_loss(
        "singular_projector", "projector onto the cluster's left singular vectors", "cluster projector", "tr(M U Uᴴ)"
    ),
    _projector_loss(
        "null_projector", "projector onto a cluster of small singular values", "projector at σ ≈ 0", "tr(M U Uᴴ), σ ≈ 0"
    ),
    Loss(
        "polar_factor",
        "polar factor of the matrix",
        "polar factor",
        "Re tr(Mᴴ U Vᴴ)",
        _polar_value,
        _polar_cotangents,
        _sign_weights,
        matrix=_off_diagonal,
        task=SVD,
    ),
    Loss(
        "singular_values",
        "symmetric function of the cluster's singular values",
        "symmetric function of σ",
        "Σ σₖ²",
        _squares_value,
        _squares_cotangents,
        _squares_weights,
        matrix=lambda p: None,
        task=SVD,
    ),
    Loss(
        "near_singular_vector",
        "one left vector of the near pair (ill-posed)",
        "one u of the near pair",
        "|yᴴu|², u inside the cluster",
        _vector_value,
        _vector_cotangents,
        _projector_weights,
        matrix=lambda p: _upper_block(exact_outer(p.arrays["y"]), p),
        exists_inside_degeneracy=False,
        task=SVD,
    ),
    Loss(
        "rotation",
        "rotation that aligns two point clouds",
        "rotation",
        "tr(MᵀR)",
        _rotation_value,
        _polar_cotangents,
        _sign_weights,
        matrix=_off_diagonal,
        task=ALIGNMENT,
        decomposed=covariance,
        pull_back=lambda gradient, p: _centred(p.arrays["y"]) @ gradient,
    ),
)

SINGULAR_LOSSES: dict[str, Loss] = {loss.name: loss for loss in _TABLE}
