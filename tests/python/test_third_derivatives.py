"""Third derivatives of functions of Hermitian matrices: against many digits at every gap, closed forms, transforms."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    double_of,
    each_double,
    eps,
    expectation,
    hermitian_part,
    hessian_times,
    normal,
    random_hermitian,
    with_cluster,
    with_spectrum,
)
from reference import relative_error

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
def _sine(k: int, x: Any) -> Any:
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
    "funm": Case(lambda A: sg.funm(A, torch.sin), _sine, rounding=1e-9),
    "funm, df": Case(lambda A: sg.funm(A, torch.sin, torch.cos), _sine, rounding=1e-9),
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


def directions(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    M, E, F = (random_hermitian(n, n, dtype=dtype, seed=seed) for seed in (100, 101, 102))
    return M, E, F


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
UNITS = [
    torch.zeros(4, 4).index_put((torch.tensor([k, k + 1]), torch.tensor([k + 1, k])), torch.ones(2)) for k in range(3)
]


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
    D = directions(n, dtype)
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
    D = directions(4, dtype)
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
    D = directions(n, dtype)
    expected = sum(torch.linalg.multi_dot(order) for order in itertools.permutations(D))
    for A in (with_cluster(n, 4, 0, dtype, seed=0), torch.zeros(n, n, dtype=dtype)):
        for f in (lambda X: sg.powm(X, 3), lambda X: sg.funm(X, lambda x: x**3), lambda X: sg.powm(X, torch.tensor(3))):
            assert relative_error(third_gradient(f, A, *D), expected) <= 1e-11


def test_batches_too_large_for_one_piece() -> None:
    """The n⁴/4 differences of each matrix are computed a few million at a time."""
    n = 32
    D = directions(n, torch.float64)
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
    A, (M, _, _) = with_spectrum(spectrum, dtype, seed=5).requires_grad_(), directions(3, dtype)

    def gradient(X: Tensor) -> Tensor:
        X = hermitian_part(X)
        return torch.autograd.grad(expectation(M, CASES[name].f(X)), X, create_graph=True)[0]

    assert gradgradcheck(gradient, A, fast_mode=dtype.is_complex, check_fwd_over_rev=True, check_batched_grad=True)


@each_case
def test_transforms(case: Case) -> None:
    dtype = torch.float64
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5], dtype, seed=0), directions(3, dtype)
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
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5], torch.float64, seed=0), directions(3, torch.float64)

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
    A, (M, E, _) = with_cluster(4, 3, gap, dtype, seed=0), directions(4, dtype)
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
    D = directions(4, torch.float64)
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
    D = directions(4, torch.float64)
    step = lambda X: sg.funm(X, lambda x: (x > 0.5).double())  # noqa: E731
    projector = lambda X: sg.spectral_projector(X, 2, 4)  # noqa: E731
    assert relative_error(third_gradient(step, A, *D), third_gradient(projector, A, *D)) <= 1e-13


# --- projectors and traces -------------------------------------------------------------------------------------------


@each_double
def test_projectors(dtype: torch.dtype) -> None:
    """Compares (1 + sign(A))/2 with 1/(1 + exp(-80 x)), which equals it up to rounding outside the gap."""
    A, D = with_spectrum([-1.3, -1.3, -1.0, 0.9, 0.9], dtype, seed=1), directions(5, dtype)

    def tanh(k: int, x: Any) -> Any:
        return mpmath.taylor(lambda x: 1 / (1 + mpmath.exp(-80 * x)), x, k)[k] * mpmath.factorial(k)

    expected = third(A, D, tanh)
    assert relative_error(third_gradient(lambda X: sg.spectral_projector(X, 3, 5), A, *D), expected) <= 1e-12


@each_double
def test_traces_have_four(dtype: torch.dtype) -> None:
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5, 1.5], dtype, seed=0), directions(4, dtype)
    trace = lambda X: sg.trace_funm(X, torch.sin)  # noqa: E731
    expected = third(A, (M, E, F), lambda k, x: _sine(k + 1, x))
    assert relative_error(grad(along(E, along(F, along(M, trace))))(A), expected) <= 1e-8


# --- singular matrices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("f", "p"), [(sg.sqrtm, 0.5), (lambda A: sg.powm(A, 0.3), 0.3), (_tensor_power, 0.3)])
@each_double
def test_roots_of_singular_matrices(f: MatrixFunction, p: float, dtype: torch.dtype) -> None:
    """Among matrices with the same kernel, the derivative is that of the regular part."""
    L = torch.tensor([0.0, 0.0, 1.0, 1.0, 4.0], dtype=torch.float64)
    A = torch.diag(L).to(dtype)
    D = tuple(E.clone() for E in directions(5, dtype))
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
    inside = directions(3, torch.float64)
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


# --- the fourth ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["expm", "sqrtm", "powm, tensor", "funm"])
def test_fourth_derivatives_are_refused(name: str) -> None:
    A, (M, E, F) = with_spectrum([0.5, 1.5, 1.5], torch.float64, seed=0), directions(3, torch.float64)
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
