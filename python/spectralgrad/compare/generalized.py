"""Part 9: the gradients of the generalized problem A v = λ B v against the gap of a pair of eigenvalues.

A is Sᴴ D S and B is Sᴴ E S, with diagonal D and E, so the eigenvalues are their quotients. For the gradient in A the
gap is in D, and for the gradient in B it is in E. The other matrix is then the same for all gaps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mpmath
import numpy as np

from .. import _high_precision as reference
from . import sweep
from .loss import Array, Parameters
from .losses import LOSSES
from .problems import Exact, Problem

PART = "generalized"
LOSS_NAMES = ("generalized_projector", "generalized_energy")
# The matrix that the gradient is by.
VARIABLES = ("A", "B")
SIZES = {"full": (3, 8), "quick": (4,)}
GAPS = {
    "full": ["1e-2", "1e-4", "1e-6", "1e-8", "1e-10", "1e-12", "0", sweep.EXACT],
    "quick": ["1e-4", "1e-8", "1e-12", "0", sweep.EXACT],
}
# The condition number of S is 10, so that of B is 100.
_SMALLEST, _LARGEST = 10**-0.5, 10**0.5


def _congruent(basis: Array, diagonal: Array) -> Array:
    return sweep.hermitian_part(basis.conj().T @ (diagonal[:, None] * basis))


def pair_of_matrices(n: int, gap: str, kind: str, variable: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Returns A and B (n, n) with a pair of eigenvalues at 1 and 1 + gap. The others spread over -3 ... -0.5.

    ``sweep.EXACT`` gives diag(1, 4) in A and in B, beside dense blocks. Its eigenvalues 1 stay equal in floating point.
    """
    size = n - 2 if gap == sweep.EXACT else n
    left, right = (np.linalg.qr(sweep.gaussian(rng, (size, size), kind))[0] for _ in range(2))
    basis = left * np.geomspace(_SMALLEST, _LARGEST, size) @ right
    others = np.linspace(-3, -0.5, n - 2)
    if gap == sweep.EXACT:
        a, b = (np.diag([1, 4, *np.zeros(size)]).astype(basis.dtype) for _ in range(2))
        a[2:, 2:], b[2:, 2:] = _congruent(basis, others), _congruent(basis, np.ones(size))
        return a, b
    d, e = np.concatenate([others, [1, 1]]), np.ones(n)
    if variable == "A":
        d[-1] = 1 + float(gap)
    else:
        e[-1] = 1 / (1 + float(gap))
    return _congruent(basis, d), _congruent(basis, e)


def problems(sizes: tuple[int, ...], gaps: list[str]) -> Iterator[Problem]:
    """Yields a problem for every size, kind, variable and loss. Gaps with the same other matrix are one problem."""
    apart = [gap for gap in gaps if gap != sweep.EXACT], [gap for gap in gaps if gap == sweep.EXACT]
    for n, (number, kind), variable, labels in itertools.product(sizes, enumerate(sweep.KINDS), VARIABLES, apart):
        if not labels:
            continue
        pairs = [pair_of_matrices(n, gap, kind, variable, np.random.default_rng([n, number, 61])) for gap in labels]
        m = sweep.hermitian_part(sweep.gaussian(np.random.default_rng([n, number, 62]), (n, n), kind))
        position = VARIABLES.index(variable)
        other = {VARIABLES[1 - position]: pairs[0][1 - position]}
        for loss in LOSS_NAMES:
            yield Problem(
                key=f"{PART}/{kind}/{n}/{variable}/{'exact' if labels == [sweep.EXACT] else 'apart'}/{loss}",
                loss=loss,
                matrices=np.stack([pair[position] for pair in pairs]),
                parameters=Parameters(n - 2, n, other | ({"M": m} if loss == "generalized_projector" else {})),
                labels=labels,
                meta={"part": PART, "family": variable, "n": n, "precision": "double"},
            )


def _exact(x: Array) -> Array:
    return np.asarray(np.vectorize(mpmath.mpmathify, otypes=[object])(x))


def _hermitian(x: Array) -> reference.HighPrecisionMatrix:
    return reference.HighPrecisionMatrix.from_array((x + np.conj(x.T)) / 2, mpmath.mp.prec)


@dataclass(frozen=True)
class DefinitePencil:
    """The projector P of X = B⁻¹A onto its positive eigenvalues, from which the gradients follow.

    V_c V_cᴴ is D = P B⁻¹. P needs no eigenvectors (``RieszProjector``), so no step divides by a gap in the pair.
    """

    a: Array
    inverse: Array
    riesz: reference.RieszProjector

    @classmethod
    def create(cls, a: Array, b: Array) -> DefinitePencil:
        with reference.working_precision():
            inverse = np.array((mpmath.matrix(_exact(b).tolist()) ** -1).tolist(), dtype=object)
            return cls(_exact(a), inverse, reference.riesz_projector_mp(inverse @ _exact(a)))

    def gradients(self, loss: str, p: Parameters) -> dict[str, reference.HighPrecisionMatrix]:
        """Returns the gradients by A and by B."""
        with reference.working_precision():
            density = self.riesz.p @ self.inverse
            if loss == "generalized_energy":
                return {"A": _hermitian(density), "B": _hermitian(-density @ self.a @ density)}
            # tr(M P B⁻¹) depends on B through X, with dX = B⁻¹(dA - dB X), and through B⁻¹.
            m = _exact(p.arrays["M"])
            by_x = self.riesz.projector_gradient(m @ self.inverse).to_mpmath()
            by_a = self.inverse @ by_x
            by_b = -by_a @ np.conj(self.riesz.a.T) - self.inverse @ m @ density
            return {"A": _hermitian(by_a), "B": _hermitian(by_b)}


class GeneralizedReferences:
    """Computes exact gradients. The projector of a pair of matrices that both losses share is computed once."""

    def __init__(self) -> None:
        self._pencils: dict[tuple[bytes, bytes], DefinitePencil] = {}

    def _pencil(self, a: Array, b: Array) -> DefinitePencil:
        key = a.tobytes(), b.tobytes()
        if key not in self._pencils:
            self._pencils[key] = DefinitePencil.create(a, b)
        return self._pencils[key]

    def exact(self, problem: Problem, tick: Callable[[], None] = lambda: None) -> list[Exact]:
        """Returns one ``Exact`` for each matrix, and calls ``tick`` after each."""
        exact = []
        for matrix in problem.matrices:
            pencil = self._pencil(*LOSSES[problem.loss].decomposed(None, matrix, problem.parameters))
            gradient = pencil.gradients(problem.loss, problem.parameters)[problem.meta["family"]]
            exact.append(Exact(gradient, None, float(pencil.riesz.gap)))
            tick()
        return exact
