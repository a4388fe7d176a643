"""Functions of singular matrices: values and derivatives along matrices of the same rank, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

import spectralgrad as sg
from problems import (
    LinAlgError,
    by_precision,
    double_of,
    each_double,
    each_dtype,
    eps,
    expectation,
    gradient_of,
    hessian_times,
    normal,
    random_hermitian,
    total,
    with_singular_values,
    with_spectrum,
)
from reference import relative_error


def polar(F: Tensor, rank: int) -> Tensor:
    """U Vᴴ of the singular value decomposition, the gradient of the nuclear norm."""
    U, _, Vh = torch.linalg.svd(F.to(double_of(F.dtype)), full_matrices=False)
    return U[:, :rank] @ Vh[:rank]


def along(f: Callable[[Tensor], Tensor], X: Tensor, E: Tensor, h: float) -> Tensor:
    """The derivative of f along E, by differences of order six."""
    steps = ((1, 45), (2, -9), (3, 1))
    return total(c * (f(X + k * h * E) - f(X - k * h * E)) for k, c in steps) / (60 * h)


TRACES: dict[str, Callable[[Tensor], Tensor]] = {
    "trace_sqrtm": sg.trace_sqrtm,
    "sqrtm, trace": lambda A: sg.sqrtm(A).diagonal(dim1=-2, dim2=-1).sum(-1).real,
    "powm, trace": lambda A: sg.powm(A, 0.5).diagonal(dim1=-2, dim2=-1).sum(-1).real,
    "trace_funm": lambda A: sg.trace_funm(A, torch.sqrt),
    "trace_funm, df": lambda A: sg.trace_funm(A, torch.sqrt, lambda x: 0.5 / x.sqrt()),
    "funm, trace": lambda A: sg.funm(A, torch.sqrt).diagonal(dim1=-2, dim2=-1).sum(-1).real,
}
each_trace = pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
SINGULAR_VALUES = {"distinct": [0.5, 1.2, 2.0], "degenerate": [1.0, 1.0, 2.0], "ones": [1.0, 1.0, 1.0]}


# --- the nuclear norm ------------------------------------------------------------------------------------------------


@each_trace
@pytest.mark.parametrize("singular_values", SINGULAR_VALUES.values(), ids=SINGULAR_VALUES)
@each_dtype
def test_nuclear_norm(trace: Callable[[Tensor], Tensor], singular_values: list[float], dtype: torch.dtype) -> None:
    for seed in range(5):
        for scale in (1.0, 1e-8, 1e8):
            F = (scale * with_singular_values(3, 6, singular_values, dtype, seed)).requires_grad_()
            y = trace(F.mH @ F)
            (G,) = torch.autograd.grad(y, F)
            assert float(y.detach()) == pytest.approx(scale * sum(singular_values), rel=10 * eps(dtype))
            assert relative_error(G, polar(F.detach(), 3)) <= 50 * eps(dtype)


@each_double
def test_the_gradient_of_the_nuclear_norm_to_the_last_digits(dtype: torch.dtype) -> None:
    """The median error of 20 matrices F with orthonormal rows is at most 2e-15."""
    for trace in TRACES.values():
        errors = []
        for seed in range(20):
            F = with_singular_values(3, 6, [1.0, 1.0, 1.0], dtype, seed)
            errors.append(relative_error(gradient_of(lambda X, trace=trace: trace(X.mH @ X), F), polar(F, 3)))
        assert np.median(errors) <= 2e-15


@each_trace
@each_double
def test_second_derivatives_of_the_nuclear_norm(trace: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    def trace_of_gram_matrix(X: Tensor) -> Tensor:
        return trace(X.mH @ X)

    for singular_values in SINGULAR_VALUES.values():
        F, E = with_singular_values(3, 6, singular_values, dtype, 3), normal(3, 6, dtype=dtype, seed=9)
        product = hessian_times(trace_of_gram_matrix, F, E)
        expected = along(lambda X: polar(X, 3), F, E, 1e-3)
        assert relative_error(product, expected) <= 1e-9
        forward = jvp(grad(trace_of_gram_matrix), (F,), (E,))[1] if not dtype.is_complex else product
        assert relative_error(forward, expected) <= 1e-9


def _root_along(*matrices: Tensor) -> Any:
    """t ↦ Re tr(M √((F + tE)ᴴ(F + tE))) for the matrices F, E and M, in mpmath's precision."""
    F, E, M = (mpmath.matrix(X.tolist()) for X in matrices)

    def value(t: Any) -> Any:
        X = F + t * E
        # √(XᴴX) = Xᴴ (X Xᴴ)^(-1/2) X, X of full row rank.
        L, Q = mpmath.eighe(X * X.H)
        inner = Q * mpmath.diag([1 / mpmath.sqrt(x) for x in L]) * Q.H
        root = X.H * inner * X
        return mpmath.re(sum((M * root)[i, i] for i in range(M.rows)))

    return value


def _twice_forward(f: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    return jvp(lambda t: jvp(f, (t,), (one,))[1], (zero,), (one,))[:2]


@each_double
@pytest.mark.parametrize("f", [sg.sqrtm, lambda A: sg.powm(A, 0.5), lambda A: sg.funm(A, torch.sqrt)])
def test_roots_of_fixed_rank_have_every_derivative(f: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    """The loss is tr(M √(FᴴF)), for a full M. √ is smooth at constant rank. The part of M in the kernel is reported."""
    for singular_values in SINGULAR_VALUES.values():
        F, E = with_singular_values(2, 4, singular_values[1:], dtype, 3), normal(2, 4, dtype=dtype, seed=9)
        M = random_hermitian(4, 4, dtype=dtype, seed=5)
        with mpmath.workdps(60):
            value = _root_along(F, E, M)
            h = mpmath.mpf(10) ** -15
            first = float((value(h) - value(-h)) / (2 * h))
            second = float((value(h) - 2 * value(0) + value(-h)) / h**2)

        def loss(X: Tensor, M: Tensor = M) -> Tensor:
            return expectation(M, f(X.mH @ X))

        with pytest.warns(sg.GaugeWarning, match="A is singular"):
            G = gradient_of(loss, F)
        assert float((G.conj() * E).real.sum()) == pytest.approx(first, rel=1e-13)
        with sg.checks("ignore"):
            product = hessian_times(loss, F, E)
        assert float((product.conj() * E).real.sum()) == pytest.approx(second, rel=1e-10)
        # Forward over forward: the second tangent has a part inside the kernel, which is right and gives no warning.
        if not dtype.is_complex:
            forward, twice = _twice_forward(lambda t, loss=loss, F=F, E=E: loss(F + t * E))
            assert float(forward) == pytest.approx(first, rel=1e-13)
            assert float(twice) == pytest.approx(second, rel=1e-10)


@each_double
def test_second_derivatives_inside_the_kernel(dtype: torch.dtype) -> None:
    """D²√(A)[X, X] has 2 Σ b^(-3/2) x xᴴ there, for X with columns x between the kernel and the eigenvalues b."""
    b = torch.tensor([1.0, 4.0], dtype=torch.float64)
    A = torch.diag(torch.cat([torch.zeros(2, dtype=torch.float64), b])).to(dtype)
    X = random_hermitian(4, 4, dtype=dtype, seed=1)
    X[:2, :2] = 0
    x = X[:2, 2:]
    expected = 2 * (x * b**-1.5) @ x.mH
    for f in (sg.sqrtm, lambda A: sg.powm(A, 0.5), lambda A: sg.funm(A, torch.sqrt)):
        second = jvp(lambda A, f=f: jvp(f, (A,), (X,))[1], (A,), (X,))[1]
        assert relative_error(second[:2, :2], expected) <= 1e-14


def test_tangents_inside_the_kernel_are_reported() -> None:
    """Also for a multiple of the identity: √(A + t) has no derivative at t = 0."""
    A = torch.diag(torch.tensor([0.0, 0, 1], dtype=torch.float64))
    for f in (sg.sqrtm, sg.trace_sqrtm, lambda A: sg.powm(A, 0.3), lambda A: sg.funm(A, torch.sqrt)):
        with pytest.warns(sg.GaugeWarning, match="A is singular"):
            jvp(f, (A,), (torch.eye(3, dtype=torch.float64),))
        with sg.checks("raise"), pytest.raises(sg.GaugeError):
            jvp(f, (A,), (torch.eye(3, dtype=torch.float64),))


@each_dtype
def test_noise_at_zero_is_zero_in_values(dtype: torch.dtype) -> None:
    """√1e-17 would be 3e-9."""
    for noise in (1.0, -1.0, 0.3):
        A = torch.diag(torch.tensor([noise * eps(dtype), 1, 3])).to(dtype)
        for f in (sg.sqrtm, lambda A: sg.powm(A, 0.3), lambda A: sg.powm(A, 1.5), lambda A: sg.funm(A, torch.sqrt)):
            for X in (A, A[None].expand(3, 3, 3)):
                assert bool((f(X)[..., 0, 0] == 0).all())
    F = with_singular_values(3, 6, [1.0, 1.0, 2.0], dtype, 0)
    assert float(torch.linalg.matrix_norm(sg.sqrtm(F.mH @ F) @ torch.linalg.svd(F).Vh[3:].mH)) <= 30 * eps(dtype)


# --- states and covariances ------------------------------------------------------------------------------------------
#
# ‖√A √B‖_* = ‖FᴴG‖_* for A = F Fᴴ, B = G Gᴴ; its gradients are G (UVᴴ)ᴴ in F and F UVᴴ in G.


def fidelity(rho: Tensor, sigma: Tensor) -> Tensor:
    root = sg.sqrtm(rho)
    return sg.trace_sqrtm(root @ sigma @ root)


def fidelity_by_funm(rho: Tensor, sigma: Tensor) -> Tensor:
    root = sg.sqrtm(rho)
    return sg.trace_funm(root @ sigma @ root, torch.sqrt)


FACTORS: dict[str, Callable[[torch.dtype], tuple[Tensor, Tensor]]] = {
    "generic": lambda dtype: (normal(4, 2, dtype=dtype, seed=0), normal(4, 2, dtype=dtype, seed=1)),
    "the same": lambda dtype: (normal(4, 2, dtype=dtype, seed=0), normal(4, 2, dtype=dtype, seed=0)),
    "the same, mixed": lambda dtype: (torch.eye(4, 2, dtype=dtype), torch.eye(4, 2, dtype=dtype)),
    "ranks 1 and 3": lambda dtype: (normal(4, 1, dtype=dtype, seed=0), normal(4, 3, dtype=dtype, seed=1)),
    "ranks 3 and 4": lambda dtype: (normal(4, 3, dtype=dtype, seed=0), normal(4, 4, dtype=dtype, seed=1)),
}


@pytest.mark.parametrize("f", [fidelity, fidelity_by_funm])
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
@each_dtype
def test_fidelity_of_singular_states(f: Any, factors: Any, dtype: torch.dtype) -> None:
    F, G = (X / torch.linalg.matrix_norm(X) for X in factors(dtype))
    M = F.mH @ G
    rank = min(M.shape)
    W = polar(M, rank).to(dtype)
    F.requires_grad_(), G.requires_grad_()
    y = f(F @ F.mH, G @ G.mH)
    dF, dG = torch.autograd.grad(y, (F, G))
    s = torch.linalg.svdvals(M.detach())
    tolerance = 30 * eps(dtype) * float(s[0] / s[-1]) ** 2 * max(1.0, *(float(_condition(X)) ** 2 for X in (F, G)))
    assert float(y.detach()) == pytest.approx(float(s.sum()), rel=tolerance)
    assert relative_error(dF, G.detach() @ W.mH) <= tolerance
    assert relative_error(dG, F.detach() @ W) <= tolerance


def _condition(X: Tensor) -> Tensor:
    s = torch.linalg.svdvals(X.detach())
    return s[0] / s[-1]


@each_double
def test_bures_distance_of_singular_covariances(dtype: torch.dtype) -> None:
    """tr A + tr B - 2 ‖FᴴG‖_*, in a batch, and its second derivative against differences of the gradient."""
    F, G, E = (normal(3, 6, 2, dtype=dtype, seed=seed) for seed in (0, 1, 2))

    def distance(F: Tensor, G: Tensor) -> Tensor:
        A, B = F @ F.mH, G @ G.mH
        traces = (A + B).diagonal(dim1=-2, dim2=-1).sum(-1).real
        return traces - 2 * fidelity(A, B)

    def gradient(F: Tensor, G: Tensor) -> Tensor:
        W = torch.stack([polar(M, 2) for M in F.mH @ G])
        return 2 * F - 2 * G @ W.mH

    expected = (
        F.abs().square().sum((-1, -2)) + G.abs().square().sum((-1, -2)) - 2 * torch.linalg.svdvals(F.mH @ G).sum(-1)
    )
    torch.testing.assert_close(distance(F, G), expected, rtol=1e-13, atol=1e-13)
    loss = lambda X: distance(X, G).sum()  # noqa: E731
    assert relative_error(gradient_of(loss, F), gradient(F, G)) <= 1e-12
    assert relative_error(hessian_times(loss, F, E), along(lambda X: gradient(X, G), F, E, 1e-3)) <= 1e-8
    mapped = vmap(grad(lambda X, Y: distance(X, Y)))(F, G) if not dtype.is_complex else gradient(F, G)
    assert relative_error(mapped, gradient(F, G)) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_frechet_distance_of_fewer_samples_than_dimensions(dtype: torch.dtype) -> None:
    """FID of 5 samples in 12 dimensions: |μ₁ - μ₂|² + tr(C₁ + C₂) - 2 ‖Z₁Z₂ᵀ‖_*, Z centred samples over √4."""
    X, Y = normal(5, 12, dtype=dtype, seed=0), 1 + normal(5, 12, dtype=dtype, seed=1)

    def fid(X: Tensor, Y: Tensor) -> Tensor:
        C, D = torch.cov(X.mT), torch.cov(Y.mT)
        means = (X.mean(0) - Y.mean(0)).square().sum()
        return means + C.trace() + D.trace() - 2 * fidelity(C, D)

    Z, W = ((x.double() - x.double().mean(0)) / 2 for x in (X, Y))
    M = Z @ W.mT
    means = X.double().mean(0) - Y.double().mean(0)
    expected = means.square().sum() + Z.square().sum() + W.square().sum() - 2 * torch.linalg.svdvals(M).sum()
    assert float(fid(X, Y)) == pytest.approx(float(expected), rel=50 * eps(dtype))
    G = gradient_of(lambda X: fid(X, Y), X)
    of_Z = 2 * Z - 2 * polar(M, 4) @ W
    expected_G = 2 * means / 5 + (of_Z - of_Z.mean(0)) / 2
    assert relative_error(G, expected_G) <= by_precision(dtype, 1e-12, 1e-4)


# --- funm and trace_funm ---------------------------------------------------------------------------------------------


@each_double
def test_a_zero_that_is_rounded_below_zero(dtype: torch.dtype) -> None:
    """A square root at -1e-17, which was NaN: forward, backward and under transforms."""
    A = torch.diag(torch.tensor([-1e-17, 0.0, 1e-17, 1, 4], dtype=torch.float64)).to(dtype)
    expected = torch.diag(torch.tensor([0.0, 0, 0, 0.5, 0.25], dtype=torch.float64)).to(dtype)
    for f in (torch.sqrt, lambda x: x**0.5, lambda x: x.clamp(min=0).sqrt()):
        loss = lambda X, f=f: sg.trace_funm(X, f)  # noqa: E731
        assert float(loss(A)) == 3
        assert torch.equal(gradient_of(loss, A), expected)
        assert torch.equal(vmap(loss)(A[None]), torch.full((1,), 3.0, dtype=torch.float64))
        if not dtype.is_complex:
            assert torch.equal(vmap(grad(loss))(A[None])[0], expected)
            assert torch.equal(grad(loss)(A), expected)
    if dtype.is_complex:
        return
    compiled = torch.compile(lambda X: sg.trace_funm(X, torch.sqrt), backend="aot_eager", fullgraph=True)
    assert torch.equal(gradient_of(compiled, A), expected)


def test_entropy_of_singular_states() -> None:
    """x log x is 0 at 0, with an infinite slope; autograd may compute the slope as NaN."""
    F = with_singular_values(4, 2, [0.6, 0.8], torch.float64, 0)
    rho = F @ F.mT
    entropy = -(0.36 * np.log(0.36) + 0.64 * np.log(0.64))
    U = torch.linalg.svd(F, full_matrices=False).U
    slopes = -(torch.linalg.svdvals(F).square().log() + 1)
    for f in (torch.special.entr, lambda x: -torch.special.xlogy(x, x)):
        y = sg.trace_funm(rho, f)
        assert float(y.detach()) == pytest.approx(entropy, rel=1e-14)
        G = gradient_of(lambda X, f=f: sg.trace_funm(X, f), rho)
        assert relative_error(G, (U * slopes) @ U.mT) <= 1e-13


@each_double
def test_funm_of_roots_is_sqrtm(dtype: torch.dtype) -> None:
    A = with_spectrum([0.0, 0.0, 1.0, 1.0, 2.5], dtype, seed=2)
    A = torch.stack([A, A + 0.1 * torch.eye(5)])
    M, E = (random_hermitian(2, 5, 5, dtype=dtype, seed=seed) for seed in (3, 4))
    torch.testing.assert_close(sg.funm(A, torch.sqrt), sg.sqrtm(A), rtol=0, atol=1e-14)
    gradients, products = [], []
    for f in (sg.sqrtm, lambda X: sg.funm(X, torch.sqrt)):
        loss = lambda X, f=f: expectation(M, f(X)).sum()  # noqa: E731
        with pytest.warns(sg.GaugeWarning, match=r"A is singular \(matrix 0 of the batch\)"):
            gradients.append(gradient_of(loss, A))
        with sg.checks("ignore"):
            products.append(hessian_times(loss, A, E))
    assert relative_error(gradients[1], gradients[0]) <= 1e-13
    assert relative_error(products[1], products[0]) <= 1e-10


def test_smooth_functions_keep_small_eigenvalues() -> None:
    """Only functions that are not smooth at 0 count noise as 0."""
    A = torch.diag(torch.tensor([1e-20, 1.0], dtype=torch.float64))
    assert float(sg.funm(A, torch.sin)[0, 0]) == pytest.approx(1e-20, rel=1e-12)
    assert float(sg.trace_funm(A[:1, :1], torch.sqrt)) == pytest.approx(1e-10, rel=1e-12)


def test_gradients_of_tensors_that_f_uses() -> None:
    F = with_singular_values(2, 4, [1.0, 2.0], torch.float64, 0)
    A = (F.mT @ F).requires_grad_()
    t, p = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (3.0, 0.5))
    y = sg.trace_funm(A, lambda x: t * x**p)
    dt, dp, dA = torch.autograd.grad(y, (t, p, A))
    assert float(dt) == pytest.approx(3, rel=1e-14)
    assert float(dp) == pytest.approx(3 * 2 * np.log(4), rel=1e-13)
    assert bool(dA.isfinite().all())


DOMAIN: dict[str, tuple[Callable[[Tensor], Tensor], list[float]]] = {
    "sqrt of indefinite": (torch.sqrt, [-0.5, 1.0]),
    "log of indefinite": (torch.log, [-0.5, 1.0]),
    "x log x as it is written": (lambda x: x * x.log(), [0.0, 1.0]),
}


@pytest.mark.parametrize(("f", "spectrum"), DOMAIN.values(), ids=DOMAIN)
@pytest.mark.parametrize("name", ["funm", "trace_funm"])
def test_outside_the_domain(name: str, f: Callable[[Tensor], Tensor], spectrum: list[float]) -> None:
    function = getattr(sg, name)
    A = torch.diag(torch.tensor(spectrum, dtype=torch.float64))
    message = (
        rf"spectralgrad\.{name}: Expected f to be defined at every eigenvalue of A, but f is NaN at the eigenvalue {{}}"
    )
    with pytest.raises(LinAlgError, match=message.format(f"{spectrum[0]:g}") + ".*pinvm and .*pseudo_logdet"):
        function(A, f)
    batch = torch.stack([torch.eye(2, dtype=torch.float64), A]).requires_grad_()
    with pytest.raises(LinAlgError, match=r"\(Batch element 1\): Expected f"):
        function(batch, f)
    with sg.checks("ignore"):
        y = function(batch, f)
    assert bool(y[0].isfinite().all())
    assert bool(y[1].isnan().any())
