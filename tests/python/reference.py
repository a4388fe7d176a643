"""Reference derivatives: the comparison's 60-digit reference, for tensors, and one that needs no eigenvectors."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import torch
from torch import Tensor

from problems import double_of
from spectralgrad import _high_precision as exact

Weights = Callable[[Any], Any]  # eigenvalues, as mpmath numbers -> K of `spectralgrad._high_precision.gradient`


def projector(start: int, stop: int) -> Weights:
    """For the projector onto the eigenvectors start:stop."""
    return lambda values: exact.projector_weights(values, start, stop)


def function(f: Callable[[Any], Any], df: Callable[[Any], Any]) -> Weights:
    """For f(A); mpmath functions."""
    return lambda values: exact.function_weights(values, f, df)


def _array(A: Tensor) -> np.ndarray:
    # Widening is exact, so the reference decomposes the same matrix, even if it was rounded to float32.
    return A.detach().cpu().to(double_of(A.dtype)).numpy()


def _spectrum(A: np.ndarray) -> exact.Spectrum:
    """Like `exact.eigh_mp`, but by mpmath alone: faster for small matrices, and independent of it."""
    is_complex = A.dtype.kind == "c" or any(isinstance(x, mpmath.mpc) for x in A.flat)
    with exact.working_precision():
        values, vectors = (mpmath.eighe if is_complex else mpmath.eigsy)(mpmath.matrix(A.tolist()))
        array = np.array(vectors.tolist(), dtype=object)
        return exact.Spectrum(list(values), exact.HighPrecisionMatrix.from_array(array, mpmath.mp.prec), exact.DIGITS)


@functools.lru_cache(maxsize=1024)
def _decompose(data: bytes, dtype: str, n: int) -> exact.Spectrum:
    # mpmath alone is slower from about n = 16 on.
    return (_spectrum if n <= 16 else exact.eigh_mp)(np.frombuffer(data, dtype=dtype).reshape(n, n))


@functools.lru_cache(maxsize=64)
def _decompose_about(data: bytes, direction: bytes, dtype: str, n: int) -> tuple[mpmath.mpf, list[exact.Spectrum]]:
    """The step h, and the decompositions of A + hE and A - hE."""
    with exact.working_precision():
        h = mpmath.mpf(10) ** -15
        array, E = (
            exact.HighPrecisionMatrix.from_array(
                np.frombuffer(x, dtype=dtype).reshape(n, n), mpmath.mp.prec
            ).to_mpmath()
            for x in (data, direction)
        )
        return h, [_spectrum(array + h * E), _spectrum(array - h * E)]


def _frechet(spectrum: exact.Spectrum, E: np.ndarray, weights: Weights) -> exact.HighPrecisionMatrix:
    with exact.working_precision():
        return exact.gradient(spectrum, weights(spectrum.values), E)


# Many transforms are compared with one reference, so results are kept. The caches are keyed by `weights` as an object.
@functools.lru_cache(maxsize=256)
def _first(data: bytes, direction: bytes, dtype: str, direction_dtype: str, n: int, weights: Weights) -> np.ndarray:
    E = np.frombuffer(direction, dtype=direction_dtype).reshape(n, n)
    return _frechet(_decompose(data, dtype, n), E, weights).to_numpy()


@functools.lru_cache(maxsize=256)
def _second(data: bytes, loss: bytes, direction: bytes, dtype: str, n: int, weights: Weights) -> np.ndarray:
    h, spectra = _decompose_about(data, direction, dtype, n)
    M = np.frombuffer(loss, dtype=dtype).reshape(n, n)
    with exact.working_precision():
        ahead, behind = (_frechet(spectrum, M, weights).to_mpmath() for spectrum in spectra)
        return ((ahead - behind) / (2 * h)).astype(dtype)


def frechet(A: Tensor, E: Tensor, weights: Weights) -> Tensor:
    """D f(A)[E], Daleckii and Krein (1965). It is self-adjoint: also the gradient of Re tr(E f(A)) for Hermitian E."""
    a, e = _array(A), _array(E)
    return torch.from_numpy(_first(a.tobytes(), e.tobytes(), a.dtype.str, e.dtype.str, len(a), weights).copy())


def second_frechet(A: Tensor, M: Tensor, E: Tensor, weights: Weights) -> Tensor:
    """The Hessian of Re tr(M f(A)) times E: a central difference in 60 digits, accurate to more than 20."""
    a = _array(A)
    m, e = (_array(x).astype(a.dtype) for x in (M, E))
    return torch.from_numpy(_second(a.tobytes(), m.tobytes(), e.tobytes(), a.dtype.str, len(a), weights).copy())


class Divided(NamedTuple):
    """f[a], f[a,b] and f[a,b,c] at all eigenvalues (pairs, triples) of a matrix: arrays of mpmath numbers."""

    zeroth: np.ndarray
    first: np.ndarray
    second: np.ndarray


Differences = Callable[[list[Any]], Divided]  # of ascending eigenvalues


def _divided(
    values: list[Any], zeroth: list[Any], first: np.ndarray, second: Callable[[int, int, int], Any]
) -> Divided:
    n = len(values)
    triples = np.empty((n, n, n), dtype=object)
    for triple in itertools.combinations_with_replacement(range(n), 3):
        entry = second(*triple)
        for permuted in set(itertools.permutations(triple)):
            triples[permuted] = entry
    return Divided(np.array(zeroth, dtype=object), first, triples)


def smooth(f: Callable[[Any], Any], df: Callable[[Any], Any], d2f: Callable[[Any], Any]) -> Differences:
    """The divided differences of a function with two derivatives, all given as mpmath functions.

    For eigenvalues closer than 10^(-20), the second derivative at their mean replaces the quotient. Its error is about
    10^(-40); quotients at somewhat larger gaps are no more accurate.
    """

    def differences(values: list[Any]) -> Divided:
        first = exact.function_weights(values, f, df)
        near = max(map(abs, values), default=0) * mpmath.mpf(10) ** (-exact.DIGITS / 3)

        def second(i: int, k: int, j: int) -> Any:
            gap = values[j] - values[i]
            return (first[k, j] - first[i, k]) / gap if gap > near else d2f(sum(values[x] for x in (i, k, j)) / 3) / 2

        return _divided(values, [f(x) for x in values], first, second)

    return differences


def step(start: int, stop: int) -> Differences:
    """The divided differences of a step function: constant near each eigenvalue, 1 at start:stop, 0 at the others."""

    def differences(values: list[Any]) -> Divided:
        side = [mpmath.mpf(start <= k < stop) for k in range(len(values))]
        first = exact.projector_weights(values, start, stop)

        def second(*triple: int) -> Any:
            for x, y, z in itertools.permutations(triple):
                if side[x] != side[z]:
                    return (first[y, z] - first[x, y]) / (values[z] - values[x])
            return mpmath.mpf(0)

        return _divided(values, side, first, second)

    return differences


class Function:
    """f(A) with its first and second Fréchet derivatives by divided differences (Daleckii and Krein), in 60 digits."""

    def __init__(self, spectrum: exact.Spectrum, dtype: str, differences: Differences) -> None:
        self._dtype = dtype
        with exact.working_precision():
            self._V = spectrum.vectors.to_mpmath()
            self._f = differences(spectrum.values)
        self._norm = float(max(map(abs, spectrum.values), default=0))

    def _in_basis(self, M: Tensor) -> np.ndarray:
        to_mpmath = np.vectorize(mpmath.mpmathify, otypes=[object])
        return self._V.conj().T @ (to_mpmath(_array(M)) @ self._V)

    def _from_basis(self, M: np.ndarray) -> Tensor:
        return torch.from_numpy((self._V @ M @ self._V.conj().T).astype(self._dtype))

    def value(self) -> Tensor:
        with exact.working_precision():
            return self._from_basis(np.diag(self._f.zeroth))

    def first(self, M: Tensor) -> Tensor:
        """D f(A)[M]: for a Hermitian M also the gradient of Re tr(M f(A))."""
        with exact.working_precision():
            return self._from_basis(self._f.first * self._in_basis(M))

    def second(self, M: Tensor, E: Tensor) -> Tensor:
        """D² f(A)[M, E]: for a Hermitian M also the Hessian of Re tr(M f(A)) times E."""
        with exact.working_precision():
            M_, E_ = self._in_basis(M), self._in_basis(E)
            terms = M_[:, :, None] * E_[None] + E_[:, :, None] * M_[None]
            return self._from_basis((self._f.second * terms).sum(1))

    def condition(self) -> float:
        """The relative condition number of A -> f(A): |A| max |f[a,b]| / |f(A)|."""
        return self._amplified(self._f.first, 1, self.value())

    def condition_of_first(self, M: Tensor) -> float:
        """The relative condition number of A -> D f(A)[M]: 2 max |f[a,b,c]| |M| |A| / |D f(A)[M]|.

        The numerator is an upper bound for |D² f(A)[M, E]| with |E| = |A|.
        """
        return self._amplified(self._f.second, 2 * float(torch.linalg.matrix_norm(M)), self.first(M))

    def _amplified(self, differences: np.ndarray, size: float, result: Tensor) -> float:
        largest = max((abs(float(x)) for x in differences.flat), default=0)
        # Evaluated in this order, because products of numbers near 1e±200 overflow or underflow in float64.
        return largest * self._norm / float(torch.linalg.matrix_norm(result)) * size


@functools.lru_cache(maxsize=256)
def _function(data: bytes, dtype: str, n: int, differences: Differences) -> Function:
    return Function(_decompose(data, dtype, n), dtype, differences)


def of(A: Tensor, differences: Differences) -> Function:
    """f(A) and its derivatives; decompositions are kept for later calls."""
    array = _array(A)
    return _function(array.tobytes(), array.dtype.str, len(array), differences)


def resolvent_integral(A: Tensor, of: Callable[[Any], Any], low: float, high: float, points: int) -> Tensor:
    """(1/2πi) ∮ of(R) dz, R = (z - A)⁻¹, around the eigenvalues in (low, high).

    The contour is the circle through low and high, on which the trapezoidal rule converges geometrically. No step
    chooses a basis of an eigenspace. `of` must map the adjoint of R to the adjoint of of(R), so that half of the circle
    is enough.
    """
    center, radius = (low + high) / 2, (high - low) / 2
    arms = radius * np.exp(2j * np.pi * (np.arange(points // 2) + 0.5) / points)
    array = _array(A)
    total = np.zeros(array.shape, dtype=complex)
    for arm in arms:
        total += arm * of(np.linalg.inv((center + arm) * np.eye(len(array)) - array)) / points
    total = total + total.conj().T
    return torch.from_numpy(total if A.is_complex() else total.real)


def _keep_last_results(integral: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Several tests in a row need the same integrals. The tensors among the arguments are compared by their bytes."""
    known: dict[Any, Tensor] = {}

    @functools.wraps(integral)
    def cached(*arguments: Any, **options: Any) -> Tensor:
        parts = [(x.dtype, _array(x).tobytes()) if isinstance(x, Tensor) else x for x in arguments]
        key = (*parts, *options.items())
        if key not in known:
            if len(known) == 8:
                known.pop(next(iter(known)))
            known[key] = integral(*arguments, **options)
        return known[key].clone()

    return cached


@_keep_last_results
def resolvent_frechet(A: Tensor, E: Tensor, low: float, high: float, points: int = 600) -> Tensor:
    """D P(A)[E] for the projector P onto the eigenvalues in (low, high) and Hermitian E: (1/2πi) ∮ R E R dz."""
    direction = _array(E)
    return resolvent_integral(A, lambda R: R @ direction @ R, low, high, points)


@_keep_last_results
def resolvent_second(A: Tensor, M: Tensor, E: Tensor, low: float, high: float, points: int = 600) -> Tensor:
    """D² P(A)[M, E] = (1/2πi) ∮ (R M R E R + R E R M R) dz, for Hermitian M and E.

    It is also the derivative along E of the gradient of tr(M P(A)).
    """
    first, second = _array(M), _array(E)
    return resolvent_integral(A, lambda R: R @ first @ R @ second @ R + R @ second @ R @ first @ R, low, high, points)


def relative_error(x: Tensor, expected: Tensor) -> float:
    """In the Frobenius norm; NaN if `x` has a NaN. Entries are first scaled to about 1: squares could overflow."""
    wide = torch.complex128 if x.is_complex() or expected.is_complex() else torch.float64
    a, b = (t.detach().resolve_conj().cpu().to(wide) for t in (x, expected))
    unit = b.abs().max()
    return float(torch.linalg.vector_norm((a - b) / unit) / torch.linalg.vector_norm(b / unit))
