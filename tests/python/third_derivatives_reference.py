"""The third derivatives of functions of Hermitian matrices in many digits, and the functions that the tests use."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jvp

import spectralgrad as sg
from problems import double_of, expectation, random_hermitian

MatrixFunction = Callable[[Tensor], Tensor]
Derivatives = Callable[[int, Any], Any]  # the k-th derivative at x, of mpmath numbers

DIGITS = 80


class Case(NamedTuple):
    f: MatrixFunction
    derivative: Derivatives
    positive: bool = False  # where it is defined
    rounding: float = 1e-11  # of a third difference in double precision, at the worst gap


def _power(p: float) -> Derivatives:
    q = mpmath.mpf(p)

    def derivative(k: int, x: Any) -> Any:
        factor = math.prod((q - j for j in range(k)), start=mpmath.mpf(1))
        return factor * x ** (q - k) if factor else mpmath.mpf(0)

    return functools.cache(derivative)


@functools.cache
def _log(k: int, x: Any) -> Any:
    return mpmath.log(x) if k == 0 else (-1) ** (k - 1) * mpmath.factorial(k - 1) / x**k


@functools.cache
def sine(k: int, x: Any) -> Any:
    return (mpmath.sin, mpmath.cos, lambda x: -mpmath.sin(x), lambda x: -mpmath.cos(x))[k % 4](x)


@functools.cache
def _lorentzian(k: int, x: Any) -> Any:
    return mpmath.re((-1) ** k * mpmath.factorial(k) * mpmath.im(1 / (x - mpmath.j) ** (k + 1)))


GIVEN = (
    lambda x: 1 / (1 + x * x),
    lambda x: -2 * x / (1 + x * x) ** 2,
    lambda x: (6 * x * x - 2) / (1 + x * x) ** 3,
    lambda x: 24 * x * (1 - x * x) / (1 + x * x) ** 4,
)


MU = 0.25


def _occupation(smearing: str, kT: float) -> Derivatives:
    """The occupations of levels x, by the formulas of `density_matrix`."""

    def f(x: Any) -> Any:
        x = (x - MU) / kT
        if smearing == "fermi":
            return 1 / (1 + mpmath.exp(x))
        z = x + 1 / mpmath.sqrt(2) if smearing == "cold" else x
        factor = {"gaussian": 0, "methfessel-paxton": -z / (2 * mpmath.sqrt(mpmath.pi)),
                  "cold": 1 / mpmath.sqrt(2 * mpmath.pi)}[smearing]  # fmt: skip
        return mpmath.erfc(z) / 2 + factor * mpmath.exp(-z * z)

    return functools.cache(lambda k, x: mpmath.diff(f, x, k))


def _density(smearing: Any, kT: float = 0.5, **kwargs: Any) -> Case:
    def f(A: Tensor) -> Tensor:
        return sg.density_matrix(A, mu=MU, kT=kT, spin=1, smearing=smearing)

    return Case(f, _occupation(smearing, kT), **kwargs)


def _tensor_power(A: Tensor) -> Tensor:
    return sg.powm(A, torch.full(A.shape[:-2], 0.3, dtype=torch.float64))


CASES = {
    "expm": Case(sg.expm, functools.cache(lambda k, x: mpmath.exp(x))),
    "logm": Case(sg.logm, _log, positive=True),
    "sqrtm": Case(sg.sqrtm, _power(0.5), positive=True),
    "invsqrtm": Case(sg.invsqrtm, _power(-0.5), positive=True),
    "powm 0.3": Case(lambda A: sg.powm(A, 0.3), _power(0.3), positive=True),
    "powm -1.7": Case(lambda A: sg.powm(A, -1.7), _power(-1.7), positive=True),
    "powm 3": Case(lambda A: sg.powm(A, 3), _power(3)),
    "powm 5": Case(lambda A: sg.powm(A, 5), _power(5)),
    "powm -2": Case(lambda A: sg.powm(A, -2), _power(-2)),
    "powm, tensor": Case(_tensor_power, _power(0.3), positive=True),
    "fermi": _density("fermi"),
    "gaussian": _density("gaussian"),
    "methfessel-paxton": _density("methfessel-paxton"),
    "cold": _density("cold"),
    "gaussian, tail": _density("gaussian", 0.1, positive=True),
    "cold, tail": _density("cold", 0.1, positive=True),
    "funm": Case(lambda A: sg.funm(A, torch.sin), sine, rounding=1e-9),
    "funm, df": Case(lambda A: sg.funm(A, torch.sin, torch.cos), sine, rounding=1e-9),
    "funm, all": Case(lambda A: sg.funm(A, *GIVEN), _lorentzian, rounding=1e-9),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def divided_difference(derivative: Derivatives, arguments: list[Any]) -> Any:
    """f[x_0, ..., x_m] of ascending mpmath numbers, in enough digits for the quotients of gaps that are not 0."""
    # Equal eigenvalues differ in their last computed digits.
    near = max(1, abs(arguments[0]), abs(arguments[-1])) * mpmath.mpf(10) ** (-DIGITS // 4)
    level = [derivative(0, x) for x in arguments]
    for k in range(1, len(arguments)):
        for i in range(len(arguments) - k):
            width = arguments[i + k] - arguments[i]
            if width < near:
                mean = sum(arguments[i : i + k + 1]) / (k + 1) if width else arguments[i]
                level[i] = derivative(k, mean) / math.factorial(k)
            else:
                level[i] = (level[i + 1] - level[i]) / width
    return level[0]


class _Paths(NamedTuple):
    """The factors in the sum D³f(A)[E_1, E_2, E_3] that do not depend on f."""

    values: list[Any]
    vectors: np.ndarray
    adjoint: np.ndarray
    # For each sorted quadruple of positions: the products X_ik Y_kl Z_lj, summed over k, l and the orders of X, Y, Z.
    products: dict[tuple[int, ...], np.ndarray]


@functools.lru_cache(maxsize=256)
def _paths(data: tuple[bytes, ...], dtype: str, n: int) -> _Paths:
    A, *directions = (np.frombuffer(x, dtype=dtype).reshape(n, n) for x in data)
    is_complex = A.dtype.kind == "c"
    values, vectors = (mpmath.eighe if is_complex else mpmath.eigsy)(mpmath.matrix(A.tolist()))
    V = np.array(vectors.tolist(), dtype=object)
    adjoint = np.vectorize(mpmath.conj, otypes=[object])(V.T) if is_complex else V.T
    X = [adjoint @ E.astype(object) @ V for E in directions]
    products: dict[tuple[int, ...], np.ndarray] = {}
    for k, l in itertools.product(range(n), repeat=2):  # noqa: E741
        paths = np.sum([np.outer(P[:, k] * Q[k, l], R[l, :]) for P, Q, R in itertools.permutations(X)], axis=0)
        for i, j in itertools.product(range(n), repeat=2):
            products.setdefault(tuple(sorted((i, k, l, j))), np.zeros((n, n), dtype=object))[i, j] += paths[i, j]
    return _Paths(list(values), V, adjoint, products)


def third(A: Tensor, directions: Sequence[Tensor], derivative: Derivatives) -> Tensor:
    """D³f(A)[E_1, E_2, E_3], Daleckii and Krein (1965), from a decomposition in many digits."""
    wide = double_of(A.dtype)
    data = tuple(X.to(wide).resolve_conj().contiguous().numpy().tobytes() for X in (A, *directions))
    with mpmath.workdps(DIGITS):
        paths = _paths(data, np.dtype(A.to(wide).numpy().dtype).str, len(A))
        inner = sum(
            product * divided_difference(derivative, sorted(paths.values[x] for x in positions))
            for positions, product in paths.products.items()
        )
        result = paths.vectors @ inner @ paths.adjoint
        return torch.from_numpy(result.astype(np.complex128 if A.is_complex() else np.float64))


def along(E: Tensor, f: MatrixFunction) -> MatrixFunction:
    return lambda X: jvp(f, (X,), (E,))[1]


def third_gradient(f: MatrixFunction, A: Tensor, M: Tensor, E: Tensor, F: Tensor) -> Tensor:
    """The gradient of the second derivative along E and F of Re tr(M f(A)): D³f(A)[M, E, F]."""
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(expectation(M, f(X)), X, create_graph=True)
    (H,) = torch.autograd.grad(expectation(E, G), X, create_graph=True)
    return torch.autograd.grad(expectation(F, H), X)[0]


def three_directions(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    M, E, F = (random_hermitian(n, n, dtype=dtype, seed=seed) for seed in (100, 101, 102))
    return M, E, F


UNITS = [
    torch.zeros(4, 4).index_put((torch.tensor([k, k + 1]), torch.tensor([k + 1, k])), torch.ones(2)) for k in range(3)
]
