"""Parts 6 and 7 of the comparison, svd and alignments: references, NumPy's formula, the packages at hand."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from spectralgrad import _high_precision as reference
from spectralgrad.compare import alignment, singular_values, sweep
from spectralgrad.compare.loss import Parameters
from spectralgrad.compare.losses import LOSSES
from spectralgrad.compare.peers import numpy_peer
from spectralgrad.compare.problems import Problem

SHAPES = [(4, 4), (5, 3), (3, 5)]


class MpmathOperations:
    adjoint = staticmethod(lambda x: np.conj(x.T))
    centred = staticmethod(lambda x: x - x.sum(axis=0) / len(x))
    conj = staticmethod(np.conj)
    exp = staticmethod(lambda x: np.array([mpmath.exp(y) for y in x], dtype=object))
    real = staticmethod(mpmath.re)
    sign_of_det = staticmethod(lambda x: mpmath.sign(mpmath.det(mpmath.matrix(x.tolist()))))
    sum = staticmethod(np.sum)
    scale_columns = staticmethod(lambda x, weights: x * weights)


def loss_in_mpmath(name: str, a: np.ndarray, p: Parameters) -> mpmath.mpf:
    loss = LOSSES[name]
    matrix = loss.decomposed(MpmathOperations(), a, p)
    solve = mpmath.svd_c if any(isinstance(x, mpmath.mpc) for x in matrix.ravel()) else mpmath.svd_r
    u, s, vh = (np.array(part.tolist(), dtype=object) for part in solve(mpmath.matrix(matrix.tolist())))
    return loss.value(MpmathOperations(), a, u, s.ravel(), vh, p)


def generic(name: str, shape: tuple[int, int], kind: str) -> Problem:
    """A problem at a matrix or a cloud with separated singular values."""
    rng = np.random.default_rng(9)
    if name == alignment.LOSS:
        points, y = alignment.clouds("octahedron", "0.1", rng)
        return Problem("p", name, points[None], Parameters(0, 3, {"M": rng.standard_normal((3, 3)), "y": y}, 3), [""])
    m, n = shape
    p = singular_values._parameters(name, (m, n), kind, sweep.DTYPES[kind, "double"], rng)
    return Problem("p", name, sweep.gaussian(rng, shape, kind)[None], p, [""])


def exact_of(problem: Problem) -> reference.HighPrecisionMatrix:
    references = (
        alignment.AlignmentReferences() if problem.loss == alignment.LOSS else singular_values.SingularReferences()
    )
    (exact,) = references.exact(problem)
    assert exact.gradient is not None
    return exact.gradient


CASES = [
    (name, shape, kind)
    for name in (*singular_values.LOSS_NAMES, alignment.LOSS)
    for shape in SHAPES
    for kind in singular_values.KINDS.values()
    if (name == alignment.LOSS) <= (shape == (4, 4) and kind == "symmetric")
]


@pytest.mark.parametrize(("name", "shape", "kind"), CASES)
def test_exact_gradients_belong_to_the_losses(name: str, shape: tuple[int, int], kind: str) -> None:
    """Against central differences of the loss itself, in 60 digits: their error is the step squared."""
    problem = generic(name, shape, kind)
    a = problem.matrices[0]
    direction = sweep.gaussian(np.random.default_rng(10), a.shape, kind)
    with reference.working_precision():
        exact = exact_of(problem).to_mpmath()
        derivative = mpmath.re(np.sum(np.conj(exact) * direction))
        step = mpmath.mpf(2) ** -60
        high, low = (loss_in_mpmath(name, a + sign * step * direction, problem.parameters) for sign in (1, -1))
        assert abs((high - low) / (2 * step) - derivative) < 1e-30 * (1 + abs(derivative))


@pytest.mark.parametrize(("name", "shape", "kind"), CASES)
def test_numpys_cotangents_belong_to_the_losses(name: str, shape: tuple[int, int], kind: str) -> None:
    """At distinct singular values the textbook formula is right to round-off, so a wrong cotangent would show."""
    problem = generic(name, shape, kind)
    (computed,) = numpy_peer.create().gradients("", LOSSES[name], problem.matrices, problem.parameters)
    assert reference.relative_error(computed, exact_of(problem), hermitian=False) < 1e-13
