"""Part 8: the error of the gradient of eig against the gap of a pair of eigenvalues, towards a Jordan block.

A pair at the gap d has the block [[1, 1], [±d²/4, 1]]. As d goes to zero, the eigenvectors of the pair become parallel,
and the condition numbers 1/|yᴴx| of its eigenvalues grow like 1/d (Wilkinson, *The Algebraic Eigenvalue Problem*, 1965,
chapter 2). At zero the matrix is defective. Rounding of size eps changes a gap d by about eps/d, and a gap of zero into
one of about √eps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import _high_precision as reference
from . import sweep
from .loss import Array, Parameters
from .losses import LOSSES
from .problems import Exact, Problem

PART = "jordan"
LOSS_NAMES = ("pair_eigenvalue", "pair_sum", "trace", "riesz_projector")
REAL, CONJUGATE, COMPLEX = "two real eigenvalues", "a complex pair", "complex"
KINDS = (REAL, CONJUGATE, COMPLEX)
SIZES = {"full": (2, 5), "quick": (4,)}
# Rounding turns smaller gaps into one of about √eps.
GAPS = ["1", *(f"1e-{k}" for k in range(1, 11)), "0", sweep.EXACT]


def _kind_of_sweep(kind: str) -> str:
    return "hermitian" if kind == COMPLEX else "symmetric"


def _pair(gap: float, kind: str) -> Array:
    if kind == COMPLEX:
        # The centre and the direction of the gap are complex numbers.
        return np.array([[1 + 0.25j, 1], [np.exp(0.6j) * gap**2 / 4, 1 + 0.25j]])
    sign = 1 if kind == REAL else -1
    return np.array([[1, 1], [sign * gap**2 / 4, 1]])


def _similar(block: Array, kind: str, rng: np.random.Generator) -> Array:
    """Returns S B S⁻¹ for a random S with the singular values 1 ... 2."""
    n = len(block)
    left, right = (np.linalg.qr(sweep.gaussian(rng, (n, n), _kind_of_sweep(kind)))[0] for _ in range(2))
    values = np.linspace(1, 2, n)
    return np.asarray((left * values) @ right @ block @ right.conj().T @ (left / values).conj().T)


def matrix_with_pair(n: int, gap: str, kind: str, rng: np.random.Generator) -> Array:
    """Returns a matrix (n, n) with a pair of eigenvalues near 1, at the distance ``gap``, in a random basis.

    The other n - 2 eigenvalues spread over -3 ... -0.5. ``sweep.EXACT`` gives the Jordan block [[1, 1], [0, 1]] beside
    a dense block, so that the matrix is defective in floating point, too.
    """
    others = np.diag(np.linspace(-3, -0.5, n - 2))
    dtype = np.result_type(others, _pair(0, kind))
    matrix = np.zeros((n, n), dtype=dtype)
    if gap == sweep.EXACT:
        matrix[:2, :2] = _pair(0, kind)
        matrix[2:, 2:] = _similar(others.astype(dtype), kind, rng)
        return matrix
    matrix[:2, :2], matrix[2:, 2:] = _pair(float(gap), kind), others
    return _similar(matrix, kind, rng)


def _parameters(loss: str, n: int, kind: str, dtype: Any, rng: np.random.Generator) -> Parameters:
    """Returns the positions in the ascending order of Re + Im, where the pair comes last, and M.

    M is complex for every A, because the eigenvectors are.
    """
    m = sweep.gaussian(rng, (n, n), _kind_of_sweep(kind)).astype(dtype)
    return {
        "pair_eigenvalue": Parameters(n - 1, n),
        "pair_sum": Parameters(n - 2, n),
        "trace": Parameters(0, n),
        "riesz_projector": Parameters(n - 2, n, {"M": m.astype(np.result_type(m, np.complex64))}),
    }[loss]


def problems(sizes: tuple[int, ...], gaps: list[str] | None = None) -> Iterator[Problem]:
    """Yields a problem for every loss, kind, size and precision. One problem holds all gaps."""
    gaps = GAPS if gaps is None else [gap for gap in gaps if gap in GAPS]
    for n, (number, kind) in itertools.product(sizes, enumerate(KINDS)):
        exact = np.stack(
            [matrix_with_pair(n, gap, kind, np.random.default_rng([n, number, i, 51])) for i, gap in enumerate(gaps)]
        )
        for precision, loss in itertools.product(sweep.PRECISIONS, LOSS_NAMES):
            if n == 2 and loss in ("pair_sum", "riesz_projector"):
                # The pair is all: the sum is the trace, and the projector is constant.
                continue
            dtype = sweep.DTYPES[_kind_of_sweep(kind), precision]
            yield Problem(
                key=f"{PART}/{kind}/{n}/{precision}/{loss}",
                loss=loss,
                matrices=exact.astype(dtype),
                parameters=_parameters(loss, n, kind, dtype, np.random.default_rng([n, number, 52])),
                labels=gaps,
                meta={"part": PART, "kind": kind, "n": n, "precision": precision},
            )


class JordanReferences:
    """Computes exact gradients. The projector of a matrix that several losses share is computed once."""

    def __init__(self) -> None:
        self._projectors: dict[tuple[str, bytes], reference.RieszProjector] = {}

    def _projector(self, matrix: Array) -> reference.RieszProjector:
        key = (str(matrix.dtype), matrix.tobytes())
        if key not in self._projectors:
            self._projectors[key] = reference.riesz_projector_mp(matrix)
        return self._projectors[key]

    def exact(self, problem: Problem, tick: Callable[[], None] = lambda: None) -> list[Exact]:
        """Returns one ``Exact`` for each matrix, and calls ``tick`` after each."""
        results = []
        for matrix in problem.matrices:
            loss, riesz = LOSSES[problem.loss], self._projector(matrix)
            assert loss.exact is not None
            gap = float(riesz.gap)
            if gap < 1e-40 and not loss.exists_inside_degeneracy:
                results.append(Exact(None, "no derivative: the matrix is defective", gap))
            else:
                results.append(Exact(loss.exact(riesz, problem.parameters), None, gap))
            tick()
        return results
