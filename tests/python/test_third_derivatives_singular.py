"""Third derivatives of functions of singular matrices: among matrices of the same rank, and reports of the others."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import GAPS, MatrixFunction, by_precision, each_double, expectation, normal, random_hermitian
from reference import relative_error
from third_derivatives_reference import (
    DIGITS,
    UNITS,
    Derivatives,
    _power,
    _tensor_power,
    along,
    divided_difference,
    third,
    three_directions,
)


@pytest.mark.parametrize(("f", "p"), [(sg.sqrtm, 0.5), (lambda A: sg.powm(A, 0.3), 0.3), (_tensor_power, 0.3)])
@each_double
def test_roots_of_singular_matrices(f: MatrixFunction, p: float, dtype: torch.dtype) -> None:
    """Among matrices with the same kernel, the derivative is that of the regular part."""
    L = torch.tensor([0.0, 0.0, 1.0, 1.0, 4.0], dtype=torch.float64)
    A = torch.diag(L).to(dtype)
    D = tuple(E.clone() for E in three_directions(5, dtype))
    for E in D:
        E[:2] = 0
        E[:, :2] = 0
    expected = torch.zeros_like(A)
    expected[2:, 2:] = third(A[2:, 2:], tuple(E[2:, 2:] for E in D), _power(p))
    with sg.checks("raise"):
        found = along(D[0], along(D[1], along(D[2], f)))(A)
    assert bool(found.isfinite().all())
    assert relative_error(found, expected) <= 1e-11


class Singular(NamedTuple):
    """A function that is constant in a neighbourhood of 0."""

    f: MatrixFunction
    derivative: Derivatives
    positive: bool = True
    rounding: float = 1e-11


def _tensor_powers(p: float) -> MatrixFunction:
    return lambda A: sg.powm(A, torch.full(A.shape[:-2], p, dtype=torch.float64))


def _constant_at_zero(derivative: Derivatives) -> Derivatives:
    return lambda k, x: derivative(k, x) if x else mpmath.mpf(0)


SINGULAR = {
    "sqrtm": Singular(sg.sqrtm, _power(0.5)),
    "powm 0.3": Singular(lambda A: sg.powm(A, 0.3), _power(0.3)),
    "powm 1.5": Singular(lambda A: sg.powm(A, 1.5), _power(1.5)),
    "powm 2.5": Singular(lambda A: sg.powm(A, 2.5), _power(2.5)),
    "powm, tensor 0.3": Singular(_tensor_powers(0.3), _power(0.3)),
    "powm, tensor 1.5": Singular(_tensor_powers(1.5), _power(1.5)),
    "powm, tensor 2.5": Singular(_tensor_powers(2.5), _power(2.5)),
    "funm": Singular(lambda A: sg.funm(A, torch.sqrt), _power(0.5), rounding=1e-9),
    "pinvm": Singular(sg.pinvm, _power(-1), positive=False),
}
each_singular = pytest.mark.parametrize("case", SINGULAR.values(), ids=SINGULAR)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@each_singular
def test_third_differences_with_zeros(case: Singular, dtype: torch.dtype) -> None:
    """The derivatives are those of the function that is constant around 0: f[0,0,0,b] = f[0,0,b]/b and so on."""
    spectra = [[0.0] * k + [0.7, 0.7 + gap, 1.6 + gap, 1.6 + 2 * gap][k:] for k in range(1, 5) for gap in GAPS[::2]]
    spectra += [[0.0] * k + [0.7, 0.7 + gap, 0.7 + 2 * gap, 0.7 + 2 * gap][k:] for k in (1, 2) for gap in GAPS]
    spectra += [[0.0, 0.0, 1e-8, 1.0], [0.0, 1e-4, 1e-3, 1.0], [0.0, 0.0, 0.0, 1e-2]]
    if not case.positive:
        spectra += [[-x for x in reversed(row)] for row in spectra]
        spectra += [[-0.7, 0, 0, 1.3], [-0.7, 0, 1.3, 1.3], [-0.7, -0.7, 0, 1.3], [-0.7, -0.5, 1.1, 1.3]]
    L = torch.tensor(spectra, dtype=dtype)
    f = case.f
    for unit in UNITS:
        f = along(unit.to(dtype).expand(len(L), 4, 4), f)
    with sg.checks("ignore"):
        found = f(torch.diag_embed(L))[:, 0, 3]
    derivative = _constant_at_zero(case.derivative)
    with mpmath.workdps(DIGITS):
        exact = [divided_difference(derivative, sorted(map(mpmath.mpf, row))) for row in L.tolist()]
        sizes = [max(abs(derivative(3, mpmath.mpf(x))) for x in row) / 6 for row in L.tolist()]
    expected, size = (torch.tensor([float(x) for x in values], dtype=torch.float64) for values in (exact, sizes))
    errors = (found - expected).abs() / torch.maximum(expected.abs(), 0.1 * size).clamp_min(1e-30)
    assert errors.max() <= by_precision(dtype, case.rounding, 2e-3)
    assert errors.median() <= by_precision(dtype, 1e-14, 1e-5)


def _along_factors(factor: Tensor, direction: Tensor, weights: Tensor, ratio: Callable[[Any], Any]) -> Any:
    """The third derivative at t = 0 of Re tr(M f(XᴴX)), `ratio` f(x)/x.

    X = F + t E of full row rank, with the factor F, the direction E and the weights M.
    """
    F, E, M = (mpmath.matrix(X.tolist()) for X in (factor, direction, weights))

    def value(t: Any) -> Any:
        X = F + t * E
        L, Q = mpmath.eighe(X * X.H)
        root = X.H * Q * mpmath.diag([ratio(x) for x in L]) * Q.H * X
        return mpmath.re(sum((M * root)[i, i] for i in range(M.rows)))

    with mpmath.workdps(60):
        h = mpmath.mpf(10) ** -12
        return float((value(2 * h) - 2 * value(h) + 2 * value(-h) - value(-2 * h)) / (2 * h**3))


def _factors(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """F (2, 4) with equal singular values, a direction E (2, 4), and a Hermitian weight M (4, 4) without structure."""
    Q = torch.linalg.qr(normal(4, 4, dtype=dtype, seed=3)).Q
    return 1.3 * Q[:2], normal(2, 4, dtype=dtype, seed=9), random_hermitian(4, 4, dtype=dtype, seed=5)


def _three_times_forward(f: Callable[[Tensor], Tensor]) -> Tensor:
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    return along(one, along(one, along(one, f)))(zero)


def _three_times_reverse(f: Callable[[Tensor], Tensor], F: Tensor, E: Tensor) -> Tensor:
    X = F.clone().requires_grad_()
    y = f(X)
    for _ in range(3):
        (G,) = torch.autograd.grad(y, X, create_graph=True)
        y = expectation(E.mH, G)
    return y.detach()


@each_singular
@each_double
def test_third_derivatives_along_matrices_of_one_rank(case: Singular, dtype: torch.dtype) -> None:
    """Forward mode is silent: parts of second and third tangents inside the kernel belong there."""
    F, E, M = _factors(dtype)
    expected = _along_factors(F, E, M, lambda x: case.derivative(0, x) / x)
    loss = lambda X: expectation(M, case.f(X.mH @ X))  # noqa: E731
    assert float(_three_times_forward(lambda t: loss(F + t * E))) == pytest.approx(expected, rel=1e-9)
    # M itself has a part inside the kernel, which is reported.
    with sg.checks("ignore"):
        assert float(_three_times_reverse(loss, F, E)) == pytest.approx(expected, rel=1e-9)


@each_double
def test_losses_that_are_well_posed_are_silent(dtype: torch.dtype) -> None:
    """Nuclear norms, and tr(A √A), whose cotangent has a part inside the kernel only in the third pass."""
    F, E, _ = _factors(dtype)
    eye = torch.eye(4, dtype=dtype)
    losses: list[tuple[MatrixFunction, Callable[[Any], Any]]] = [
        (sg.trace_sqrtm, lambda x: x**-0.5),
        (lambda A: expectation(eye, sg.sqrtm(A)), lambda x: x**-0.5),
        (lambda A: sg.trace_funm(A, torch.sqrt), lambda x: x**-0.5),
        (lambda A: expectation(A, sg.sqrtm(A)), lambda x: x**0.5),
        (lambda A: expectation(A, sg.powm(A, torch.tensor(0.5))), lambda x: x**0.5),
        (sg.pseudo_logdet, lambda x: mpmath.log(x) / x),
    ]
    for loss, ratio in losses:
        expected = _along_factors(F, E, eye, ratio)
        found = (
            _three_times_forward(functools.partial(lambda loss, t: loss((F + t * E).mH @ (F + t * E)), loss)),
            _three_times_reverse(functools.partial(lambda loss, X: loss(X.mH @ X), loss), F, E),
        )
        assert [float(x) for x in found] == pytest.approx([expected, expected], rel=1e-9)


INSIDE = [
    (sg.sqrtm, 1),
    (lambda A: sg.powm(A, 0.3), 1),
    (_tensor_powers(0.3), 1),
    (lambda A: sg.funm(A, torch.sqrt), 1),
]
INSIDE += [(lambda A: sg.powm(A, 1.5), 2), (_tensor_powers(1.5), 2)]
INSIDE += [(lambda A: sg.powm(A, 2.5), 3), (_tensor_powers(2.5), 3)]


@pytest.mark.parametrize(("f", "needed"), INSIDE)
def test_directions_inside_the_kernel_are_reported(f: MatrixFunction, needed: int) -> None:
    """If f has k finite derivatives at 0, a derivative along k + 1 directions inside the kernel is reported."""
    A = torch.diag(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    inside = three_directions(3, torch.float64)
    outside = []
    for E in inside:
        E = E.clone()
        E[:2, :2] = 0
        outside.append(E)
    for count in range(4):
        D = [*inside[:count], *outside[count:]]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = along(D[0], along(D[1], along(D[2], f)))(A)
        assert bool(found.isfinite().all())
        assert bool(caught) == (count >= needed)
        assert all("its derivative is infinite" in str(warning.message) for warning in caught)
