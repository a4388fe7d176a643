"""What derivatives should be: the comparison's 60-digit reference for tensors, and one that needs no eigenvectors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from spectralgrad.compare import reference as exact

Weights = Callable[[Any], Any]  # eigenvalues, as mpmath numbers -> K of `spectralgrad.compare.reference.gradient`


def projector(start: int, stop: int) -> Weights:
    """For the projector onto the eigenvectors start:stop."""
    return lambda values: exact.projector_weights(values, start, stop)


def function(f: Callable[[Any], Any], df: Callable[[Any], Any]) -> Weights:
    """For f(A); mpmath functions."""
    return lambda values: exact.function_weights(values, f, df)


def _array(A: Tensor) -> np.ndarray:
    # Widening is exact, so the matrix that was rounded to float32 is the one that is decomposed.
    return A.detach().cpu().to(torch.complex128 if A.is_complex() else torch.float64).numpy()


def _spectrum(A: np.ndarray) -> exact.Spectrum:
    """`exact.eigh_mp` by mpmath alone: quicker for matrices as small as here, and a second opinion."""
    is_complex = A.dtype.kind == "c" or any(isinstance(x, mpmath.mpc) for x in A.flat)
    with exact.working_precision():
        values, vectors = (mpmath.eighe if is_complex else mpmath.eigsy)(mpmath.matrix(A.tolist()))
        array = np.array(vectors.tolist(), dtype=object)
        return exact.Spectrum(list(values), exact.HighPrecisionMatrix.from_array(array, mpmath.mp.prec), exact.DIGITS)


@functools.lru_cache(maxsize=1024)
def _decompose(data: bytes, dtype: str, n: int) -> exact.Spectrum:
    return _spectrum(np.frombuffer(data, dtype=dtype).reshape(n, n))


@functools.lru_cache(maxsize=64)
def _decompose_about(data: bytes, direction: bytes, dtype: str, n: int) -> tuple[mpmath.mpf, list[exact.Spectrum]]:
    """Of A + hE and A - hE."""
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


def frechet(A: Tensor, E: Tensor, weights: Weights) -> Tensor:
    """D f(A)[E], Daleckii and Krein (1965). It is self-adjoint: also the gradient of Re tr(E f(A)) for Hermitian E."""
    array = _array(A)
    spectrum = _decompose(array.tobytes(), array.dtype.str, len(array))
    return torch.from_numpy(_frechet(spectrum, _array(E), weights).to_numpy())


def second_frechet(A: Tensor, M: Tensor, E: Tensor, weights: Weights) -> Tensor:
    """The Hessian of Re tr(M f(A)) times E: a central difference in 60 digits, good to more than 20."""
    array = _array(A)
    h, spectra = _decompose_about(array.tobytes(), _array(E).tobytes(), array.dtype.str, len(array))
    with exact.working_precision():
        ahead, behind = (_frechet(spectrum, _array(M), weights).to_mpmath() for spectrum in spectra)
        return torch.from_numpy(((ahead - behind) / (2 * h)).astype(array.dtype))


def resolvent_frechet(A: Tensor, E: Tensor, low: float, high: float, points: int = 600) -> Tensor:
    """D P(A)[E] for the projector P onto the eigenvalues in (low, high): (1/2πi) ∮ R E R dz, R = (z - A)⁻¹.

    Around the circle through low and high, where the trapezoidal rule converges geometrically; no basis of an
    eigenspace is ever chosen.
    """
    center, radius = (low + high) / 2, (high - low) / 2
    arms = radius * np.exp(2j * np.pi * (np.arange(points) + 0.5) / points)
    array, direction = _array(A), _array(E)
    total = np.zeros(array.shape, dtype=complex)
    for arm in arms:
        R = np.linalg.inv((center + arm) * np.eye(len(array)) - array)
        total += arm * (R @ direction @ R) / points
    return torch.from_numpy(total if A.is_complex() else total.real)


def relative_error(x: Tensor, expected: Tensor) -> float:
    """In the Frobenius norm; NaN where `x` has one. Entries are first brought to about 1: squares overflow."""
    wide = torch.complex128 if x.is_complex() or expected.is_complex() else torch.float64
    a, b = (t.detach().resolve_conj().cpu().to(wide) for t in (x, expected))
    unit = b.abs().max()
    return float(torch.linalg.vector_norm((a - b) / unit) / torch.linalg.vector_norm(b / unit))
