"""The references of part 8 of the comparison, eig near a Jordan block, and the cotangents of NumPy's formula."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from jordan_problems import KINDS, exact_of, find
from spectralgrad import _high_precision as reference
from spectralgrad.compare import jordan, sweep
from spectralgrad.compare.loss import Array, Parameters
from spectralgrad.compare.losses import LOSSES
from spectralgrad.compare.peers import numpy_peer


def directional(gradient: reference.HighPrecisionMatrix, direction: Array) -> mpmath.mpf:
    return mpmath.re(np.sum(np.conj(gradient.to_mpmath()) * direction))


def in_mpmath(x: Array) -> Array:
    """Sums with a step of 2^-80 need more digits than floats have."""
    return np.vectorize(mpmath.mpmathify, otypes=[object])(x)


class MpmathOperations:
    conj = staticmethod(np.conj)
    inv = staticmethod(lambda x: np.array((mpmath.matrix(x.tolist()) ** -1).tolist(), dtype=object))
    real = staticmethod(mpmath.re)
    sum = staticmethod(np.sum)


def loss_in_mpmath(name: str, a: Array, p: Parameters) -> mpmath.mpf:
    values, vectors = mpmath.eig(mpmath.matrix(a.tolist()))
    order = sorted(range(len(values)), key=lambda i: mpmath.re(values[i]) + mpmath.im(values[i]))
    v = np.array(vectors.tolist(), dtype=object)
    return LOSSES[name].value(MpmathOperations(), a, np.array(values, dtype=object)[order], v[:, order], p)


@KINDS
@pytest.mark.parametrize("name", jordan.LOSS_NAMES)
def test_exact_gradients_belong_to_the_losses(name: str, kind: str) -> None:
    """Against central differences of the loss itself, in 85 digits: their error is the square of step/gap²."""
    problem = find(kind, name, ["1e-2"])
    (matrix,) = problem.matrices
    direction = sweep.gaussian(np.random.default_rng(3), matrix.shape, jordan._kind_of_sweep(kind))
    (exact,) = exact_of(problem)
    with reference.working_precision():
        step = mpmath.mpf(2) ** -80
        high, low = (
            loss_in_mpmath(name, in_mpmath(matrix) + sign * step * in_mpmath(direction), problem.parameters)
            for sign in (1, -1)
        )
        derivative = directional(exact, direction)
        assert abs((high - low) / (2 * step) - derivative) < 1e-36 * (1 + abs(derivative))


@pytest.mark.parametrize("gap", ["1", "1e-4", "1e-8", "0"])
@KINDS
def test_an_eigenvalue_of_two_rows_has_its_closed_form(kind: str, gap: str) -> None:
    """λ = (t + √(t² − 4 det A))/2, so that ∂λ = (∂t + (t ∂t − 2 ∂det A)/√…)/2."""
    problem = find(kind, "pair_eigenvalue", [gap], n=2)
    (exact,) = exact_of(problem)
    with reference.working_precision():
        (a, b), (c, d) = in_mpmath(problem.matrices[0])
        root = mpmath.sqrt((a + d) ** 2 - 4 * (a * d - b * c))
        if mpmath.re(root) + mpmath.im(root) < 0:
            root = -root
        by_trace, by_determinant = (1 + (a + d) / root) / 2, -1 / root
        by_entry = np.array(
            [[by_trace + by_determinant * d, -by_determinant * c], [-by_determinant * b, by_trace + by_determinant * a]]
        )
        expected = np.conj((1 - 1j) * by_entry)
        if kind != jordan.COMPLEX:
            expected = np.vectorize(mpmath.re, otypes=[object])(expected)
        error = max(abs(x) for x in (exact.to_mpmath() - expected).ravel())
        assert error < 1e-60 * max(abs(x) for x in expected.ravel())


def contour_projector(a: Array) -> Array:
    """The mean of r e^{iθ} (1 + r e^{iθ} − A)⁻¹ over 256 angles θ, with an error of (0.8/1.5)^256 = 1e-70."""
    points = 256
    total = np.zeros(a.shape, dtype=object)
    for k in range(points):
        step = mpmath.mpf(4) / 5 * mpmath.expjpi(mpmath.mpf(2 * k) / points)
        total = total + step * MpmathOperations.inv((1 + step) * np.eye(len(a), dtype=object) - a)
    return total / points


@KINDS
@pytest.mark.parametrize("gap", ["0", sweep.EXACT])
def test_a_defective_pair_has_the_projector_of_the_contour_integral(kind: str, gap: str) -> None:
    problem = find(kind, "riesz_projector", [gap], n=4)
    (matrix,) = problem.matrices
    m = problem.parameters.arrays["M"]
    direction = sweep.gaussian(np.random.default_rng(4), matrix.shape, jordan._kind_of_sweep(kind))
    (exact,) = exact_of(problem)
    with reference.working_precision():
        # The centre of the circle is the real 1. The pair of the complex matrix is at 1 + 0.25j, also inside.
        p = reference.riesz_projector_mp(matrix).p
        assert max(abs(x) for x in (contour_projector(in_mpmath(matrix)) - p).ravel()) < 1e-60
        step = mpmath.mpf(10) ** -18
        high, low = (
            mpmath.re(np.sum(np.conj(m) * contour_projector(in_mpmath(matrix) + sign * step * in_mpmath(direction))))
            for sign in (1, -1)
        )
        derivative = directional(exact, direction)
        assert abs((high - low) / (2 * step) - derivative) < 1e-32 * (1 + abs(derivative))


@KINDS
def test_sums_have_the_projector_and_the_identity_as_gradients(kind: str) -> None:
    problem = find(kind, "pair_sum", ["1e-4", sweep.EXACT], n=4)
    for matrix, exact in zip(problem.matrices, exact_of(problem), strict=True):
        with reference.working_precision():
            projector = np.conj(contour_projector(in_mpmath(matrix)).T)
            assert max(abs(x) for x in (exact.to_mpmath() - projector).ravel()) < 1e-60
    for exact in exact_of(find(kind, "trace", ["1e-4", sweep.EXACT])):
        assert np.array_equal(exact.to_numpy(), np.eye(5))


def test_an_exact_jordan_block_has_no_derivative_of_an_eigenvalue() -> None:
    (exact,) = jordan.JordanReferences().exact(find(jordan.REAL, "pair_eigenvalue", [sweep.EXACT]))
    assert exact.gradient is None
    assert exact.why_not == "no derivative: the matrix is defective"
    assert exact.smallest_gap < 1e-40


@pytest.mark.parametrize("matrix", [np.array([[0.0, 1.0], [-1.0, 0.0]]), np.zeros((2, 2))])
def test_eigenvalues_on_the_imaginary_axis_have_no_projector(matrix: Array) -> None:
    with pytest.raises(ArithmeticError, match="riesz_projector_mp: the sign of a matrix of size 2 did not converge"):
        reference.riesz_projector_mp(matrix)


@KINDS
def test_gaps_and_condition_numbers_are_those_of_the_family(kind: str) -> None:
    """Rounding changes a gap of 1e-6 by about eps/1e-6. The condition numbers of the pair are about 1/gap."""
    (matrix,) = find(kind, "trace", ["1e-6"]).matrices
    assert float(reference.riesz_projector_mp(matrix).gap) == pytest.approx(1e-6, rel=1e-2)
    values, vectors = np.linalg.eig(matrix)
    inverse = np.linalg.inv(vectors)
    conditions = np.linalg.norm(inverse, axis=1)
    pair = values.real > 0
    assert pair.sum() == 2
    assert 1e5 < conditions[pair].min() < conditions[pair].max() < 1e7
    assert conditions[~pair].max() < 10


@KINDS
@pytest.mark.parametrize("name", jordan.LOSS_NAMES)
def test_numpys_cotangents_belong_to_the_losses(name: str, kind: str) -> None:
    """At distinct eigenvalues the textbook formula is right to round-off, so a wrong cotangent would show."""
    problem = find(kind, name, ["1"])
    (computed,) = numpy_peer.create().gradients("", LOSSES[name], problem.matrices, problem.parameters)
    assert reference.relative_error(computed, exact_of(problem)[0], hermitian=False) < 1e-13
