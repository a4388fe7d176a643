"""The table of losses. Each entry has the forms of a loss that the frameworks and the reference need.

Symbols: A (n, n) is real symmetric or Hermitian, with ascending eigenvalues lambda (n) and eigenvectors V (n, n) as
columns. A loss depends on the eigenvalues start:stop (``stop = start + 1`` for a single one), and on a Hermitian
matrix M or a vector y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Parameters:
    """The parameters of a loss: the eigenvalues start:stop, and its arrays ``M`` (n, n) or ``y`` (n), if any."""

    start: int
    stop: int
    arrays: dict[str, Any] = field(default_factory=dict)


class Operations(Protocol):
    """The operations that the losses need and that have different names in different frameworks."""

    def adjoint(self, x: Any) -> Any: ...
    def conj(self, x: Any) -> Any: ...
    def exp(self, x: Any) -> Any: ...
    def real(self, x: Any) -> Any: ...
    def sum(self, x: Any) -> Any: ...
    def scale_columns(self, x: Any, weights: Any) -> Any: ...


Cotangents = tuple[Array, Array | None]


@dataclass(frozen=True)
class Loss:
    """One loss, in every form that the comparison needs.

    ``value`` is written once, in terms of ``Operations``, and each framework differentiates it.

    ``cotangents`` returns the derivatives gL (n) by lambda and gV (n, n) by V, with dphi = sum(gL dL) + Re tr(gV^H dV).
    gV is None if the loss does not depend on V. They are written by hand, for the formula in NumPy. If a loss also
    depends on A directly, there is another term, Re tr(g^H dA), with g (n, n) from ``direct``.

    ``weights`` (K) and ``matrix`` (M) give the exact gradient V (K o (V^H M V)) V^H; see ``_high_precision``.
    """

    name: str
    title: str
    column: str
    formula: str
    value: Callable[[Operations, Any, Any, Any, Parameters], Any]
    cotangents: Callable[[Array, Array, Array, Parameters], Cotangents]
    weights: Callable[[list[Any], Parameters], Array]
    matrix: Callable[[Parameters], Array | None]
    # Whether a derivative exists if eigenvalues inside start:stop, or at its edge, are exactly equal.
    exists_inside_degeneracy: bool = True
    direct: Callable[[Array, Parameters], Array] | None = None


def _projector_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    inside = vectors[:, p.start : p.stop]
    return ops.real(ops.sum(ops.conj(p.arrays["M"]) * (inside @ ops.adjoint(inside))))


def _energy_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    inside = vectors[:, p.start : p.stop]
    return ops.real(ops.sum(ops.conj(a) * (inside @ ops.adjoint(inside))))


def _vector_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    overlap = ops.sum(ops.conj(p.arrays["y"]) * vectors[:, p.start])
    return ops.real(ops.conj(overlap) * overlap)


def _function_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    function = ops.scale_columns(vectors, ops.exp(values)) @ ops.adjoint(vectors)
    return ops.real(ops.sum(ops.conj(p.arrays["M"]) * function))


def _selected(values: Array, p: Parameters, slopes: Array | float) -> Array:
    cotangent = np.zeros_like(values)
    cotangent[p.start : p.stop] = slopes
    return cotangent


def _projector_cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(vectors)
    cotangent[:, p.start : p.stop] = 2 * (p.arrays["M"] @ vectors[:, p.start : p.stop])
    return np.zeros_like(values), cotangent


def _energy_cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(vectors)
    cotangent[:, p.start : p.stop] = 2 * (a @ vectors[:, p.start : p.stop])
    return np.zeros_like(values), cotangent


def _set_projector(vectors: Array, p: Parameters) -> Array:
    inside = vectors[:, p.start : p.stop]
    return np.asarray(inside @ inside.conj().T)


def _vector_cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(vectors)
    cotangent[:, p.start] = 2 * p.arrays["y"] * (p.arrays["y"].conj() @ vectors[:, p.start])
    return np.zeros_like(values), cotangent


def _function_cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    exponentials = np.exp(values)
    rotated = p.arrays["M"] @ vectors
    return exponentials * np.real(np.sum(vectors.conj() * rotated, axis=0)), 2 * rotated * exponentials


def _slopes_on(values: list[Any], p: Parameters, slope: Callable[[Any], Any]) -> Array:
    from .. import _high_precision as reference

    inside = range(p.start, p.stop)
    return reference.eigenvalue_weights(values, [slope(x) if i in inside else 0 for i, x in enumerate(values)])


def _projector_weights(values: list[Any], p: Parameters) -> Array:
    from .. import _high_precision as reference

    return reference.projector_weights(values, p.start, p.stop)


def _function_weights(values: list[Any], p: Parameters) -> Array:
    import mpmath

    from .. import _high_precision as reference

    return reference.function_weights(values, mpmath.exp, mpmath.exp)


def _outer(p: Parameters) -> Array:
    # The products are exact, because the reference is the gradient for the rounded y, not for a rounded y y^H.
    from .. import _high_precision as reference

    y = reference.HighPrecisionMatrix.from_array(p.arrays["y"][:, None], 256)
    with reference.working_precision():
        return (y @ y.adjoint).to_mpmath()


_TABLE = (
    Loss(
        name="eigenvalue",
        title="one eigenvalue of the cluster",
        column="one λₖ of the cluster",
        formula="λₖ",
        value=lambda ops, a, values, vectors, p: values[p.start],
        cotangents=lambda a, values, vectors, p: (_selected(values, p, 1.0), None),
        weights=lambda values, p: _slopes_on(values, p, lambda x: 1),
        matrix=lambda p: None,
        exists_inside_degeneracy=False,
    ),
    Loss(
        name="symmetric_function",
        title="symmetric function of the cluster's eigenvalues",
        column="symmetric function of λ",
        formula="Σ λₖ²",
        value=lambda ops, a, values, vectors, p: ops.sum(values[p.start : p.stop] * values[p.start : p.stop]),
        cotangents=lambda a, values, vectors, p: (_selected(values, p, 2 * values[p.start : p.stop]), None),
        weights=lambda values, p: _slopes_on(values, p, lambda x: 2 * x),
        matrix=lambda p: None,
    ),
    Loss(
        name="energy",
        title="energy of the occupied levels",
        column="energy",
        formula="2 Σ λₖ",
        value=lambda ops, a, values, vectors, p: ops.sum(values[p.start : p.stop]) * 2,
        cotangents=lambda a, values, vectors, p: (_selected(values, p, 2.0), None),
        weights=lambda values, p: _slopes_on(values, p, lambda x: 2),
        matrix=lambda p: None,
    ),
    Loss(
        name="projector",
        title="projector onto the cluster",
        column="cluster projector",
        formula="tr(M P)",
        value=_projector_value,
        cotangents=_projector_cotangents,
        weights=_projector_weights,
        matrix=lambda p: p.arrays["M"],
    ),
    # The gradient is P. The cotangent of V is pure round-off, so any error is round-off that a rule amplified.
    Loss(
        name="energy_by_projector",
        title="energy by the projector",
        column="energy tr(A P)",
        formula="tr(A P(A))",
        value=_energy_value,
        cotangents=_energy_cotangents,
        weights=lambda values, p: _slopes_on(values, p, lambda x: 1),
        matrix=lambda p: None,
        direct=_set_projector,
    ),
    Loss(
        name="separated_vector",
        title="separated eigenvector beside the cluster",
        column="separated vector",
        formula="|yᴴv|²",
        value=_vector_value,
        cotangents=_vector_cotangents,
        weights=_projector_weights,
        matrix=_outer,
    ),
    Loss(
        name="matrix_function",
        title="matrix function written as V exp(λ) Vᴴ",
        column="matrix function",
        formula="tr(M exp(A))",
        value=_function_value,
        cotangents=_function_cotangents,
        weights=_function_weights,
        matrix=lambda p: p.arrays["M"],
    ),
    Loss(
        name="near_vector",
        title="one vector of the near pair (ill-posed)",
        column="one v of the near pair",
        formula="|yᴴv|², v inside the cluster",
        value=_vector_value,
        cotangents=_vector_cotangents,
        weights=_projector_weights,
        matrix=_outer,
        exists_inside_degeneracy=False,
    ),
)

LOSSES: dict[str, Loss] = {loss.name: loss for loss in _TABLE}
