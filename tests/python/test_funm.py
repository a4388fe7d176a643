"""Functions of Hermitian matrices: values and two derivatives against 60 digits at every gap, closed forms, laws."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
import torch._dynamo
import torch.autograd.forward_ad as fw
import torch.utils.checkpoint
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

import reference
import spectralgrad as sg
from problems import (
    ALL,
    COMPLEX,
    DOUBLE,
    LinAlgError,
    by_precision,
    eps,
    expectation,
    gradient_of,
    hermitian_part,
    hessian_times,
    normal,
    random_hermitian,
    total,
    with_cluster,
    with_spectrum,
)
from reference import relative_error

MatrixFunction = Callable[[Tensor], Tensor]
JACOBIANS: list[Callable[..., Any]] = [jacrev, jacfwd]


class Case(NamedTuple):
    f: MatrixFunction
    exact: reference.Differences
    positive: bool = False  # defined for positive matrices only


def _power(p: float) -> reference.Differences:
    q = mpmath.mpf(p)
    return reference.smooth(lambda x: x**q, lambda x: q * x ** (q - 1), lambda x: q * (q - 1) * x ** (q - 2))


EXP = reference.smooth(mpmath.exp, mpmath.exp, mpmath.exp)
SIN = reference.smooth(mpmath.sin, mpmath.cos, lambda x: -mpmath.sin(x))
COS = reference.smooth(mpmath.cos, lambda x: -mpmath.sin(x), lambda x: -mpmath.cos(x))
LORENTZIAN = reference.smooth(
    lambda x: 1 / (1 + x * x),
    lambda x: -2 * x / (1 + x * x) ** 2,
    lambda x: (6 * x * x - 2) / (1 + x * x) ** 3,
)

NAMED = {
    "expm": Case(sg.expm, EXP),
    "logm": Case(sg.logm, reference.smooth(mpmath.log, lambda x: 1 / x, lambda x: -1 / x**2), positive=True),
    "sqrtm": Case(sg.sqrtm, _power(0.5), positive=True),
    "invsqrtm": Case(sg.invsqrtm, _power(-0.5), positive=True),
    "powm 0.3": Case(lambda A: sg.powm(A, 0.3), _power(0.3), positive=True),
    "powm -1.7": Case(lambda A: sg.powm(A, -1.7), _power(-1.7), positive=True),
    "powm 3": Case(lambda A: sg.powm(A, 3), _power(3)),
    "powm -2": Case(lambda A: sg.powm(A, -2), _power(-2)),
}
GIVEN = {
    "funm": Case(lambda A: sg.funm(A, torch.sin), SIN),
    "funm, df": Case(lambda A: sg.funm(A, torch.sin, torch.cos), SIN),
    "funm, df, d2f": Case(
        lambda A: sg.funm(
            A,
            lambda x: 1 / (1 + x * x),
            lambda x: -2 * x / (1 + x * x) ** 2,
            lambda x: (6 * x * x - 2) / (1 + x * x) ** 3,
        ),
        LORENTZIAN,
    ),
}
FUNCTIONS = NAMED | GIVEN
each_function = pytest.mark.parametrize("case", FUNCTIONS.values(), ids=FUNCTIONS)
each_double = pytest.mark.parametrize("dtype", DOUBLE, ids=["real", "complex"])

GAPS = [1.0, 0.1, *(10.0**-k for k in range(2, 16)), 0.0]
DTYPES_AND_GAPS = [(dtype, gap) for dtype in ALL for gap in GAPS if dtype in DOUBLE or gap >= 1e-8 or gap == 0]
SIZES = [(2, 2), (4, 3), (6, 4), (8, 5)]  # size of the matrix, size of its cluster
DEGENERATE = [0.5, 1.5, 1.5, 1.5]


def matrix(case: Case, n: int, m: int, gap: float, dtype: torch.dtype) -> Tensor:
    # If negative eigenvalues are allowed, at least one is. None is near 0, where the power -2 is ill-conditioned.
    return with_cluster(n, m, gap, dtype, seed=n, lowest=0.3 if case.positive else -1.3)


def directions(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    M, E = (random_hermitian(n, n, dtype=dtype, seed=seed) for seed in (100, 101))
    return M, E


def loss(f: Callable[..., Tensor], M: Tensor) -> MatrixFunction:
    return lambda X: expectation(M, f(X))


# --- values, gradients and Hessians at every gap ---------------------------------------------------------------------
#
# Bounds are multiples of the relative condition number of f(A) or D f(A)[M] (`reference.Function`): the effect of a
# change in the last digits of the matrix, such as LAPACK's backward error. In double precision they are at most 1e-13.


def bound(dtype: torch.dtype, condition: float) -> float:
    return by_precision(dtype, min(1e-14 * max(1, condition), 1e-13), 3e-6 * max(1, condition))


@pytest.mark.parametrize(("dtype", "gap"), DTYPES_AND_GAPS)
def test_value_and_gradient(dtype: torch.dtype, gap: float, device: str) -> None:
    for (n, m), case in itertools.product(SIZES[::2] if dtype in DOUBLE else SIZES[1:2], FUNCTIONS.values()):
        A, (M, _) = matrix(case, n, m, gap, dtype), directions(n, dtype)
        exact = reference.of(A, case.exact)
        assert relative_error(case.f(A.to(device)), exact.value()) <= bound(dtype, exact.condition())
        G = gradient_of(loss(case.f, M.to(device)), A.to(device))
        assert relative_error(G, exact.first(M)) <= bound(dtype, exact.condition_of_first(M))


@pytest.mark.parametrize("gap", GAPS)
@each_double
def test_hessian_times_a_direction(dtype: torch.dtype, gap: float, device: str) -> None:
    n, m = SIZES[2]
    M, E = directions(n, dtype)
    for case in FUNCTIONS.values():
        A = matrix(case, n, m, gap, dtype)
        product = hessian_times(loss(case.f, M.to(device)), A.to(device), E.to(device))
        assert relative_error(product, reference.of(A, case.exact).second(M, E)) <= 2e-10


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 0])
@each_double
def test_other_sizes(dtype: torch.dtype, gap: float) -> None:
    for (n, m), name in itertools.product([(2, 2), (3, 3), (5, 2), (8, 5)], ["expm", "sqrtm", "funm"]):
        case = FUNCTIONS[name]
        A, (M, E) = matrix(case, n, m, gap, dtype), directions(n, dtype)
        exact = reference.of(A, case.exact)
        assert relative_error(gradient_of(loss(case.f, M), A), exact.first(M)) <= 1e-13
        assert relative_error(hessian_times(loss(case.f, M), A, E), exact.second(M, E)) <= 2e-10


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "gap"), [(torch.float64, 1e-6), (torch.complex128, 0)])
def test_size_32(dtype: torch.dtype, gap: float) -> None:
    M, E = directions(32, dtype)
    for case in (FUNCTIONS["logm"], FUNCTIONS["funm"])[: 1 if dtype.is_complex else 2]:
        A = matrix(case, 32, 5, gap, dtype)
        exact = reference.of(A, case.exact)
        assert relative_error(case.f(A), exact.value()) <= 1e-13
        assert relative_error(gradient_of(loss(case.f, M), A), exact.first(M)) <= 1e-13
        assert relative_error(hessian_times(loss(case.f, M), A, E), exact.second(M, E)) <= 2e-10


@pytest.mark.parametrize("n", [3, 32])
def test_equals_scipy(n: int) -> None:
    """SciPy's algorithms use no eigenvectors, so they are an independent reference."""
    A, (M, _) = with_cluster(n, 3, 0, torch.float64, seed=1, lowest=0.4), directions(n, torch.float64)
    value, derivative = scipy.linalg.expm_frechet(A.numpy(), M.numpy())
    assert relative_error(sg.expm(A), torch.from_numpy(value)) <= 1e-13
    assert relative_error(gradient_of(loss(sg.expm, M), A), torch.from_numpy(derivative)) <= 1e-13
    assert relative_error(sg.logm(A), torch.from_numpy(scipy.linalg.logm(A.numpy()))) <= 1e-12
    assert relative_error(sg.sqrtm(A), torch.from_numpy(scipy.linalg.sqrtm(A.numpy()))) <= 1e-13
    power = scipy.linalg.fractional_matrix_power(A.numpy(), -1.7)
    assert relative_error(sg.powm(A, -1.7), torch.from_numpy(power)) <= 1e-12


@pytest.mark.parametrize("scale", [1e-10, 1e10])
@pytest.mark.parametrize("dtype", ALL)
def test_scale_of_the_matrix(dtype: torch.dtype, scale: float, device: str) -> None:
    names = ["logm", "sqrtm", "invsqrtm", "powm 0.3", "powm -1.7"]
    cases = [FUNCTIONS[name] for name in names]
    # The exponential of the matrix divided by the scale.
    cases += [Case(lambda A: sg.funm(A, lambda x: (x / scale).exp()), _exponential_of(1 / scale), positive=True)]
    cases += [Case(sg.expm, EXP)] if scale < 1 else []
    for case, gap in itertools.product(cases, [1e-4, 0]):
        A, (M, E) = scale * matrix(case, 4, 3, gap, dtype), directions(4, dtype)
        exact = reference.of(A, case.exact)
        assert relative_error(case.f(A.to(device)), exact.value()) <= by_precision(dtype, 1e-13, 1e-5)
        G = gradient_of(loss(case.f, M.to(device)), A.to(device))
        assert relative_error(G, exact.first(M)) <= by_precision(dtype, 1e-13, 1e-5)
        if dtype in DOUBLE:
            product = hessian_times(loss(case.f, M.to(device)), A.to(device), E.to(device))
            assert relative_error(product, exact.second(M, E)) <= 2e-10


def _exponential_of(t: float) -> reference.Differences:
    """x -> exp(tx)."""
    s = mpmath.mpf(t)
    return reference.smooth(
        lambda x: mpmath.exp(s * x), lambda x: s * mpmath.exp(s * x), lambda x: s**2 * mpmath.exp(s * x)
    )


@pytest.mark.parametrize("smallest", [1e-3, 1e-6, 1e-10])
@each_double
def test_ill_conditioned_matrices(dtype: torch.dtype, smallest: float) -> None:
    """Eigenvalues down to 1e-10 of the largest: the error is proportional to the condition number."""
    M, _ = directions(5, dtype)
    for name in ("logm", "sqrtm", "invsqrtm", "powm 0.3", "powm -1.7"):
        case = FUNCTIONS[name]
        for A in (
            with_spectrum([smallest, smallest, 0.5, 1, 1], dtype, seed=0),
            torch.diag(torch.tensor([0.5, smallest, 1, smallest, 1], dtype=dtype)),
        ):
            exact = reference.of(A, case.exact)
            assert relative_error(case.f(A), exact.value()) <= 1e-14 * max(1, exact.condition())
            G = gradient_of(loss(case.f, M), A)
            assert relative_error(G, exact.first(M)) <= 1e-14 * max(1, exact.condition_of_first(M))


@pytest.mark.parametrize("gap", [1.0, *(10.0**-k for k in range(1, 13, 2)), 0.0])
@each_double
def test_functions_with_a_scale_of_their_own(dtype: torch.dtype, gap: float) -> None:
    """tanh(λ/0.01) at eigenvalues of about 1: the scale of the function decides whether a gap is small."""
    steep = reference.smooth(
        lambda x: mpmath.tanh(100 * x),
        lambda x: 100 / mpmath.cosh(100 * x) ** 2,
        lambda x: -20000 * mpmath.tanh(100 * x) / mpmath.cosh(100 * x) ** 2,
    )
    A = with_spectrum([-1, *(0.003 + 0.01 * gap * k for k in range(3)), 0.7], dtype, seed=3)
    M, E = directions(5, dtype)
    exact = reference.of(A, steep)
    for options in ({}, {"df": lambda x: 100 / (100 * x).cosh() ** 2}):
        f = loss(lambda X, options=options: sg.funm(X, lambda x: (x / 0.01).tanh(), **options), M)
        assert relative_error(gradient_of(f, A), exact.first(M)) <= 1e-14 * exact.condition_of_first(M)
        assert relative_error(hessian_times(f, A, E), exact.second(M, E)) <= 2e-10


def test_the_reference_is_right() -> None:
    """The reference's divided differences, against central differences of first derivatives with as many digits."""
    for dtype, gap in itertools.product(DOUBLE, [0.1, 1e-7, 0]):
        A, (M, E) = with_cluster(5, 3, gap, dtype, seed=0), directions(5, dtype)
        exact = reference.of(A, EXP)
        weights = reference.function(mpmath.exp, mpmath.exp)
        assert relative_error(exact.first(M), reference.frechet(A, M, weights)) <= 1e-15
        assert relative_error(exact.second(M, E), reference.second_frechet(A, M, E, weights)) <= 1e-15
        powers = reference.of(A, _power(3))
        assert relative_error(powers.value(), A @ A @ A) <= 1e-14
        assert relative_error(powers.second(M, E), total(map(_product, itertools.permutations((A, M, E))))) <= 1e-14


def _product(factors: tuple[Tensor, ...]) -> Tensor:
    return torch.linalg.multi_dot(factors)


# --- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("dtype", ALL)
def test_identity_matrix(dtype: torch.dtype, n: int, device: str) -> None:
    """D f(I)[E] = f'(1) E, where torch's eigh gives NaN."""
    I = torch.eye(n, dtype=dtype, device=device)  # noqa: E741
    for f, slope in [(sg.sqrtm, 1 / 2), (sg.invsqrtm, -1 / 2), (sg.logm, 1), (lambda A: sg.powm(A, 5), 5)]:
        G = gradient_of(lambda X, f=f: f(X)[0, 1].real, I)
        expected = torch.zeros_like(I)
        expected[0, 1] = expected[1, 0] = slope / 2
        torch.testing.assert_close(G, expected, rtol=0, atol=4 * eps(dtype))


@pytest.mark.parametrize("dtype", ALL)
def test_powers_that_are_polynomials(dtype: torch.dtype) -> None:
    """Also of singular and indefinite matrices."""
    n = 4
    M, E = directions(n, dtype)

    def assert_close(found: Tensor, expected: Tensor) -> None:
        atol = 40 * eps(dtype) * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(found, expected, rtol=0, atol=atol)

    for A in (with_spectrum([-1, 0, 0, 2], dtype, seed=0), torch.zeros(n, n, dtype=dtype), torch.eye(n, dtype=dtype)):
        for p, value, gradient, product in [
            (0, torch.eye(n, dtype=dtype), torch.zeros_like(A), torch.zeros_like(A)),
            (1, A, M, torch.zeros_like(A)),
            (2, A @ A, A @ M + M @ A, E @ M + M @ E),
            (3, A @ A @ A, A @ A @ M + A @ M @ A + M @ A @ A, total(map(_product, itertools.permutations((A, M, E))))),
        ]:
            for exponent in (p, float(p)):
                f = loss(lambda X, p=exponent: sg.powm(X, p), M)
                assert_close(sg.powm(A, exponent), value)
                assert_close(gradient_of(f, A), gradient)
                assert_close(hessian_times(f, A, E), product)


@pytest.mark.parametrize("p", [100, -50, 12.5, 2.0000001, 1e-3])
@each_double
def test_any_exponent(dtype: torch.dtype, p: float) -> None:
    M, E = directions(5, dtype)
    for gap in (1e-2, 1e-5, 0):
        A = with_cluster(5, 3, gap, dtype, seed=0)
        exact, f = reference.of(A, _power(p)), loss(lambda X: sg.powm(X, p), M)
        assert relative_error(sg.powm(A, p), exact.value()) <= 1e-14 * max(1, exact.condition())
        assert relative_error(gradient_of(f, A), exact.first(M)) <= 1e-14 * max(1, exact.condition_of_first(M))
        assert relative_error(hessian_times(f, A, E), exact.second(M, E)) <= 2e-10


@each_double
def test_inverse(dtype: torch.dtype) -> None:
    A, (M, E) = with_spectrum([-2, -0.5, 1, 1, 3], dtype, seed=0), directions(5, dtype)
    inverse = torch.linalg.inv(A)
    assert relative_error(sg.powm(A, -1), inverse) <= 1e-14
    f = loss(lambda X: sg.powm(X, -1), M)
    assert relative_error(gradient_of(f, A), -inverse @ M @ inverse) <= 1e-14
    product = torch.linalg.multi_dot((inverse, M, inverse, E, inverse))
    assert relative_error(hessian_times(f, A, E), product + product.mH) <= 1e-14


@each_double
def test_kinks_between_eigenvalues(dtype: torch.dtype) -> None:
    """The nearest positive semidefinite matrix, by relu: each difference across the kink is the quotient."""
    A, (M, _) = with_spectrum([-1, -1, 2, 2], dtype, seed=0), directions(4, dtype)
    P = reference.of(A, reference.step(2, 4)).value()
    Q = torch.eye(4, dtype=dtype) - P
    assert relative_error(sg.funm(A, torch.relu), 2 * P) <= 1e-14
    # f[2,2] = 1, f[-1,-1] = 0, f[-1,2] = 2/3
    expected = P @ M @ P + (P @ M @ Q + Q @ M @ P) * 2 / 3
    assert relative_error(gradient_of(loss(lambda X: sg.funm(X, torch.relu), M), A), expected) <= 1e-14


@each_double
def test_functions_whose_derivatives_do_not_depend_on_their_argument(dtype: torch.dtype) -> None:
    A, (M, E) = with_spectrum(DEGENERATE, dtype, seed=0), directions(4, dtype)
    zero = torch.zeros_like(A)
    for f, value, slope in [
        (lambda x: x, A, M),
        (lambda x: 3 * x, 3 * A, 3 * M),
        (torch.ones_like, torch.eye(4, dtype=dtype), zero),
        (lambda x: torch.full_like(x, 2.0), 2 * torch.eye(4, dtype=dtype), zero),
    ]:
        of = loss(lambda X, f=f: sg.funm(X, f), M)
        torch.testing.assert_close(sg.funm(A, f), value, rtol=0, atol=1e-14)
        torch.testing.assert_close(gradient_of(of, A), slope, rtol=0, atol=1e-13)
        torch.testing.assert_close(hessian_times(of, A, E), zero, rtol=0, atol=1e-12)


# --- finite differences, forward mode, batched gradients -------------------------------------------------------------


def _evolution(A: Tensor) -> Tensor:
    return sg.funm(A, lambda x: torch.exp(-0.7j * x))


CHECKED = {name: case.f for name, case in FUNCTIONS.items() if name not in ("funm, df", "powm 0.3")} | {
    "funm, complex": _evolution,
    "trace_funm": lambda A: sg.trace_funm(A, torch.exp),
}


@pytest.mark.slow
@pytest.mark.parametrize("f", CHECKED.values(), ids=CHECKED)
@pytest.mark.parametrize("spectrum", [[1.3, 1.3, 1.3], [0.6, 0.6, 1.7]], ids=["threefold", "twofold"])
@each_double
def test_gradcheck_at_a_degeneracy(f: MatrixFunction, spectrum: list[float], dtype: torch.dtype, device: str) -> None:
    A = with_spectrum(spectrum, dtype, seed=5).to(device).requires_grad_()

    def function_of_hermitian_part(X: Tensor) -> Tensor:
        return f(hermitian_part(X))

    # torch itself fails batched forward gradients through the .mH of a complex tensor (an internal assert).
    real = not dtype.is_complex
    batched: dict[str, Any] = {"check_batched_grad": True, "check_batched_forward_grad": real}
    assert gradcheck(function_of_hermitian_part, A, check_forward_ad=True, fast_mode=not real, **batched)
    options: dict[str, Any] = {"check_batched_grad": True, "check_fwd_over_rev": True, "check_rev_over_rev": True}
    fast = not real or len(set(spectrum)) == 1
    assert gradgradcheck(function_of_hermitian_part, A, fast_mode=fast, **options)


SECOND: dict[str, Callable[[MatrixFunction, Tensor, Tensor], Tensor]] = {
    "jvp(grad)": lambda f, A, E: jvp(grad(f), (A,), (E,))[1],
    "grad(jvp)": lambda f, A, E: grad(lambda X: jvp(f, (X,), (E,))[1])(A),
    "jacrev(jacrev)": lambda f, A, E: torch.tensordot(jacrev(jacrev(f))(A), E),
    "jacrev(jacfwd)": lambda f, A, E: torch.tensordot(jacrev(jacfwd(f))(A), E),
    "jacfwd(jacrev)": lambda f, A, E: torch.tensordot(jacfwd(jacrev(f))(A), E),
    "jacfwd(jacfwd)": lambda f, A, E: torch.tensordot(jacfwd(jacfwd(f))(A), E),
}


@pytest.mark.parametrize("compose", SECOND.values(), ids=SECOND)
@each_function
def test_compositions_at_a_degeneracy(case: Case, compose: Callable[..., Tensor]) -> None:
    dtype = torch.float64
    A, (M, E) = with_spectrum(DEGENERATE, dtype, seed=0), directions(4, dtype)
    product = compose(lambda X: expectation(M, case.f(hermitian_part(X))), A, E)
    assert relative_error(product, reference.of(A, case.exact).second(M, E)) <= 2e-10


@each_function
@each_double
def test_forward_mode(case: Case, dtype: torch.dtype) -> None:
    A, (M, E) = with_spectrum(DEGENERATE, dtype, seed=0), directions(4, dtype)
    exact = reference.of(A, case.exact)
    with fw.dual_level():
        value, tangent = fw.unpack_dual(case.f(fw.make_dual(A, E)))
    assert relative_error(value, exact.value()) <= 1e-13
    assert relative_error(tangent, exact.first(E)) <= 1e-13
    second = along(M, along(E, case.f))(A)
    assert relative_error(second, exact.second(M, E)) <= 2e-10


def along(E: Tensor, f: MatrixFunction) -> MatrixFunction:
    return lambda X: jvp(f, (X,), (E,))[1]


@pytest.mark.parametrize("dtype", ALL)
def test_cotangents_that_are_not_hermitian(dtype: torch.dtype, device: str) -> None:
    """The gradient depends on their Hermitian part only; it is Hermitian to the bit."""
    A, C = with_spectrum(DEGENERATE, dtype, seed=0), normal(4, 4, dtype=dtype, seed=7)
    for case in FUNCTIONS.values():
        X = A.to(device).requires_grad_()
        (G,) = torch.autograd.grad(case.f(X), X, C.to(device), create_graph=True)
        assert torch.equal(G, G.mH.resolve_conj())
        (H,) = torch.autograd.grad(G, X, C.to(device))
        assert torch.equal(H, H.mH.resolve_conj())
        expected = reference.of(A, case.exact).first(hermitian_part(C))
        assert relative_error(G, expected) <= by_precision(dtype, 1e-13, 1e-5)


# --- traces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "gap"), DTYPES_AND_GAPS)
def test_trace(dtype: torch.dtype, gap: float, device: str) -> None:
    """The gradient of Σ f(λ) is f'(A), the Hessian times E is D f'(A)[E]; for f the sine."""
    A, (_, E) = with_cluster(6, 4, gap, dtype, seed=0, lowest=-1.3), directions(6, dtype)
    cosine = reference.of(A, COS)
    trace = reference.of(A, SIN).value().diagonal().sum().real
    for derivatives in [(), (torch.cos,), (torch.cos, lambda x: -x.sin())]:
        f = lambda X, derivatives=derivatives: sg.trace_funm(X, torch.sin, *derivatives)  # noqa: E731
        assert relative_error(f(A.to(device)), trace) <= by_precision(dtype, 1e-14, 5e-6)
        assert f(A.to(device)).dtype == dtype.to_real()
        assert relative_error(gradient_of(f, A.to(device)), cosine.value()) <= by_precision(dtype, 1e-13, 1e-5)
        if dtype in DOUBLE:
            assert relative_error(hessian_times(f, A.to(device), E.to(device)), cosine.first(E)) <= 1e-12


@pytest.mark.parametrize("options", [{}, {"df": lambda x: 2 * x}, {"df": lambda x: 2 * x, "d2f": lambda x: 0 * x + 2}])
def test_hessian_of_the_sum_of_squares(options: dict[str, Any]) -> None:
    """Σ λ² = tr A²: on symmetric matrices its Hessian is twice the identity, also at degenerate eigenvalues."""
    n = 3
    I = torch.eye(n, dtype=torch.float64)  # noqa: E741
    symmetrizer = torch.einsum("ik,jl->ijkl", I, I) + torch.einsum("il,jk->ijkl", I, I)
    for A in (I, torch.zeros_like(I), torch.diag(torch.tensor([1.0, 2, 1], dtype=torch.float64))):
        f = lambda X: sg.trace_funm(hermitian_part(X), torch.square, **options)  # noqa: E731
        for outer, inner in itertools.product(JACOBIANS, repeat=2):
            torch.testing.assert_close(outer(inner(f))(A), symmetrizer, rtol=0, atol=1e-14)
        torch.testing.assert_close(torch.autograd.functional.hessian(f, A), symmetrizer, rtol=0, atol=1e-14)


# --- functions with parameters, complex functions --------------------------------------------------------------------


def _in_theta(derivatives: int, theta: float) -> reference.Differences:
    """The `derivatives`-th derivative in θ of exp(θx): x^k exp(θx), with two derivatives in x."""
    t, k = mpmath.mpf(theta), derivatives

    def term(x: Any, j: int) -> Any:
        return mpmath.ff(k, j) * x ** (k - j) if j <= k else mpmath.mpf(0)

    def f(x: Any) -> Any:
        return term(x, 0) * mpmath.exp(t * x)

    def df(x: Any) -> Any:
        return (t * term(x, 0) + term(x, 1)) * mpmath.exp(t * x)

    def d2f(x: Any) -> Any:
        return (t**2 * term(x, 0) + 2 * t * term(x, 1) + term(x, 2)) * mpmath.exp(t * x)

    return reference.smooth(f, df, d2f)


def _exponential(A: Tensor, theta: Tensor) -> Tensor:
    return sg.funm(A, lambda x: (theta * x).exp())


def _exponential_with_derivatives(A: Tensor, theta: Tensor) -> Tensor:
    return sg.funm(
        A, lambda x: (theta * x).exp(), lambda x: theta * (theta * x).exp(), lambda x: theta**2 * (theta * x).exp()
    )


@pytest.mark.parametrize("f", [_exponential, _exponential_with_derivatives], ids=["by AD", "given"])
@pytest.mark.parametrize("gap", [0.1, 1e-5, 1e-10, 0])
@each_double
def test_parameters(f: Callable[[Tensor, Tensor], Tensor], gap: float, dtype: torch.dtype) -> None:
    A, (M, E) = with_cluster(4, 3, gap, dtype, seed=0), directions(4, dtype)
    theta = torch.tensor(0.7, dtype=torch.float64)
    by_theta = [reference.of(A, _in_theta(k, 0.7)) for k in range(3)]
    slope, curvature = (expectation(M, by_theta[k].value()) for k in (1, 2))
    mixed = by_theta[1].first(M)

    def value(X: Tensor, t: Tensor) -> Tensor:
        return expectation(M, f(X, t))

    X, t = A.clone().requires_grad_(), theta.clone().requires_grad_()
    G, g = torch.autograd.grad(value(X, t), (X, t), create_graph=True)
    assert relative_error(G, by_theta[0].first(M)) <= 1e-13
    assert relative_error(g, slope) <= 1e-13
    # The mixed derivative in both orders, and the two second derivatives in θ or A alone.
    product, along = torch.autograd.grad(G, (X, t), E, retain_graph=True)
    assert relative_error(product, by_theta[0].second(M, E)) <= 2e-10
    assert relative_error(along, expectation(E, mixed)) <= 1e-12
    across, twice = torch.autograd.grad(g, (X, t))
    assert relative_error(across, mixed) <= 1e-12
    assert relative_error(twice, curvature) <= 1e-13
    # The same by transforms, nested in both orders.
    for outer, inner in itertools.product(JACOBIANS, repeat=2):
        assert (
            relative_error(outer(lambda t, inner=inner: jvp(lambda X: value(X, t), (A,), (E,))[1])(theta), along)
            <= 1e-12
        )
        slopes = lambda X, inner=inner: inner(lambda t: value(X, t))(theta)  # noqa: E731
        assert relative_error(jvp(slopes, (A,), (E,))[1], along) <= 1e-12
        assert relative_error(outer(inner(lambda t: value(A, t)))(theta), curvature) <= 1e-12


@pytest.mark.parametrize("gap", [1.0, 0.1, 1e-3, 1e-7, 0])
def test_parameters_where_the_function_is_special(gap: float) -> None:
    """∂/∂θ of θ exp(x) at θ = 0 and of x^θ at θ = 3: differences of f itself are exact there by any formula.

    Not as x**θ: torch's own derivative of that in θ and x is 0 where the exponent that is left is 0.
    """
    A, (M, E) = with_cluster(4, 3, gap, torch.float64, seed=0), directions(4, torch.float64)
    q = mpmath.mpf(3)
    cubes = reference.smooth(
        lambda x: x**q * mpmath.log(x),
        lambda x: x**2 * (3 * mpmath.log(x) + 1),
        lambda x: x * (6 * mpmath.log(x) + 5),
    )
    for f, theta, slope in [(lambda t, x: t * x.exp(), 0.0, EXP), (lambda t, x: (t * x.log()).exp(), 3.0, cubes)]:
        t = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        X = A.clone().requires_grad_()
        (G,) = torch.autograd.grad(expectation(M, sg.funm(X, functools.partial(f, t))), X, create_graph=True)
        product, mixed = torch.autograd.grad(expectation(E, G), (X, t), create_graph=True)
        assert relative_error(mixed, expectation(E, reference.of(A, slope).first(M))) <= 1e-12
        (mixed,) = torch.autograd.grad(expectation(E, product), t)
        assert relative_error(mixed, expectation(E, reference.of(A, slope).second(M, E))) <= 1e-9


def test_parameters_that_are_many() -> None:
    """Coefficients of a polynomial; one number for each matrix of a batch; a network."""
    A, (M, _) = with_spectrum(DEGENERATE, torch.float64, seed=0), directions(4, torch.float64)
    c = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(expectation(M, sg.funm(A, lambda x: c[0] + c[1] * x + c[2] * x**2)), c)
    torch.testing.assert_close(g, torch.stack([M.trace(), expectation(M, A), expectation(M, A @ A)]))

    batch = torch.stack([A, 0.5 * A, A])
    thetas = torch.tensor([[0.7], [0.2], [0.7]], dtype=torch.float64)
    t = thetas.clone().requires_grad_()
    (g,) = torch.autograd.grad(expectation(M, _exponential(batch, t)), t)
    expected = [expectation(M, reference.of(X, _in_theta(1, float(t))).value()) for X, t in zip(batch, thetas)]
    assert relative_error(g[:, 0], torch.stack(expected)) <= 1e-13
    # The same by vmap over both, and over either.
    for in_dims, arguments in [
        ((0, 0), (batch, thetas[:, 0])),
        ((None, 0), (A, thetas[:, 0])),
        ((0, None), (batch, thetas[0, 0])),
    ]:
        values = vmap(_exponential, in_dims)(*arguments)
        slopes = vmap(grad(lambda X, t: expectation(M, _exponential(X, t)), 1), in_dims)(*arguments)
        for k in range(3):
            X, t = (x[k] if dim == 0 else x for x, dim in zip(arguments, in_dims))
            assert relative_error(values[k], reference.of(X, _in_theta(0, float(t))).value()) <= 1e-13
            slope = expectation(M, reference.of(X, _in_theta(1, float(t))).value())
            assert relative_error(slopes[k], slope) <= 1e-13

    network = torch.nn.Sequential(torch.nn.Linear(1, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
    filtered = expectation(M, sg.funm(A, lambda x: network(x.unsqueeze(-1)).squeeze(-1)))
    gradients = torch.autograd.grad(filtered, list(network.parameters()))
    L, V = torch.linalg.eigh(A)
    weights = (V.mH @ M @ V).diagonal()
    by_hand = (weights * network(L.unsqueeze(-1)).squeeze(-1)).sum()
    for g, other in zip(gradients, torch.autograd.grad(by_hand, list(network.parameters()))):
        torch.testing.assert_close(g, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("gap", [0.1, 1e-5, 1e-10, 0])
@each_double
def test_complex_functions(gap: float, dtype: torch.dtype) -> None:
    """exp(-itA) = cos(tA) - i sin(tA); Re tr((M + iN) exp(-itA)) = tr(M cos tA) + tr(N sin tA) for Hermitian M, N."""
    A, (M, N) = with_cluster(4, 3, gap, dtype, seed=0), directions(4, dtype)
    E = random_hermitian(4, 4, dtype=dtype, seed=102)
    t = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    s = mpmath.mpf(1.3)

    def cosine(k: int) -> reference.Differences:
        """cos(tx + kπ/2), for odd k exactly ±sin(tx)."""
        f = [mpmath.cos, lambda x: -mpmath.sin(x), lambda x: -mpmath.cos(x), mpmath.sin]
        return reference.smooth(
            lambda x: f[k % 4](s * x), lambda x: s * f[(k + 1) % 4](s * x), lambda x: s**2 * f[(k + 2) % 4](s * x)
        )

    C, S = (reference.of(A, cosine(k)) for k in (0, 3))
    f = lambda X: sg.funm(X, lambda x: torch.exp(-1j * t * x))  # noqa: E731
    U = f(A)
    assert U.dtype == torch.complex128
    assert relative_error(U, C.value() - 1j * S.value()) <= 1e-14
    assert relative_error(U, torch.linalg.matrix_exp(-1.3j * A)) <= 1e-13
    weight = M + 1j * N
    of = loss(f, weight)
    G = gradient_of(of, A)
    assert G.dtype == dtype
    assert relative_error(G, C.first(M) + S.first(N)) <= 1e-13
    assert relative_error(hessian_times(of, A, E), C.second(M, E) + S.second(N, E)) <= 2e-10
    tangent = jvp(f, (A,), (E,))[1]
    assert relative_error(tangent, C.first(E) - 1j * S.first(E)) <= 1e-13
    trace = lambda X: sg.trace_funm(X, lambda x: torch.exp(-1j * t * x))  # noqa: E731
    assert relative_error(trace(A), U.diagonal().sum()) <= 1e-13
    assert relative_error(gradient_of(lambda X: trace(X).imag, A), -1.3 * C.value()) <= 1e-13
    # d/dt = -iA exp(-itA)
    (slope,) = torch.autograd.grad(of(A), t)
    assert relative_error(slope, expectation(weight, -1j * A.to(torch.complex128) @ U).detach()) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_complex_functions_in_single_precision(dtype: torch.dtype) -> None:
    A, (M, _) = with_spectrum(DEGENERATE, dtype, seed=0), directions(4, dtype)
    U = _evolution(A)
    assert U.dtype == torch.complex64
    expected = torch.linalg.matrix_exp(-0.7j * A.to(torch.complex128))
    assert relative_error(U, expected) <= 1e-5
    cosine = reference.smooth(
        lambda x: mpmath.cos(0.7 * x), lambda x: -0.7 * mpmath.sin(0.7 * x), lambda x: -0.49 * mpmath.cos(0.7 * x)
    )
    G = gradient_of(lambda X: expectation(M.to(torch.complex64), _evolution(X)), A)
    assert G.dtype == dtype
    assert relative_error(G, reference.of(A, cosine).first(M)) <= 1e-5


# --- singular matrices -----------------------------------------------------------------------------------------------

ROOTS = {"sqrtm": (sg.sqrtm, 0.5), "powm 0.3": (lambda A: sg.powm(A, 0.3), 0.3)}
each_root = pytest.mark.parametrize(("f", "p"), ROOTS.values(), ids=ROOTS)


def _differences_outside_the_kernel(L: Tensor, p: float) -> Tensor:
    """f[a,b] of x^p, and 0 where both are 0."""
    a, b = L.unsqueeze(-1), L.unsqueeze(-2)
    same = a == b
    quotient = (a**p - b**p) / torch.where(same, 1, a - b)
    return torch.where(same, torch.where(a == 0, 0, p * a.clamp(min=0.1) ** (p - 1)), quotient)


@each_root
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("dtype", ALL)
def test_roots_of_singular_matrices(
    f: MatrixFunction, p: float, rotated: bool, dtype: torch.dtype, device: str
) -> None:
    """The derivative is infinite only inside the null space; in all other directions it is exact."""
    L = torch.tensor([0.0, 0, 1, 4], dtype=torch.float64)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    V = torch.linalg.qr(normal(4, 4, dtype=wide, seed=0)).Q if rotated else torch.eye(4, dtype=wide)
    A = hermitian_part(V * L @ V.mH).to(dtype)
    value = (V * L**p) @ V.mH
    # Eigenvalues in the null space are round-off, and count as 0.
    torch.testing.assert_close(f(A.to(device)).cpu().to(wide), value, rtol=0, atol=20 * eps(dtype))

    M = random_hermitian(4, 4, dtype=wide, seed=1)
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[:2, :2] = True
    outside = (V @ (V.mH @ M @ V).masked_fill(inside, 0) @ V.mH).to(dtype)
    K = _differences_outside_the_kernel(L, p)
    expected = V @ (K * (V.mH @ M @ V)) @ V.mH
    tolerance = 50 * eps(dtype)
    # A cotangent without a part inside the null space does not warn.
    G = gradient_of(loss(f, outside.to(device)), A.to(device))
    assert relative_error(G, expected) <= tolerance
    tangent = jvp(f, (A.to(device),), (outside.to(device),))[1]
    assert relative_error(tangent, expected) <= tolerance
    # For one with such a part, that part is left out, with a warning.
    with pytest.warns(sg.GaugeWarning, match=r"spectralgrad\.(sqrtm|powm)"):
        G = gradient_of(loss(f, M.to(dtype).to(device)), A.to(device))
    assert relative_error(G, expected) <= tolerance
    with pytest.warns(sg.GaugeWarning, match=r"spectralgrad\.(sqrtm|powm)"):
        tangent = jvp(f, (A.to(device),), (M.to(dtype).to(device),))[1]
    assert relative_error(tangent, expected) <= tolerance
    with sg.checks("ignore"):
        assert torch.equal(gradient_of(loss(f, M.to(dtype).to(device)), A.to(device)), G)


@each_root
def test_infinite_derivatives_of_roots_raise_on_request(f: MatrixFunction, p: float) -> None:
    A = torch.diag(torch.tensor([0.0, 0, 1], dtype=torch.float64))
    with sg.checks("raise"):
        with pytest.raises(sg.GaugeError, match=r"A is singular \(matrix 0 of the batch\)"):
            gradient_of(lambda X: f(X).sum(), A)
        outside = torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 1, 1]], dtype=torch.float64)
        expected = torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 1, p]], dtype=torch.float64)
        torch.testing.assert_close(gradient_of(loss(f, outside), A), expected, rtol=0, atol=1e-15)
        # A multiple of the identity inside the kernel is that of a trace. In a kernel of dimension 1 everything is.
        torch.testing.assert_close(
            gradient_of(loss(f, outside + torch.eye(3)), A),
            expected + torch.diag(torch.tensor([0, 0, p])),
            check_dtype=False,
        )
        gradient_of(lambda X: f(X).sum(), A[1:, 1:])


@each_root
def test_second_derivatives_of_roots_of_singular_matrices(f: MatrixFunction, p: float) -> None:
    """Outside the null space, D²f[M, E] is the limit of regular matrices. Inside, where that limit is infinite, it is
    the derivative among matrices of the same rank, with f[0,b,0] = b^(p-2)."""
    M, E = (random_hermitian(4, 4, dtype=torch.float64, seed=seed) for seed in (1, 2))
    M[:2, :2] = E[:2, :2] = 0
    b = torch.tensor([1.0, 4.0], dtype=torch.float64)
    A = torch.diag(torch.cat([torch.zeros(2, dtype=torch.float64), b]))
    with sg.checks("raise"):
        product = hessian_times(loss(f, M), A, E)
    # f[0,b,c] = (f[0,b] - f[b,c])/(0 - c) needs no derivative at 0.
    near = A + torch.diag(torch.tensor([1e-40, 1e-40, 0, 0], dtype=torch.float64))
    expected = reference.of(near, _power(p)).second(M, E)
    half = (M[:2, 2:] * b ** (p - 2)) @ E[2:, :2]
    expected[:2, :2] = half + half.mT
    assert relative_error(product, expected) <= 1e-9


@pytest.mark.parametrize("dtype", ALL)
def test_roots_of_zero(dtype: torch.dtype) -> None:
    A = torch.zeros(3, 3, dtype=dtype)
    for f, _ in ROOTS.values():
        assert torch.equal(f(A), A)
        with pytest.warns(sg.GaugeWarning):
            assert torch.equal(gradient_of(lambda X, f=f: f(X).real.sum(), A), A)


@each_double
def test_powers_above_one_of_singular_matrices(dtype: torch.dtype) -> None:
    """x^2.5 has two derivatives at 0 and x^1.5 one, so no part of these is left out."""
    A, (M, E) = torch.diag(torch.tensor([0, 0, 1, 4], dtype=dtype)), directions(4, dtype)
    for p in (2.5, 1.5):
        f = loss(lambda X, p=p: sg.powm(X, p), M)
        # So close to A that no digit differs.
        exact = reference.of(A + torch.diag(torch.tensor([1e-60, 1e-60, 0, 0], dtype=dtype)), _power(p))
        assert relative_error(gradient_of(f, A), exact.first(M)) <= 1e-14
        if p > 2:
            assert relative_error(hessian_times(f, A, E), exact.second(M, E)) <= 1e-13


# --- domains, errors, shapes, layouts --------------------------------------------------------------------------------

DEFINITE = r"Expected A to be positive definite, but its smallest eigenvalue is {}"
SEMIDEFINITE = r"Expected A to be positive semidefinite, but its smallest eigenvalue is {}"
INVERTIBLE = r"Expected A to be invertible, but it has the eigenvalue 0"
DOMAIN: dict[str, tuple[MatrixFunction, list[float], str]] = {
    "logm of indefinite": (sg.logm, [-0.5, 1.0], r"logm: " + DEFINITE.format(r"-0\.5")),
    "logm of singular": (sg.logm, [0.0, 1.0], r"logm: " + DEFINITE.format("0")),
    "invsqrtm of indefinite": (sg.invsqrtm, [-0.5, 1.0], r"invsqrtm: " + DEFINITE.format(r"-0\.5")),
    "invsqrtm of singular": (sg.invsqrtm, [0.0, 1.0], r"invsqrtm: " + DEFINITE.format("0")),
    "sqrtm of indefinite": (sg.sqrtm, [-0.5, 1.0], r"sqrtm: " + SEMIDEFINITE.format(r"-0\.5")),
    "powm 0.3 of indefinite": (lambda A: sg.powm(A, 0.3), [-0.5, 1.0], r"powm: " + SEMIDEFINITE.format(r"-0\.5")),
    "powm -0.3 of indefinite": (lambda A: sg.powm(A, -0.3), [-0.5, 1.0], r"powm: " + DEFINITE.format(r"-0\.5")),
    "powm -0.3 of singular": (lambda A: sg.powm(A, -0.3), [0.0, 1.0], r"powm: " + DEFINITE.format("0")),
    "powm -2 of singular": (lambda A: sg.powm(A, -2), [0.0, 1.0], r"powm: " + INVERTIBLE),
}


@pytest.mark.parametrize(("f", "spectrum", "message"), DOMAIN.values(), ids=DOMAIN)
@pytest.mark.parametrize("dtype", ALL)
def test_outside_the_domain(f: MatrixFunction, spectrum: list[float], message: str, dtype: torch.dtype) -> None:
    bad, good = torch.diag(torch.tensor(spectrum, dtype=dtype)), torch.eye(2, dtype=dtype)
    with pytest.raises(LinAlgError, match=r"spectralgrad\." + message):
        f(bad)
    batch = torch.stack([good, bad, good])
    with pytest.raises(LinAlgError, match=r": \(Batch element 1\): ".join(message.split(": "))):
        f(batch.requires_grad_())
    with sg.checks("ignore"):
        X = batch.detach().clone().requires_grad_()
        y = f(X)
        assert torch.equal(y[[0, 2]], f(good).expand(2, 2, 2))
        assert bool(y[1].isnan().all())
        G = torch.autograd.grad(y, X, torch.ones_like(y))[0]
        alone = torch.ones_like(good)
        assert torch.equal(G[0], gradient_of(lambda X: expectation(alone, f(X)), good))
        assert bool(G[[0, 2]].isfinite().all())


def test_rounding_of_zero_eigenvalues_is_inside_the_domain() -> None:
    for dtype in ALL:
        A = torch.diag(torch.tensor([-eps(dtype), 1, 3], dtype=dtype))
        for f, _ in ROOTS.values():
            assert float(f(A)[0, 0].real) == 0
        with pytest.raises(LinAlgError, match="positive semidefinite"):
            sg.sqrtm(torch.diag(torch.tensor([-100 * eps(dtype), 1, 3], dtype=dtype)))


ALL_FUNCTIONS: dict[str, MatrixFunction] = {
    "expm": sg.expm,
    "logm": sg.logm,
    "sqrtm": sg.sqrtm,
    "invsqrtm": sg.invsqrtm,
    "powm": lambda A: sg.powm(A, 2.5),
    "funm": lambda A: sg.funm(A, torch.exp),
    "trace_funm": lambda A: sg.trace_funm(A, torch.exp),
}
SLOPES_AT_ONE = {"expm": np.e, "logm": 1, "sqrtm": 0.5, "invsqrtm": -0.5, "powm": 2.5, "funm": np.e, "trace_funm": np.e}
each_name = pytest.mark.parametrize("name", ALL_FUNCTIONS)
# The functions above, and a projector for matrices whose lowest three eigenvalues are a cluster.
WITH_PROJECTOR = ALL_FUNCTIONS | {"spectral_projector": lambda A: sg.spectral_projector(A, 0, 3)}
each_name_and_projector = pytest.mark.parametrize("name", WITH_PROJECTOR)
I3 = torch.eye(3, dtype=torch.float64)


def _with(A: Tensor, row: int, column: int, value: float) -> Tensor:
    A = A.clone()
    A[..., row, column] = value
    return A


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "1-D": (torch.ones(3), RuntimeError, r"{f}: The input tensor A must have at least 2 dimensions, but it has 1"),
    "not square": (
        torch.ones(2, 3),
        RuntimeError,
        r"{f}: A must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    "not a tensor": ([[1.0]], TypeError, "Tensor"),
    **{
        name: (
            torch.ones(3, 3).to(dtype),
            NotImplementedError,
            rf'"{{f}}" not implemented for \'{name}\': Expected A to be float32, float64, complex64 or complex128',
        )
        for name, dtype in [("Half", torch.float16), ("BFloat16", torch.bfloat16), ("Long", torch.int64)]
    },
    "NaN": (
        _with(I3, 2, 0, torch.nan),
        LinAlgError,
        r"{f}: Expected the lower triangle of A to be finite, but the entry \(2, 0\) is nan",
    ),
    "Inf in a batch": (
        torch.stack([I3, _with(I3, 1, 1, torch.inf)]),
        LinAlgError,
        r"{f}: \(Batch element 1\): Expected the lower triangle of A to be finite, but the entry \(1, 1\) is inf",
    ),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
@each_name_and_projector
def test_bad_matrices(name: str, case: tuple[Any, type[Exception], str]) -> None:
    A, kind, message = case
    with pytest.raises(kind, match=message.replace("{f}", rf"spectralgrad\.{name}")):
        WITH_PROJECTOR[name](A)


BAD_OUTPUTS: dict[str, tuple[Any, str]] = {
    "one number": (lambda x: x.sum(), r"shape"),
    "one too many": (lambda x: torch.cat([x, x[..., :1]], -1), r"shape"),
    "a Python number": (lambda x: 1.0, r"[Tt]ensor"),
    "nothing": (lambda x: None, r"[Tt]ensor"),
    "another precision": (lambda x: x.float(), r"float32"),
    "not a function": (3.0, r""),
    "a tensor": (torch.ones(3), r""),
}


@pytest.mark.parametrize(("bad", "message"), BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
@pytest.mark.parametrize("argument", ["f", "df", "d2f"])
@pytest.mark.parametrize("name", ["funm", "trace_funm"])
def test_bad_functions(name: str, argument: str, bad: Any, message: str) -> None:
    functions = {"f": torch.sin, "df": torch.cos, "d2f": lambda x: -x.sin()} | {argument: bad}
    with pytest.raises((TypeError, ValueError), match=rf"spectralgrad\.{name}: .*\b{argument}\b.*{message}"):
        hessian_times(lambda X: getattr(sg, name)(X, **functions).sum(), with_spectrum([1, 2, 2], torch.float64, 0), I3)


@pytest.mark.parametrize("gap", [0.1, 1e-3, 1e-8, 0])
def test_functions_that_autograd_cannot_see(gap: float) -> None:
    """If df and d2f are given, autograd does not differentiate f."""

    def with_numpy(f: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.from_numpy(f(x.detach().numpy()))

    bessel = reference.smooth(
        lambda x: mpmath.besselj(0, x),
        lambda x: -mpmath.besselj(1, x),
        lambda x: mpmath.besselj(1, x) / x - mpmath.besselj(0, x),
    )
    j0, j1 = scipy.special.j0, scipy.special.j1
    functions = map(with_numpy, (j0, lambda x: -j1(x), lambda x: j1(x) / x - j0(x)))
    A, (M, E) = with_cluster(4, 3, gap, torch.float64, seed=0), directions(4, torch.float64)
    exact, f = reference.of(A, bessel), loss(lambda X, given=tuple(functions): sg.funm(X, *given), M)
    assert relative_error(gradient_of(f, A), exact.first(M)) <= 1e-11
    # Without a derivative beyond f'', second differences of close eigenvalues are f''/2, to an error of about the gap.
    assert relative_error(hessian_times(f, A, E), exact.second(M, E)) <= 1e-9 + gap


def test_functions_under_saved_tensor_hooks() -> None:
    A, (M, _) = with_spectrum(DEGENERATE, torch.float64, seed=0), directions(4, torch.float64)
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for of in (lambda X: expectation(M, _exponential(X, t)), lambda X: sg.trace_funm(X, lambda x: (t * x).exp())):
        X = A.clone().requires_grad_()
        expected = torch.autograd.grad(of(X), (X, t))
        checkpointed = torch.utils.checkpoint.checkpoint(of, X, use_reentrant=False)
        with torch.autograd.graph.save_on_cpu():
            saved = of(X)
        for y in (checkpointed, saved):
            for g, h in zip(torch.autograd.grad(y, (X, t)), expected, strict=True):
                assert relative_error(g, h) <= 1e-14


def test_second_derivatives_without_first() -> None:
    with pytest.raises(TypeError, match=r"spectralgrad\.funm: Expected df where d2f is given"):
        sg.funm(I3, torch.sin, d2f=lambda x: -x.sin())


def test_errors_of_a_function_are_its_own() -> None:
    def f(x: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sg.funm(I3, f)
    with pytest.raises(KeyError, match="mine"):
        gradient_of(lambda X: sg.funm(X, torch.sin, f).sum(), I3)


@pytest.mark.parametrize("p", ["2", None, [1], 1j, float("nan"), float("inf")], ids=repr)
def test_bad_exponents(p: Any) -> None:
    kind = ValueError if isinstance(p, float) else TypeError
    with pytest.raises(kind, match=r"spectralgrad\.powm: Expected p to be"):
        sg.powm(I3, p)


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("batch", [(), (0,), (2,), (1, 1), (2, 0, 3), (2, 3)])
@each_name
def test_shapes(name: str, batch: tuple[int, ...], n: int, device: str) -> None:
    f = ALL_FUNCTIONS[name]
    for dtype in ALL:
        A = torch.eye(n, dtype=dtype, device=device).expand(*batch, n, n).contiguous()
        y = f(A)
        assert (y.shape, y.device) == (batch if name == "trace_funm" else A.shape, A.device)
        assert y.dtype == (dtype.to_real() if name == "trace_funm" else dtype)
        trace = (lambda X: f(X).sum()) if name == "trace_funm" else lambda X: f(X).diagonal(0, -2, -1).sum().real
        expected = SLOPES_AT_ONE[name] * A
        torch.testing.assert_close(gradient_of(trace, A), expected, rtol=8 * eps(dtype), atol=8 * eps(dtype))
        assert hessian_times(trace, A, A).shape == A.shape


@each_name_and_projector
@pytest.mark.parametrize("dtype", ALL)
def test_batches_are_matrix_by_matrix(name: str, dtype: torch.dtype, device: str) -> None:
    """To round-off only: the rounding of LAPACK and of matrix products depends on the alignment of their data."""
    f = WITH_PROJECTOR[name]
    A = torch.stack([with_cluster(4, 3, gap, dtype, seed=k) for k, gap in enumerate([0.1, 1e-6, 0])]).to(device)
    M, E = (x.to(device) for x in directions(4, dtype))
    of = (lambda X: f(X).sum()) if name == "trace_funm" else loss(f, M)
    for together, alone in [
        (f(A), [f(X) for X in A]),
        (gradient_of(of, A), [gradient_of(of, X) for X in A]),
        (hessian_times(of, A, E.expand_as(A)), [hessian_times(of, X, E) for X in A]),
        (vmap(grad(of))(A), [gradient_of(of, X) for X in A]),
        (vmap(lambda X: jvp(grad(of), (X,), (E,))[1])(A), [hessian_times(of, X, E) for X in A]),
        (f(A.expand(2, *A.shape))[1], [f(X) for X in A]),
    ]:
        for x, y in zip(together, alone, strict=True):
            assert relative_error(x, y) <= 100 * eps(dtype)


def test_second_derivatives_of_batches_too_large_for_one_piece() -> None:
    """The n³ differences of a matrix are computed a few million at a time."""
    A = torch.stack([with_cluster(32, 4, 1e-6, torch.float64, seed=k) for k in range(70)])
    M, E = directions(32, torch.float64)
    products = hessian_times(loss(sg.logm, M), A, E.expand_as(A))
    for k in (0, 69):
        assert relative_error(products[k], hessian_times(loss(sg.logm, M), A[k], E)) <= 1e-13


@each_name_and_projector
def test_under_autocast(name: str) -> None:
    """Results keep the precision of the matrix, as with torch.matrix_exp and torch.linalg.eigh."""
    A, f = with_cluster(4, 3, 1e-3, torch.float32, seed=0), WITH_PROJECTOR[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, G = f(A), gradient_of(lambda X: f(X).sum(), A)
    assert (y.dtype, G.dtype) == (A.dtype, A.dtype)
    assert relative_error(y, f(A)) <= 1e-6
    assert relative_error(G, gradient_of(lambda X: f(X).sum(), A)) <= 1e-5


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@each_name_and_projector
@each_double
def test_under_a_dispatch_mode(name: str, dtype: torch.dtype) -> None:
    """Under a dispatch mode, torch masks its dispatch keys for conjugates, as in compiled code."""
    A, (M, E) = with_cluster(4, 3, 1e-6, dtype, seed=0), directions(4, dtype)
    f = WITH_PROJECTOR[name]
    of = f if name == "trace_funm" else loss(f, M)
    with Mode():
        results = f(A), gradient_of(of, A), hessian_times(of, A, E)
    for x, y in zip(results, (f(A), gradient_of(of, A), hessian_times(of, A, E)), strict=True):
        assert relative_error(x, y) <= 1e-14


@each_name_and_projector
@pytest.mark.parametrize("dtype", ALL)
def test_only_the_lower_triangle_is_read(name: str, dtype: torch.dtype, device: str) -> None:
    f = WITH_PROJECTOR[name]
    A = with_cluster(4, 3, 1e-6, dtype, seed=0).to(device)
    M = directions(4, dtype)[0].to(device)
    of = f if name == "trace_funm" else loss(f, M)
    for garbage in (1e3, torch.nan, torch.inf):
        dirty = torch.where(torch.ones_like(A, dtype=torch.bool).triu(1), torch.full_like(A, garbage), A)
        if dtype in COMPLEX:
            dirty.imag.diagonal().fill_(garbage)
        assert torch.equal(f(dirty), f(A))
        assert torch.equal(gradient_of(of, dirty), gradient_of(of, A))


@each_name_and_projector
@pytest.mark.parametrize("dtype", ALL)
def test_a_nan_matrix_does_not_change_the_others(name: str, dtype: torch.dtype, device: str) -> None:
    f = WITH_PROJECTOR[name]
    A = torch.stack([with_cluster(4, 3, gap, dtype, seed=0) for gap in (0.1, 0, 0)]).to(device)
    E = directions(4, dtype)[1].to(device).expand_as(A)
    clean = A[[0, 2]]
    A[1, 2, 1] = torch.nan

    def of(X: Tensor) -> Tensor:
        return f(X).real.sum()

    with sg.checks("ignore"):
        for x, y in [
            (f(A), f(clean)),
            (gradient_of(of, A), gradient_of(of, clean)),
            (hessian_times(of, A, E), hessian_times(of, clean, E[:2])),
        ]:
            assert bool(x[1].isnan().all())
            assert relative_error(x[[0, 2]], y) <= 20 * eps(dtype)


# Each gives a tensor equal to A in another layout.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda A: A.mT.contiguous().mT,
    "strided": lambda A: torch.stack([A, A], -1)[..., 0],
    "expanded": lambda A: A[:1].expand(A.shape),
    "batch last": lambda A: A.movedim(0, -1).contiguous().movedim(-1, 0),
    "conjugated": lambda A: A.conj().resolve_conj().conj(),
    "negative view": lambda A: torch._neg_view(-A),
    "hermitian view": lambda A: A.mH.clone().mH,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@each_name_and_projector
def test_layouts(name: str, layout: Callable[[Tensor], Tensor]) -> None:
    f = WITH_PROJECTOR[name]
    for dtype in DOUBLE:
        A = with_cluster(4, 3, 0, dtype, seed=0).expand(3, 4, 4).contiguous()
        C = normal(3, *(() if name == "trace_funm" else (4, 4)), dtype=dtype, seed=1)
        C = C.real if name == "trace_funm" else C
        X = A.clone().requires_grad_()
        plain, other = f(X), f(layout(X))
        assert relative_error(other, plain) <= 1e-15
        (G,) = torch.autograd.grad(plain, X, C)
        (H,) = torch.autograd.grad(other, X, C if name == "trace_funm" or C.dim() == 2 else C.mH.contiguous().mH)
        if layout is LAYOUTS["expanded"]:
            G = torch.cat([G.sum(0, keepdim=True), torch.zeros_like(G[1:])])
        assert relative_error(H, G) <= 1e-14


# --- compiled --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("name", ["expm", "funm, df, d2f", "funm"])
@each_double
def test_compiled(name: str, dtype: torch.dtype) -> None:
    case, (M, _) = FUNCTIONS[name], directions(4, dtype)
    compiled = torch.compile(lambda X: expectation(M, case.f(X)), backend="aot_eager", fullgraph=True)
    for spectrum in ([-1, 0.5, 1.5, 3], DEGENERATE):
        A = with_spectrum(spectrum, dtype, seed=0)
        exact = reference.of(A, case.exact)
        assert relative_error(compiled(A), expectation(M, exact.value())) <= 1e-13
        assert relative_error(gradient_of(compiled, A), exact.first(M)) <= 1e-13


# --- identities ------------------------------------------------------------------------------------------------------

# Spectra with degenerate eigenvalues, and with any gaps.
positive_spectra = st.lists(
    st.one_of(st.sampled_from([0.25, 1.0, 1.0, 3.0]), st.floats(0.25, 4)), min_size=2, max_size=6
)
seeds = st.integers(0, 10**6)
doubles = st.sampled_from(DOUBLE)


@given(positive_spectra, seeds, doubles)
def test_inverse_functions(spectrum: list[float], seed: int, dtype: torch.dtype) -> None:
    """f⁻¹(f(A)) = A: its gradient is the cotangent, its Hessian 0."""
    n = len(spectrum)
    A, M, E = with_spectrum(spectrum, dtype, seed), *directions(n, dtype)
    for there, back in [
        (sg.expm, sg.logm),
        (sg.logm, sg.expm),
        (sg.sqrtm, lambda X: sg.powm(X, 2)),
        (lambda X: sg.powm(X, 0.3), lambda X: sg.powm(X, 1 / 0.3)),
        (sg.invsqrtm, lambda X: sg.powm(X, -2)),
    ]:
        same = lambda X, there=there, back=back: back(there(X))  # noqa: E731
        assert relative_error(same(A), A) <= 1e-13
        assert relative_error(gradient_of(loss(same, M), A), M) <= 1e-12
        vanishing = hessian_times(loss(same, M), A, E)
        assert float(vanishing.abs().max()) <= 1e-10 * float(M.abs().max() * E.abs().max())


@given(positive_spectra, seeds, doubles)
def test_products(spectrum: list[float], seed: int, dtype: torch.dtype) -> None:
    n = len(spectrum)
    A, (M, _) = with_spectrum(spectrum, dtype, seed), directions(n, dtype)
    root = lambda X: sg.sqrtm(X) @ sg.sqrtm(X)  # noqa: E731
    assert relative_error(root(A), A) <= 1e-13
    assert relative_error(gradient_of(loss(root, M), A), M) <= 1e-12
    one = lambda X: sg.sqrtm(X) @ sg.invsqrtm(X)  # noqa: E731
    torch.testing.assert_close(one(A), torch.eye(n, dtype=dtype), rtol=0, atol=1e-13)
    torch.testing.assert_close(gradient_of(loss(one, M), A), torch.zeros_like(A), rtol=0, atol=1e-12)
    both, sum_of = (lambda X: sg.powm(X, 0.4) @ sg.powm(X, -1.1)), (lambda X: sg.powm(X, 0.4 - 1.1))
    assert relative_error(both(A), sum_of(A)) <= 1e-13
    assert relative_error(gradient_of(loss(both, M), A), gradient_of(loss(sum_of, M), A)) <= 1e-12


@given(positive_spectra, seeds, doubles, st.sampled_from(list(FUNCTIONS)))
def test_change_of_basis(spectrum: list[float], seed: int, dtype: torch.dtype, name: str) -> None:
    """f(QAQᴴ) = Q f(A) Qᴴ, and likewise for derivatives; f of the conjugate matrix is the conjugate."""
    n = len(spectrum)
    f = FUNCTIONS[name].f
    A, M, E = with_spectrum(spectrum, dtype, seed), *directions(n, dtype)
    Q = torch.linalg.qr(normal(n, n, dtype=dtype, seed=seed + 1)).Q
    turned = [hermitian_part(Q @ X @ Q.mH) for X in (A, M, E)]
    plain, other = (
        (f(X), gradient_of(loss(f, Y), X), hessian_times(loss(f, Y), X, Z)) for X, Y, Z in [(A, M, E), turned]
    )
    norm = torch.linalg.matrix_norm
    value, first, second = plain
    # Round-off of A changes a result by |A| times the next derivative, which counts where the result itself is about 0,
    # such as log(I).
    sizes = [
        norm(value) + norm(A) * norm(first) / norm(M),
        norm(first) + norm(A) * norm(second) / norm(E),
        norm(second),
    ]
    for x, y, size, tolerance in zip(plain, other, sizes, (2e-12, 2e-12, 1e-10), strict=True):
        assert norm(Q @ x @ Q.mH - y) <= tolerance * size
    assert norm(f(A.conj()) - value.conj()) <= 1e-13 * sizes[0]


@given(positive_spectra, seeds, st.sampled_from(ALL), st.integers(-8, 8), st.sampled_from([0.5, -0.5, 0.3, 2, -1, 3]))
def test_scaling_of_powers(spectrum: list[float], seed: int, dtype: torch.dtype, exponent: int, p: float) -> None:
    """(sA)^p = s^p A^p; s is a power of two, so there is almost no round-off."""
    s = 2.0**exponent
    n = len(spectrum)
    A, (M, _) = with_spectrum(spectrum, dtype, seed), directions(n, dtype)
    f = lambda X: sg.powm(X, p)  # noqa: E731
    assert relative_error(f(s * A) / s**p, f(A)) <= 100 * eps(dtype)
    G, H = gradient_of(loss(f, M), s * A) / s ** (p - 1), gradient_of(loss(f, M), A)
    assert relative_error(G, H) <= 1000 * eps(dtype)


@given(positive_spectra, seeds, doubles)
def test_trace_is_the_trace(spectrum: list[float], seed: int, dtype: torch.dtype) -> None:
    n = len(spectrum)
    A, (_, E) = with_spectrum(spectrum, dtype, seed), directions(n, dtype)
    trace = lambda X: sg.trace_funm(X, torch.log)  # noqa: E731
    direct = lambda X: sg.logm(X).diagonal().sum().real  # noqa: E731
    assume(abs(float(direct(A))) > 1e-2)
    assert relative_error(trace(A), direct(A)) <= 1e-12
    assert relative_error(trace(A), torch.linalg.slogdet(A).logabsdet) <= 1e-12
    assert relative_error(gradient_of(trace, A), torch.linalg.inv(A)) <= 1e-12
    assert relative_error(hessian_times(trace, A, E), hessian_times(direct, A, E)) <= 1e-11
