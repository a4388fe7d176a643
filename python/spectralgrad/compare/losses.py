"""The table of all losses, and the losses of eigenvalues; ``loss`` explains the symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .eig_losses import EIG_LOSSES
from .loss import GENERALIZED, Array, Loss, Operations, Parameters, exact_outer, high_precision
from .singular_losses import SINGULAR_LOSSES

Cotangents = tuple[Array, Array | None]


def _projector_value(ops: Operations, matrix: Any, vectors: Any, p: Parameters) -> Any:
    inside = vectors[:, p.start : p.stop]
    return ops.real(ops.sum(ops.conj(matrix) * (inside @ ops.adjoint(inside))))


def _vector_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    overlap = ops.sum(ops.conj(p.arrays["y"]) * vectors[:, p.start])
    return ops.real(ops.conj(overlap) * overlap)


def _function_value(ops: Operations, a: Any, values: Any, vectors: Any, p: Parameters) -> Any:
    function = ops.scale_columns(vectors, ops.exp(values)) @ ops.adjoint(vectors)
    return ops.real(ops.sum(ops.conj(p.arrays["M"]) * function))


def _projector_cotangents(matrix: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
    cotangent = np.zeros_like(vectors)
    cotangent[:, p.start : p.stop] = 2 * (matrix @ vectors[:, p.start : p.stop])
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
    inside = range(p.start, p.stop)
    slopes = [slope(x) if i in inside else 0 for i, x in enumerate(values)]
    return np.asarray(high_precision().eigenvalue_weights(values, slopes))


def _pair(ops: Any, variable: Any, p: Parameters) -> tuple[Any, Any]:
    """Returns A and B. One of them is the variable, and the parameters hold the other."""
    return p.arrays.get("A", variable), p.arrays.get("B", variable)


def _projector_weights(values: list[Any], p: Parameters) -> Array:
    return np.asarray(high_precision().projector_weights(values, p.start, p.stop))


def _function_weights(values: list[Any], p: Parameters) -> Array:
    import mpmath

    return np.asarray(high_precision().function_weights(values, mpmath.exp, mpmath.exp))


def _loss_of_eigenvalues(
    name: str,
    title: str,
    column: str,
    formula: str,
    value: Callable[..., Any],
    slope: Callable[[Any], Any],
    **more: Any,
) -> Loss:
    """A loss ``value(ops, inside)`` of the eigenvalues start:stop, with the derivative ``slope`` by each of them."""

    def cotangents(a: Array, values: Array, vectors: Array, p: Parameters) -> Cotangents:
        cotangent = np.zeros_like(values)
        cotangent[p.start : p.stop] = slope(values[p.start : p.stop])
        return cotangent, None

    return Loss(
        name,
        title,
        column,
        formula,
        value=lambda ops, a, values, vectors, p: value(ops, values[p.start : p.stop]),
        cotangents=cotangents,
        weights=lambda values, p: _slopes_on(values, p, slope),
        matrix=lambda p: None,
        **more,
    )


def _loss_of_vector(name: str, title: str, column: str, formula: str, **more: Any) -> Loss:
    return Loss(
        name,
        title,
        column,
        formula,
        _vector_value,
        _vector_cotangents,
        _projector_weights,
        matrix=lambda p: exact_outer(p.arrays["y"]),
        **more,
    )


_TABLE = (
    _loss_of_eigenvalues(
        "eigenvalue",
        "one eigenvalue of the cluster",
        "one λₖ of the cluster",
        "λₖ",
        lambda ops, inside: inside[0],
        lambda x: 1,
        exists_inside_degeneracy=False,
    ),
    _loss_of_eigenvalues(
        "symmetric_function",
        "symmetric function of the cluster's eigenvalues",
        "symmetric function of λ",
        "Σ λₖ²",
        lambda ops, inside: ops.sum(inside * inside),
        lambda x: 2 * x,
    ),
    _loss_of_eigenvalues(
        "energy",
        "energy of the occupied levels",
        "energy",
        "2 Σ λₖ",
        lambda ops, inside: ops.sum(inside) * 2,
        lambda x: 2,
    ),
    Loss(
        "projector",
        "projector onto the cluster",
        "cluster projector",
        "tr(M P)",
        value=lambda ops, a, values, vectors, p: _projector_value(ops, p.arrays["M"], vectors, p),
        cotangents=lambda a, values, vectors, p: _projector_cotangents(p.arrays["M"], values, vectors, p),
        weights=_projector_weights,
        matrix=lambda p: p.arrays["M"],
    ),
    # The gradient is P. The cotangent of V is pure round-off, so any error is round-off that a rule amplified.
    Loss(
        "energy_by_projector",
        "energy by the projector",
        "energy tr(A P)",
        "tr(A P(A))",
        value=lambda ops, a, values, vectors, p: _projector_value(ops, a, vectors, p),
        cotangents=_projector_cotangents,
        weights=lambda values, p: _slopes_on(values, p, lambda x: 1),
        matrix=lambda p: None,
        direct=_set_projector,
    ),
    _loss_of_vector("separated_vector", "separated eigenvector beside the cluster", "separated vector", "|yᴴv|²"),
    Loss(
        "matrix_function",
        "matrix function written as V exp(λ) Vᴴ",
        "matrix function",
        "tr(M exp(A))",
        value=_function_value,
        cotangents=_function_cotangents,
        weights=_function_weights,
        matrix=lambda p: p.arrays["M"],
    ),
    _loss_of_vector(
        "near_vector",
        "one vector of the near pair (ill-posed)",
        "one v of the near pair",
        "|yᴴv|², v inside the cluster",
        exists_inside_degeneracy=False,
    ),
    Loss(
        "generalized_projector",
        "projector onto the pair of A v = λ B v",
        "tr(M V_c V_cᴴ)",
        "tr(M V_c V_cᴴ), V_c of the pair, Vᴴ B V = I",
        value=lambda ops, a, values, vectors, p: _projector_value(ops, p.arrays["M"], vectors, p),
        cotangents=lambda a, values, vectors, p: _projector_cotangents(p.arrays["M"], values, vectors, p),
        decomposed=_pair,
        task=GENERALIZED,
    ),
    Loss(
        "generalized_energy",
        "energy of the pair of A v = λ B v",
        "tr(A V_c V_cᴴ)",
        "tr(A V_c V_cᴴ)",
        value=lambda ops, a, values, vectors, p: _projector_value(ops, _pair(ops, a, p)[0], vectors, p),
        cotangents=lambda a, values, vectors, p: _projector_cotangents(_pair(None, a, p)[0], values, vectors, p),
        direct=_set_projector,
        decomposed=_pair,
        task=GENERALIZED,
    ),
)

LOSSES: dict[str, Loss] = {loss.name: loss for loss in _TABLE} | SINGULAR_LOSSES | EIG_LOSSES
