"""The decomposition A = V diag(lambda) V^H to 60 digits; the package's docstring explains the algorithm."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from .fixed_point import HighPrecisionMatrix, to_integers

DIGITS = 60
_GUARD_DIGITS = 25
_CLUSTER_GAP = 1e-4


@dataclass(frozen=True)
class Spectrum:
    """A decomposition A = V diag(values) V^H: ascending mpf values (n), orthonormal vectors (n, n) as columns."""

    values: list[Any]
    vectors: HighPrecisionMatrix
    digits: int

    @property
    def smallest_gap(self) -> Any:
        """The smallest difference of neighbouring eigenvalues, as an mpf; infinite for n < 2."""
        return min((b - a for a, b in itertools.pairwise(self.values)), default=mpmath.inf)


def bits_of(digits: int) -> int:
    return int((digits + _GUARD_DIGITS) * 3.3219281) + 1


def _orthonormalise(vectors: HighPrecisionMatrix) -> HighPrecisionMatrix:
    n = vectors.re.shape[1]
    target = vectors.exponent + n.bit_length() + 4
    for _ in range(12):
        defect = vectors.adjoint @ vectors - HighPrecisionMatrix.identity(n, vectors.exponent)
        size = defect.magnitude()
        if size <= target:
            return vectors
        vectors = vectors - (vectors @ defect.times_power_of_two(-1)).at(vectors.exponent)
        if 2 * size + n.bit_length() + 2 <= target:
            return vectors
    raise ArithmeticError("eigh_mp: the starting vectors could not be made orthonormal")


def _clusters(values: NDArray[np.float64]) -> list[range]:
    scale = float(np.max(np.abs(values), initial=0.0))
    cuts = [0, *(np.flatnonzero(np.diff(values) > _CLUSTER_GAP * scale) + 1).tolist(), len(values)]
    return [range(a, b) for a, b in itertools.pairwise(cuts) if a < b]


def _rotate_clusters(
    vectors: HighPrecisionMatrix, compressed: HighPrecisionMatrix, clusters: list[range]
) -> HighPrecisionMatrix:
    """Diagonalises the block of V^H A V that belongs to each cluster, and rotates the vectors accordingly."""
    rotation = HighPrecisionMatrix.identity(vectors.re.shape[1], vectors.exponent)
    re, im = rotation.re, None if vectors.im is None else np.zeros_like(rotation.re)
    for cluster in clusters:
        if len(cluster) == 1:
            continue
        block = np.ix_(cluster, cluster)
        small = compressed[block].to_mpmath()
        solve = mpmath.eigsy if compressed.im is None else mpmath.eighe
        _, basis = solve(mpmath.matrix(((small + small.T.conj()) / 2).tolist()))
        entries = np.array(basis.tolist(), dtype=object)
        re[block] = to_integers(np.vectorize(mpmath.re, otypes=[object])(entries), vectors.exponent)
        if im is not None:
            im[block] = to_integers(np.vectorize(mpmath.im, otypes=[object])(entries), vectors.exponent)
    return vectors @ HighPrecisionMatrix(re, im, vectors.exponent)


def _separating_step(compressed: HighPrecisionMatrix, label: NDArray[np.int64]) -> HighPrecisionMatrix:
    """Returns X with X_ij = B_ij / (B_jj - B_ii) between clusters, and zero inside of them."""
    between = label[:, None] != label[None, :]
    diagonal = np.diagonal(compressed.re)
    gaps = np.where(between, diagonal[None, :] - diagonal[:, None], 1)
    return compressed.each_part(lambda part: np.where(between, part * (1 << -compressed.exponent) // gaps, 0))


def eigh_mp(a: Any, dps: int = DIGITS) -> Spectrum:
    """Decomposes a real symmetric or complex Hermitian matrix to ``dps`` digits (see the docstring of the package).

    ``a`` is an (n, n) array whose floats are taken as exact. Only its Hermitian part is used. Raises
    ``ArithmeticError`` if the refinement does not converge.
    """
    a = np.asarray(a)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"eigh_mp: expected a square matrix, got shape {a.shape}")
    bits = bits_of(dps)
    exact = HighPrecisionMatrix.from_array(a, bits)
    doubled = exact + exact.adjoint
    # The matrix is scaled to entries below one. The eigenvalues are scaled back at the end.
    matrix, scale = HighPrecisionMatrix(doubled.re, doubled.im, -bits), doubled.exponent - 1 + bits
    start_values, start = np.linalg.eigh(matrix.to_numpy())
    with mpmath.workprec(bits + 32):
        vectors = _orthonormalise(HighPrecisionMatrix.from_array(start, bits).at(-bits))
        clusters = _clusters(start_values)
        label = np.repeat(np.arange(len(clusters)), [len(c) for c in clusters])
        n = len(start_values)
        for _ in range(20):
            compressed = vectors.adjoint @ (matrix @ vectors)
            if any(len(c) > 1 for c in clusters):
                vectors = _rotate_clusters(vectors, compressed, clusters)
                compressed = vectors.adjoint @ (matrix @ vectors)
            step = _separating_step(compressed, label)
            converged = step.magnitude() <= -bits + 24 + n.bit_length()
            vectors = _orthonormalise(vectors + vectors @ step)
            if converged:
                break
        else:
            raise ArithmeticError(f"eigh_mp: the refinement of a matrix of size {n} did not converge")
        diagonal = np.diagonal((vectors.adjoint @ (matrix @ vectors)).re)
        order = sorted(range(n), key=lambda k: diagonal[k])
        values = [mpmath.ldexp(mpmath.mpf(diagonal[k]), scale - bits) for k in order]
    return Spectrum(values, vectors[:, order], dps)


def working_precision(digits: int = DIGITS) -> Any:
    """Returns a context in which mpmath computes with the guard digits that the functions of this package need."""
    return mpmath.workprec(bits_of(digits) + 32)
