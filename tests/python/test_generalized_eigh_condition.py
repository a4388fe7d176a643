"""Losses of the generalized problem at equal levels, for an ill-conditioned B, against contour integrals in 50 digits.

B spreads the computed copies of one level over eps·cond(B), and the round-off of A V is as large.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import generalized_reference
import spectralgrad as sg
from problems import (
    double_of,
    each_double,
    each_dtype,
    eps,
    expectation,
    normal,
    projector,
    random_hermitian,
)
from reference import relative_error
from test_generalized_eigh import positive, problem

Pair = tuple[Tensor, Tensor]
Solver = Callable[[Tensor, Tensor, int], Pair]
each_type = pytest.mark.parametrize("itype", [1, 2, 3])
each_condition = pytest.mark.parametrize("condition", [1.0, 100.0, 1e4])
INSIDE = slice(1, 4)


def all_of_them(A: Tensor, B: Tensor, itype: int) -> Pair:
    L, V = sg.generalized_eigh(A, B, itype=itype)
    return L[..., INSIDE], V[..., INSIDE]


def subset(A: Tensor, B: Tensor, itype: int) -> Pair:
    assert itype == 1
    L, V = sg.eigh_subset(A, INSIDE.start, INSIDE.stop, B=B)
    return L, V


SOLVERS = [(all_of_them, 1), (all_of_them, 2), (all_of_them, 3), (subset, 1)]
each_solver = pytest.mark.parametrize(
    ("solve", "itype"), SOLVERS, ids=[f"{solve.__name__}-{itype}" for solve, itype in SOLVERS]
)


def losses(A: Tensor, B: Tensor) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """G(A, B) of the losses tr(G V_c V_cᴴ)."""
    M = random_hermitian(len(A), len(A), dtype=A.dtype, seed=7)
    return {"A": lambda a, b: a, "B": lambda a, b: b, "M": lambda a, b: M.to(a.dtype)}


def sizes(A: Tensor, B: Tensor, G: Tensor, itype: int) -> tuple[float, float]:
    """The largest entries of the gradients in A and B of tr(G V Vᴴ) if nothing cancels."""
    V = sg.generalized_eigh(A, B, itype=itype).eigenvectors
    U = torch.linalg.inv(V).mH
    P, R = (U if itype == 2 else V), (U if itype == 3 else V)
    loss = float((V.mH @ G @ V).abs().max())
    return float((P @ P.mH).abs().max()) * loss, float((R @ R.mH).abs().max()) * loss


def gradients(y: Tensor, arguments: Pair, create_graph: bool = False) -> Pair:
    of_A, of_B = torch.autograd.grad(y, arguments, create_graph=create_graph)
    return of_A.detach(), of_B.detach()


@pytest.mark.filterwarnings("error::spectralgrad.GaugeWarning")
@each_condition
@each_solver
@each_dtype
def test_losses_of_a_level(dtype: torch.dtype, solve: Solver, itype: int, condition: float) -> None:
    """tr(A V_c V_cᴴ), tr(B V_c V_cᴴ) and tr(M V_c V_cᴴ) for each gap inside the level c.

    At a gap that is resolved, the round-off of A V_c is divided by it, whatever the rule.
    """
    rounding = eps(dtype) * condition
    for seed, gap in enumerate((0.0, 1e-8, 1e-4, 1e-2)):
        B = positive(5, dtype, 3 + seed, condition)
        A = problem([-1, 1, 1 + gap, 1 + 2 * gap, 3], B, itype, seed)
        wide = A.to(double_of(dtype)), B.to(double_of(dtype))
        for name, loss in losses(*wide).items():
            # The other levels are at four times the radius, so the error of 30 points is about 4⁻³⁰ = 1e-18.
            expected = generalized_reference.projector_loss(
                *wide, loss(*wide), itype, center=1.0, radius=0.5, points=30
            )
            of_A = expected.A + (expected.value if name == "A" else 0)
            of_B = expected.B + (expected.value if name == "B" else 0)
            size = sizes(*wide, loss(*wide), itype)
            amplified = 3 / gap if name != "M" and gap > rounding else 1.0
            for create_graph in (False, True):  # by the kernel, and by tensor code
                a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
                V = solve(a, b, itype)[1]
                got = gradients(expectation(loss(a, b), V @ V.mH), (a, b), create_graph)
                for x, y, unit in zip(got, (of_A, of_B), size, strict=True):
                    error = float((x - y).abs().max()) / unit
                    assert error <= 10 * rounding * amplified, (name, gap, create_graph, error / rounding)


@pytest.mark.filterwarnings("error::spectralgrad.GaugeWarning")
@pytest.mark.parametrize("n", [6, 20, 60])
@pytest.mark.parametrize("condition", [1e4, 1e6])
@each_type
@each_double
def test_energies(dtype: torch.dtype, itype: int, condition: float, n: int) -> None:
    """tr(A V_c V_cᴴ) = Σλ, or tr(B V_c V_cᴴ) = 3 for type 2, by each kernel: beside a core level, also at 0."""
    for level in (-0.3, 0.0):
        B = positive(n, dtype, 3, condition)
        A = problem([-20, level, level, *np.linspace(0.5, 1.1, n - 3)], B, itype, 0)
        a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
        L, V = sg.generalized_eigh(a, b, itype=itype)
        of_A, of_B = gradients(expectation(a if itype != 2 else b, projector(V, slice(0, 3))), (a, b))
        V, L, P = V.detach(), L.detach()[:3], projector(V.detach(), slice(0, 3))
        exact_A = {1: P, 2: torch.zeros_like(P), 3: P}[itype]
        inverse = torch.linalg.inv(V).mH[:, :3]
        exact_B = {1: -(V[:, :3] * L) @ V[:, :3].mH, 2: torch.zeros_like(P), 3: (inverse * L) @ inverse.mH}[itype]
        units = sizes(A, B, A if itype != 2 else B, itype)
        for x, y, unit in zip((of_A, of_B), (exact_A, exact_B), units, strict=True):
            assert float((x - y).abs().max()) <= 10 * eps(dtype) * condition * unit


@each_double
def test_smooth_functions_are_not_reported(dtype: torch.dtype) -> None:
    """The wider the round-off, the larger the difference of cotangents that counts as one."""
    B = positive(6, dtype, 3, 1e6)
    A = problem([-1, 1, 1 + 1e-7, 2, 3, 4], B, 1, 0).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        L, V = sg.generalized_eigh(A, B)
        (L.exp().sum() + expectation(random_hermitian(6, 6, dtype=dtype, seed=1), V @ V.mH)).backward()


def scaled(B: Tensor, condition: float) -> Tensor:
    """B with rows and columns in units that differ by √condition."""
    D = torch.from_numpy(np.geomspace(1, condition**-0.5, len(B)))
    return (D.unsqueeze(-1) * D * B).to(B.dtype)


@each_type
@each_double
def test_units_of_basis_functions_amplify_nothing(dtype: torch.dtype, itype: int) -> None:
    """Levels 1e-9 apart are resolved, although cond(B) is 1e6: a projector onto one of them has its gradient."""
    gap = 1e-9
    B = scaled(positive(5, dtype, 3, 2.0), 1e6)
    A = problem([-1, 1, 1 + gap, 2, 3], B, itype, 0)
    M = scaled(random_hermitian(5, 5, dtype=dtype, seed=1), 1e6 if itype != 3 else 1e-6)
    expected = generalized_reference.projector_loss(A, B, M, itype, center=1.0, radius=0.4 * gap)
    for create_graph in (False, True):
        a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
        V = sg.generalized_eigh(a, b, itype=itype).eigenvectors
        got = gradients(expectation(M, projector(V, slice(1, 2))), (a, b), create_graph)
        for x, y in zip(got, expected[1:], strict=True):
            assert relative_error(x, y) <= 2e-4  # eps/gap, relative to a small entry v₁ᴴ M v₂ of the loss


@pytest.mark.parametrize("itype", [1, 3])
def test_single_precision_with_digits_lost(itype: int) -> None:
    """With eps·cond(B) = 0.1, no level is merged with another one silently: gradients keep a digit."""
    B = positive(5, torch.float32, 3, 1e6)
    A = problem([-1, 0, 1, 2, 3], B, itype, 0)
    M = random_hermitian(5, 5, dtype=torch.float64, seed=1)
    results = []
    for dtype in (torch.float32, torch.float64):
        a, b = A.to(dtype).requires_grad_(), B.to(dtype).requires_grad_()
        V = sg.generalized_eigh(a, b, itype=itype).eigenvectors
        results.append(gradients(expectation(M.to(dtype), projector(V, slice(0, 2))), (a, b)))
    for x, y in zip(*results, strict=True):
        assert relative_error(x, y) <= 0.5


@pytest.mark.filterwarnings("error::spectralgrad.GaugeWarning")
@each_condition
@each_type
@each_double
def test_forward_mode(dtype: torch.dtype, itype: int, condition: float) -> None:
    """The tangent of a level's projector is paired with the gradient of the reference."""
    B = positive(5, dtype, 3, condition)
    M, dA, dB = (random_hermitian(5, 5, dtype=dtype, seed=seed) for seed in (7, 8, 9))
    for seed, gap in enumerate((0.0, 1e-8, 1e-2)):
        A = problem([-1, 1, 1 + gap, 1 + 2 * gap, 3], B, itype, seed)
        expected = generalized_reference.projector_loss(A, B, M, itype, center=1.0, radius=0.5)

        def loss(a: Tensor, b: Tensor) -> Tensor:
            return expectation(M, projector(sg.generalized_eigh(a, b, itype=itype).eigenvectors, INSIDE))

        along = torch.func.jvp(loss, (A, B), (dA, dB))[1]
        slope = expectation(expected.A, dA) + expectation(expected.B, dB)
        size = float(expected.A.abs().max() + expected.B.abs().max())
        amplified = 3 / gap if gap > 16 * eps(dtype) * condition else 1.0
        assert abs(float(along - slope)) <= 100 * eps(dtype) * condition * size * amplified


# --- reports ---------------------------------------------------------------------------------------------------------


def report_of(f: Callable[[Tensor, Tensor], Tensor], A: Tensor, B: Tensor, create_graph: bool = False) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
        gradients(f(a, b), (a, b), create_graph)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("n", [5, 60])
@each_double
def test_reports_at_a_spread_level(dtype: torch.dtype, n: int) -> None:
    """The computed copies of the level are farther apart than round-off without B."""
    B = positive(n, dtype, 3, 1e4)
    A = problem([-1, 1, 1, *np.linspace(2, 3, n - 3)], B, 1, 0)
    assert float(sg.generalized_eigh(A, B).eigenvalues.diff()[1]) > 8 * eps(dtype) * 3
    M = random_hermitian(n, n, dtype=dtype, seed=1)
    solve: Any = sg.generalized_eigh
    for create_graph in (False, True):
        (message,) = report_of(lambda a, b: expectation(M, projector(solve(a, b)[1], slice(0, 2))), A, B, create_graph)
        assert "The loss depends on the choice of eigenvectors inside an eigenspace" in message
        (message,) = report_of(lambda a, b: solve(a, b)[0][1], A, B, create_graph)
        assert "The loss treats equal eigenvalues differently" in message
        assert not report_of(lambda a, b: expectation(M, projector(solve(a, b)[1], slice(0, 3))), A, B, create_graph)
    part: Any = sg.eigh_subset
    (message,) = report_of(lambda a, b: expectation(M, projector(part(a, 0, 2, B=b)[1], slice(0, 2))), A, B)
    assert message.startswith("spectralgrad.eigh_subset: stop=2 cuts through a repeated eigenvalue")
    assert "has multiplicity 2, the eigenvalues 1 to 2" in message
    assert not report_of(lambda a, b: expectation(M, projector(part(a, 0, 3, B=b)[1], slice(0, 3))), A, B)


@each_double
def test_second_derivatives_at_a_spread_level_warn(dtype: torch.dtype) -> None:
    B = positive(5, dtype, 3, 1e4).requires_grad_()
    A = problem([-1, 1, 1, 2, 3], B.detach(), 1, 0).requires_grad_()
    y = expectation(random_hermitian(5, 5, dtype=dtype, seed=1), projector(sg.generalized_eigh(A, B)[1], slice(0, 3)))
    G = torch.autograd.grad(y, (A, B), create_graph=True)
    with pytest.warns(sg.GaugeWarning, match=r"^spectralgrad\.generalized_eigh: .*second derivative"):
        torch.autograd.grad(G[0].abs().square().sum() + G[1].abs().square().sum(), (A, B))


@each_type
@each_double
def test_a_unit_overlap_amplifies_nothing(dtype: torch.dtype, itype: int) -> None:
    """Gradients in A are those of `eigh`, on both sides of the edge of a cluster."""
    for n in (3, 8, 60):
        weights = normal(n, n, dtype=dtype, seed=2)
        for gap in (7.9 * eps(dtype), 8.1 * eps(dtype), 60 * eps(dtype)):
            values = torch.tensor([1.0, 1.0 - gap, *np.linspace(0.5, -0.5, n - 2)], dtype=torch.float64)
            A = torch.diag(values).to(dtype).requires_grad_()
            eye = torch.eye(n, dtype=dtype)
            with sg.checks("ignore"):
                ours, plain = (
                    torch.autograd.grad((weights.conj() * V).real.sum(), A)[0]
                    for V in (sg.generalized_eigh(A, eye, itype=itype).eigenvectors, sg.eigh(A).eigenvectors)
                )
            assert relative_error(ours, plain) <= 1e-13
