"""Runs the programs of part 1, and compares their gradients with the analytic ones and with finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from .loss import Array
from .programs import IDENTITY, NOT_SYMMETRIC, SYMMETRIC, VECTOR, Program


def _array(value: Any) -> Array:
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def describe_error(error: BaseException) -> str:
    """The exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def execute(program: Program) -> dict[str, Any]:
    """Runs the text and returns the error that it raised (or None), and the real parts of its arrays as lists.

    The gradients and eigenvalues should be real. The result also has the largest imaginary part, as a check.
    """
    namespace: dict[str, Any] = {}
    raised = None
    try:
        exec(compile(program.source, program.key, "exec"), namespace)
    except Exception as error:
        raised = describe_error(error)
    arrays = {
        name: _array(namespace[name])
        for name in ("eigenvalues", "eigenvectors", "gradient")
        if namespace.get(name) is not None
    }
    return {
        "raised": raised,
        "imaginary": max((float(np.abs(array.imag).max()) for array in arrays.values()), default=0.0),
        **{name: np.real(array).tolist() for name, array in arrays.items()},
    }


def expected(wanted: str) -> Array:
    """Returns the right gradient, computed by NumPy: the identity, v vᵀ, or outer(left, right)."""
    if wanted == IDENTITY:
        return np.eye(2)
    if wanted == VECTOR:
        vector = np.linalg.eigh(SYMMETRIC)[1][:, -1]
        return np.outer(vector, vector)
    values, vectors = np.linalg.eig(NOT_SYMMETRIC)
    k = int(np.argmax(values))
    return np.outer(np.linalg.inv(vectors)[k], vectors[:, k])


def is_folded(gradient: Array) -> bool:
    """Whether the lower triangle of a gradient holds the sum of both triangles, as for TensorFlow's eigh."""
    return bool(gradient[0, 1] == 0 and gradient[1, 0] != 0)


def error(program: Program, gradient: Array) -> float:
    """Returns the largest error of the gradient, or of its symmetric part if the matrix is symmetric."""
    if program.wanted == VECTOR:
        gradient = (gradient + gradient.T) / 2
    return float(np.abs(gradient - expected(program.wanted)).max())


def finite_differences() -> list[tuple[float, float]]:
    """Returns (step, error) of central differences of the largest eigenvalue.

    The errors show that the frameworks do not use finite differences.
    """

    def largest(step: Array) -> float:
        return float(np.linalg.eigvalsh(SYMMETRIC + step)[-1])

    results = []
    for step in 10.0 ** -np.arange(1, 14):
        numeric = np.zeros((2, 2))
        for i, j in np.ndindex(2, 2):
            direction = np.zeros((2, 2))
            direction[i, j] += step / 2
            direction[j, i] += step / 2
            numeric[i, j] = (largest(direction) - largest(-direction)) / (2 * step)
        results.append((float(step), float(np.abs(numeric - expected(VECTOR)).max())))
    return results
