"""Gradients of an invariant subspace of a general matrix to 60 digits, without eigenvectors.

They are exact at a defective matrix, too, because nothing here divides by a gap inside the subspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from .decomposition import DIGITS, bits_of, working_precision
from .fixed_point import HighPrecisionMatrix

_STEPS = 60

Entries = NDArray[np.object_]


def _exact(a: Any) -> Entries:
    a = np.asarray(a)
    if a.dtype == object:
        return a
    if a.dtype.kind == "c":
        return np.vectorize(lambda x: mpmath.mpc(complex(x)), otypes=[object])(a)
    return np.vectorize(lambda x: mpmath.mpf(float(x)), otypes=[object])(a)


def _inverse(x: Entries) -> Entries:
    return np.array((mpmath.matrix(x.tolist()) ** -1).tolist(), dtype=object)


def _largest(x: Entries) -> Any:
    return max((abs(entry) for entry in x.ravel()), default=mpmath.mpf(0))


@dataclass(frozen=True)
class RieszProjector:
    """The spectral projector P of a real or complex matrix A onto its eigenvalues with positive real parts.

    P is (I + sign A) / 2. Newton's iteration X <- (X + X^-1) / 2 from X = A gives the matrix sign function (Higham,
    *Functions of Matrices*, 2008, chapter 5), and its derivative gives the derivative of P. All entries are mpmath
    numbers. No eigenvalue may lie on the imaginary axis.
    """

    a: Entries
    p: Entries
    inverses: list[Entries]
    digits: int

    def _matrix(self, adjoint_gradient: Entries) -> HighPrecisionMatrix:
        """Returns the gradient G for G^H with dphi = Re tr(G^H dA). G is real if A is."""
        with working_precision(self.digits):
            if not any(isinstance(x, mpmath.mpc) for x in self.a.ravel()):
                adjoint_gradient = np.vectorize(mpmath.re, otypes=[object])(adjoint_gradient)
            return HighPrecisionMatrix.from_array(np.conj(adjoint_gradient.T), bits_of(self.digits))

    def pair(self) -> tuple[Any, Any]:
        """Returns both eigenvalues if P has rank two. The one with the larger Re + Im comes first.

        They are t/2 +- sqrt(d)/2, with t = tr(A P) and d = 2 tr(A^2 P) - t^2.
        """
        with working_precision(self.digits):
            inside = self.a @ self.p
            total = np.trace(inside)
            root = mpmath.sqrt(2 * np.trace(self.a @ inside) - total * total)
            if mpmath.re(root) + mpmath.im(root) < 0:
                root = -root
            return (total + root) / 2, (total - root) / 2

    @property
    def gap(self) -> Any:
        """The distance of both eigenvalues if P has rank two."""
        with working_precision(self.digits):
            first, second = self.pair()
            return abs(first - second)

    def sum_gradient(self) -> HighPrecisionMatrix:
        """Returns the gradient of the real part of the sum of the eigenvalues with positive real parts."""
        return self._matrix(self.p)

    def trace_gradient(self) -> HighPrecisionMatrix:
        """Returns the gradient of the real part of the trace, the identity."""
        return HighPrecisionMatrix.identity(len(self.a), -bits_of(self.digits))

    def eigenvalue_gradient(self, weight: complex) -> HighPrecisionMatrix:
        """Returns the gradient of Re(weight lambda), where lambda is the first eigenvalue of ``pair``.

        Its own spectral projector is (A - mu) P / (lambda - mu), where mu is the second one.
        """
        with working_precision(self.digits):
            first, second = self.pair()
            own = (self.a @ self.p - second * self.p) / (first - second)
            return self._matrix(mpmath.mpmathify(weight) * own)

    def projector_gradient(self, m: Any) -> HighPrecisionMatrix:
        """Returns the gradient of Re tr(M^H P).

        The Fréchet derivative L(A, E) of the sign function fulfils tr(M^H L(A, E)) = tr(L(A, M^H) E).
        """
        with working_precision(self.digits):
            derivative = np.conj(_exact(m).T)
            for inverse in self.inverses:
                derivative = (derivative - inverse @ derivative @ inverse) / 2
            return self._matrix(derivative / 2)


def riesz_projector_mp(a: Any, dps: int = DIGITS) -> RieszProjector:
    """Returns the spectral projector onto the eigenvalues with positive real parts to ``dps`` digits.

    ``a`` is an (n, n) array of floats, which are taken as exact, or of mpmath numbers. Raises ``ArithmeticError`` if
    Newton's iteration does not converge, as for eigenvalues on the imaginary axis.
    """
    with working_precision(dps):
        matrix = _exact(a)
        x, inverses = matrix, []
        for _ in range(_STEPS):
            try:
                inverses.append(_inverse(x))
            except ZeroDivisionError:
                break
            before, x = x, (x + inverses[-1]) / 2
            # The step converges quadratically, so the next error is about the square of this change.
            if _largest(x - before) < mpmath.ldexp(1, -bits_of(dps) // 2 - 8) * _largest(x):
                inverses.append(_inverse(x))
                x = (x + inverses[-1]) / 2
                projector = (x + _exact(np.eye(len(matrix)))) / 2
                return RieszProjector(matrix, projector, inverses, dps)
    raise ArithmeticError(f"riesz_projector_mp: the sign of a matrix of size {len(matrix)} did not converge")
