"""Third derivatives of functions of Hermitian matrices: against many digits at every gap, closed forms, transforms."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
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
    DOUBLE,
    by_precision,
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
each_double = pytest.mark.parametrize("dtype", DOUBLE, ids=["real", "complex"])


class Case(NamedTuple):
    f: MatrixFunction
    derivative: Derivatives
    positive: bool = False  # where it is defined
    rounding: float = 1e-11  # of a third difference in double precision, at the worst gap


def _power(p: float) -> Derivatives:
    q = mpmath.mpf(p)
    return lambda k, x: mpmath.ff(q, k) * x ** (q - k) if mpmath.ff(q, k) else mpmath.mpf(0)


def _log(k: int, x: Any) -> Any:
    return mpmath.log(x) if k == 0 else (-1) ** (k - 1) * mpmath.factorial(k - 1) / x**k


def _sine(k: int, x: Any) -> Any:
    return (mpmath.sin, mpmath.cos, lambda x: -mpmath.sin(x), lambda x: -mpmath.cos(x))[k % 4](x)


def _lorentzian(k: int, x: Any) -> Any:
    return mpmath.re((-1) ** k * mpmath.factorial(k) * mpmath.im(1 / (x - mpmath.j) ** (k + 1)))


GIVEN = (
    lambda x: 1 / (1 + x * x),
    lambda x: -2 * x / (1 + x * x) ** 2,
    lambda x: (6 * x * x - 2) / (1 + x * x) ** 3,
    lambda x: 24 * x * (1 - x * x) / (1 + x * x) ** 4,
)


def _tensor_power(A: Tensor) -> Tensor:
    return sg.powm(A, torch.full(A.shape[:-2], 0.3, dtype=torch.float64))


CASES = {
    "expm": Case(sg.expm, lambda k, x: mpmath.exp(x)),
    "logm": Case(sg.logm, _log, positive=True),
    "sqrtm": Case(sg.sqrtm, _power(0.5), positive=True),
    "invsqrtm": Case(sg.invsqrtm, _power(-0.5), positive=True),
    "powm 0.3": Case(lambda A: sg.powm(A, 0.3), _power(0.3), positive=True),
    "powm -1.7": Case(lambda A: sg.powm(A, -1.7), _power(-1.7), positive=True),
    "powm 3": Case(lambda A: sg.powm(A, 3), _power(3)),
    "powm 5": Case(lambda A: sg.powm(A, 5), _power(5)),
    "powm -2": Case(lambda A: sg.powm(A, -2), _power(-2)),
    "powm, tensor": Case(_tensor_power, _power(0.3), positive=True),
    "funm": Case(lambda A: sg.funm(A, torch.sin), _sine, rounding=1e-9),
    "funm, df": Case(lambda A: sg.funm(A, torch.sin, torch.cos), _sine, rounding=1e-9),
    "funm, all": Case(lambda A: sg.funm(A, *GIVEN), _lorentzian, rounding=1e-9),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def divided_difference(derivative: Derivatives, arguments: list[Any]) -> Any:
    """f[x_0, ..., x_m] of ascending mpmath numbers, in enough digits for the quotients of gaps that are not 0."""
    m = len(arguments) - 1
    width = arguments[-1] - arguments[0]
    # Eigenvalues that are equal differ in the last digits they are computed to.
    if width < max(1, abs(arguments[0])) * mpmath.mpf(10) ** (-DIGITS / 4):
        return derivative(m, sum(arguments) / (m + 1)) / mpmath.factorial(m)
    return (divided_difference(derivative, arguments[1:]) - divided_difference(derivative, arguments[:-1])) / width


class _Paths(NamedTuple):
    """What D³f(A)[E_1, E_2, E_3] is summed from, for every f."""

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
        paths = sum(np.outer(P[:, k] * Q[k, l], R[l, :]) for P, Q, R in itertools.permutations(X))
        for i, j in itertools.product(range(n), repeat=2):
            products.setdefault(tuple(sorted((i, k, l, j))), np.zeros((n, n), dtype=object))[i, j] += paths[i, j]
    return _Paths(list(values), V, adjoint, products)


def third(A: Tensor, directions: tuple[Tensor, Tensor, Tensor], derivative: Derivatives) -> Tensor:
    """D³f(A)[E_1, E_2, E_3], Daleckii and Krein (1965), from a decomposition in many digits."""
    wide = torch.complex128 if A.is_complex() else torch.float64
    data = tuple(X.to(wide).resolve_conj().contiguous().numpy().tobytes() for X in (A, *directions))
    with mpmath.workdps(DIGITS):
        paths = _paths(data, np.dtype(A.to(wide).numpy().dtype).str, len(A))
        inner = sum(
            divided_difference(derivative, sorted(paths.values[x] for x in positions)) * product
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


# Most of them about where the expansions take over.
GAPS = [1.0, 0.3, 0.1, 0.05, 0.02, 0.01, 3e-3, 1e-3, 1e-4, 1e-6, 1e-9, 1e-12, 0.0]
UNITS = [
    torch.zeros(4, 4).index_put((torch.tensor([k, k + 1]), torch.tensor([k + 1, k])), torch.ones(2)) for k in range(3)
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@each_case
def test_third_differences(case: Case, dtype: torch.dtype) -> None:
    """Of diag(a, b, c, d) the derivative along (0, 1), (1, 2) and (2, 3) has f[a,b,c,d] at (0, 3)."""
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
        # What a function loses where its differences cancel is not its rounding: relative to the size of f'''.
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
    """Of homogeneous functions: of degree p the third derivative is of degree p - 3."""
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
    """n⁴/4 differences a matrix are taken a few million at a time."""
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

    def thrice(X: Tensor) -> Tensor:
        once = grad(lambda X: expectation(M, CASES[name].f(X)))
        twice = grad(lambda X: expectation(E, once(X)))
        return grad(lambda X: expectation(F, twice(X)))(X)

    found = torch.compile(thrice, backend="aot_eager")(A)
    assert relative_error(found, third(A, (M, E, F), CASES[name].derivative)) <= 1e-8


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.1, 1e-3, 1e-7, 0])
@each_double
def test_parameters(gap: float, dtype: torch.dtype) -> None:
    """d/dθ of two derivatives in A of exp(θA), first, last, and in between: x exp(θx)."""
    A, (M, E, _) = with_cluster(4, 3, gap, dtype, seed=0), directions(4, dtype)
    t = mpmath.mpf(0.7)
    with mpmath.workdps(DIGITS):
        slope = lambda k, x: (t**k * x + k * t ** (k - 1)) * mpmath.exp(t * x)  # noqa: E731
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    value = lambda X, t: expectation(M, sg.funm(X, lambda x: (t * x).exp()))  # noqa: E731
    expected = second(A, M, E, slope)
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(value(X, theta), X, create_graph=True)
    (H,) = torch.autograd.grad(expectation(E, G), X, create_graph=True)
    (last,) = torch.autograd.grad(expectation(E, H), theta)
    assert relative_error(last, expectation(E, expected)) <= 1e-9
    (g,) = torch.autograd.grad(value(X, theta), theta, create_graph=True)
    (G,) = torch.autograd.grad(g, X, create_graph=True)
    assert relative_error(torch.autograd.grad(expectation(E, G), X)[0], expected) <= 1e-9
    product = lambda t: jvp(grad(lambda X: value(X, t)), (A,), (E,))[1]  # noqa: E731
    assert relative_error(along(torch.ones_like(theta.detach()), product)(theta.detach()), expected) <= 1e-9
    (slope_of_product,) = vjp(product, theta.detach())[1](E)
    assert relative_error(slope_of_product, expectation(E, expected)) <= 1e-9


def second(A: Tensor, M: Tensor, E: Tensor, derivative: Derivatives) -> Tensor:
    """D²f(A)[M, E] of f, as the third derivative of its integral, along the identity."""

    def integral(k: int, x: Any) -> Any:
        return derivative(k - 1, x)

    return third(A, (M, E, torch.eye(len(A), dtype=A.dtype)), integral)


# --- what is not known -----------------------------------------------------------------------------------------------


def _of_numpy(f: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.from_numpy(f(x.detach().numpy()))


def test_functions_that_autograd_cannot_see() -> None:
    """The third derivative is asked for where it is needed."""
    j = scipy.special.jv
    f, df, d2f, d3f = (
        lambda x: j(0, x),
        lambda x: -j(1, x),
        lambda x: (j(2, x) - j(0, x)) / 2,
        lambda x: (3 * j(1, x) - j(3, x)) / 4,
    )
    functions = [_of_numpy(g) for g in (f, df, d2f, d3f)]
    D = directions(4, torch.float64)
    for gap in (0.1, 1e-3, 1e-8, 0):
        A = with_cluster(4, 3, gap, torch.float64, seed=0)
        bessel = lambda k, x: mpmath.besselj(0, x, derivative=k)  # noqa: E731
        expected = third(A, D, bessel)
        # With no derivative beyond f''' differences of near arguments err by the square of the gap, or by eps over it.
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
    """(1 + sign(A))/2 about a gap: held against the smooth step 1/(1 + exp(-80 x)), equal to rounding there."""
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
    """Among matrices of one kernel the derivative is that of the regular part."""
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


@pytest.mark.parametrize(("f", "p"), [(sg.sqrtm, 0.5), (lambda A: sg.powm(A, 0.3), 0.3), (_tensor_power, 0.3)])
def test_roots_say_what_is_left_out(f: MatrixFunction, p: float) -> None:
    A = torch.diag(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    D = directions(3, torch.float64)
    with pytest.warns(sg.GaugeWarning, match="same kernel"):
        found = along(D[0], along(D[1], along(D[2], f)))(A)
    assert bool(found.isfinite().all())


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
