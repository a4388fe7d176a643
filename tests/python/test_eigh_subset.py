"""eigh_subset: the kept part of eigh, its derivative with the complement term, and the generalised problem.

test_eigh_subset_messages.py has what it reports and refuses, test_transforms.py the transforms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import reference
import spectralgrad as sg
from problems import (
    ALL,
    DOUBLE,
    GAPS,
    benzene,
    by_precision,
    clustered,
    distinct,
    each_double,
    each_dtype,
    eps,
    expectation,
    gradient_of,
    hessian_times,
    huckel,
    normal,
    random_hermitian,
    return_types,
    with_spectrum,
)
from reference import relative_error

Loss = Callable[[Tensor, Tensor], Tensor]
RANGES = [(0, 2), (2, 5), (5, 7), (0, 7), (3, 3), (6, 7)]
each_range = pytest.mark.parametrize(("start", "stop"), RANGES)


def sliced(A: Tensor, start: int, stop: int, **options: Any) -> tuple[Tensor, Tensor]:
    L, V = sg.eigh(A, **options)
    return L[..., start:stop], V[..., start:stop]


def invariant_loss(M: Tensor) -> Loss:
    """Depends on every eigenvalue, and on every eigenvector up to its phase."""

    def loss(L: Tensor, V: Tensor) -> Tensor:
        weights = torch.arange(1, L.shape[-1] + 1, dtype=L.dtype)
        return (L.sin() * weights).sum() + ((V.conj() * (M @ V)).sum(-2).real * weights.sqrt()).sum()

    return loss


def projector_of(start: int, stop: int) -> Callable[[Tensor], Tensor]:
    def projector(X: Tensor) -> Tensor:
        V = sg.eigh_subset(X, start, stop)[1]
        return V @ V.mH

    return projector


def quiet(f: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return gradient_of(f, A)


# --- eigh and slicing ------------------------------------------------------------------------------------------------


@each_range
@each_dtype
def test_is_eigh_and_slicing(dtype: torch.dtype, start: int, stop: int) -> None:
    """Values to the bit; first and second derivatives, and forward mode, to round-off."""
    A, E = distinct(7, dtype, 0), random_hermitian(7, 7, dtype=dtype, seed=9)
    result = sg.eigh_subset(A, start, stop)
    assert isinstance(result, return_types.linalg_eigh)
    for part, plain_part in zip(result, sliced(A, start, stop), strict=True):
        assert torch.equal(part, plain_part)
    loss = invariant_loss(random_hermitian(7, 7, dtype=dtype, seed=1))

    def ours(X: Tensor) -> Tensor:
        return loss(*sg.eigh_subset(X, start, stop))

    def plain(X: Tensor) -> Tensor:
        return loss(*sliced(X, start, stop))

    tolerance = 60 * eps(dtype)
    expected = gradient_of(plain, A)
    G = gradient_of(ours, A)
    assert torch.equal(G, G.mH)
    if start == stop:
        assert not G.any()
        return
    assert relative_error(G, expected) <= tolerance
    assert relative_error(hessian_times(ours, A, E), hessian_times(plain, A, E)) <= 10 * tolerance
    along = [torch.func.jvp(f, (A,), (E,))[1] for f in (ours, plain)]
    torch.testing.assert_close(*along, rtol=tolerance, atol=tolerance)


@each_double
def test_large_matrices_agree_with_the_full_derivative(dtype: torch.dtype) -> None:
    A = distinct(80, dtype, 3)
    M = random_hermitian(80, 80, dtype=dtype, seed=1)
    loss = invariant_loss(M)
    for start, stop in ((0, 4), (30, 37), (70, 80)):
        ours = gradient_of(lambda X, a=start, b=stop: loss(*sg.eigh_subset(X, a, b)), A)
        plain = gradient_of(lambda X, a=start, b=stop: loss(*sliced(X, a, b)), A)
        assert relative_error(ours, plain) <= 1e-13


@pytest.mark.parametrize("n", [5, 40, 150])
@each_dtype
def test_the_kernel_agrees_with_the_tensor_code(dtype: torch.dtype, n: int) -> None:
    """Tensor code runs where the gradient is differentiated again, and where a cut is to be reported."""
    A = torch.stack([distinct(n, dtype, seed) for seed in range(2)])
    loss = invariant_loss(random_hermitian(n, n, dtype=dtype, seed=1))
    for start, stop in ((0, 2), (n // 2, n // 2 + 2), (n - 1, n), (0, n)):
        X = A.clone().requires_grad_()
        L, V = sg.eigh_subset(X, start, stop)
        for y in (loss(L, V), L.sin().sum(), loss(L.detach(), V)):
            by_kernel, by_tensor_code = (
                torch.autograd.grad(y, X, retain_graph=True, create_graph=create_graph)[0]
                for create_graph in (False, True)
            )
            assert relative_error(by_kernel, by_tensor_code) <= 200 * eps(dtype)


@each_double
def test_gradcheck(dtype: torch.dtype) -> None:
    A = distinct(5, dtype, 0).requires_grad_()

    def f(X: Tensor) -> tuple[Tensor, ...]:
        L, V = sg.eigh_subset((X + X.mH) / 2, 1, 3)
        return L, V @ V.mH, V[:, :1] @ V[:, :1].mH, (V * L) @ V.mH

    options: dict[str, Any] = {"check_batched_grad": True, "fast_mode": True}
    assert gradcheck(f, A, check_forward_ad=True, **options)
    assert gradgradcheck(f, A, check_fwd_over_rev=True, **options)


@each_dtype
def test_batches_and_empty_matrices(dtype: torch.dtype) -> None:
    for batch in ((), (0,), (2,), (2, 0, 3), (2, 3)):
        for n in (0, 1, 4):
            A = random_hermitian(*batch, n, n, dtype=dtype, seed=n)
            for start, stop in ((0, n), (0, 0), (n, n), (n // 2, n)):
                L, V = sg.eigh_subset(A, start, stop)
                assert (L.shape, V.shape) == ((*batch, stop - start), (*batch, n, stop - start))
                assert (L.dtype, V.dtype) == (torch.empty(0, dtype=dtype).real.dtype, dtype)
                G = gradient_of(lambda X, a=start, b=stop: sg.eigh_subset(X, a, b)[0].sum(), A)
                V = sg.eigh(A)[1][..., start:stop]
                torch.testing.assert_close(G, V @ V.mH, rtol=0, atol=40 * eps(dtype))


def test_indices_are_those_of_slices() -> None:
    A = distinct(6, torch.float64, 0)
    L = sg.eigvalsh(A)
    for start, stop in ((None, 2), (-2, None), (None, None), (1, -1), (-6, 6), (-3, -1)):
        assert torch.equal(sg.eigh_subset(A, start, stop)[0], L[start:stop])
    assert sg.eigh_subset(A, np.int64(1), np.int32(3))[0].shape == (2,)


@each_dtype
def test_only_the_triangle_is_read(dtype: torch.dtype) -> None:
    A = distinct(5, dtype, 0)
    garbage = normal(5, 5, dtype=dtype, seed=1)
    for UPLO, read in (("L", A.tril() + garbage.triu(1)), ("U", A.triu() + garbage.tril(-1))):
        L, V = sg.eigh_subset(read, 1, 4, UPLO)
        torch.testing.assert_close(L, sg.eigvalsh(A)[1:4], rtol=0, atol=20 * eps(dtype))
        torch.testing.assert_close(A @ V, V * L, rtol=0, atol=50 * eps(dtype))
        G = gradient_of(lambda X, U=UPLO: sg.eigh_subset(X, 1, 4, U)[0].sum(), read)
        torch.testing.assert_close(G, V @ V.mH, rtol=0, atol=50 * eps(dtype))


# --- degenerate eigenvalues, against 60 digits -----------------------------------------------------------------------

CASES = [(dtype, gap) for dtype in ALL for gap in GAPS[::3] if dtype in DOUBLE or gap >= 1e-8 or gap == 0]


@pytest.mark.parametrize(("dtype", "gap"), CASES)
def test_near_and_equal_eigenvalues(dtype: torch.dtype, gap: float) -> None:
    """Four near eigenvalues, 2 to 5 of 8: kept, dropped below, dropped above."""
    A = clustered(gap, dtype, 0)
    M = random_hermitian(8, 8, dtype=dtype, seed=1)
    for start, stop in ((2, 6), (0, 6), (2, 8), (0, 2), (6, 8), (1, 2), (0, 8)):
        P = projector_of(start, stop)
        G = quiet(lambda X, P=P: expectation(M, P(X)), A)  # type: ignore[misc]
        expected = reference.frechet(A, M, reference.projector(start, stop))
        if (start, stop) == (0, 8):
            assert float(G.abs().max()) <= 200 * eps(dtype)
        else:
            assert relative_error(G, expected) <= by_precision(dtype, 2e-13, 1e-4)


@each_dtype
def test_identity_zero_and_symmetric_molecules(dtype: torch.dtype) -> None:
    for A in (torch.eye(4, dtype=dtype), torch.zeros(4, 4, dtype=dtype)):
        G = quiet(lambda X: sg.eigh_subset(X, 0, 4)[0].sum(), A)
        torch.testing.assert_close(G, torch.eye(4, dtype=dtype), rtol=0, atol=10 * eps(dtype))
    A = huckel(benzene()).to(dtype)  # -2, -1, -1, 1, 1, 2
    M = random_hermitian(6, 6, dtype=dtype, seed=1)
    for start, stop in ((0, 3), (1, 3), (3, 5), (3, 6)):
        # The energy tr(A P) is stationary in the eigenvectors, so its gradient is P.
        P = projector_of(start, stop)
        G = quiet(lambda X, P=P: expectation(X, P(X)), A)  # type: ignore[misc]
        assert relative_error(G, P(A)) <= 100 * eps(dtype)
        G = quiet(lambda X, P=P: expectation(M, P(X)), A)  # type: ignore[misc]
        expected = reference.frechet(A, M, reference.projector(start, stop))
        assert relative_error(G, expected) <= by_precision(dtype, 1e-14, 1e-5)


@pytest.mark.parametrize("scale", [1e20, 1e-20])
@each_dtype
def test_scales(dtype: torch.dtype, scale: float) -> None:
    A = clustered(0.0, dtype, 0)
    M = random_hermitian(8, 8, dtype=dtype, seed=1)
    P = projector_of(2, 6)

    def loss(X: Tensor) -> Tensor:
        return expectation(M, P(X))

    assert relative_error(quiet(loss, A * scale) * scale, quiet(loss, A)) <= by_precision(dtype, 1e-13, 1e-4)


def test_closed_form() -> None:
    """At diag(1, 3), the projector onto the first eigenvector turns by dA_12/(1 - 3)."""
    A = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))
    G = gradient_of(lambda X: projector_of(0, 1)(X)[0, 1], A)
    torch.testing.assert_close(G, torch.tensor([[0, -0.25], [-0.25, 0]], dtype=torch.float64), rtol=0, atol=1e-16)


@each_double
def test_rules(dtype: torch.dtype) -> None:
    A = distinct(6, dtype, 0)
    loss = invariant_loss(random_hermitian(6, 6, dtype=dtype, seed=1))
    for rule in (sg.Lorentzian(0.3), sg.Cutoff(0.9), sg.Bare(), sg.Split(0.05), sg.Gated(noise=0.0)):
        ours = gradient_of(lambda X, r=rule: loss(*sg.eigh_subset(X, 1, 4, rule=r)), A)
        plain = gradient_of(lambda X, r=rule: loss(*sliced(X, 1, 4, rule=r)), A)
        assert relative_error(ours, plain) <= 1e-13
        with sg.use_rule(rule):
            assert torch.equal(ours, gradient_of(lambda X: loss(*sg.eigh_subset(X, 1, 4)), A))
    eye = torch.eye(3, dtype=dtype)
    assert sg.eigh_subset(eye, 0, 2, rule=sg.Split(0.1))[0].tolist() == pytest.approx([0.9, 1.0])


def test_a_bad_matrix_does_not_disturb_the_others() -> None:
    A = torch.stack([distinct(4, torch.float64, seed) for seed in range(3)])
    A[1, 2, 1] = torch.nan
    with sg.checks("ignore"):
        X = A.clone().requires_grad_()
        L, V = sg.eigh_subset(X, 1, 3)
        assert L[1].isnan().all()
        assert V[1].isnan().all()
        (L.sum() + (V @ V.mT)[..., 0, 1].sum()).backward()
    assert X.grad is not None
    for i in (0, 2):
        G = gradient_of(lambda Y: sg.eigh_subset(Y, 1, 3)[0].sum() + projector_of(1, 3)(Y)[0, 1], A[i])
        torch.testing.assert_close(X.grad[i], G, rtol=0, atol=1e-14)


# --- the generalised problem -----------------------------------------------------------------------------------------


def positive_definite(n: int, dtype: torch.dtype, seed: int, condition: float = 30.0) -> Tensor:
    return with_spectrum(torch.logspace(0, float(torch.tensor(condition).log10()), n, dtype=torch.float64), dtype, seed)


@each_dtype
def test_generalised_values(dtype: torch.dtype) -> None:
    """Against SciPy."""
    A, B = random_hermitian(6, 6, dtype=dtype, seed=0), positive_definite(6, dtype, 1)
    garbage = normal(6, 6, dtype=dtype, seed=1)
    expected = scipy.linalg.eigh(A.numpy(), B.numpy(), subset_by_index=(1, 3), eigvals_only=True)
    for UPLO, keep in (("L", lambda X: X.tril() + garbage.triu(1)), ("U", lambda X: X.triu() + garbage.tril(-1))):
        L, V = sg.eigh_subset(keep(A), 1, 4, UPLO, B=keep(B))
        tolerance = 2000 * eps(dtype)
        torch.testing.assert_close(L, torch.tensor(expected, dtype=L.dtype), rtol=0, atol=tolerance)
        torch.testing.assert_close(V.mH @ B @ V, torch.eye(3, dtype=dtype), rtol=0, atol=tolerance)
        torch.testing.assert_close(A @ V, B @ V * L, rtol=0, atol=tolerance)


def to_mp(X: Tensor) -> Any:
    return mpmath.matrix(X.tolist())


def exact_projector(A: Any, B: Any, start: int, stop: int) -> Any:
    """C⁻ᴴ Y Yᴴ C⁻¹ with B = C Cᴴ, in the working precision of mpmath."""
    C = mpmath.cholesky(B)
    inverse = C**-1
    reduced = inverse * A * inverse.H
    _, Y = mpmath.eighe((reduced + reduced.H) / 2)
    V = inverse.H * Y[:, start:stop]
    return V * V.H


@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-8, 1e-13, 0.0])
@pytest.mark.parametrize(("condition", "tolerance"), [(30.0, 1e-13), (1e4, 1e-11)])
@each_double
def test_generalised_derivatives(dtype: torch.dtype, condition: float, tolerance: float, gap: float) -> None:
    """A projector loss: against differences in 80 digits, in A and in B, which the whole eigenspace keeps exact."""
    n, start, stop = 5, 1, 3
    B = positive_definite(n, dtype, 1, condition)
    C = torch.linalg.cholesky(B)
    Y = with_spectrum([-1.0, 1.0, 1.0 + gap, 3.0, 4.0], dtype, 2)
    A = C @ Y @ C.mH
    A = (A + A.mH) / 2
    M = random_hermitian(n, n, dtype=dtype, seed=3)
    X, Z = A.clone().requires_grad_(), B.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        V = sg.eigh_subset(X, start, stop, B=Z)[1]
        gA, gB = torch.autograd.grad(expectation(M, V @ V.mH), (X, Z))
    for G in (gA, gB):
        assert relative_error(G.mH, G) <= 1e-14
    for seed in range(3):
        E, F = (random_hermitian(n, n, dtype=dtype, seed=seed + k) for k in (10, 20))
        for dA, dB in ((E, 0 * F), (0 * E, F)):
            with mpmath.workdps(80):
                h = mpmath.mpf(10) ** -25
                ahead, behind = (
                    exact_projector(to_mp(A) + s * h * to_mp(dA), to_mp(B) + s * h * to_mp(dB), start, stop)
                    for s in (1, -1)
                )
                slope = (ahead - behind) / (2 * h)
                m = to_mp(M)
                expected = float(mpmath.re(sum(m[i, j] * slope[j, i] for i in range(n) for j in range(n))))
            ours = float(((gA.conj() * dA).sum() + (gB.conj() * dB).sum()).real)
            size = max(float(gA.norm() * dA.norm()), float(gB.norm() * dB.norm()))
            assert abs(ours - expected) <= tolerance * size


@each_dtype
def test_generalised_batches(dtype: torch.dtype) -> None:
    """The batches are broadcast. With B = 1 it is the ordinary problem."""
    A = torch.stack([distinct(4, dtype, seed) for seed in range(3)])
    B = positive_definite(4, dtype, 1)
    L, V = sg.eigh_subset(A, 0, 2, B=B)
    alone = sg.eigh_subset(A[1], 0, 2, B=B)
    torch.testing.assert_close(L[1], alone[0], rtol=0, atol=100 * eps(dtype))
    assert sg.eigh_subset(A[0], 0, 2, B=B.expand(3, 4, 4))[1].shape == (3, 4, 2)
    eye = torch.eye(4, dtype=dtype)
    torch.testing.assert_close(sg.eigh_subset(A, 1, 3, B=eye)[0], sg.eigvalsh(A)[:, 1:3], rtol=0, atol=50 * eps(dtype))
    assert sg.eigh_subset(A[:0], 0, 2, B=B)[1].shape == (0, 4, 2)
    empty = torch.zeros(0, 0, dtype=dtype)
    assert sg.eigh_subset(empty, 0, 0, B=empty)[1].shape == (0, 0)
    assert V.shape == (3, 4, 2)


@each_double
def test_generalised_gradcheck(dtype: torch.dtype) -> None:
    A, B = distinct(4, dtype, 0).requires_grad_(), positive_definite(4, dtype, 1).requires_grad_()

    def f(X: Tensor, Z: Tensor) -> tuple[Tensor, ...]:
        L, V = sg.eigh_subset((X + X.mH) / 2, 1, 3, B=(Z + Z.mH) / 2)
        return L, V @ V.mH

    assert gradcheck(f, (A, B), check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(f, (A, B), fast_mode=True)
