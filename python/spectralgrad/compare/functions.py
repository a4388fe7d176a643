"""Part 5: functions of a matrix, f(A) = V f(Λ) V^H, compared with libraries that can differentiate them.

Both losses are taken at positive definite matrices. The loss tr(M f(A)) tests the gradient. The loss |f(A) - M|^2 / 2,
the squared distance of log-Euclidean fits, tests the product of its Hessian with a direction E. This loss is not linear
in f(A). Therefore it shows a backward that treats its saved eigenvalues as constants: such a backward does not raise an
error, but its second derivative is wrong.

Source of the first derivative: Daleckii and Krein (1965), computed by ``_high_precision``. Source of the second
derivative: divided differences of three arguments (Higham, *Functions of Matrices*, 2008, ch. 3), computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np

from .. import _high_precision as reference
from .loss import Array, Parameters
from .problems import Problem, References
from .sweep import gaussian, hermitian_part, with_eigenvalues

# The name of the process, and the file with its other options.
PROCESS = "functions"
OPTIONS = "options.json"
FIRST, SECOND = "functions", "functions, second order"

# The families of spectra, and the titles of their columns.
SEPARATED, UNITS, CLUSTER, NEAR, IDENTITY = "separated", "units", "cluster", "near", "identity"
FAMILIES = {SEPARATED: "separated", UNITS: "times 1e-10", CLUSTER: "with a cluster", NEAR: "near I", IDENTITY: "at I"}
WITH_GAPS = (UNITS, CLUSTER, NEAR)
EXACT = "exact"
GAPS = ["1e-4", "1e-6", "1e-8", "1e-10", "1e-12"]
_QUICK_GAPS = ["1e-4", "1e-8", "1e-12"]
SIZES = {"full": (3, 8, 32), "quick": (3,)}
# (n, matrices in the batch) of the timed problems.
TIMED_SIZES = ((3, 256), (8, 128), (32, 16))
DTYPES: dict[str, Any] = {"double": np.float64, "single": np.float32}


@dataclass(frozen=True)
class MatrixFunction:
    """A function f and its first two derivatives. They take and return mpmath numbers."""

    name: str
    title: str
    f: Callable[[Any], Any]
    df: Callable[[Any], Any]
    d2f: Callable[[Any], Any]


FUNCTIONS: dict[str, MatrixFunction] = {
    function.name: function
    for function in (
        MatrixFunction("exp", "exp", mpmath.exp, mpmath.exp, mpmath.exp),
        MatrixFunction("log", "log", mpmath.log, lambda x: 1 / x, lambda x: -1 / x**2),
        MatrixFunction(
            "sqrt", "√", mpmath.sqrt, lambda x: 1 / (2 * mpmath.sqrt(x)), lambda x: -1 / (4 * x * mpmath.sqrt(x))
        ),
        MatrixFunction(
            "invsqrt",
            "1/√",
            lambda x: 1 / mpmath.sqrt(x),
            lambda x: -1 / (2 * x * mpmath.sqrt(x)),
            lambda x: 3 / (4 * x**2 * mpmath.sqrt(x)),
        ),
    )
}


def matrix(family: str, label: str, n: int, rng: np.random.Generator) -> Array:
    """Returns a positive definite matrix (n, n) with the spectrum of a family at a gap, in a random basis.

    In "cluster", the larger half of the eigenvalues is 1, 1 + gap, ...; at the gap "exact" it is an identity block
    beside a dense block. In "near", all eigenvalues lie between 1 and 1 + gap. In "units", the matrix is a separated
    spectrum or a cluster, times 1e-10.
    """
    if family == UNITS:
        return matrix(SEPARATED if label == SEPARATED else CLUSTER, label, n, rng) * 1e-10
    if family == IDENTITY:
        return np.eye(n)
    basis = np.linalg.qr(gaussian(rng, (n, n), "symmetric"))[0]
    if family == NEAR:
        return with_eigenvalues(basis, 1 + float(label) * np.linspace(0, 1, n))
    if family == SEPARATED:
        return with_eigenvalues(basis, np.linspace(0.4, 3, n))
    m = (n + 1) // 2
    others = np.linspace(0.2, 0.6, n - m)
    if label == EXACT:
        block = np.eye(n)
        small = np.linalg.qr(gaussian(rng, (n - m, n - m), "symmetric"))[0]
        block[m:, m:] = with_eigenvalues(small, others)
        return block
    return with_eigenvalues(basis, np.concatenate([others, 1 + float(label) * np.arange(m)]))


def cases(quick: bool) -> list[tuple[str, str]]:
    """Returns (family, label) of every spectrum."""
    gaps = _QUICK_GAPS if quick else GAPS
    return [
        (SEPARATED, FAMILIES[SEPARATED]),
        (UNITS, SEPARATED),
        (UNITS, "1e-6"),
        *((CLUSTER, gap) for gap in (*gaps, "0", EXACT)),
        *((NEAR, gap) for gap in gaps),
        (IDENTITY, FAMILIES[IDENTITY]),
    ]


def problems(quick: bool) -> Iterator[Problem]:
    """Yields a problem for each function, size and precision. It holds all spectra, M and the direction E."""
    spectra = cases(quick)
    for n in SIZES["quick" if quick else "full"]:
        exact = [
            matrix(family, label, n, np.random.default_rng([n, i, 21])) for i, (family, label) in enumerate(spectra)
        ]
        rng = np.random.default_rng([n, 22])
        m, e = (hermitian_part(gaussian(rng, (n, n), "symmetric")) for _ in range(2))
        for precision, dtype in DTYPES.items():
            for name in FUNCTIONS:
                yield Problem(
                    key=f"{FIRST}/{n}/{precision}/{name}",
                    loss=name,
                    matrices=np.stack(exact).astype(dtype),
                    parameters=Parameters(0, n, {"M": m.astype(dtype), "E": e.astype(dtype)}),
                    labels=[label for _, label in spectra],
                    meta={"n": n, "precision": precision, "families": [family for family, _ in spectra]},
                )


@cache
def _triples(n: int) -> tuple[Array, Array]:
    """Returns all triples i >= k >= j below n as rows (count, 3), and the row number of any triple (n, n, n)."""
    index = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1)
    rows, number = np.unique(-np.sort(-index, axis=-1).reshape(-1, 3), axis=0, return_inverse=True)
    return rows, number.reshape(n, n, n)


def second_differences(
    values: list[Any], first: reference.HighPrecisionMatrix, function: MatrixFunction, digits: int = reference.DIGITS
) -> tuple[reference.Integers, int]:
    """Returns f[a, b, c] of all eigenvalues, as integers (n, n, n) and their exponent. ``first`` (n, n) holds f[a, b].

    The divisor is the largest of the three gaps. If this gap is below 10^(-digits/3), the result is f''/2 at the mean.
    """
    bits = mpmath.mp.prec
    rows, number = _triples(len(values))
    at = reference.HighPrecisionMatrix.from_array(np.array([values]), bits)
    x = at.re[0]
    near = max(abs(x)) // 10 ** (digits // 3)
    i, k, j = rows.T
    # The eigenvalues are ascending, so the largest gap lies between the first and the last of the three.
    gaps = x[i] - x[j]
    apart = np.greater(gaps, near).astype(bool)
    exponent = first.exponent - at.exponent - bits
    differences = (first.re[i, k] - first.re[k, j]) * (1 << bits) // np.where(apart, gaps, 1)
    sums = (x[i] + x[k] + x[j])[~apart]
    at_mean = {}
    for total in set(sums):
        second = function.d2f(mpmath.ldexp(mpmath.mpf(total), at.exponent) / 3) / 2
        at_mean[total] = int(mpmath.nint(mpmath.ldexp(second, -exponent)))
    differences[~apart] = [at_mean[total] for total in sums]
    return differences[number], exponent


def hessian_product(
    spectrum: reference.Spectrum, function: MatrixFunction, m: Array, e: Array
) -> reference.HighPrecisionMatrix:
    """Returns the Hessian of |f(A) - M|^2 / 2 applied to E, (n, n), for real symmetric A, M and E.

    The gradient is D f(A)[X] with X = f(A) - M, so the product is D f(A)[D f(A)[E]] + D^2 f(A)[X, E]. In the
    eigenvectors' basis the latter is sum_k f[i, k, j] (X_ik E_kj + E_ik X_kj). f[i, k, j] is symmetric, so the second
    half of the sum is the transpose of the first.
    """
    with reference.working_precision():
        bits = mpmath.mp.prec
        v = spectrum.vectors

        def fixed_point(array: Array) -> reference.HighPrecisionMatrix:
            return reference.HighPrecisionMatrix.from_array(array, bits)

        m_rotated, e_rotated = (v.adjoint @ fixed_point(x) @ v for x in (m, e))
        x = fixed_point(np.diag([function.f(value) for value in spectrum.values])) - m_rotated
        first = fixed_point(reference.function_weights(spectrum.values, function.f, function.df))
        # Products of integers are summed, because mpmath's numbers take ten times as long.
        second, exponent = second_differences(spectrum.values, first, function)
        half = reference.HighPrecisionMatrix(
            np.einsum("ikj,ik,kj->ij", second, x.re, e_rotated.re), None, exponent + x.exponent + e_rotated.exponent
        )
        product, size = (e_rotated.weighted(first).weighted(first) + half + half.adjoint).normalised()
        rotated_back = v @ product.at(-bits) @ v.adjoint
        return reference.HighPrecisionMatrix(rotated_back.re, None, rotated_back.exponent + size)


def precisions_timed(quick: bool) -> list[str]:
    """Returns the timed precisions. A quick run leaves out single precision to save time."""
    return [precision for precision in DTYPES if precision == "double" or not quick]


def timed(quick: bool) -> list[tuple[str, str, int, int]]:
    """Returns (precision, function, n, matrices in the batch) of each timed problem."""
    return [
        (precision, name, n, count)
        for precision in precisions_timed(quick)
        for name in FUNCTIONS
        for n, count in TIMED_SIZES
    ]


@dataclass(frozen=True)
class Exact:
    """The reference derivatives of one function at one matrix."""

    gradient: reference.HighPrecisionMatrix
    hessian_product: reference.HighPrecisionMatrix
    smallest_gap: float


def references(problem: Problem, shared: References, tick: Callable[[], None] = lambda: None) -> list[Exact]:
    """Returns one ``Exact`` for each matrix, and calls ``tick`` after each. ``shared`` keeps the decompositions."""
    function, arrays = FUNCTIONS[problem.loss], problem.parameters.arrays
    exact = []
    for a in problem.matrices:
        spectrum = shared.spectrum(a)
        with reference.working_precision():
            weights = reference.function_weights(spectrum.values, function.f, function.df)
            exact.append(
                Exact(
                    reference.gradient(spectrum, weights, arrays["M"]),
                    hessian_product(spectrum, function, arrays["M"], arrays["E"]),
                    float(spectrum.smallest_gap),
                )
            )
        tick()
    return exact
