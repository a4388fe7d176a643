"""Gradients V (K o (V^H M V)) V^H to 60 digits, and the weights K of some losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from .decomposition import DIGITS, Spectrum, bits_of, eigh_mp, working_precision
from .fixed_point import HighPrecisionMatrix


def eigenvalue_weights(values: Sequence[Any], slopes: Sequence[Any]) -> NDArray[np.object_]:
    """Returns K for a function of the eigenvalues alone, with derivative ``slopes`` (n). K is diagonal, and M = I."""
    weights = np.full((len(values), len(values)), mpmath.mpf(0), dtype=object)
    weights[np.diag_indices(len(values))] = [mpmath.mpf(slope) for slope in slopes]
    return weights


def step_weights(values: Sequence[Any], steps: Sequence[int]) -> NDArray[np.object_]:
    """Returns K for tr(M f(A)), where f is constant near each eigenvalue, with the values ``steps`` (n).

    K_ij is (f_i - f_j)/(lambda_i - lambda_j), and zero if f_i and f_j are equal.
    """
    n = len(values)
    weights = np.full((n, n), mpmath.mpf(0), dtype=object)
    for i, j in zip(*np.nonzero(np.triu(np.subtract.outer(steps, steps))), strict=True):
        if values[i] == values[j]:
            raise ZeroDivisionError("step_weights: the function jumps inside an exact degeneracy")
        weights[i, j] = weights[j, i] = int(steps[i] - steps[j]) / (values[i] - values[j])
    return weights


def projector_weights(values: Sequence[Any], start: int, stop: int) -> NDArray[np.object_]:
    """Returns K for tr(M P), where P is the projector onto the eigenvectors start:stop."""
    return step_weights(values, [int(start <= i < stop) for i in range(len(values))])


def function_weights(
    values: Sequence[Any], f: Callable[[Any], Any], df: Callable[[Any], Any], digits: int = DIGITS
) -> NDArray[np.object_]:
    """Returns K for tr(M f(A)): the divided differences of f.

    Below a gap of 10^(-digits/2) the derivative at the midpoint replaces the quotient. Its error is of the order of the
    gap squared.
    """
    n = len(values)
    at = [f(x) for x in values]
    scale = max((abs(x) for x in values), default=mpmath.mpf(1)) or mpmath.mpf(1)
    near = scale * mpmath.mpf(10) ** (-(digits / 2))
    weights = np.empty((n, n), dtype=object)
    for i in range(n):
        for j in range(i + 1):
            gap = values[i] - values[j]
            weights[i, j] = weights[j, i] = (
                (at[i] - at[j]) / gap if abs(gap) > near else df((values[i] + values[j]) / 2)
            )
    return weights


def gradient(spectrum: Spectrum, weights: NDArray[np.object_], m: Any = None) -> HighPrecisionMatrix:
    """Returns V (K o (V^H M V)) V^H, (n, n), for weights K from one of the functions above.

    M (n, n) is Hermitian, and the identity by default.
    """
    bits = bits_of(spectrum.digits)
    n = len(spectrum.values)
    with mpmath.workprec(bits + 32):
        # Products keep an absolute precision, so the factors are scaled to the size of one first.
        k, k_size = HighPrecisionMatrix.from_array(weights, bits).normalised()
        v = spectrum.vectors
        if m is None:
            rotated, m_size = HighPrecisionMatrix.identity(n, -bits), 0
        else:
            matrix, m_size = HighPrecisionMatrix.from_array(m, bits).normalised()
            rotated = v.adjoint @ matrix @ v
        return (v @ rotated.weighted(k) @ v.adjoint).times_power_of_two(k_size + m_size)


def projector_gradient(a: Any, m: Any, start: int, stop: int, dps: int = DIGITS) -> HighPrecisionMatrix:
    """Returns the gradient of Re tr(M P) for Hermitian M, where P projects onto the eigenvectors start:stop."""
    spectrum = eigh_mp(a, dps)
    with working_precision(dps):
        return gradient(spectrum, projector_weights(spectrum.values, start, stop), m)


def relative_error(computed: Any, reference: HighPrecisionMatrix, hermitian: bool = True) -> float:
    """Returns |Herm(computed) - reference| / |reference| in the Frobenius norm, or NaN if ``computed`` is not finite.

    If A is Hermitian, only the Hermitian part of a gradient has a meaning. Taking it also undoes TensorFlow's
    convention, which adds the upper triangle to the lower one. If ``hermitian`` is false, A is any matrix, and
    the whole gradient counts.
    """
    computed = np.asarray(computed)
    with np.errstate(all="ignore"):
        wide = computed.astype(np.complex128 if computed.dtype.kind == "c" else np.float64)
        part = (wide + wide.conj().T) / 2 if hermitian else wide
        if not np.all(np.isfinite(part)):
            return float("nan")
        high, low = reference.split()
        size = float(np.linalg.norm(high))
        return float(np.linalg.norm((part - high) - low)) / size if size else float(np.linalg.norm(part))
