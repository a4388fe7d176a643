"""Round-off is not a dependence on the choice of eigenvectors.

If a loss does not depend on some eigenvectors, or if a function vanishes on a cluster, these columns of the cotangent
are pure round-off. They must not be reported, and the gradient must be right. Each warning is an error (conftest.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import spectralgrad as sg
from problems import ALL, double_of, gradient_of, hermitian_part, randn

# Name -> f on eigenvalues, its first derivative, and the eigenvalue of the cluster, at which most f vanish.
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], float]] = {
    "log": (torch.log, torch.reciprocal, 1.0),
    "x^2 - 1": (lambda x: x**2 - 1, lambda x: 2 * x, 1.0),
    "x - 2": (lambda x: x - 2, torch.ones_like, 2.0),
    "sin": (torch.sin, torch.cos, math.pi),
    "sqrt(x) - 1": (lambda x: x.sqrt() - 1, lambda x: 0.5 / x.sqrt(), 1.0),
    "exp": (torch.exp, torch.exp, 1.0),
    "x": (lambda x: x, torch.ones_like, 1.0),
}


def random_matrix(n: int, seed: int, dtype: torch.dtype) -> Tensor:
    wide = double_of(dtype)
    return randn(n, n, dtype=wide, seed=seed)


def divided_differences(f: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f[x_i, x_j] for values that are equal or well apart."""
    gaps = x - x[:, None]
    same = gaps == 0
    return torch.where(same, slope((x + x[:, None]) / 2), (f(x) - f(x)[:, None]) / torch.where(same, 1.0, gaps))


def matrix_and_gradient(name: str, levels: list[float], seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A, the other matrix W of the loss Re tr(W f(A)), and its gradient, in the exact eigenbasis."""
    f, slope, _ = FUNCTIONS[name]
    x = torch.tensor(levels, dtype=torch.float64)
    Q = torch.linalg.qr(random_matrix(len(levels), seed, dtype))[0]
    W = hermitian_part(random_matrix(len(levels), seed + 1000, dtype))
    right = Q @ (divided_differences(f, slope, x) * (Q.mH @ W @ Q)) @ Q.mH
    return hermitian_part((Q * x) @ Q.mH), W, right


def mapped(name: str, A: Tensor, W: Tensor) -> Tensor:
    f = FUNCTIONS[name][0]
    A = A.clone().requires_grad_()
    y = sg.spectral_map(lambda L, V: (V * f(L).unsqueeze(-2)) @ V.mH, A)
    loss = torch.einsum("ij,ji->", W, y).real
    return hermitian_part(torch.autograd.grad(loss, A)[0])


@pytest.mark.parametrize("multiplicity", [2, 3])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_spectral_map_of_functions_that_vanish_on_a_cluster(name: str, dtype: torch.dtype, multiplicity: int) -> None:
    zero = FUNCTIONS[name][2]
    worst = 0.0
    for seed in range(20):
        others = [zero + 1 + 0.5 * k for k in range(seed % 10)]
        A, W, right = matrix_and_gradient(name, [zero] * multiplicity + others, seed, dtype)
        found = mapped(name, A.to(dtype), W.to(dtype))
        worst = max(worst, float(torch.linalg.matrix_norm(found - right) / torch.linalg.matrix_norm(right)))
    assert worst <= (1e-8 if torch.finfo(dtype).eps < 1e-10 else 1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_spectral_map_of_the_logarithm_at_the_identity(n: int, dtype: torch.dtype) -> None:
    W = hermitian_part(random_matrix(n, n, dtype))
    found = mapped("log", torch.eye(n, dtype=dtype), W)
    torch.testing.assert_close(found, W, rtol=0, atol=1e-12)


def test_spectral_map_of_a_kink_inside_a_cluster() -> None:
    A = torch.diag(torch.tensor([-1e-9, 3e-9, 1.0], dtype=torch.float64)).requires_grad_()
    y = sg.spectral_map(lambda L, V: (V * L.relu()) @ V.T, A)
    y[0, 1].backward()
    assert A.grad is not None
    assert float(hermitian_part(A.grad)[0, 1]) == pytest.approx(0.375, abs=1e-9)


@pytest.mark.parametrize("power", [1, 2])
def test_spectral_map_of_the_identity_plus_ones(power: int) -> None:
    A = (torch.eye(5, dtype=torch.float64) + torch.ones(5, 5, dtype=torch.float64)).requires_grad_()
    y = sg.spectral_map(lambda L, V: (V * (power * L).exp()) @ V.T, A)
    y[3, 3].backward()
    B = A.detach().clone().requires_grad_()
    sg.funm(B, lambda x: (power * x).exp())[3, 3].backward()
    assert A.grad is not None
    assert B.grad is not None
    torch.testing.assert_close(hermitian_part(A.grad), hermitian_part(B.grad), rtol=1e-10, atol=1e-10)


def test_spectral_map_in_a_chain_of_near_eigenvalues() -> None:
    # tr(exp(A) B sqrt(A) C) is not linear in functions of A. The reference differentiates each function by itself.
    n = 20
    x = 1 + 1e-7 * torch.arange(n, dtype=torch.float64)
    Q = torch.linalg.qr(random_matrix(n, 1, torch.float64))[0]
    B, C = random_matrix(n, 2, torch.float64), random_matrix(n, 3, torch.float64)
    A = hermitian_part((Q * x) @ Q.T)
    calls = 0

    def fn(L: Tensor, V: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.trace((V * L.exp()) @ V.T @ B @ (V * L.sqrt()) @ V.T @ C)

    def with_spectral_map(A: Tensor) -> Tensor:
        return sg.spectral_map(fn, A)

    def with_torch_eigh(A: Tensor) -> Tensor:
        return fn(*torch.linalg.eigh(A))

    def with_functions(A: Tensor) -> Tensor:
        return torch.trace(sg.expm(A) @ B @ sg.sqrtm(A) @ C)

    gradients = []
    for loss in (with_spectral_map, with_torch_eigh, with_functions):
        gradients.append(hermitian_part(gradient_of(loss, A)))
        if loss is with_spectral_map:
            assert calls <= 9
    size = torch.linalg.matrix_norm(gradients[2])
    ours, theirs = (float(torch.linalg.matrix_norm(g - gradients[2]) / size) for g in gradients[:2])
    print(f"chain: {ours:.1e}, plain backward: {theirs:.1e}")
    assert ours <= 3 * theirs


@pytest.mark.parametrize("n", [64, 256])
def test_spectral_map_of_a_random_float32_matrix(n: int) -> None:
    X = random_matrix(n, 5, torch.float64)
    A = hermitian_part(X @ X.T / n + torch.eye(n, dtype=torch.float64)).float()
    W = hermitian_part(random_matrix(n, 6, torch.float64))
    L, V = torch.linalg.eigh(A.double())
    half = (L - L[:, None]) / 2
    differences = (L + L[:, None]).div(2).exp() * torch.where(half == 0, 1.0, half.sinh() / half)
    right = V @ (differences * (V.T @ W @ V)) @ V.T
    calls = 0

    def fn(L: Tensor, V: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.trace(W.float() @ (V * L.exp()) @ V.T)

    errors = []
    for loss in (lambda A: sg.spectral_map(fn, A), lambda A: fn(*torch.linalg.eigh(A))):
        found = hermitian_part(gradient_of(loss, A)).double()
        errors.append(float(torch.linalg.matrix_norm(found - right) / torch.linalg.matrix_norm(right)))
    print(f"n = {n}: {calls} calls; error {errors[0]:.1e}, plain backward {errors[1]:.1e}")
    assert errors[0] <= 3 * errors[1]
    assert calls <= 80


# --- eigh -------------------------------------------------------------------------------------------------------------


def chain(dtype: torch.dtype, coupling: float) -> tuple[Tensor, Tensor]:
    """Σ X_i and the coupling Σ Z_i Z_{i+1} of three spins."""
    X = torch.tensor([[0, 1], [1, 0]], dtype=dtype)
    Z = torch.tensor([[1, 0], [0, -1]], dtype=dtype)
    one = torch.eye(2, dtype=dtype)

    def at(*factors: Tensor) -> Tensor:
        return torch.kron(torch.kron(factors[0], factors[1]), factors[2])

    field = at(X, one, one) + at(one, X, one) + at(one, one, X)
    return field, coupling * (at(Z, Z, one) + at(one, Z, Z))


def infidelity(a: Tensor, dtype: torch.dtype, coupling: float, eigh: Callable[..., Any]) -> Tensor:
    field, bond = chain(dtype, coupling)
    state = torch.zeros(8, dtype=dtype)
    state[0] = 1
    for _ in range(4):
        L, V = eigh(a * field + bond)
        state = V @ (torch.exp(-1j * L) * (V.mH @ state))
    return 1 - (state[0] + state[7]).abs() ** 2 / 2


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_spin_chain(dtype: torch.dtype) -> None:
    a = torch.tensor(0.1, dtype=dtype.to_real(), requires_grad=True)
    loss = infidelity(a, dtype, 0.0, sg.eigh)
    # A function of a matrix, by eigh. The part lost at degenerate eigenvalues does not matter in this direction.
    with pytest.warns(sg.GaugeWarning, match="a limit 0/0"):
        (slope,) = torch.autograd.grad(loss, a)
    assert float(slope) == pytest.approx(2.998721, abs=2e-6 if dtype == torch.complex128 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_spin_chain_with_a_separated_spectrum(dtype: torch.dtype) -> None:
    for k in range(100):
        at = 0.05 + 0.01 * k
        slopes = []
        for precision, eigh in ((dtype, sg.eigh), (torch.complex128, torch.linalg.eigh)):
            a = torch.tensor(at, dtype=precision.to_real(), requires_grad=True)
            slopes.append(float(torch.autograd.grad(infidelity(a, precision, 0.25, eigh), a)[0]))
        assert slopes[0] == pytest.approx(slopes[1], abs=1e-7 if dtype == torch.complex128 else 2e-2)


@pytest.mark.parametrize("gap", [0.0, 1e-3, 0.5])
def test_second_derivatives_whose_first_derivative_is_constant(gap: float) -> None:
    P = random_matrix(5, 4, torch.complex128)
    a = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64, requires_grad=True)
    parameter = random_matrix(5, 3, torch.complex128)
    Q = torch.linalg.qr(parameter)[0]
    P = Q.mH[:, 1:3] @ Q.mH[:, 1:3].mH

    def loss(a: Tensor) -> Tensor:
        levels = torch.stack([a[0], a[1], a[1] + gap, a[2], a[2] + gap])
        A = Q.mH @ torch.diag(levels).to(Q.dtype) @ Q
        U = sg.eigh(A).eigenvectors[:, 1:3]
        return torch.einsum("ij,ji->", P, U @ U.mH).real

    with sg.checks("ignore" if gap == 0 else "warn"):
        # At a gap of 0 a second derivative through eigh is reported as such; see docs/gradients.md.
        assert torch.autograd.gradgradcheck(loss, (a,), atol=1e-5)


def test_training_to_convergence_is_silent() -> None:
    # A projector fitted to its target: at the optimum all cotangents are round-off.
    torch.manual_seed(0)
    Q = torch.linalg.qr(random_matrix(6, 1, torch.float64))[0]
    target = Q[:, :2] @ Q[:, :2].T
    X = random_matrix(6, 2, torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([X], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        V = sg.eigh(hermitian_part(X)).eigenvectors[:, :2]
        loss = (V @ V.T - target).square().sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-6


# --- counts -----------------------------------------------------------------------------------------------------------

COUNTS = {"well-posed": 0, "reported": 0, "ill-posed": 0, "missed": 0}

kinds = st.sampled_from(["projector", "energy", "function", "ignored columns", "second derivative", "chain"])


def well_posed(kind: str, A: Tensor, W: Tensor, name: str, multiplicity: int) -> None:
    A = A.clone().requires_grad_()
    if kind == "projector" or kind == "energy":
        V = sg.eigh(A).eigenvectors[:, :multiplicity]
        M = W if kind == "projector" else A.detach()
        torch.einsum("ij,ji->", M, V @ V.mH).real.backward()
    elif kind == "function":
        mapped(name, A, W)
    elif kind == "ignored columns":
        V = sg.eigh(A).eigenvectors[:, multiplicity : multiplicity + 1]
        torch.einsum("ij,ji->", W, V @ V.mH).real.backward()
    elif kind == "second derivative":
        L = sg.eigh(A).eigenvalues
        (g,) = torch.autograd.grad(L.sum(), A, create_graph=True)
        # The derivative of the trace is constant, so its cotangents are round-off.
        torch.einsum("ij,ji->", W, g).real.backward()
    else:
        V = sg.eigh(A).eigenvectors[:, :multiplicity]
        P = V @ V.mH
        U = sg.eigh(A + 0.25 * P).eigenvectors[:, :multiplicity]
        torch.einsum("ij,ji->", W, U @ U.mH).real.backward()


@given(
    kind=kinds,
    name=st.sampled_from(list(FUNCTIONS)),
    multiplicity=st.integers(1, 3),
    others=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(ALL),
    scale=st.sampled_from([1e-8, 1e-3, 1.0, 1e3, 1e8]),
)
@settings(max_examples=2000)
def test_well_posed_losses_are_never_reported(
    kind: str, name: str, multiplicity: int, others: int, seed: int, dtype: torch.dtype, scale: float
) -> None:
    zero = FUNCTIONS[name][2]
    levels = [zero] * multiplicity + [zero + 1 + 0.5 * k for k in range(others)]
    A, W, _ = matrix_and_gradient(name, levels, seed, dtype)
    COUNTS["well-posed"] += 1
    with sg.checks("raise"):
        try:
            well_posed(kind, A.to(dtype), (scale * W).to(dtype), name, multiplicity)
        except sg.GaugeError:
            if not (kind == "second derivative" and multiplicity > 1):
                COUNTS["reported"] += 1
                raise


@given(
    multiplicity=st.integers(2, 3),
    others=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(ALL),
    scale=st.floats(-8, 8),
)
@settings(max_examples=500)
def test_ill_posed_losses_are_always_reported(
    multiplicity: int, others: int, seed: int, dtype: torch.dtype, scale: float
) -> None:
    levels = [1.0] * multiplicity + [2 + 0.5 * k for k in range(others)]
    A = matrix_and_gradient("x", levels, seed, dtype)[0]
    A = A.to(dtype).requires_grad_()
    COUNTS["ill-posed"] += 1
    M = (10**scale * hermitian_part(random_matrix(len(levels), seed + 2000, dtype))).to(dtype)
    with sg.checks("raise"):
        v = sg.eigh(A).eigenvectors[:, :1]
        loss = torch.einsum("ij,ji->", M, v @ v.mH).real
        COUNTS["missed"] += 1
        with pytest.raises(sg.GaugeError):
            loss.backward()
        COUNTS["missed"] -= 1


def test_counts() -> None:
    print(COUNTS)
    assert COUNTS["reported"] == COUNTS["missed"] == 0
