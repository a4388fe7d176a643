"""Prints tests/spectral_cases.txt: losses of funm, trace_funm and spectral_map with two derivatives, from 60 digits.

C++ and Python have these three functions in two implementations, because each calls the user's function of its own
language. tests/cpp/test_spectral_cases.cpp and tests/python/test_spectral_cases.py run both on the same cases.

    python tests/generate_spectral_cases.py > tests/spectral_cases.txt
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60
EQUAL = mpf(10) ** -20  # eigenvalues this close count as equal, and eigenvalues of this size as 0


class Function(NamedTuple):
    """A function with its first two derivatives; 0 at 0 for those that are infinite there."""

    f: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    curvature: Callable[[Any], Any]

    def first(self, a: Any, b: Any) -> Any:
        return self.slope(a) if abs(b - a) < EQUAL else (self.f(b) - self.f(a)) / (b - a)

    def second(self, *points: Any) -> Any:
        a, b, c = sorted(points)
        return self.curvature(a) / 2 if c - a < EQUAL else (self.first(b, c) - self.first(a, b)) / (c - a)


def away_from_zero(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: f(x) if x else mpf(0)


TANH = Function(
    mpmath.tanh, lambda x: 1 - mpmath.tanh(x) ** 2, lambda x: -2 * mpmath.tanh(x) * (1 - mpmath.tanh(x) ** 2)
)
EXP = Function(mpmath.exp, mpmath.exp, mpmath.exp)
LORENTZIAN = Function(
    lambda x: 1 / (1 + x * x),
    lambda x: -2 * x / (1 + x * x) ** 2,
    lambda x: (6 * x * x - 2) / (1 + x * x) ** 3,
)
SQRT = Function(mpmath.sqrt, away_from_zero(lambda x: x**-0.5 / 2), away_from_zero(lambda x: -(x**-1.5) / 4))
X_SQRT_X = Function(lambda x: x**1.5, lambda x: 1.5 * x**0.5, away_from_zero(lambda x: 0.75 * x**-0.5))
X_LOG_X = Function(
    away_from_zero(lambda x: x * mpmath.log(x)),
    away_from_zero(lambda x: mpmath.log(x) + 1),
    away_from_zero(lambda x: 1 / x),
)
STEP = Function(lambda x: mpf(x > 0.8), lambda x: mpf(0), lambda x: mpf(0))
EXP_AND_STEP = Function(lambda x: EXP.f(x) + STEP.f(x), EXP.slope, EXP.curvature)

# The names stand for the same functions in both tests.
FUNCTIONS = {
    "funm_tanh": TANH,
    "funm_exp_given_three_derivatives": EXP,
    "funm_lorentzian_given_one_derivative": LORENTZIAN,
    "funm_sqrt": SQRT,
    "funm_x_sqrt_x": X_SQRT_X,
    "funm_x_log_x": X_LOG_X,
    "funm_step": STEP,
    "trace_funm_tanh": TANH,
    "trace_funm_sqrt": SQRT,
    "trace_funm_x_log_x": X_LOG_X,
    "spectral_map_exp": EXP,
    "spectral_map_exp_and_step": EXP_AND_STEP,
}
SPECTRA = {
    "distinct": [mpf(3) / 10, mpf(7) / 10, mpf(2)],
    "close": [mpf(1) / 2, mpf(1), mpf(1) + mpf(10) ** -3],
    "near": [mpf(1) / 2, mpf(1), mpf(1) + mpf(10) ** -12],
    "identity": [mpf(1)] * 3,
    "singular": [mpf(0), mpf(2), mpf(2)],
}


def random_matrix(is_complex: bool) -> mpmath.matrix:
    """Multiples of 1/8, which have an exact representation in every dtype."""
    entry = lambda: mpf(random.randint(-8, 8)) / 8  # noqa: E731
    return mpmath.matrix(3, 3).apply(lambda _: mpmath.mpc(entry(), entry() if is_complex else 0))


def hermitian(X: mpmath.matrix) -> mpmath.matrix:
    return (X + X.H) / 2


def matrices(spectrum: str, is_complex: bool) -> tuple[mpmath.matrix, ...]:
    """A, whose entries are numbers in double precision, a matrix M of the loss, and a direction E."""
    M, E = hermitian(random_matrix(is_complex)), hermitian(random_matrix(is_complex))
    if spectrum == "singular":
        c = mpmath.mpc(0, 1) if is_complex else mpf(1)
        A = mpmath.matrix([[1, c, 0], [mpmath.conj(c), 1, 0], [0, 0, 2]])
        kernel = mpmath.eye(3) - A / 2
        # A derivative along a direction inside the null space may be infinite.
        return A, M - kernel * M * kernel, E - kernel * E * kernel
    Q = mpmath.eighe(hermitian(random_matrix(is_complex)))[1]
    A = hermitian(Q * mpmath.diag(SPECTRA[spectrum]) * Q.H)
    return A.apply(lambda x: mpmath.mpc(float(x.real), float(x.imag))), M, E


def derivatives(name: str, A: mpmath.matrix, M: mpmath.matrix, E: mpmath.matrix) -> list[Any]:
    """Re tr(M f(A)) and its first two derivatives along E, by divided differences (Daleckii and Krein)."""
    values, V = mpmath.eighe(A)
    x = [mpf(0) if abs(v) < EQUAL else v for v in values]
    f = FUNCTIONS[name]
    if name.startswith("trace"):
        M = mpmath.eye(3)
    M, E = V.H * M * V, V.H * E * V
    n = range(3)
    loss = sum(M[i, i] * f.f(x[i]) for i in n)
    slope = sum(M[j, i] * E[i, j] * f.first(x[i], x[j]) for i, j in itertools.product(n, n))
    curvature = sum(
        2 * M[j, i] * E[i, k] * E[k, j] * f.second(x[i], x[k], x[j]) for i, k, j in itertools.product(n, n, n)
    )
    # spectral_map has one derivative.
    return [loss, slope] if name.startswith("spectral_map") else [loss, slope, curvature]


def row(numbers: Any) -> str:
    return " ".join(str(float(mpmath.re(x))) for x in numbers)


def main() -> None:
    print("# Made by generate_spectral_cases.py; not edited by hand.")
    print("# matrix NAME, then A, M and E: real parts, then imaginary parts if it is complex.")
    print("# case FUNCTION MATRIX, then Re tr(M f(A)) (tr f(A) for trace_funm) and its derivatives along E.")
    for kind, spectrum in itertools.product(("real", "complex"), SPECTRA):
        random.seed(f"{kind} {spectrum}")
        given = matrices(spectrum, kind == "complex")
        print(f"matrix {kind}_{spectrum}")
        for X, part in itertools.product(given, (mpmath.re, mpmath.im)[: 1 + (kind == "complex")]):
            for i in range(3):
                print(row(part(X[i, j]) for j in range(3)))
        for name in FUNCTIONS:
            print(f"case {name} {kind}_{spectrum} {row(derivatives(name, *given))}")


if __name__ == "__main__":
    main()
