"""Functions of a matrix at common first inputs: I, 2 I, 0, projectors, equal arguments, extreme scales.

The matrices have exact eigenvalues and eigenvectors, so all references are closed forms. A warning is an error here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import mpmath
import pytest
import torch
from torch import Tensor

import reference
import spectralgrad as sg
from problems import ALL, DOUBLE, double_of, eps, expectation, gradient_of, hessian_times, random_hermitian

Scalar = Callable[[Any], Any]
MatrixFunction = Callable[[Tensor], Tensor]

each_dtype = pytest.mark.parametrize("dtype", ALL)


class Function(NamedTuple):
    """A function of a matrix, and the function of one number with its derivatives, in mpmath."""

    call: MatrixFunction
    f: Scalar
    df: Scalar
    d2f: Scalar
    domain: str = "all"  # or: nonzero, nonnegative, positive
    trace: MatrixFunction | None = None


def power(p: float) -> Function:
    q = mpmath.mpf(p)

    def derivative(order: int) -> Scalar:
        factor = mpmath.ff(q, order)
        return lambda x: factor * mpmath.mpf(x) ** (q - order) if factor else mpmath.mpf(0)

    positive = "nonnegative" if p > 0 else "positive"
    integer = "all" if p >= 0 else "nonzero"
    domain = integer if p == int(p) else positive
    return Function(lambda A: sg.powm(A, p), derivative(0), derivative(1), derivative(2), domain)


def elementwise(f: Callable[[Tensor], Tensor], exact: Scalar, df: Scalar, d2f: Scalar, domain: str = "all") -> Function:
    return Function(lambda A: sg.funm(A, f), exact, df, d2f, domain, lambda A: sg.trace_funm(A, f))


zero, one = (lambda x: mpmath.mpf(0)), (lambda x: mpmath.mpf(1))
LOG = (mpmath.log, lambda x: 1 / mpmath.mpf(x), lambda x: -1 / mpmath.mpf(x) ** 2, "positive")
FUNCTIONS: dict[str, Function] = {
    "expm": Function(sg.expm, mpmath.exp, mpmath.exp, mpmath.exp),
    "logm": Function(sg.logm, *LOG),
    "sqrtm": Function(sg.sqrtm, *power(0.5)[1:5]),
    "invsqrtm": Function(sg.invsqrtm, *power(-0.5)[1:5]),
    **{f"powm {p}": power(p) for p in (0, 1, 2, 3, -1, -2, 0.5, 1.5, 2.5, -0.5)},
    "funm sin": elementwise(torch.sin, mpmath.sin, mpmath.cos, lambda x: -mpmath.sin(x)),
    "funm tanh": elementwise(
        torch.tanh, mpmath.tanh, lambda x: mpmath.sech(x) ** 2, lambda x: -2 * mpmath.sech(x) ** 2 * mpmath.tanh(x)
    ),
    "funm log": elementwise(torch.log, *LOG),
    # These vanish on a whole cluster, at 1, 2 or 0.
    "funm x² - 1": elementwise(lambda x: x**2 - 1, lambda x: mpmath.mpf(x) ** 2 - 1, lambda x: 2 * x, lambda x: 2),
    "funm x - 2": elementwise(lambda x: x - 2, lambda x: x - 2, one, zero),
    "funm √x - 1": elementwise(lambda x: x.sqrt() - 1, lambda x: mpmath.sqrt(x) - 1, *power(0.5)[2:4], "positive"),
    "funm x": elementwise(lambda x: x, lambda x: x, one, zero),
    "funm 1": elementwise(torch.ones_like, one, zero, zero),
    "funm 0": elementwise(torch.zeros_like, zero, zero, zero),
    "funm 1/x": elementwise(torch.reciprocal, *power(-1)[1:4], "nonzero"),
    # Derivatives that are given are used as they are.
    "funm exp - 1, given": Function(
        lambda A: sg.funm(A, torch.expm1, torch.exp, torch.exp),
        mpmath.expm1,
        mpmath.exp,
        mpmath.exp,
        trace=lambda A: sg.trace_funm(A, torch.expm1, torch.exp, torch.exp),
    ),
}
each_function = pytest.mark.parametrize("name", FUNCTIONS)
TRACES = [name for name, function in FUNCTIONS.items() if function.trace]

NEAR = 2.0**-18  # even in float32, all matrices of these spectra are exact
SPECTRA: dict[str, list[float]] = {
    "I": [1, 1, 1, 1],
    "2 I": [2, 2, 2, 2],
    "0": [0, 0, 0, 0],
    "-I": [-1, -1, -1, -1],
    "a projector": [0, 0, 1, 1],
    "a reflection": [-1, -1, 1, 1],
    "0 once, 1 twice": [0, 1, 1, 2],
    "1 twice": [1, 1, 2, 3],
    "1 three times": [1, 1, 1, 2],
    "2 twice": [1, 2, 2, 4],
    "0 inside": [-1, 0, 0, 1],
    "nearly I": [1, 1 + NEAR, 1 + NEAR, 1 + 2 * NEAR],
    "nearly 0": [-NEAR, 0, 0, NEAR],
    "distinct": [-2, -1, 1, 3],
}


def allowed(domain: str, values: list[float]) -> bool:
    return {
        "all": True,
        "nonzero": 0 not in values,
        "nonnegative": min(values, default=1) >= 0,
        "positive": min(values, default=1) > 0,
    }[domain]


def bases(dtype: torch.dtype) -> Iterator[Tensor]:
    """The standard basis, and one with entries ±1/2 (times i if complex). Both make matrices without round-off."""
    yield torch.eye(4, dtype=double_of(dtype))
    H = torch.tensor([[1, 1], [1, -1]], dtype=double_of(dtype))
    phases = torch.tensor([1, 1j, -1, -1j]) if dtype.is_complex else torch.tensor([1, -1, 1, 1])
    yield torch.kron(H, H) / 2 * phases.to(double_of(dtype)).unsqueeze(-1)


def others(A: Tensor) -> Tensor:
    """The matrices M of the losses tr(M f(A)): a random one, the identity, zero, and A itself."""
    identity = torch.eye(4, dtype=A.dtype)
    return torch.stack([random_hermitian(4, 4, dtype=A.dtype, seed=1), identity, 0 * identity, A])


def differences(values: Sequence[float], f: Scalar, df: Scalar) -> Tensor:
    """f[a, b] = (f(a) - f(b))/(a - b), and f'(a) where a = b."""
    with mpmath.workdps(60):
        at, slopes = ({x: g(mpmath.mpf(x)) for x in values} for g in (f, df))
        rows = [[float(slopes[a] if a == b else (at[a] - at[b]) / (mpmath.mpf(a) - b)) for b in values] for a in values]
    return torch.tensor(rows, dtype=torch.float64)


def spectral(values: list[float], f: Scalar) -> Tensor:
    with mpmath.workdps(60):
        return torch.tensor([float(f(mpmath.mpf(x))) for x in values], dtype=torch.float64)


def error(x: Tensor, expected: Tensor, unit: Tensor | float) -> float:
    """The largest error relative to `unit`; NaN if `x` has a NaN."""
    difference = x.detach().resolve_conj().to(expected.dtype) - expected
    return float((difference.abs() / (torch.as_tensor(unit) + torch.finfo(torch.float64).tiny)).max())


def within(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether `dtype` can represent the nonzero numbers of x, with a factor of 16 to spare."""
    limits = torch.finfo(dtype)
    size = x.abs()[x != 0]
    return bool(((size > 16 * limits.tiny) & (size < limits.max / 16)).all())


def check_function(function: Function, values: list[float], V: Tensor, dtype: torch.dtype, scale: float = 1) -> str:
    """Checks value and gradients at V diag(scale · values) Vᴴ. Returns the error as text, or an empty string."""
    exact = [scale * x for x in values]
    unscaled = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype)
    A, M = scale * unscaled, others(unscaled)
    K, f = differences(exact, function.f, function.df), spectral(exact, function.f)
    if not (within(K, dtype) and within(f, dtype) and within(K.abs().max() * M.abs(), dtype)):
        return ""
    faults = []
    tolerance = 40 * eps(dtype)
    value = error(function.call(A), (V * f) @ V.mH, f.abs().max() + K.abs().max() * abs(scale))
    if not value <= tolerance:
        faults.append(f"value {value:.1e}")
    expected = V @ (K * (V.mH @ M.to(double_of(dtype)) @ V)) @ V.mH
    unit = K.abs().max() * M.abs().amax((-2, -1), keepdim=True).double()
    X = A.expand_as(M).clone().requires_grad_()
    (G,) = torch.autograd.grad(expectation(M, function.call(X)), X)
    gradient = error(G, expected, unit)
    if not gradient <= tolerance:
        faults.append(f"gradient {gradient:.1e}")
    return ", ".join(faults)


def report(faults: dict[Any, str]) -> None:
    found = {key: fault for key, fault in faults.items() if fault}
    assert not found, "\n".join(f"{key}: {fault}" for key, fault in found.items())


def divided(function: Function) -> reference.Differences:
    return reference.smooth(function.f, function.df, function.d2f)


def singular_root(function: Function, values: list[float]) -> bool:
    """Whether 0 is an eigenvalue at which the function has an infinite derivative; see `test_singular_roots`."""
    return function.domain == "nonnegative" and 0 in values


@each_dtype
@each_function
def test_special_spectra(name: str, dtype: torch.dtype) -> None:
    function = FUNCTIONS[name]
    faults = {}
    for spectrum, (basis, V) in itertools.product(SPECTRA, enumerate(bases(dtype))):
        values = SPECTRA[spectrum]
        if allowed(function.domain, values) and not singular_root(function, values):
            faults[spectrum, basis] = check_function(function, values, V, dtype)
    assert len(faults) >= 12
    report(faults)


# The other functions have a scale of their own, and are constant or noise far from it.
OF_EVERY_SCALE = [
    name for name in FUNCTIONS if name.startswith("powm") or name in ("logm", "sqrtm", "invsqrtm", "funm x", "funm 1/x")
]
OF_SMALL_MATRICES = ["expm", "funm sin", "funm tanh", "funm exp - 1, given", "funm 1", "funm 0"]


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *itertools.product(OF_EVERY_SCALE, [1e20, 1e-20, -1e20, -1e-20]),
        *itertools.product(OF_SMALL_MATRICES, [1e-20, -1e-20]),
    ],
)
@each_dtype
def test_extreme_scales(name: str, dtype: torch.dtype, scale: float) -> None:
    function = FUNCTIONS[name]
    _, V = bases(dtype)
    faults = {}
    for spectrum in SPECTRA:
        values = [scale * x for x in SPECTRA[spectrum]]
        if allowed(function.domain, values) and not singular_root(function, values):
            faults[spectrum] = check_function(function, SPECTRA[spectrum], V, dtype, scale)
    report(faults)


@each_dtype
@each_function
def test_empty_and_single(name: str, dtype: torch.dtype) -> None:
    function = FUNCTIONS[name]
    for shape in ((0, 0), (3, 0, 0), (0, 0, 0), (0, 4, 4), (2, 0, 1, 1)):
        X = torch.zeros(shape, dtype=dtype, requires_grad=True)
        y = function.call(X)
        assert (y.shape, y.dtype) == (X.shape, dtype)
        (G,) = torch.autograd.grad(y, X, torch.zeros_like(y))
        assert (G.shape, G.dtype) == (X.shape, dtype)
    for x in (0.0, 1.0, 2.0, -1.0):
        if allowed(function.domain, [x]) and not singular_root(function, [x]):
            X = torch.full((1, 1), x, dtype=dtype, requires_grad=True)
            y = function.call(X)
            (G,) = torch.autograd.grad(y.real.sum(), X)
            expected = torch.cat([spectral([x], function.f), spectral([x], function.df)]).to(double_of(dtype))
            assert error(torch.cat([y.flatten(), G.flatten()]), expected, 1.0) <= 8 * eps(dtype)


@pytest.mark.parametrize("dtype", DOUBLE)
@each_function
def test_second_derivatives(name: str, dtype: torch.dtype) -> None:
    function = FUNCTIONS[name]
    M, E = (random_hermitian(4, 4, dtype=dtype, seed=seed) for seed in (1, 2))
    faults = {}
    for spectrum, (basis, V) in itertools.product(SPECTRA, enumerate(bases(dtype))):
        values = SPECTRA[spectrum]
        if not allowed(function.domain, values) or singular_root(function, values):
            continue
        A = V * torch.tensor(values, dtype=torch.float64) @ V.mH
        expected = reference.of(A, divided(function)).second(M, E)
        product = hessian_times(lambda X: expectation(M, function.call(X)), A, E)
        fault = error(product, expected, max(1.0, float(expected.abs().max())))
        faults[spectrum, basis] = "" if fault <= 1e-10 else f"{fault:.1e}"
    report(faults)


@each_dtype
@pytest.mark.parametrize("name", TRACES)
def test_traces(name: str, dtype: torch.dtype) -> None:
    """The gradient of tr f(A) is f'(A)."""
    function = FUNCTIONS[name]
    assert function.trace is not None
    for values, V in itertools.product(SPECTRA.values(), bases(dtype)):
        if not allowed(function.domain, values):
            continue
        A = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype).requires_grad_()
        y = function.trace(A)
        (G,) = torch.autograd.grad(y, A)
        f, df = spectral(values, function.f), spectral(values, function.df)
        assert error(y, f.sum(), f.abs().sum() + df.abs().max()) <= 40 * eps(dtype)
        # A slope near zero is only as accurate as the round-off of its argument allows.
        slope = df.abs().max() + spectral(values, function.d2f).abs().max()
        assert error(G, (V * df) @ V.mH, slope) <= 40 * eps(dtype)


# --- the matrix is a projector: roots --------------------------------------------------------------------------------


@pytest.mark.parametrize("spectrum", ["a projector", "0 once, 1 twice"])
@pytest.mark.parametrize("name", ["sqrtm", "powm 0.5", "powm 1.5", "powm 2.5"])
@each_dtype
def test_singular_roots(name: str, dtype: torch.dtype, spectrum: str) -> None:
    """The loss does not depend on the block inside the null space; test_funm.py tests losses that do."""
    function, values = FUNCTIONS[name], SPECTRA[spectrum]
    kernel = values.count(0)
    with mpmath.workdps(60):
        f = spectral(values, function.f)
        K = torch.zeros(4, 4, dtype=torch.float64)
        K[:, kernel:] = differences(values, function.f, lambda x: function.df(x) if x else 0)[:, kernel:]
        K[kernel:] = K[:, kernel:].mT
    M = random_hermitian(4, 4, dtype=double_of(dtype), seed=1)
    M[:kernel, :kernel] = 0
    for V in bases(dtype):
        P = V[:, kernel:] @ V[:, kernel:].mH
        X = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype).requires_grad_()
        y = function.call(X)
        (G,) = torch.autograd.grad(expectation((V @ M @ V.mH).to(dtype), y), X)
        # Zero eigenvalues are round-off, and the value contains the root of that round-off.
        assert error(y, (V * f) @ V.mH, 1.0) <= (8 * eps(dtype)) ** 0.5
        inside_out = P @ y.detach().to(double_of(dtype)) - (V * f) @ V.mH
        assert float(inside_out.abs().max()) <= 100 * eps(dtype)
        assert error(G, V @ (K * M) @ V.mH, 1.0) <= 100 * eps(dtype)


# --- losses at equal matrices: distances, targets, compositions ------------------------------------------------------


def inner(X: Tensor, Y: Tensor) -> Tensor:
    return (X * Y.conj()).sum().real


def squared_norm(X: Tensor) -> Tensor:
    return inner(X, X)


def affine_invariant(A: Tensor, B: Tensor) -> Tensor:
    root = sg.invsqrtm(B)
    return squared_norm(sg.logm(root @ A @ root))


def bures(A: Tensor, B: Tensor) -> Tensor:
    root = sg.sqrtm(B)
    return (A + B).diagonal().sum().real - 2 * sg.sqrtm(root @ A @ root).diagonal().sum().real


Gradients = Callable[[Tensor, float], tuple[Tensor, Tensor]]


def root_distance_gradients(inverse: Tensor, c: float) -> tuple[Tensor, Tensor]:
    identity = torch.eye(4, dtype=inverse.dtype)
    return (1 - c**-0.5) * identity, (1 - c**0.5) * identity


# At A = c B: the gradients in A and in B, as functions of A⁻¹ and c. Bhatia (2007), "Positive Definite Matrices",
# chapter 6; Bhatia, Jain and Lim (2019), Expo. Math. 37, 165.
DISTANCES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Gradients]] = {
    "affine-invariant": (
        affine_invariant,
        lambda inverse, c: (2 * math.log(c) * inverse, -2 * c * math.log(c) * inverse),
    ),
    "log-Euclidean": (
        lambda A, B: squared_norm(sg.logm(A) - sg.logm(B)),
        lambda inverse, c: (2 * math.log(c) * inverse, -2 * c * math.log(c) * inverse),
    ),
    "Bures": (bures, root_distance_gradients),
    "Jensen-Bregman": (
        lambda A, B: (sg.logm((A + B) / 2) - (sg.logm(A) + sg.logm(B)) / 2).diagonal().sum().real,
        lambda inverse, c: ((c / (1 + c) - 0.5) * inverse, (c / (1 + c) - c / 2) * inverse),
    ),
    "Burg": (
        lambda A, B: inner(sg.powm(B, -1), A) - (sg.logm(A) - sg.logm(B)).diagonal().sum().real,
        lambda inverse, c: ((c - 1) * inverse, c * (1 - c) * inverse),
    ),
    "roots": (lambda A, B: squared_norm(sg.sqrtm(A) - sg.sqrtm(B)), root_distance_gradients),
}
POSITIVE = ["I", "2 I", "1 twice", "1 three times", "2 twice", "nearly I"]


@pytest.mark.parametrize("c", [1.0, 4.0])
@pytest.mark.parametrize("name", DISTANCES)
@each_dtype
def test_distances_of_a_matrix_from_its_multiples(name: str, dtype: torch.dtype, c: float) -> None:
    """Training often begins and ends at equal matrices: there is no warning, and the gradient is zero for c = 1."""
    distance, gradients = DISTANCES[name]
    for spectrum, V in itertools.product(POSITIVE, bases(dtype)):
        values = torch.tensor(SPECTRA[spectrum], dtype=torch.float64)
        B = (V * values @ V.mH).to(dtype).requires_grad_()
        A = (c * B).detach().requires_grad_()
        expected = gradients((V / (c * values)) @ V.mH, c)
        for G, exact in zip(torch.autograd.grad(distance(A, B), (A, B)), expected, strict=True):
            assert error(G, exact, 4.0) <= 100 * eps(dtype), spectrum


@pytest.mark.parametrize("loss", [squared_norm, torch.linalg.matrix_norm], ids=["squared", "norm"])
@each_dtype
@each_function
def test_targets_that_are_reached(name: str, dtype: torch.dtype, loss: MatrixFunction) -> None:
    """|f(A) - B|² and |f(A) - B| at f(A) = B: torch's gradient of the norm is 0 there, too."""
    function = FUNCTIONS[name]
    _, V = bases(dtype)
    for values in SPECTRA.values():
        if allowed(function.domain, values) and not singular_root(function, values):
            A = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype)
            B = function.call(A)
            G = gradient_of(lambda X, B=B: loss(function.call(X) - B), A)
            assert torch.equal(G, torch.zeros_like(A))


INVERSES: dict[str, tuple[MatrixFunction, str]] = {
    "logm(expm)": (lambda A: sg.logm(sg.expm(A)), "all"),
    "expm(logm)": (lambda A: sg.expm(sg.logm(A)), "positive"),
    "sqrtm(powm 2)": (lambda A: sg.sqrtm(sg.powm(A, 2)), "positive"),
    "powm 2(sqrtm)": (lambda A: sg.powm(sg.sqrtm(A), 2), "positive"),
    "sqrtm · sqrtm": (lambda A: sg.sqrtm(A) @ sg.sqrtm(A), "positive"),
    "powm -1(powm -1)": (lambda A: sg.powm(sg.powm(A, -1), -1), "nonzero"),
    "powm -2(invsqrtm)": (lambda A: sg.powm(sg.invsqrtm(A), -2), "positive"),
    "A · invsqrtm · A · invsqrtm": (lambda A: A @ sg.invsqrtm(A) @ sg.invsqrtm(A) @ A, "positive"),
}


@pytest.mark.parametrize("name", INVERSES)
@each_dtype
def test_compositions_that_are_the_identity(name: str, dtype: torch.dtype) -> None:
    function, domain = INVERSES[name]
    for spectrum, V in itertools.product(SPECTRA, bases(dtype)):
        if allowed(domain, SPECTRA[spectrum]):
            A = (V * torch.tensor(SPECTRA[spectrum], dtype=torch.float64) @ V.mH).to(dtype)
            M = random_hermitian(4, 4, dtype=dtype, seed=1)
            assert error(function(A), A.to(double_of(dtype)), 1.0) <= 200 * eps(dtype), spectrum
            G = gradient_of(lambda X, M=M: expectation(M, function(X)), A)
            assert error(G, M.to(double_of(dtype)), 1.0) <= 500 * eps(dtype), spectrum


@each_dtype
def test_energies(dtype: torch.dtype) -> None:
    """The gradient of tr(A P(A)) is P(A). The cotangent of the projector is A itself."""
    for spectrum, V in itertools.product(SPECTRA, bases(dtype)):
        values = SPECTRA[spectrum]
        A = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype)
        for stop in (k for k in range(5) if k in (0, 4) or values[k - 1] < values[k]):
            P = V[:, :stop] @ V[:, :stop].mH
            smallest = min([1.0, *(abs(a - b) for a, b in itertools.product(values[:stop], values[stop:]))])
            bound = 40 * eps(dtype) / smallest
            assert error(sg.spectral_projector(A, 0, stop), P, 1.0) <= bound
            G = gradient_of(lambda X, stop=stop: expectation(X, sg.spectral_projector(X, 0, stop)), A)
            assert error(G, P, 1.0) <= bound, (spectrum, stop)


# --- projectors and density matrices ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-20])
@each_dtype
def test_projectors(dtype: torch.dtype, scale: float) -> None:
    for spectrum, V in itertools.product(SPECTRA, bases(dtype)):
        values = SPECTRA[spectrum]
        if spectrum.startswith("nearly"):
            continue  # test_spectral_projector.py has small gaps
        unscaled = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype)
        M = others(unscaled)
        for start, stop in itertools.combinations_with_replacement(range(5), 2):
            if any(0 < cut < 4 and values[cut - 1] == values[cut] for cut in (start, stop)):
                continue
            X = (scale * unscaled).expand_as(M).clone().requires_grad_()
            y = sg.spectral_projector(X, start, stop)
            (G,) = torch.autograd.grad(expectation(M, y), X)
            side = [start <= k < stop for k in range(4)]
            K = [
                [0.0 if p == q else (p - q) / (scale * (a - b)) for b, q in zip(values, side)]
                for a, p in zip(values, side)
            ]
            weights = torch.tensor(K, dtype=torch.float64)
            P = V[:, start:stop] @ V[:, start:stop].mH
            assert error(y, P, 1.0) <= 40 * eps(dtype)
            exact = V @ (weights * (V.mH @ M.to(double_of(dtype)) @ V)) @ V.mH
            assert error(G, exact, 4 / scale) <= 40 * eps(dtype), (spectrum, start, stop)


def fermi(x: float) -> float:
    return 1 / (1 + math.exp(x))


@pytest.mark.parametrize("given", ["electrons", "mu"])
@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-20])
@each_dtype
def test_density_matrices_of_degenerate_levels(dtype: torch.dtype, scale: float, given: str) -> None:
    """H = V diag(λ) Vᴴ, kT = scale/2; at fixed electrons μ moves by Σ fᵢ' Ḣᵢᵢ / Σ fᵢ'."""
    kT, mu = 0.5, 0.75
    for spectrum, V in itertools.product(SPECTRA, bases(dtype)):
        values = SPECTRA[spectrum]
        unscaled = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype)
        M = others(unscaled)
        f = spectral(values, lambda x: 2 / (1 + mpmath.exp((x - mu) / kT)))
        slope = -f * (1 - f / 2) / kT
        K = differences(
            values,
            lambda x: 2 / (1 + mpmath.exp((x - mu) / kT)),
            lambda x: -(mpmath.sech((x - mu) / (2 * kT)) ** 2) / (2 * kT),
        )
        X = (scale * unscaled).expand_as(M).clone().requires_grad_()
        filling: dict[str, Any] = {"mu": scale * mu} if given == "mu" else {"electrons": float(f.sum())}
        D = sg.density_matrix(X, **filling, kT=scale * kT)
        (G,) = torch.autograd.grad(expectation(M, D), X)
        M_ = K * (V.mH @ M.to(double_of(dtype)) @ V)
        if given == "electrons":
            share = M_.diagonal(dim1=-2, dim2=-1).real.sum(-1) / slope.sum()
            M_ = M_ - torch.diag_embed(share[:, None] * slope).to(M_.dtype)
        assert error(D, (V * f) @ V.mH, 1.0) <= 100 * eps(dtype), spectrum
        assert error(G, V @ M_ @ V.mH / scale, 4 / scale) <= 400 * eps(dtype), spectrum


@each_dtype
def test_density_matrix_with_the_hamiltonian_as_overlap(dtype: torch.dtype) -> None:
    """H = S, so that every level is 1: D = 2 f(1) S⁻¹, with derivatives in H and S from the pencil S⁻¹H = 1."""
    mu, kT = 0.5, 0.5
    f = fermi((1 - mu) / kT)
    slope = -f * (1 - f) / kT
    for spectrum, V in itertools.product(["I", "2 I", "1 twice", "2 twice"], bases(dtype)):
        values = torch.tensor(SPECTRA[spectrum], dtype=torch.float64)
        H = (V * values @ V.mH).to(dtype).requires_grad_()
        S = H.detach().clone().requires_grad_()
        D = sg.density_matrix(H, mu=mu, kT=kT, overlap=S)
        inverse = (V / values) @ V.mH
        assert error(D, 2 * f * inverse, 1.0) <= 100 * eps(dtype), spectrum
        M = random_hermitian(4, 4, dtype=dtype, seed=1)
        along = inverse @ M.to(double_of(dtype)) @ inverse
        in_H, in_S = torch.autograd.grad(expectation(M, D), (H, S))
        assert error(in_H, 2 * slope * along, 1.0) <= 200 * eps(dtype), spectrum
        assert error(in_S, -2 * (slope + f) * along, 1.0) <= 200 * eps(dtype), spectrum


@each_dtype
def test_full_and_empty_shells(dtype: torch.dtype) -> None:
    """At kT = 0, where the levels are full or empty: D is 2 P, and does not depend on μ within the gap."""
    for spectrum, V in itertools.product(["I", "0", "a projector", "1 twice", "a reflection"], bases(dtype)):
        values = SPECTRA[spectrum]
        H = (V * torch.tensor(values, dtype=torch.float64) @ V.mH).to(dtype)
        M = random_hermitian(4, 4, dtype=dtype, seed=1)
        for filled in (k for k in range(5) if k in (0, 4) or values[k - 1] < values[k]):
            X = H.clone().requires_grad_()
            D = sg.density_matrix(X, electrons=2 * filled)
            (G,) = torch.autograd.grad(expectation(M, D), X)
            K = [[0.0] * 4 for _ in range(4)]
            for i, j in itertools.product(range(filled), range(filled, 4)):
                K[i][j] = K[j][i] = 2 / (values[i] - values[j])
            weights = torch.tensor(K, dtype=torch.float64)
            assert error(D, 2 * V[:, :filled] @ V[:, :filled].mH, 1.0) <= 40 * eps(dtype)
            exact = V @ (weights * (V.mH @ M.to(double_of(dtype)) @ V)) @ V.mH
            assert error(G, exact, 1.0) <= 80 * eps(dtype), (spectrum, filled)


@each_dtype
def test_empty_projectors_and_density_matrices(dtype: torch.dtype) -> None:
    for shape in ((0, 0), (3, 0, 0), (0, 4, 4)):
        X = torch.zeros(shape, dtype=dtype, requires_grad=True)
        for y in (sg.spectral_projector(X, 0, 0), sg.density_matrix(X, mu=0.5, kT=0.5), sg.density_matrix(X, mu=0.5)):
            assert (y.shape, y.dtype) == (X.shape, dtype)
            assert torch.autograd.grad(y, X, torch.zeros_like(y))[0].shape == X.shape
    X = torch.ones(1, 1, dtype=dtype, requires_grad=True)
    assert sg.spectral_projector(X, 0, 1).item() == 1
    D = sg.density_matrix(X, mu=0.5, kT=0.5)
    f = fermi(1)
    assert D.item() == pytest.approx(2 * f, abs=8 * eps(dtype))
    (G,) = torch.autograd.grad(D.real.sum(), X)
    assert G.item() == pytest.approx(-4 * f * (1 - f), abs=8 * eps(dtype))
