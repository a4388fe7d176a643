"""Third derivatives of functions of Hermitian matrices: against many digits at every gap, closed forms, transforms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor
from torch.autograd import gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import spectralgrad as sg
from problems import (
    ALL,
    by_precision,
    each_double,
    eps,
    expectation,
    hermitian_part,
    hessian_times,
    normal,
    with_cluster,
    with_spectrum,
)
from reference import relative_error
from third_derivatives_reference import (
    CASES,
    DIGITS,
    UNITS,
    Case,
    Derivatives,
    along,
    divided_difference,
    each_case,
    sine,
    third,
    third_gradient,
    three_directions,
)

# --- differences -----------------------------------------------------------------------------------------------------


def _quadruples(gap: float) -> list[list[float]]:
    """Four arguments: all near, two and two, three and one, and with some that are equal."""
    x, y = 0.7, 1.6
    return [
        [x, x + 0.3 * gap, x + 0.55 * gap, x + gap],
        [x, x + 0.01 * gap, x + 0.98 * gap, x + gap],
        [x, x + gap, y, y + gap],
        [x, y, y + 0.4 * gap, y + gap],
        [x, x + 0.6 * gap, x + gap, y],
        [x, x, x + gap, x + gap],
        [x, x, x, x + gap],
        [x, x + gap, x + gap, x + gap],
        [x, x + 0.5 * gap, x + 0.5 * gap, x + gap],
        [x, x, x + gap, y],
        [x, y, y, y + gap],
    ]


# Most gaps are near the one from which on expansions are used.
GAPS = [1.0, 0.3, 0.1, 0.05, 0.02, 0.01, 3e-3, 1e-3, 1e-4, 1e-6, 1e-9, 1e-12, 0.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@each_case
def test_third_differences(case: Case, dtype: torch.dtype) -> None:
    """At diag(a, b, c, d), the derivative along (0, 1), (1, 2) and (2, 3) has f[a,b,c,d] at (0, 3)."""
    spectra = torch.tensor([quadruple for gap in GAPS for quadruple in _quadruples(gap)], dtype=dtype)
    if dtype == torch.float32:
        spectra = spectra[::2]
    if not case.positive:
        spectra = torch.cat([spectra, -spectra.flip(-1), spectra - torch.tensor([2.1, 2.1, 2.1, 0.0], dtype=dtype)])
    A = torch.diag_embed(spectra)
    f = case.f
    for unit in UNITS:
        f = along(unit.to(dtype).expand_as(A), f)
    found = f(A)[:, 0, 3]
    with mpmath.workdps(DIGITS):
        exact = [divided_difference(case.derivative, sorted(map(mpmath.mpf, row))) for row in spectra.tolist()]
        # Relative to the size of f''', because differences that cancel lose more than round-off.
        sizes = [max(abs(case.derivative(3, mpmath.mpf(x))) for x in row) / 6 for row in spectra.tolist()]
    expected, size = (torch.tensor([float(x) for x in values], dtype=torch.float64) for values in (exact, sizes))
    errors = (found - expected).abs() / torch.maximum(expected.abs(), 0.1 * size)
    assert errors.max() <= by_precision(dtype, case.rounding, 2e-3)
    assert errors.median() <= by_precision(dtype, 1e-14, 1e-5)


# --- derivatives of matrices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [1e-2, 1e-5, 0.0])
@pytest.mark.parametrize("dtype", ALL)
def test_third_derivative(dtype: torch.dtype, gap: float, device: str) -> None:
    n, m = 4, 3
    D = three_directions(n, dtype)
    for case in CASES.values():
        A = with_cluster(n, m, gap, dtype, seed=n, lowest=0.3 if case.positive else -1.3)
        expected = third(A, D, case.derivative)
        bound = by_precision(dtype, 10 * case.rounding, 5e-4)
        found = third_gradient(case.f, A.to(device), *(E.to(device) for E in D))
        assert (found.dtype, found.shape) == (dtype, A.shape)
        assert torch.equal(found, found.mH.resolve_conj())
        assert relative_error(found, expected) <= bound
        forward = along(D[0], along(D[1], along(D[2], case.f)))(A)
        assert relative_error(forward, expected) <= bound


@pytest.mark.parametrize("scale", [1e-10, 1e10])
@pytest.mark.parametrize("dtype", ALL)
def test_scale_of_the_matrix(dtype: torch.dtype, scale: float) -> None:
    """For a homogeneous function of degree p, the third derivative has degree p - 3."""
    D = three_directions(4, dtype)
    for name in ("logm", "sqrtm", "invsqrtm", "powm 0.3", "powm 3", "powm, tensor"):
        case = CASES[name]
        for gap in (1e-4, 0):
            A = scale * with_cluster(4, 3, gap, dtype, seed=0, lowest=0.3)
            found = third_gradient(case.f, A, *(scale * E for E in D))
            expected = third(A, tuple(scale * E.to(A.dtype) for E in D), case.derivative)
            assert relative_error(found, expected) <= by_precision(dtype, 1e-10, 5e-4)


@each_double
def test_cubes(dtype: torch.dtype) -> None:
    """The third derivative of A³ is the sum of products in every order, at any A."""
    n = 12
    D = three_directions(n, dtype)
    expected = sum(torch.linalg.multi_dot(order) for order in itertools.permutations(D))
    for A in (with_cluster(n, 4, 0, dtype, seed=0), torch.zeros(n, n, dtype=dtype)):
        for f in (lambda X: sg.powm(X, 3), lambda X: sg.funm(X, lambda x: x**3), lambda X: sg.powm(X, torch.tensor(3))):
            assert relative_error(third_gradient(f, A, *D), expected) <= 1e-11


def test_batches_too_large_for_one_piece() -> None:
    """The n⁴/4 differences of each matrix are computed a few million at a time."""
    n = 32
    D = three_directions(n, torch.float64)
    expected = sum(torch.linalg.multi_dot(order) for order in itertools.permutations(D))
    A = with_cluster(n, 7, 0, torch.float64, seed=0).expand(9, n, n)
    found = along(D[0].expand_as(A), along(D[1].expand_as(A), along(D[2].expand_as(A), lambda X: sg.powm(X, 3))))(A)
    for D3 in found:
        assert relative_error(D3, expected) <= 1e-11


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("batch", [(), (0,), (2,), (2, 3)])
def test_shapes_and_identity(batch: tuple[int, ...], n: int) -> None:
    """At the identity every difference is f'''(1)/6: D³f(I)[E, E, E] = f'''(1) E³."""
    for dtype in ALL:
        A = torch.eye(n, dtype=dtype).expand(*batch, n, n).contiguous()
        E = hermitian_part(normal(*A.shape, dtype=dtype, seed=3))
        for f, slope in [(sg.expm, np.e), (sg.logm, 2), (sg.sqrtm, 3 / 8), (sg.invsqrtm, -15 / 8)]:
            torch.testing.assert_close(
                third_gradient(f, A, E, E, E), slope * E @ E @ E, rtol=100 * eps(dtype), atol=100 * eps(dtype)
            )


@pytest.mark.parametrize("name", ["expm", "sqrtm", "powm -1.7", "funm"])
@pytest.mark.parametrize("spectrum", [[1.3, 1.3, 1.3], [0.6, 0.6, 1.7]], ids=["threefold", "twofold"])
@each_double
def test_gradgradcheck_of_the_gradient(name: str, spectrum: list[float], dtype: torch.dtype) -> None:
    A, (M, _, _) = with_spectrum(spectrum, dtype, seed=5).requires_grad_(), three_directions(3, dtype)

    def gradient(X: Tensor) -> Tensor:
        X = hermitian_part(X)
        return torch.autograd.grad(expectation(M, CASES[name].f(X)), X, create_graph=True)[0]

    assert gradgradcheck(gradient, A, fast_mode=dtype.is_complex, check_fwd_over_rev=True, check_batched_grad=True)


@each_case
def test_transforms(case: Case) -> None:
    dtype = torch.float64
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5], dtype, seed=0), three_directions(3, dtype)
    f = lambda X: expectation(M, case.f(hermitian_part(X)))  # noqa: E731
    expected = third(A, (M, E, F), case.derivative)
    bound = 10 * case.rounding
    for whole in (jacrev(hessian(f)), jacfwd(jacrev(grad(f)))):
        assert relative_error(torch.tensordot(torch.tensordot(whole(A), E), F), expected) <= bound
    product = lambda X: jvp(grad(f), (X,), (E,))[1]  # noqa: E731
    assert relative_error(jvp(product, (A,), (F,))[1], expected) <= bound
    assert relative_error(grad(lambda X: expectation(F, product(X)))(A), expected) <= bound
    batch = torch.stack([A, 0.5 * A])
    found = vmap(lambda X: jvp(product, (X,), (F,))[1])(batch)
    for X, G in zip(batch, found, strict=True):
        assert relative_error(G, third(X, (M, E, F), case.derivative)) <= bound


@pytest.mark.parametrize("name", ["expm", "powm, tensor", "funm"])
def test_compiled(name: str) -> None:
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5], torch.float64, seed=0), three_directions(3, torch.float64)

    def third_derivative(X: Tensor) -> Tensor:
        once = grad(lambda X: expectation(M, CASES[name].f(X)))
        twice = grad(lambda X: expectation(E, once(X)))
        return grad(lambda X: expectation(F, twice(X)))(X)

    found = torch.compile(third_derivative, backend="aot_eager")(A)
    assert relative_error(found, third(A, (M, E, F), CASES[name].derivative)) <= 1e-8


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.1, 1e-3, 1e-7, 0])
@each_double
def test_parameters(gap: float, dtype: torch.dtype) -> None:
    """d/dθ of second derivatives of exp(θA) in A, with d/dθ first, last, and in between: x exp(θx)."""
    A, (M, E, _) = with_cluster(4, 3, gap, dtype, seed=0), three_directions(4, dtype)
    t = mpmath.mpf(0.7)
    with mpmath.workdps(DIGITS):
        slope = lambda k, x: (t**k * x + k * t ** (k - 1)) * mpmath.exp(t * x)  # noqa: E731
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def value(X: Tensor, t: Tensor) -> Tensor:
        return expectation(M, sg.funm(X, lambda x: (t * x).exp()))

    expected = second(A, M, E, slope)
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(value(X, theta), X, create_graph=True)
    (H,) = torch.autograd.grad(expectation(E, G), X, create_graph=True)
    (last,) = torch.autograd.grad(expectation(E, H), theta)
    assert relative_error(last, expectation(E, expected)) <= 1e-9
    (g,) = torch.autograd.grad(value(X, theta), theta, create_graph=True)
    (G,) = torch.autograd.grad(g, X, create_graph=True)
    assert relative_error(torch.autograd.grad(expectation(E, G), X)[0], expected) <= 1e-9

    def product(t: Tensor) -> Tensor:
        return jvp(lambda X: grad(value)(X, t), (A,), (E,))[1]

    assert relative_error(along(torch.ones_like(theta.detach()), product)(theta.detach()), expected) <= 1e-9
    (slope_of_product,) = vjp(product, theta.detach())[1](E)
    assert relative_error(slope_of_product, expectation(E, expected)) <= 1e-9


def second(A: Tensor, M: Tensor, E: Tensor, derivative: Derivatives) -> Tensor:
    """D²f(A)[M, E], computed as the third derivative of f's integral along M, E and the identity."""

    def integral(k: int, x: Any) -> Any:
        return derivative(k - 1, x)

    return third(A, (M, E, torch.eye(len(A), dtype=A.dtype)), integral)


# --- functions without known derivatives -----------------------------------------------------------------------------


def _with_numpy(f: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.from_numpy(f(x.detach().numpy()))


def test_functions_that_autograd_cannot_see() -> None:
    """The error asks for the third derivative if it is needed."""
    j = scipy.special.jv
    f, df, d2f, d3f = (
        lambda x: j(0, x),
        lambda x: -j(1, x),
        lambda x: (j(2, x) - j(0, x)) / 2,
        lambda x: (3 * j(1, x) - j(3, x)) / 4,
    )
    functions = [_with_numpy(g) for g in (f, df, d2f, d3f)]
    D = three_directions(4, torch.float64)
    for gap in (0.1, 1e-3, 1e-8, 0):
        A = with_cluster(4, 3, gap, torch.float64, seed=0)
        bessel = lambda k, x: mpmath.besselj(0, x, derivative=k)  # noqa: E731
        expected = third(A, D, bessel)
        # Without derivatives beyond f''', differences of near arguments err by the square of the gap or by eps over it.
        assert relative_error(third_gradient(lambda X: sg.funm(X, *functions), A, *D), expected) <= 1e-7
        message = r"spectralgrad\.funm: Expected one more derivative of f .*give it \(df, d2f, d3f\)"
        with pytest.raises(RuntimeError, match=message):
            third_gradient(lambda X: sg.funm(X, *functions[:3]), A, *D)
        assert relative_error(hessian_times(lambda X: expectation(D[0], sg.funm(X, *functions[:3])), A, D[1]),
                              second(A, D[0], D[1], bessel)) <= 1e-9 + gap**2  # fmt: skip
        trace = lambda X, count: sg.trace_funm(X, *functions[:count])  # noqa: E731
        X = A.clone().requires_grad_()
        for count in (3, 4):
            (G,) = torch.autograd.grad(trace(X, count), X, create_graph=True)
            (H,) = torch.autograd.grad(expectation(D[0], G), X, create_graph=True)
            if count == 3:
                with pytest.raises(RuntimeError, match="Expected one more derivative of f"):
                    torch.autograd.grad(expectation(D[1], H), X)
            else:
                (T,) = torch.autograd.grad(expectation(D[1], H), X)
                of_slope = second(A, D[0], D[1], lambda k, x: mpmath.besselj(0, x, derivative=k + 1))
                assert relative_error(T, of_slope) <= 1e-5


def test_a_third_derivative_without_the_second() -> None:
    with pytest.raises(TypeError, match=r"spectralgrad\.funm: Expected d2f where d3f is given, but got None"):
        sg.funm(torch.eye(2), torch.sin, torch.cos, d3f=lambda x: -x.cos())


def test_steps_have_no_graph_and_no_derivative() -> None:
    A = with_spectrum([-1.0, -1.0, 2.0, 2.0], torch.float64, seed=0)
    D = three_directions(4, torch.float64)
    step = lambda X: sg.funm(X, lambda x: (x > 0.5).double())  # noqa: E731
    projector = lambda X: sg.spectral_projector(X, 2, 4)  # noqa: E731
    assert relative_error(third_gradient(step, A, *D), third_gradient(projector, A, *D)) <= 1e-13


# --- projectors and traces -------------------------------------------------------------------------------------------


@each_double
def test_projectors(dtype: torch.dtype) -> None:
    """Compares (1 + sign(A))/2 with 1/(1 + exp(-80 x)), which equals it up to rounding outside the gap."""
    A, D = with_spectrum([-1.3, -1.3, -1.0, 0.9, 0.9], dtype, seed=1), three_directions(5, dtype)

    def tanh(k: int, x: Any) -> Any:
        return mpmath.taylor(lambda x: 1 / (1 + mpmath.exp(-80 * x)), x, k)[k] * mpmath.factorial(k)

    expected = third(A, D, tanh)
    assert relative_error(third_gradient(lambda X: sg.spectral_projector(X, 3, 5), A, *D), expected) <= 1e-12


@each_double
def test_traces_have_four(dtype: torch.dtype) -> None:
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5, 1.5], dtype, seed=0), three_directions(4, dtype)
    trace = lambda X: sg.trace_funm(X, torch.sin)  # noqa: E731
    expected = third(A, (M, E, F), lambda k, x: sine(k + 1, x))
    assert relative_error(grad(along(E, along(F, along(M, trace))))(A), expected) <= 1e-8


# --- the fourth ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["expm", "sqrtm", "powm, tensor", "funm"])
def test_fourth_derivatives_are_refused(name: str) -> None:
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5], torch.float64, seed=0), three_directions(3, torch.float64)
    scalar = lambda X: expectation(M, CASES[name].f(X))  # noqa: E731
    X = A.clone().requires_grad_()
    y = scalar(X)
    for _ in range(3):
        (G,) = torch.autograd.grad(y, X, create_graph=True)
        y = expectation(E, G)
    for derive in (
        lambda: torch.autograd.grad(y, X),
        lambda: along(E, along(E, along(F, along(E, scalar))))(A),
        lambda: grad(along(E, along(E, along(F, scalar))))(A),
    ):
        with pytest.raises(
            RuntimeError,
            match=r"spectralgrad: Expected a function of a matrix to be differentiated at most three times .* fourth",
        ):
            derive()
