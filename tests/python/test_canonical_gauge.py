"""canonical_gauge: what it makes of V, that it depends on the eigenspaces only, and its derivatives."""

from __future__ import annotations

import warnings
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from problems import (
    benzene,
    buckminsterfullerene,
    by_precision,
    clustered,
    distinct,
    each_double,
    each_dtype,
    eps,
    gradient_of,
    huckel,
    normal,
    random_hermitian,
    with_spectrum,
)
from reference import relative_error

SPECTRUM = [-2.0, -1.0, -1.0, 0.5, 0.5, 0.5, 3.0]


def canonical(A: Tensor, **options: Any) -> Tensor:
    return sg.canonical_gauge(*sg.eigh(A), **options)


def unitary(n: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.linalg.qr(normal(n, n, dtype=dtype, seed=seed)).Q


def in_another_gauge(L: Tensor, V: Tensor, sizes: list[int], seed: int) -> Tensor:
    """V with another basis of each eigenspace, whose dimensions are `sizes`."""
    blocks = [unitary(k, V.dtype, seed + i) for i, k in enumerate(sizes)]
    if V.dtype.is_complex:  # any phase; the diagonal of R is real
        blocks = [Q * complex(np.exp(1j * (0.7 + i))) for i, Q in enumerate(blocks)]
    else:
        blocks = [Q * (-1) ** i for i, Q in enumerate(blocks)]
    return V @ torch.block_diag(*blocks).to(V.dtype)


# --- values ----------------------------------------------------------------------------------------------------------


@each_dtype
def test_pivots_form_a_lower_triangle(dtype: torch.dtype) -> None:
    A = with_spectrum(SPECTRUM, dtype, 0)
    L, V = sg.eigh(A)
    W = sg.canonical_gauge(L, V)
    torch.testing.assert_close(W.mH @ W, torch.eye(7, dtype=dtype), rtol=0, atol=30 * eps(dtype))
    torch.testing.assert_close(A @ W, W * L, rtol=0, atol=100 * eps(dtype))
    _, pivots, clusters = torch.ops.spectralgrad.canonical_frame(L, V)
    assert clusters.tolist() == [0, 1, 1, 2, 2, 2, 3]
    for first, last in ((0, 1), (1, 3), (3, 6), (6, 7)):
        rows = W[pivots[first:last], first:last]
        assert torch.equal(rows, rows.tril())
        assert (rows.diagonal().real > 0).all()
        assert not rows.diagonal().imag.any() if dtype.is_complex else True
        # The first pivot is the first row that is nearly the largest.
        sizes = (W[:, first:last].abs() ** 2).sum(-1)
        assert int(pivots[first]) == int((sizes >= 0.77 * sizes.max()).nonzero()[0])


@each_dtype
def test_depends_on_the_eigenspaces_only(dtype: torch.dtype) -> None:
    L, V = sg.eigh(with_spectrum(SPECTRUM, dtype, 0))
    W = sg.canonical_gauge(L, V)
    for seed in range(4):
        other = sg.canonical_gauge(L, in_another_gauge(L, V, [1, 2, 3, 1], seed))
        torch.testing.assert_close(other, W, rtol=0, atol=60 * eps(dtype))
    torch.testing.assert_close(sg.canonical_gauge(L, W), W, rtol=0, atol=30 * eps(dtype))


@each_double
def test_ties_are_decided_by_index(dtype: torch.dtype) -> None:
    """Molecules whose symmetry makes many entries equal up to round-off, decomposed in several ways."""
    for molecule in (benzene(), buckminsterfullerene()):
        A = huckel(molecule).to(dtype)
        W = canonical(A)
        for L, V in (torch.linalg.eigh(A), torch.linalg.eigh(A, UPLO="U"), sg.eigh(A.expand(3, *A.shape))):
            torch.testing.assert_close(sg.canonical_gauge(L, V), W.expand(V.shape), rtol=0, atol=1e-12)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            assert torch.equal(canonical(A), W) or len(A) > 8
        finally:
            torch.set_num_threads(threads)


@each_double
def test_small_perturbations_move_it_little(dtype: torch.dtype) -> None:
    """Rotations of A, under which the eigenvalues stay equal."""
    for A in (huckel(benzene()).to(dtype), with_spectrum(SPECTRUM, dtype, 3)):
        n = len(A)
        K = normal(n, n, dtype=dtype, seed=1)
        K = (K - K.mH) / 2
        for size in (1e-12, 1e-6, 1e-3):
            R = torch.linalg.matrix_exp(size * K)
            B = R @ A @ R.mH
            moved = canonical((B + B.mH) / 2, rtol=1e-9)
            assert float((moved - canonical(A)).abs().max()) <= 100 * size + 1e-13


@each_dtype
def test_batches_and_special_matrices(dtype: torch.dtype) -> None:
    for shape in ((0, 0), (3, 0, 0), (0, 4, 4), (1, 1), (2, 3, 4, 4)):
        A = random_hermitian(*shape, dtype=dtype, seed=0)
        L, V = sg.eigh(A)
        W = sg.canonical_gauge(L, V)
        assert (W.shape, W.dtype) == (V.shape, dtype)
        for i in range(A.flatten(0, -3).shape[0] if A.dim() > 2 else 0):
            single = sg.canonical_gauge(L.flatten(0, -2)[i], V.flatten(0, -3)[i])
            assert torch.equal(W.flatten(0, -3)[i], single)
    for A in (torch.eye(4, dtype=dtype), torch.zeros(4, 4, dtype=dtype)):
        V = in_another_gauge(torch.ones(4), torch.eye(4, dtype=dtype), [4], 5)
        L = A.diagonal().real.contiguous()
        torch.testing.assert_close(sg.canonical_gauge(L, V), torch.eye(4, dtype=dtype), rtol=0, atol=20 * eps(dtype))
    L, V = sg.eigh_subset(with_spectrum(SPECTRUM, dtype, 0), 1, 6)
    torch.testing.assert_close(
        sg.canonical_gauge(L, V), canonical(with_spectrum(SPECTRUM, dtype, 0))[:, 1:6], rtol=0, atol=30 * eps(dtype)
    )


@pytest.mark.parametrize("scale", [1e20, 1e-20])
@each_dtype
def test_scales(dtype: torch.dtype, scale: float) -> None:
    A = with_spectrum(SPECTRUM, dtype, 0)
    L, V = sg.eigh(A)
    assert torch.equal(sg.canonical_gauge(scale * L, V), sg.canonical_gauge(L, V))
    weights = normal(7, 7, dtype=dtype, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours, plain = (
            gradient_of(lambda X: (weights.conj() * canonical(X)).sum().real, s * A) * s for s in (scale, 1.0)
        )
    assert relative_error(ours, plain) <= by_precision(dtype, 1e-12, 1e-3)


def test_a_nan_stays_in_its_matrix() -> None:
    L, V = sg.eigh(torch.stack([distinct(4, torch.float64, seed) for seed in range(3)]))
    W = sg.canonical_gauge(L, V)
    for bad in (torch.nan, torch.inf):
        X = V.clone()
        X[1, 2, 1] = bad
        X.requires_grad_()
        result = sg.canonical_gauge(L, X)
        assert torch.equal(result[::2], W[::2])
        assert not result[1].isfinite().all()
        (G,) = torch.autograd.grad(result[::2].square().sum() + result[1].sum(), X)
        assert G[::2].isfinite().all()
    values = L.clone()
    values[1] = torch.nan
    assert torch.equal(sg.canonical_gauge(values, V)[::2], W[::2])


def test_rtol() -> None:
    A = clustered(1e-6, torch.float64, 0)
    L, V = sg.eigh(A)
    assert torch.ops.spectralgrad.canonical_frame(L, V)[2].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert torch.ops.spectralgrad.canonical_frame(L, V, 1e-5)[2].tolist() == [0, 1, 2, 2, 2, 2, 3, 4]
    W = sg.canonical_gauge(L, V, rtol=1e-5)
    other = sg.canonical_gauge(L, in_another_gauge(L, V, [1, 1, 4, 1, 1], 0), rtol=1e-5)
    torch.testing.assert_close(other, W, rtol=0, atol=1e-13)


# --- derivatives -----------------------------------------------------------------------------------------------------


def exact_canonical(A: Any, clusters: list[tuple[int, int]], pivots: list[int]) -> Any:
    """V' from the projectors P: columns of P at the pivots, times a Cholesky factor, as mpmath computes them."""
    n = A.rows
    _, V = mpmath.eighe((A + A.H) / 2)
    result = mpmath.matrix(n, n)
    for first, last in clusters:
        X = V[:, first:last]
        P = X * X.H
        rows = pivots[first:last]
        block = mpmath.matrix(last - first, last - first)
        columns = mpmath.matrix(n, last - first)
        for i, p in enumerate(rows):
            for j, q in enumerate(rows):
                block[i, j] = P[p, q]
            for k in range(n):
                columns[k, i] = P[k, p]
        turned = columns * (mpmath.cholesky(block) ** -1).H
        for k in range(n):
            for j in range(last - first):
                result[k, first + j] = turned[k, j]
    return result


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-7, 1e-10, 1e-13, 1e-15, 0.0])
@each_double
def test_losses_of_the_vectors_have_exact_gradients(dtype: torch.dtype, gap: float) -> None:
    """Any loss of V', through eigh: against differences of the projectors in 60 digits."""
    A = with_spectrum([-2.0, -1.0, 1.0, 1.0 + gap, 1.0 + 2 * gap, 3.0], dtype, 0)
    L, V = sg.eigh(A)
    W, pivots, _ = torch.ops.spectralgrad.canonical_frame(L, V, 0.05)
    clusters = [(0, 1), (1, 2), (2, 5), (5, 6)]
    weights = normal(6, 6, dtype=dtype, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        G = gradient_of(lambda X: (weights.conj() * canonical(X, rtol=0.05)).sum().real, A)
    assert torch.equal(G, G.mH)
    for seed in range(2):
        E = random_hermitian(6, 6, dtype=dtype, seed=10 + seed)
        with mpmath.workdps(60):
            h = mpmath.mpf(10) ** -20
            a, e, w = (mpmath.matrix(X.tolist()) for X in (A, E, weights))
            ahead, behind, at = (exact_canonical(a + s * h * e, clusters, pivots.tolist()) for s in (1, -1, 0))
            slope = (ahead - behind) / (2 * h)
            expected = float(mpmath.re(sum(mpmath.conj(w[i, j]) * slope[i, j] for i in range(6) for j in range(6))))
            value = torch.tensor([[complex(at[i, j]) for j in range(6)] for i in range(6)])
        torch.testing.assert_close(W.to(value.dtype), value, rtol=0, atol=1e-13)
        ours = float((G.conj() * E).sum().real)
        assert abs(ours - expected) <= 2e-13 * float(G.norm() * E.norm())


@each_dtype
def test_gradients_at_degeneracy_with_the_default_tolerance(dtype: torch.dtype) -> None:
    """On a rotation of A the eigenvalues stay equal, and V' moves smoothly: against finite differences."""
    A = with_spectrum(SPECTRUM, dtype, 0)
    weights = normal(7, 7, dtype=dtype, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        G = gradient_of(lambda X: (weights.conj() * canonical(X)).sum().real, A)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    K = normal(7, 7, dtype=wide, seed=2)
    K = (K - K.mH) / 2
    wide_A = with_spectrum(SPECTRUM, wide, 0)

    def loss(t: float) -> float:
        R = torch.linalg.matrix_exp(t * K)
        B = R @ wide_A @ R.mH
        return float((weights.to(wide).conj() * canonical((B + B.mH) / 2, rtol=1e-9)).sum().real)

    h = 1e-4
    slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
    ours = float((G.to(wide).conj() * (K @ wide_A - wide_A @ K)).sum().real)
    assert abs(ours - slope) <= by_precision(dtype, 1e-9, 1e-4) * float(G.norm())


@each_double
def test_gradcheck(dtype: torch.dtype) -> None:
    """First and second derivatives in V, which need not be orthonormal, with clusters of 1, 2 and 3 columns."""
    L = torch.tensor([0.0, 1.0, 1.0, 2.0, 2.0, 2.0], dtype=torch.float64)
    V = (unitary(7, dtype, 0)[:, :6] + 0.1 * normal(7, 6, dtype=dtype, seed=1)).requires_grad_()

    def f(V: Tensor) -> Tensor:
        return sg.canonical_gauge(L, V)

    options: dict[str, Any] = {"check_batched_grad": True, "fast_mode": True}
    assert gradcheck(f, V, check_forward_ad=True, **options)
    assert gradgradcheck(f, V, check_fwd_over_rev=True, **options)


@each_double
def test_second_derivatives_through_eigh(dtype: torch.dtype) -> None:
    A = distinct(4, dtype, 0).requires_grad_()

    def f(X: Tensor) -> Tensor:
        return canonical((X + X.mH) / 2)

    assert gradcheck(f, A, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(f, A, fast_mode=True)


def test_the_gauge_of_the_generalised_problem() -> None:
    """Eigenvectors that are orthonormal in B: the span, and Vᴴ B V = 1, stay."""
    A, B = with_spectrum([0.0, 1.0, 1.0, 2.0], torch.float64, 0), with_spectrum([1.0, 2.0, 3.0, 4.0], torch.float64, 1)
    C = torch.linalg.cholesky(B)
    A = C @ A @ C.mT
    L, V = sg.eigh_subset(A, 0, 4, B=B)
    W = sg.canonical_gauge(L, V, rtol=1e-12)
    torch.testing.assert_close(W.mT @ B @ W, torch.eye(4).double(), rtol=0, atol=1e-13)
    other = sg.canonical_gauge(L, in_another_gauge(L, V, [1, 2, 1], 0), rtol=1e-12)
    torch.testing.assert_close(other, W, rtol=0, atol=1e-13)
    weights = normal(4, 4, dtype=torch.float64, seed=2)

    def loss(X: Tensor, Z: Tensor) -> Tensor:
        return (weights * sg.canonical_gauge(*sg.eigh_subset(X, 0, 4, B=Z), rtol=1e-12)).sum()

    X, Z = (x.clone().requires_grad_() for x in (A, B))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gA, gB = torch.autograd.grad(loss(X, Z), (X, Z))
    # On (T A Tᵀ, T B Tᵀ) the eigenvalues stay equal.
    K = normal(4, 4, dtype=torch.float64, seed=3)

    def along(t: float) -> float:
        T = torch.linalg.matrix_exp(t * K)
        return float(loss(*((lambda Y: (Y + Y.mT) / 2)(T @ Y @ T.mT) for Y in (A, B))))

    h = 1e-4
    slope = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    ours = float((gA * (K @ A + A @ K.mT)).sum() + (gB * (K @ B + B @ K.mT)).sum())
    assert relative_error(torch.tensor(ours), torch.tensor(slope)) <= 1e-8


# --- errors ----------------------------------------------------------------------------------------------------------

V3 = torch.eye(3, dtype=torch.float64)
L3 = torch.ones(3, dtype=torch.float64)
ERRORS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "L is no tensor": (([1.0], V3), {}, TypeError, "Expected L to be a Tensor, but got list"),
    "V is no tensor": ((L3, 3), {}, TypeError, "Expected V to be a Tensor, but got int"),
    "wide V": ((L3, V3[:2]), {}, RuntimeError, "Expected V to have at most as many columns as rows, but .* 2 by 3"),
    "shape of L": (
        (L3[:2], V3),
        {},
        RuntimeError,
        r"Expected L to have the shape \[3\], an eigenvalue for each column of V, but its shape is \[2\]",
    ),
    "dtype of L": (
        (L3.float(), V3.to(torch.complex128)),
        {},
        RuntimeError,
        "Expected L to be Double, as V is ComplexDouble, but",
    ),
    "complex L": (
        (L3.to(torch.complex128), V3.to(torch.complex128)),
        {},
        RuntimeError,
        "Expected L to be Double, .* but got ComplexDouble",
    ),
    "dtype of V": ((L3, V3.int()), {}, NotImplementedError, "not implemented for 'Int': Expected V to be float32"),
    "1-D": ((L3, L3), {}, RuntimeError, "The input tensor V must have at least 2 dimensions, but it has 1"),
    "rtol's type": ((L3, V3), {"rtol": "a"}, TypeError, "Expected rtol to be a real number or None, but got str"),
    "negative rtol": ((L3, V3), {"rtol": -1.0}, ValueError, "Expected rtol to be a number >= 0, but got -1.0"),
}


@pytest.mark.parametrize(("args", "kwargs", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_bad_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Exception], message: str) -> None:
    for function in ("canonical_gauge", "track"):
        if function == "track" and "shape" in message:
            message = message.replace(r"\[3\]", r"\[\d?,? ?3\]")
        with pytest.raises(kind, match=rf'^"?spectralgrad\.{function}"?:? ?{message}'):
            getattr(sg, function)(*args, **kwargs)


def test_the_operators_check_their_arguments_too() -> None:
    for function in ("canonical_gauge", "track"):
        with pytest.raises(
            ValueError, match=rf"^spectralgrad\.{function}: Expected rtol to be a number >= 0, but got -1"
        ):
            getattr(torch.ops.spectralgrad, function)(L3, V3, -1.0)
    with pytest.raises(
        RuntimeError, match=r"^spectralgrad\.track: Expected V to be the eigenvectors of a path of matr"
    ):
        sg.track(L3, V3)
