"""Part 6: the error of the gradient of svd against the gap of a cluster of singular values.

The references are exact gradients by the Hermitian matrix [[0, A], [A^H, 0]]; see ``singular_losses``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np

from .. import _high_precision as reference
from . import sweep
from .loss import Array, Parameters
from .losses import LOSSES
from .problems import Exact, Problem, References

PART = "singular values"
LOSS_NAMES = ("singular_projector", "null_projector", "polar_factor", "singular_values", "near_singular_vector")
# The kinds here, and those of ``sweep``, which are named after Hermitian matrices.
KINDS = {"real": "symmetric", "complex": "hermitian"}
SHAPES = {"full": ((5, 5), (8, 5), (5, 8)), "quick": ((4, 6),)}
GAPS = [gap for gap in sweep.GAPS if gap != "1e-1"]
_CLUSTER = 3


def _unitary(n: int, kind: str, rng: np.random.Generator) -> Array:
    return np.linalg.qr(sweep.gaussian(rng, (n, n), kind))[0]


def _with_singular_values(shape: tuple[int, int], values: Array, kind: str, rng: np.random.Generator) -> Array:
    m, n = shape
    k = min(m, n)
    return np.asarray((_unitary(m, kind, rng)[:, :k] * values) @ _unitary(n, kind, rng)[:k])


def matrix_with_cluster(shape: tuple[int, int], gap: str, kind: str, rng: np.random.Generator, base: float) -> Array:
    """Returns a matrix (m, n) with a cluster of singular values at base, base + gap, ..., in random bases.

    The other singular values spread over 0.2 ... 0.6, or over 4 ... 5 if ``base`` is zero. ``sweep.EXACT`` gives
    ``base`` times a cyclic permutation beside a dense block, so that LAPACK returns exactly equal singular values.
    """
    m, n = shape
    largest, smallest = (0.6, 0.2) if base else (5.0, 4.0)
    others = np.linspace(largest, smallest, min(m, n) - _CLUSTER)
    if gap == sweep.EXACT:
        matrix = np.zeros(shape, dtype=sweep.gaussian(rng, (1,), kind).dtype)
        matrix[:_CLUSTER, :_CLUSTER] = base * np.roll(np.eye(_CLUSTER), 1, axis=0)
        matrix[_CLUSTER:, _CLUSTER:] = _with_singular_values((m - _CLUSTER, n - _CLUSTER), others, kind, rng)
        return matrix
    cluster = base + float(gap) * np.arange(_CLUSTER)
    return _with_singular_values(shape, np.concatenate([cluster, others]), kind, rng)


def _parameters(loss: str, shape: tuple[int, int], kind: str, dtype: Any, rng: np.random.Generator) -> Parameters:
    m, n = shape
    k = min(shape)
    hermitian = sweep.hermitian_part(sweep.gaussian(rng, (m, m), kind)).astype(dtype)
    full = sweep.gaussian(rng, shape, kind).astype(dtype)
    vector = (sweep.gaussian(rng, (m,), kind) / np.sqrt(m)).astype(dtype)
    return {
        "singular_projector": Parameters(0, _CLUSTER, {"M": hermitian}, n),
        "null_projector": Parameters(k - _CLUSTER, k, {"M": hermitian}, n),
        "polar_factor": Parameters(0, k, {"M": full}, n),
        "singular_values": Parameters(0, _CLUSTER, {}, n),
        "near_singular_vector": Parameters(0, 1, {"y": vector}, n),
    }[loss]


def problems(shapes: tuple[tuple[int, int], ...], gaps: list[str] | None = None) -> Iterator[Problem]:
    """Yields a problem for every loss, kind, shape and precision. One problem holds all gaps."""
    gaps = GAPS if gaps is None else [gap for gap in gaps if gap in GAPS]
    for shape, (name, kind) in itertools.product(shapes, KINDS.items()):
        exact = {
            base: np.stack(
                [
                    matrix_with_cluster(shape, gap, kind, np.random.default_rng([*shape, i, 31]), base)
                    for i, gap in enumerate(gaps)
                ]
            )
            for base in (0.0, 1.0)
        }
        for precision, loss in itertools.product(sweep.PRECISIONS, LOSS_NAMES):
            # Left null vectors of a tall matrix have no place in U, so only the other shapes have a cluster at zero.
            if loss == "null_projector" and shape[0] > shape[1]:
                continue
            dtype = sweep.DTYPES[kind, precision]
            yield Problem(
                key=f"{PART}/{name}/{shape[0]}x{shape[1]}/{precision}/{loss}",
                loss=loss,
                matrices=exact[0.0 if loss == "null_projector" else 1.0].astype(dtype),
                parameters=_parameters(loss, shape, kind, dtype, np.random.default_rng([*shape, 32])),
                labels=gaps,
                meta={"part": PART, "kind": name, "n": min(shape), "precision": precision},
            )


def hermitian_matrix(a: Array) -> Array:
    """Returns [[0, A], [A^H, 0]], (m + n, m + n)."""
    m, n = a.shape
    whole = np.zeros((m + n, m + n), dtype=a.dtype)
    whole[:m, m:], whole[m:, :m] = a, a.conj().T
    return whole


def gradient(spectrum: reference.Spectrum, problem: Problem, rows: int) -> reference.HighPrecisionMatrix:
    """Returns the gradient by A (rows, n), twice the upper right block of the gradient by [[0, A], [A^H, 0]]."""
    loss, p = LOSSES[problem.loss], problem.parameters
    with reference.working_precision():
        whole = reference.gradient(spectrum, loss.weights(spectrum.values, p), loss.matrix(p))
    return whole[:rows, rows:].times_power_of_two(1)


class SingularReferences:
    """Computes exact gradients of svd. A matrix that several losses share is decomposed once."""

    def __init__(self) -> None:
        self._hermitian = References()

    def exact(self, problem: Problem, tick: Callable[[], None] = lambda: None) -> list[Exact]:
        """Returns one ``Exact`` for each matrix, and calls ``tick`` after each."""
        results = []
        for matrix in problem.matrices:
            spectrum = self._hermitian.spectrum(hermitian_matrix(matrix))
            positive = spectrum.values[-min(matrix.shape) :]
            gap = min((b - a for a, b in itertools.pairwise(positive)), default=mpmath.inf)
            with reference.working_precision():
                degenerate = gap < 1e-40 * positive[-1]
            if degenerate and not LOSSES[problem.loss].exists_inside_degeneracy:
                results.append(Exact(None, "no derivative: the singular value is repeated exactly", float(gap)))
            else:
                results.append(Exact(gradient(spectrum, problem, len(matrix)), None, float(gap)))
            tick()
        return results
