"""Part 7: the gradient of the rotation that aligns an octahedron or a cube with a turned copy (Kabsch).

The covariance of such clouds has three equal singular values. The sweep moves the points at random, by distances down
to zero. A third of a turn around (1, 1, 1) permutes the coordinates, so such a copy has no round-off.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import mpmath
import numpy as np

from .. import _high_precision as reference
from . import sweep
from .loss import Array, Parameters
from .problems import Exact, Problem
from .singular_values import GAPS as _GAPS
from .singular_values import gradient, hermitian_matrix

PART = "alignment"
LOSS = "rotation"
GAPS = [gap for gap in _GAPS if gap != "1"]
CLOUDS: dict[str, Array] = {
    "octahedron": np.concatenate([np.eye(3), -np.eye(3)]),
    "cube": np.array(list(itertools.product((-1.0, 1.0), repeat=3))),
}


def _rotation(rng: np.random.Generator) -> Array:
    basis = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return np.asarray(basis * np.sign(np.linalg.det(basis)))


def clouds(name: str, distance: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Returns the points, each moved by about ``distance``, and the target: the points before they moved, turned."""
    points = CLOUDS[name]
    if distance == sweep.EXACT:
        return points, np.roll(points, 1, axis=1)
    return points + float(distance) * rng.standard_normal(points.shape), points @ _rotation(rng).T


def problems(distances: list[str] | None = None) -> Iterator[Problem]:
    """Yields a problem for each cloud, target and precision. One problem holds all distances of the same target."""
    distances = GAPS if distances is None else [distance for distance in distances if distance in GAPS]
    for number, name in enumerate(CLOUDS):
        m = np.random.default_rng([number, 41]).standard_normal((3, 3))
        for precision, labels in itertools.product(
            sweep.PRECISIONS, ([label for label in distances if label != sweep.EXACT], [sweep.EXACT])
        ):
            dtype = sweep.DTYPES["symmetric", precision]
            pairs = [clouds(name, label, np.random.default_rng([number, 42])) for label in labels]
            yield Problem(
                key=f"{PART}/{name}/{precision}/{'exact' if labels == [sweep.EXACT] else 'moved'}",
                loss=LOSS,
                matrices=np.stack([x for x, _ in pairs]).astype(dtype),
                parameters=Parameters(0, 3, {"M": m.astype(dtype), "y": pairs[0][1].astype(dtype)}, 3),
                labels=labels,
                meta={"part": PART, "family": name, "n": 3, "precision": precision},
            )


def _centred(x: Array) -> Array:
    exact = np.vectorize(mpmath.mpf, otypes=[object])(x.astype(np.float64))
    return np.asarray(exact - exact.sum(axis=0) / len(exact))


class AlignmentReferences:
    """Computes exact gradients of alignments."""

    def exact(self, problem: Problem, tick: Callable[[], None] = lambda: None) -> list[Exact]:
        """Returns one ``Exact`` for each cloud, and calls ``tick`` after each.

        The rotation is the polar factor of the covariance yᵀ x, whose determinant is positive. The gradient by x is y
        times the gradient by the covariance, for centred y.
        """
        results = []
        for points in problem.matrices:
            with reference.working_precision():
                y = _centred(problem.parameters.arrays["y"])
                covariance = y.T @ _centred(points)
                spectrum = reference.eigh_mp(hermitian_matrix(covariance))
                by_covariance = gradient(spectrum, problem, 3).to_mpmath()
                exact = reference.HighPrecisionMatrix.from_array(y @ by_covariance, mpmath.mp.prec)
                gap = min(b - a for a, b in itertools.pairwise(spectrum.values[3:]))
            results.append(Exact(exact, None, float(gap)))
            tick()
        return results
