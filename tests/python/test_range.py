"""Matrices near the limits of float32: gaps that overflow, and functions with intermediate results outside its range.

The reference is the same computation in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jvp

import spectralgrad as sg
from problems import double_of, normal, random_hermitian, with_spectrum

SINGLE = [torch.float32, torch.complex64]
Function = Callable[[Tensor], Tensor]

# λmax - λmin is more than the largest number.
SPECTRA = {
    "of the issue": [-2e38, 2e38, 5.0],
    "a level at each end": [-3e38, -3e38, 3e38],
    "n = 22": [-2e38, 2e38, 5.0, *(1e37 * k for k in range(1, 20))],
    "n = 30": [-1.2e38, 1.2e38, 5.0, *(1e36 * k for k in range(1, 28))],
}


def widened(x: Tensor) -> Tensor:
    return x.to(double_of(x.dtype))


def derivatives(f: Function, A: Tensor, C: Tensor, D: Tensor, cotangent: float, tangent: float) -> dict[str, Tensor]:
    """The gradient of Re tr(Cᴴ f(A)), the derivative along D, and the second derivatives, by both modes."""
    C, D = cotangent * C, tangent * D
    X = A.detach().requires_grad_()
    (first,) = torch.autograd.grad((f(X) * C.conj()).real.sum(), X, create_graph=True)
    (second,) = torch.autograd.grad((first * D.conj()).real.sum(), X)
    return {
        "gradient": first.detach(),
        "tangent": jvp(f, (A,), (D,))[1],
        "second gradient": second,
        "second tangent": jvp(lambda X: jvp(f, (X,), (D,))[1], (A,), (D,))[1],
    }


def assert_as_in_float64(f: Function, A: Tensor, cotangent: float, tangent: float, tolerance: float = 1e-5) -> None:
    C, D = (random_hermitian(*A.shape, dtype=A.dtype, seed=seed) for seed in (1, 2))
    found = derivatives(f, A, C, D, cotangent, tangent)
    expected = derivatives(f, widened(A), widened(C), widened(D), cotangent, tangent)
    for name, exact in expected.items():
        largest = exact.abs().max()
        error = (widened(found[name]) - exact).abs().max()
        assert float(error) <= tolerance * float(largest) + 1e-44, name


def first_projector(A: Tensor) -> Tensor:
    """By the eigenvector of the lowest eigenvalue."""
    V = sg.eigh(A).eigenvectors[..., :1]
    return V @ V.mH


@pytest.mark.parametrize("dtype", SINGLE)
@pytest.mark.parametrize("name", SPECTRA)
def test_projectors(name: str, dtype: torch.dtype) -> None:
    A = torch.diag(torch.tensor(SPECTRA[name])).to(dtype)
    level = 2 if name == "a level at each end" else 1
    assert_as_in_float64(lambda X: sg.spectral_projector(X, 0, level), A, 1e36, 1e36)
    assert_as_in_float64(lambda X: sg.density_matrix(X, mu=1.05e38, spin=1), A, 1e36, 1e36)
    if level == 1:
        assert_as_in_float64(first_projector, A, 1e36, 1e36, 1e-4)


@pytest.mark.parametrize("dtype", SINGLE)
def test_projectors_of_full_matrices(dtype: torch.dtype) -> None:
    A = with_spectrum([-1.0, 1.0, 0.1, 0.7], dtype, seed=0) * 1.5e38
    assert_as_in_float64(lambda X: sg.spectral_projector(X, 0, 2), A, 1e36, 1e36)
    assert_as_in_float64(first_projector, A, 1e36, 1e36, 1e-4)


@pytest.mark.parametrize("dtype", SINGLE)
@pytest.mark.parametrize("exponent", [-41, -38, -30, 30, 37])
def test_a_projector_at_every_scale(exponent: int, dtype: torch.dtype) -> None:
    """The derivative along a direction of the size of A does not depend on the scale."""
    unit = 10.0**exponent
    A = with_spectrum([1.0, 1.0, 2.0, 3.0], dtype, seed=0)
    D = random_hermitian(4, 4, dtype=dtype, seed=1)

    def f(X: Tensor) -> Tensor:
        return sg.spectral_projector(X, 0, 2)

    found = jvp(f, (A * unit,), (D * unit,))[1]
    expected = jvp(f, (A,), (D,))[1]
    # Subnormal numbers have few digits.
    tolerance = 1e-2 if exponent < -38 else 1e-5
    assert float((found - expected).abs().max()) < tolerance * float(expected.abs().max())


@pytest.mark.parametrize("dtype", SINGLE)
@pytest.mark.parametrize("name", sorted(SPECTRA.keys() - {"a level at each end"}))
def test_eigenvalues(name: str, dtype: torch.dtype) -> None:
    A = torch.diag(torch.tensor(SPECTRA[name])).to(dtype)
    weights = torch.arange(1.0, A.shape[-1] + 1)
    D = random_hermitian(*A.shape, dtype=dtype, seed=1)
    for eigenvalues in (sg.eigvalsh, lambda X: sg.eigh(X).eigenvalues):
        X, W = A.clone().requires_grad_(), widened(A).requires_grad_()
        results = []
        for Y in (X, W):
            # The second derivative is of the order 1/gap.
            (first,) = torch.autograd.grad((eigenvalues(Y) * weights.to(Y.real.dtype)).sum(), Y, create_graph=True)
            (second,) = torch.autograd.grad((first * D.to(Y.dtype).conj()).real.sum() * 1e36, Y)
            results.append((first.detach(), second))
        for found, expected in zip(*results, strict=True):
            largest = float(expected.abs().max())
            assert float((widened(found) - expected).abs().max()) <= 1e-5 * largest + 1e-44


@pytest.mark.parametrize("dtype", SINGLE)
@pytest.mark.parametrize("p", [1, 2, 3, -1])
def test_powers_across_zero(p: int, dtype: torch.dtype) -> None:
    unit = 1e18 if p == 2 else 1e12 if p == 3 else 1e38
    A = with_spectrum([-2.5, 2.5, 1.0], dtype, seed=0) * unit
    C = random_hermitian(3, 3, dtype=dtype, seed=1)
    results = []
    for X, K in ((A, C), (widened(A), widened(C))):
        X = X.clone().requires_grad_()
        results.append(torch.autograd.grad((sg.powm(X, p) * K.conj()).real.sum(), X)[0])
    found, expected = results
    assert float((widened(found) - expected).abs().max()) <= 1e-5 * float(expected.abs().max()) + 1e-44


@pytest.mark.parametrize("dtype", SINGLE)
@pytest.mark.parametrize("kT", [1.0, 1e38])
def test_occupations_whose_gap_overflows(kT: float, dtype: torch.dtype) -> None:
    A = torch.diag(torch.tensor(SPECTRA["of the issue"])).to(dtype)
    C, D = (random_hermitian(3, 3, dtype=dtype, seed=seed) for seed in (1, 2))

    def f(X: Tensor) -> Tensor:
        return sg.density_matrix(X, mu=6.0, kT=kT)

    def first_derivatives(A: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
        X = A.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((f(X) * C.conj()).real.sum(), X)
        return gradient, jvp(f, (A,), (1e36 * D,))[1]

    expected = first_derivatives(*map(widened, (A, C, D)))
    for found, exact in zip(first_derivatives(A, C, D), expected, strict=True):
        assert float((widened(found) - exact).abs().max()) <= 1e-5 * float(exact.abs().max()) + 1e-44


# --- functions that are given -----------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[float], tuple[Any, ...]]] = {
    "log": lambda unit: (torch.log,),
    "log with derivatives": lambda unit: (torch.log, lambda x: 1 / x, lambda x: -1 / x**2),
    "sqrt": lambda unit: (torch.sqrt,),
    "log of the square": lambda unit: (lambda x: x.square().log(),),
    "tanh": lambda unit: (lambda x: torch.tanh(x / unit),),
    "complex power": lambda unit: (lambda x: torch.exp(0.5j * x.log()),),
}


@pytest.mark.parametrize("dtype", SINGLE)
@pytest.mark.parametrize("unit", [1e20, 1e-20, 1e10, 1e-10, 1e30, 1e-30, 1.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_large_and_small_matrices(name: str, unit: float, dtype: torch.dtype) -> None:
    if name == "complex power" and not dtype.is_complex:
        dtype = torch.float32
    A = with_spectrum([1.0, 1.0, 1.0, 2.0], dtype, seed=0) * unit
    C = random_hermitian(4, 4, dtype=torch.complex64 if name == "complex power" else dtype, seed=1)
    D = random_hermitian(4, 4, dtype=dtype, seed=2)
    results = []
    for wide in (False, True):
        X, K, E = (widened(x) if wide else x for x in (A, C, D))
        X = X.clone().requires_grad_()
        y = sg.funm(X, *FUNCTIONS[name](unit))
        (first,) = torch.autograd.grad((y * K.conj()).real.sum(), X, create_graph=True)
        (second,) = torch.autograd.grad((first * E.conj()).real.sum() * unit, X)
        results.append((y.detach(), first.detach(), second))
    for found, expected in zip(*results, strict=True):
        wide_type = expected.dtype
        assert float((found.to(wide_type) - expected).abs().max()) <= 2e-5 * float(expected.abs().max())


def test_each_matrix_of_a_batch_by_its_own_scale() -> None:
    A = with_spectrum([1.0, 1.0, 1.0, 2.0], torch.float32, seed=0)
    batch = torch.stack([A, A * 1e20, A * 1e-20]).requires_grad_()
    (together,) = torch.autograd.grad(sg.trace_funm(batch, torch.log).sum(), batch)
    for X, found in zip(batch.detach(), together, strict=True):
        X = X.clone().requires_grad_()
        (alone,) = torch.autograd.grad(sg.trace_funm(X, torch.log), X)
        assert torch.equal(alone, found)
        inverse = torch.linalg.inv(X.detach().double())
        assert float((found.double() - inverse).abs().max() / inverse.abs().max()) < 1e-5


def test_a_function_that_takes_float32_only() -> None:
    """f is called with float32 eigenvalues, even if float64 would help."""
    layer = torch.nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(1.0)
    A = (with_spectrum([1.0, 1.0, 2.0], torch.float32, seed=0) * 1e10).requires_grad_()
    value = sg.funm(A, lambda x: layer(x.unsqueeze(-1)).squeeze(-1))
    assert torch.allclose(value, 2 * A.detach() + torch.eye(3), rtol=1e-5)
    C = normal(3, 3, dtype=torch.float32, seed=1)
    (gradient,) = torch.autograd.grad((value * (C + C.T)).sum(), A)
    assert torch.allclose(gradient, 2 * (C + C.T), rtol=1e-4, atol=1e-4)


def test_tensors_that_a_function_is_made_of() -> None:
    scale = torch.tensor([3.0], requires_grad=True)
    A = with_spectrum([1.0, 1.0, 2.0], torch.float32, seed=0) * 1e20
    value = sg.trace_funm(A.requires_grad_(), lambda x: scale * x.log())
    (of_scale,) = torch.autograd.grad(value, scale)
    assert torch.allclose(of_scale, torch.logdet(A.detach().double() * 1e-20).float() + 3 * torch.tensor(1e20).log())
