"""track: crossings, degenerate points, phases, derivatives. test_canonical_gauge.py has its errors."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from problems import DOUBLE, LinAlgError, distinct, each_double, each_dtype, eps, gradient_of, normal, random_hermitian


def rotations(n: int, t: Tensor, dtype: torch.dtype, seed: int = 0, angle: float = 0.6) -> Tensor:
    """A smooth path of unitary matrices, without diagonal generators."""
    K = normal(n, n, dtype=dtype, seed=seed)
    K = (K - K.mH) / 2
    K = K - torch.diag_embed(K.diagonal())
    return torch.linalg.matrix_exp(angle * t[:, None, None] * K / torch.linalg.matrix_norm(K, 2))


def path(curves: Tensor, dtype: torch.dtype, **options: Any) -> tuple[Tensor, Tensor]:
    """Matrices with the eigenvalues `curves` (T, n), whose eigenvectors turn smoothly; and these vectors."""
    t = torch.linspace(0, 1, len(curves), dtype=torch.float64)
    R = rotations(curves.shape[-1], t, dtype, **options)
    A = (R * curves.unsqueeze(-2).to(dtype)) @ R.mH
    return (A + A.mH) / 2, R


def largest_step(V: Tensor) -> float:
    return float((V[..., 1:, :, :] - V[..., :-1, :, :]).abs().max())


T = torch.linspace(-1, 1, 21, dtype=torch.float64)
CROSSINGS = {
    "at a point of the grid": torch.stack([T, -T, T + 3], -1),
    "between two points": torch.stack([T + 0.03, -T, T + 3], -1),
    "three at once": torch.stack([T, -T, 0 * T, T + 3], -1),
    "three at once, bent": torch.stack([T, T**2, -2 * T], -1),
    "several": torch.stack([T, -T, T + 0.5, -T + 0.5], -1),
    "from a degenerate start": torch.stack([T + 1, -T - 1, T + 3], -1),
    "always degenerate": torch.stack([T, T, -T, -T + 0.1], -1),
}


@pytest.mark.parametrize("curves", CROSSINGS.values(), ids=CROSSINGS)
@each_double
def test_crossings_are_followed(dtype: torch.dtype, curves: Tensor) -> None:
    A, R = path(curves, dtype)
    L, V = sg.eigh(A)
    curves_of, vectors = sg.track(L, V)
    order = curves[0].argsort()
    if len(curves[0].unique()) == len(order):
        torch.testing.assert_close(curves_of, curves[:, order], rtol=0, atol=1e-13)
    else:  # equal at the start, in either order
        torch.testing.assert_close(curves_of.sort().values, curves.sort().values, rtol=0, atol=1e-13)
        torch.testing.assert_close(curves_of[-1].sort().values, curves[-1].sort().values, rtol=0, atol=1e-13)
        assert float(curves_of.diff(dim=0).diff(dim=0).abs().max()) <= 1e-12
    torch.testing.assert_close(A @ vectors, vectors * curves_of.unsqueeze(-2), rtol=0, atol=1e-12)
    eye = torch.eye(V.shape[-1], dtype=dtype).expand(V.shape)
    torch.testing.assert_close(vectors.mH @ vectors, eye, rtol=0, atol=1e-13)
    assert largest_step(vectors) <= 0.06
    if len(curves[0].unique()) == len(order):
        # Each vector is the smooth one, times a constant phase; at a crossing, up to the turn in one step.
        apart = (curves.sort(-1).values.diff(dim=-1) > 1e-9).all(-1)
        overlaps = (R[..., order].conj() * vectors).sum(-2).abs()
        assert float(overlaps[apart].min()) >= 1 - 1e-12
        assert float(overlaps.min()) >= 0.999


@each_double
def test_parallel_transport(dtype: torch.dtype) -> None:
    """Neighbours overlap with a positive real number, whatever the phases of V."""
    A, _ = path(torch.stack([T, T + 1, T * 2 + 4], -1), dtype)
    L, V = sg.eigh(A)
    phases = normal(*L.shape, dtype=dtype, seed=3)
    vectors = sg.track(L, V * (phases / phases.abs()).unsqueeze(-2)).eigenvectors
    overlaps = (vectors[:-1].conj() * vectors[1:]).sum(-2)
    assert (overlaps.real > 0.9).all()
    if dtype.is_complex:
        assert float(overlaps.imag.abs().max()) <= 1e-14


@each_double
def test_the_basis_of_an_eigenspace_is_the_closest(dtype: torch.dtype) -> None:
    """Orthogonal Procrustes: V_c times the polar factor of V_cᴴ Y."""
    A, _ = path(torch.stack([T, -T, 0 * T, T + 3], -1), dtype)
    L, V = sg.eigh(A)
    vectors = sg.track(L, V).eigenvectors
    crossing, before = 10, vectors[9]
    together = [i for i in range(4) if abs(float(L[crossing, i])) < 1e-12]
    assert len(together) == 3
    X, Y = V[crossing][:, :3], before[:, torch.tensor([0, 1, 2])]
    U, _, Wh = torch.linalg.svd(X.mH @ Y)
    torch.testing.assert_close(vectors[crossing][:, :3], X @ U @ Wh, rtol=0, atol=1e-12)


def test_avoided_crossings() -> None:
    """Levels stay apart if the path is sampled more finely than the gap, and cross otherwise."""
    gap = 0.02

    def hamiltonian(t: Tensor) -> Tensor:
        off = torch.full_like(t, gap / 2)
        return torch.stack([torch.stack([t, off], -1), torch.stack([off, -t], -1)], -2)

    for points, avoided in ((401, True), (12, False)):
        t = torch.linspace(-1, 1, points, dtype=torch.float64)
        L, V = sg.eigh(hamiltonian(t))
        first = sg.track(L, V).eigenvalues[:, 0]
        assert bool((first < 0).all()) == avoided
        assert bool(first[-1] > 0) != avoided


def test_berry_phase_of_a_conical_intersection() -> None:
    """After a loop around it, each vector has the other sign; after two loops, or elsewhere, it has not."""
    for center, loops, sign in ((0.0, 1, -1.0), (0.0, 2, 1.0), (3.0, 1, 1.0)):
        angle = torch.linspace(0, 2 * torch.pi * loops, 60 * loops + 1, dtype=torch.float64)
        x, y = center + angle.cos(), angle.sin()
        A = torch.stack([torch.stack([x, y], -1), torch.stack([y, -x], -1)], -2)
        vectors = sg.track(*sg.eigh(A)).eigenvectors
        torch.testing.assert_close((vectors[0] * vectors[-1]).sum(-2), torch.full((2,), sign).double())
    # A spin in a field whose direction encloses a solid angle: half of it.
    theta = 0.8
    angle = torch.linspace(0, 2 * torch.pi, 2001, dtype=torch.float64)
    a = np.sin(theta) * torch.exp(-1j * angle)
    z = torch.full_like(a, np.cos(theta))
    vectors = sg.track(
        *sg.eigh(torch.stack([torch.stack([z, a], -1), torch.stack([a.conj(), -z], -1)], -2))
    ).eigenvectors
    phase = (vectors[0].conj() * vectors[-1]).sum(-2).angle()
    expected = np.pi * (1 - np.cos(theta))
    torch.testing.assert_close(phase.abs(), torch.full((2,), expected).double(), rtol=0, atol=1e-5)


def test_a_path_may_start_at_a_degenerate_point() -> None:
    """The basis at the start is the one that the curves have afterwards."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    A, _ = path(torch.stack([t, -t, 0.5 * t], -1), torch.float64)
    L, V = sg.eigh(A)
    Q = torch.linalg.qr(normal(3, 3, dtype=torch.float64, seed=4)).Q
    V = torch.cat([(V[0] @ Q)[None], V[1:]])
    curves, vectors = sg.track(L, V)
    assert largest_step(vectors) <= 0.08
    slopes = (curves[-1] - curves[0]).sort().values
    torch.testing.assert_close(slopes, torch.tensor([-1.0, 0.5, 1.0]).double(), rtol=0, atol=1e-13)


@each_dtype
def test_batches_and_small_paths(dtype: torch.dtype) -> None:
    for shape in ((1, 3, 3), (0, 3, 3), (2, 0, 0), (3, 1, 1), (2, 0, 3, 3), (0, 2, 3, 3)):
        L, V = sg.eigh(random_hermitian(*shape, dtype=dtype, seed=0))
        curves, vectors = sg.track(L, V)
        assert (curves.shape, vectors.shape) == (L.shape, V.shape)
        assert (curves.dtype, vectors.dtype) == (L.dtype, dtype)
        if shape[0] == 1:
            assert torch.equal(vectors, V)
            assert torch.equal(curves, L)
    paths = [path(c, dtype)[0] for c in (CROSSINGS["three at once, bent"], CROSSINGS["between two points"])]
    L, V = sg.eigh(torch.stack(paths).to(dtype))
    curves, vectors = sg.track(L, V)
    for i in range(2):
        alone = sg.track(L[i], V[i])
        torch.testing.assert_close(vectors[i], alone.eigenvectors, rtol=0, atol=30 * eps(dtype))
        assert torch.equal(curves[i], alone.eigenvalues)
    L, V = sg.eigh_subset(paths[0], 0, 2)
    assert sg.track(L, V).eigenvectors.shape == (21, 3, 2)


def test_the_assignment_is_the_best() -> None:
    """Against SciPy and all permutations, for vectors that have little to do with each other."""
    for n, seed in itertools.product((2, 4, 6, 12), range(5)):
        Q = torch.linalg.qr(normal(2, n, n, dtype=torch.float64, seed=seed)).Q
        L = torch.arange(n, dtype=torch.float64).expand(2, n)
        columns, _, start = torch.ops.spectralgrad.path_order(L, Q)
        assert int(start) == 0
        weights = (Q[0].mT @ Q[1]).square()
        rows, best = scipy.optimize.linear_sum_assignment(weights.numpy(), maximize=True)
        assert columns[1].tolist() == best.tolist()
        if n <= 6:
            total = max(sum(float(weights[i, p[i]]) for i in range(n)) for p in itertools.permutations(range(n)))
            assert float(weights[torch.tensor(rows), torch.tensor(best)].sum()) == pytest.approx(total)


def test_a_nan_stays_in_its_path() -> None:
    L, V = sg.eigh(torch.stack([path(CROSSINGS["between two points"], torch.float64)[0]] * 3))
    expected = sg.track(L, V)
    bad = V.clone()
    bad[1, 7, 0, 0] = torch.nan
    with pytest.raises(LinAlgError, match=r"^spectralgrad\.track: .*Expected the overlaps of V to be finite"):
        sg.track(L, bad)
    with sg.checks("ignore"):
        curves, vectors = sg.track(L, bad)
    assert torch.equal(curves[::2], expected.eigenvalues[::2])
    torch.testing.assert_close(vectors[::2], expected.eigenvectors[::2], rtol=0, atol=1e-14)
    assert vectors[1, 8:].isnan().any()


# --- derivatives -----------------------------------------------------------------------------------------------------


@each_double
def test_eigenvalues(dtype: torch.dtype) -> None:
    A, _ = path(CROSSINGS["at a point of the grid"], dtype)
    away = torch.cat([A[:10], A[11:]])  # single eigenvalues have no derivative at the crossing itself
    G = gradient_of(lambda X: sg.track(*sg.eigh(X)).eigenvalues[:, 0].sum(), away)
    v = sg.track(*sg.eigh(away)).eigenvectors[..., :1]
    torch.testing.assert_close(G, v @ v.mH, rtol=0, atol=1e-13)


def exact_loss(A: list[Any], weights: list[Any], clusters: list[list[list[int]]], columns: Any) -> Any:
    """Re Σ conj(weights) V', with V' as orthogonal Procrustes defines it, in the working precision of mpmath."""
    n = A[0].rows
    total = mpmath.mpf(0)
    last = None
    for t, matrix in enumerate(A):
        _, V = mpmath.eighe((matrix + matrix.H) / 2)
        now = mpmath.matrix(n, n)
        for group in clusters[t]:
            X = mpmath.matrix(n, len(group))
            for k, band in enumerate(group):
                for i in range(n):
                    X[i, k] = V[i, int(columns[t][band])]
            if last is None:
                reference = mpmath.matrix(1, n)
                for i in range(n):
                    reference[0, i] = 1  # the gauge at the start: the sum of the entries is positive
                phase = (reference * X)[0, 0]
                Y = X * (mpmath.conj(phase) / abs(phase))
            else:
                Z = mpmath.matrix(n, len(group))
                for k, band in enumerate(group):
                    for i in range(n):
                        Z[i, k] = last[i, band]
                overlaps = X.H * Z
                S, W = mpmath.eighe(overlaps.H * overlaps)
                root = W * mpmath.diag([1 / mpmath.sqrt(s) for s in S]) * W.H
                Y = X * (overlaps * root)
            for k, band in enumerate(group):
                for i in range(n):
                    now[i, band] = Y[i, k]
        for i in range(n):
            for j in range(n):
                total += mpmath.re(mpmath.conj(weights[t][i, j]) * now[i, j])
        last = now
    return total


def at_a_crossing(dtype: torch.dtype) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """A path of three matrices through a crossing of three bands, weights, and the loss Re Σ conj(weights) V'."""
    t = torch.tensor([-0.5, 0.0, 0.4], dtype=torch.float64)
    A, _ = path(torch.stack([t, -t, 0 * t, t + 3], -1), dtype)
    weights = normal(3, 4, 4, dtype=dtype, seed=1)

    def in_fixed_gauge(V: Tensor) -> Tensor:
        sums = V[..., :1, :, :].sum(-2, keepdim=True)
        return V * (sums.conj() / sums.abs())

    def loss(X: Tensor) -> Tensor:
        L, V = sg.eigh(X)
        first = in_fixed_gauge(V[:1])
        return (weights.conj() * sg.track(L, torch.cat([first, V[1:]])).eigenvectors).sum().real

    return A, weights, loss


@each_double
def test_losses_of_the_vectors_have_exact_gradients_at_a_crossing(dtype: torch.dtype) -> None:
    """Any loss of V' along a path through an exact crossing of three bands: against differences in 50 digits."""
    A, weights, loss = at_a_crossing(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        G = gradient_of(loss, A)
    columns, clusters, start = torch.ops.spectralgrad.path_order(*sg.eigh(A))
    assert int(start) == 0
    groups = [[[b for b in range(4) if row[b] == c] for c in sorted(set(row))] for row in clusters.tolist()]
    assert [len(g) for g in groups] == [4, 2, 4]
    E = random_hermitian(3, 4, 4, dtype=dtype, seed=5)
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -18
        w, a, e = ([mpmath.matrix(x.tolist()) for x in X] for X in (weights, A, E))
        ahead, behind = (
            exact_loss([x + s * h * y for x, y in zip(a, e, strict=True)], w, groups, columns) for s in (1, -1)
        )
        expected = float((ahead - behind) / (2 * h))
    assert float((G.conj() * E).sum().real) == pytest.approx(expected, abs=2e-13 * float(G.norm() * E.norm()))


@each_double
def test_rounding_of_a_crossing_does_not_matter(dtype: torch.dtype) -> None:
    """The round-off of the loss stays below the noise gate, whatever the last bits of the matrices are."""
    A, _, loss = at_a_crossing(dtype)
    expected = gradient_of(loss, A)
    for seed in range(100):
        # The crossing is at zero, so this is far below the round-off of the other matrices.
        G = gradient_of(loss, A + 1e-16 * random_hermitian(3, 4, 4, dtype=dtype, seed=seed))
        assert float((G - expected).norm()) <= 1e-12 * float(expected.norm())


@each_double
def test_gradcheck(dtype: torch.dtype) -> None:
    """In L and V, with crossings, clusters and a start in the middle."""
    A, _ = path(torch.stack([T, -T, 0 * T, T + 3], -1)[8:12], dtype)
    L, V = sg.eigh(A)
    L, V = L.clone().requires_grad_(), V.clone().requires_grad_()

    def f(L: Tensor, V: Tensor) -> tuple[Tensor, ...]:
        result = sg.track(L, V, rtol=1e-3)
        return result.eigenvalues, result.eigenvectors

    options: dict[str, Any] = {"fast_mode": True, "check_batched_grad": True}
    assert gradcheck(f, (L, V), check_forward_ad=True, **options)
    assert gradgradcheck(f, (L, V), **options)


@pytest.mark.parametrize("dtype", DOUBLE)
def test_without_a_choice_of_phases_the_loss_has_a_gradient(dtype: torch.dtype) -> None:
    """`track` after `canonical_gauge`: against finite differences."""
    A = torch.stack([distinct(4, dtype, 0) + 0.1 * s * random_hermitian(4, 4, dtype=dtype, seed=1) for s in range(4)])
    E = random_hermitian(4, 4, 4, dtype=dtype, seed=2)
    weights = normal(4, 4, 4, dtype=dtype, seed=3)

    def loss(X: Tensor) -> Tensor:
        L, V = sg.eigh(X)
        return (weights.conj() * sg.track(L, sg.canonical_gauge(L, V)).eigenvectors).sum().real

    G = gradient_of(loss, A)
    h = 1e-4
    slope = (8 * (loss(A + h * E) - loss(A - h * E)) - (loss(A + 2 * h * E) - loss(A - 2 * h * E))) / (12 * h)
    assert float((G.conj() * E).sum().real) == pytest.approx(float(slope), abs=1e-9 * float(G.norm() * E.norm()))
