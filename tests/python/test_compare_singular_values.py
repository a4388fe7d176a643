"""Parts 6 and 7 of the comparison, svd and alignments: references, NumPy's formula, the packages at hand."""

from __future__ import annotations

import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch

import spectralgrad as sg
from spectralgrad import _high_precision as reference
from spectralgrad.compare import alignment, results, singular_values, sweep
from spectralgrad.compare.loss import ALIGNMENT, Parameters
from spectralgrad.compare.losses import LOSSES
from spectralgrad.compare.peers import Peer, numpy_peer, spectralgrad_peer, torch_peer
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


def errors(peer: Peer, variant: str, problem: Problem) -> list[float]:
    """The errors of the gradients of an alignment, by distance."""
    exact = [exact.gradient for exact in alignment.AlignmentReferences().exact(problem)]
    with sg.checks("ignore"):
        computed = peer.gradients(variant, LOSSES[problem.loss], problem.matrices, problem.parameters)
    return [
        reference.relative_error(x, y, hermitian=False) for x, y in zip(computed, exact, strict=True) if y is not None
    ]


@pytest.mark.parametrize("problem", list(alignment.problems()), ids=lambda problem: problem.key)
def test_alignments_are_right_at_every_distance(problem: Problem) -> None:
    ours, bound = spectralgrad_peer.SpectralgradPeer(), 50 * np.finfo(problem.dtype).eps
    for variant in ours.variants[ALIGNMENT]:
        assert max(errors(ours, variant, problem)) < bound, variant
    torchs = errors(torch_peer.create(), "", problem)
    if problem.labels == [sweep.EXACT]:
        assert np.isnan(torchs).all()
    else:
        assert torchs[0] < 1e4 * bound
        assert not np.max(torchs[-3:]) < 1e-2


def test_round_off_of_a_determinant_belongs_to_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/clients.md: with the determinant in place of its sign, some errors are as large as PyTorch's."""
    monkeypatch.setattr(torch_peer.TorchOperations, "sign_of_det", lambda self, x: torch.det(x))
    (problem,) = (p for p in alignment.problems() if p.key == f"{alignment.PART}/octahedron/double/moved")
    ours = spectralgrad_peer.SpectralgradPeer()
    assert max(errors(ours, spectralgrad_peer.STAND_IN, problem)) > 1e-12
    assert max(errors(ours, spectralgrad_peer.RIGID, problem)) < 1e-14


def test_the_picture_of_rotations_shows_the_measured_errors() -> None:
    """docs/alignment.png carries its figures, the worst of both clouds. PyTorch's and ours are measured again."""
    plots = pytest.importorskip("spectralgrad.compare.plots")
    image = pytest.importorskip("PIL.Image")
    with image.open(Path(__file__).parents[2] / "docs" / "alignment.png") as picture:
        shown = json.loads(picture.text[plots.FIGURES])
    ours = spectralgrad_peer.SpectralgradPeer()
    names = {results.title("spectralgrad", variant): variant for variant in ours.variants[ALIGNMENT]}
    assert list(shown) == ["NumPy + formula", "PyTorch", "JAX", "TensorFlow", *names]
    # The sentences of docs/why.md.
    assert all(curve["1e-2"] < 1e-12 for curve in shown.values())
    assert {shown[name][label] for name in list(shown)[:3] for label in ("0", sweep.EXACT)} == {results.NOT_FINITE}
    assert all(0.99 < shown["TensorFlow"][label] < 1.01 for label in ("0", sweep.EXACT))
    assert max(error for name in names for error in shown[name].values()) < 2e-15

    moved = [p for p in alignment.problems() if p.key.endswith("/double/moved")]
    for name, peer, variant in (("PyTorch", torch_peer.create(), ""), *((name, ours, names[name]) for name in names)):
        worst = np.max([errors(peer, variant, problem) for problem in moved], axis=0)
        for label, error in zip(moved[0].labels, worst, strict=True):
            # At tiny gaps rounding decides about PyTorch's error, and whether it is NaN.
            if peer is ours or float(label) > 1e-14:
                assert 1e-2 < (error + 1e-14) / (shown[name][label] + 1e-14) < 1e2
