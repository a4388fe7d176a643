"""The reference of 60 digits, against mpmath and exact products."""

from __future__ import annotations

import random

import mpmath
import numpy as np
import pytest

from spectralgrad import _high_precision as reference
from spectralgrad._high_precision import fixed_point
from spectralgrad.compare import sweep


def _residual(matrix: np.ndarray, spectrum: reference.Spectrum) -> float:
    """The largest entries of A V - V diag(values) and V^H V - I."""
    with mpmath.workdps(100):
        vectors = spectrum.vectors.to_mpmath()
        exact = np.vectorize(mpmath.mpmathify, otypes=[object])(matrix.tolist())
        residual = exact.dot(vectors) - vectors * np.array(spectrum.values, dtype=object)
        defect = vectors.T.conj().dot(vectors) - np.eye(len(matrix))
        return float(max(abs(x) for x in (*residual.ravel(), *defect.ravel())))


@pytest.mark.parametrize("kind", sweep.KINDS)
@pytest.mark.parametrize("gap", ["1", "1e-5", "1e-12", "0", sweep.EXACT])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_reference_decomposes_to_its_digits(n: int, gap: str, kind: str) -> None:
    matrix = sweep.matrix_with_cluster(n, gap, kind, np.random.default_rng(n))
    assert _residual(matrix, reference.eigh_mp(matrix)) < 1e-75


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_reference_follows_the_scale(scale: float) -> None:
    matrix = sweep.matrix_with_cluster(3, "1e-3", "symmetric", np.random.default_rng(0)) * scale
    m = np.diag([1.0, 2.0, 3.0])
    exact = reference.projector_gradient(matrix, m, 1, 3).to_numpy()
    np.testing.assert_allclose(exact * scale, reference.projector_gradient(matrix / scale, m, 1, 3).to_numpy(), 1e-10)


def test_reference_agrees_with_mpmath() -> None:
    matrix = sweep.matrix_with_cluster(8, "1e-6", "symmetric", np.random.default_rng(1))
    with mpmath.workdps(70):
        values = mpmath.eigsy(mpmath.matrix(matrix.tolist()), eigvals_only=True)
        assert max(abs(a - b) for a, b in zip(reference.eigh_mp(matrix).values, values, strict=True)) < 1e-65


def test_relative_error_unfolds_and_does_not_hide_nan() -> None:
    exact = reference.HighPrecisionMatrix.from_array(np.array([[1.0, 0.25], [0.25, 2.0]]), 200)
    assert reference.relative_error(np.array([[1.0, 0.0], [0.5, 2.0]]), exact) == 0
    assert np.isnan(reference.relative_error(np.full((2, 2), np.nan), exact))
    assert reference.relative_error(np.zeros((2, 2)), exact) == 1


@pytest.mark.parametrize("bits", [1, 15, 16, 17, 31, 32, 300])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4), (3, 0, 2), (0, 2, 3), (33, 40, 5)])
def test_products_of_integers_are_exact(shape: tuple[int, int, int], bits: int) -> None:
    generator = random.Random(bits)
    p, n, q = shape

    def integers(rows: int, columns: int, bits: int) -> np.ndarray:
        extremes = [0, 1, -1, 2**bits - 1, 1 - 2**bits, -(2**bits)]
        entries = [generator.choice([*extremes, generator.getrandbits(bits)]) for _ in range(rows * columns)]
        return np.array(entries, dtype=object).reshape(rows, columns)

    a, b = integers(p, n, bits), integers(n, q, bits // 2 + 1)
    assert np.array_equal(fixed_point.integer_matmul(a, b), a.dot(b))
    assert np.array_equal(fixed_point.integer_matmul(b.T, a.T), b.T.dot(a.T))
