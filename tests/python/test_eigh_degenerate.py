"""Derivatives of eigh at degenerate eigenvalues, against references that do not use eigh."""

from __future__ import annotations

import itertools

import mpmath
import pytest
import torch

import reference
import spectralgrad as sg
from problems import (
    ALL,
    CLUSTER,
    DOUBLE,
    DTYPES_AND_GAPS,
    GAPS,
    REAL,
    apply_function,
    benzene,
    buckminsterfullerene,
    by_precision,
    clustered,
    expectation,
    gradient,
    huckel,
    projector,
    projector_loss,
    random_hermitian,
    with_spectrum,
)
from reference import relative_error

SEEDS = range(5)
in_cluster = reference.projector(CLUSTER.start, CLUSTER.stop)


@pytest.mark.parametrize(("dtype", "gap"), DTYPES_AND_GAPS)
def test_projector_of_a_cluster(dtype: torch.dtype, gap: float, device: str) -> None:
    for seed in SEEDS:
        A, M = clustered(gap, dtype, seed), random_hermitian(8, 8, dtype=dtype, seed=seed + 100)
        G = gradient(projector_loss(M.to(device)), A.to(device))
        assert relative_error(G, reference.frechet(A, M, in_cluster)) <= by_precision(dtype, 1e-13, 1e-5)


@pytest.mark.parametrize("dtype", ALL)
def test_gradient_of_a_separated_eigenvector_beside_a_fourfold_level(dtype: torch.dtype, device: str) -> None:
    for seed in SEEDS:
        A = clustered(0, dtype, seed)
        y = random_hermitian(8, 8, dtype=dtype, seed=seed + 100)[:, 0]
        for k in (1, 6):
            G = gradient(lambda L, V, k=k, y=y: (y.to(device).conj() @ V[:, k]).abs().square(), A.to(device))
            expected = reference.frechet(A, torch.outer(y, y.conj()), reference.projector(k, k + 1))
            assert relative_error(G, expected) <= by_precision(dtype, 1e-12, 1e-5)


@pytest.mark.parametrize("exponent", range(-100, 101, 25))
@pytest.mark.parametrize("dtype", DOUBLE)
def test_scale_does_not_matter(dtype: torch.dtype, exponent: int, device: str) -> None:
    s = 10.0**exponent
    M = random_hermitian(8, 8, dtype=dtype, seed=1).to(device)
    for A in [clustered(gap, dtype, 0).to(device) for gap in (1e-3, 1e-9, 0)]:
        assert relative_error(s * gradient(projector_loss(M), s * A), gradient(projector_loss(M), A)) <= 1e-13


@pytest.mark.parametrize("exponent", [-30, -20, 20, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_scale_does_not_matter_in_single_precision(dtype: torch.dtype, exponent: int, device: str) -> None:
    s = 10.0**exponent
    M = random_hermitian(8, 8, dtype=dtype, seed=1).to(device)
    for A in [clustered(gap, dtype, 0).to(device) for gap in (1e-1, 1e-3, 0)]:
        assert relative_error(s * gradient(projector_loss(M), s * A), gradient(projector_loss(M), A)) <= 1e-5


@pytest.mark.parametrize(
    ("graph", "occupied", "low", "high"),
    [(benzene, 3, -4.0, 0.0), (buckminsterfullerene, 30, -3.25, -0.2)],
    ids=["benzene", "C60"],
)
def test_occupied_projector_of_a_molecule(graph, occupied: int, low: float, high: float, device: str) -> None:
    H = huckel(graph())
    n = len(H)
    assert sorted(dict(graph().degree).values()) == [3 if n == 60 else 2] * n
    M = random_hermitian(n, n, dtype=torch.float64, seed=0)
    expected = reference.resolvent_frechet(H, M, low, high)
    if n == 6:  # checks the resolvent's own error
        assert relative_error(expected, reference.frechet(H, M, reference.projector(0, occupied))) <= 1e-13
    G = gradient(projector_loss(M.to(device), slice(0, occupied)), H.to(device))
    assert relative_error(G, expected) <= 1e-12


@pytest.mark.parametrize(
    "diagonal", [[1.0] * 4, [0.0] * 4, [1.0, 1.0, 2.0, 2.0], [2.0, 1.0, 2.0, 1.0], [0.0], [-3.0] * 9]
)
@pytest.mark.parametrize("dtype", ALL)
def test_trace_and_norm_of_a_repeated_eigenvalue(dtype: torch.dtype, diagonal: list[float], device: str) -> None:
    A = torch.diag(torch.tensor(diagonal, dtype=dtype, device=device))
    G = gradient(lambda L, V: L.sum() + V.abs().square().sum(), A)
    torch.testing.assert_close(G, torch.eye(len(A), dtype=dtype, device=device), rtol=0, atol=1e-14)


FUNCTIONS = {
    "exp": (torch.exp, reference.function(mpmath.exp, mpmath.exp)),
    "log": (torch.log, reference.function(mpmath.log, lambda x: 1 / x)),
    "sqrt": (torch.sqrt, reference.function(mpmath.sqrt, lambda x: 1 / (2 * mpmath.sqrt(x)))),
}


@pytest.mark.parametrize(("dtype", "gap"), DTYPES_AND_GAPS)
def test_split_recovers_functions_written_by_hand(dtype: torch.dtype, gap: float, device: str) -> None:
    A, M = clustered(gap, dtype, 0, positive=True), random_hermitian(8, 8, dtype=dtype, seed=100)
    for f, divided in FUNCTIONS.values():
        loss = lambda L, V, f=f: expectation(M.to(device), apply_function(f, L, V))  # noqa: E731
        G = gradient(loss, A.to(device), rule=sg.Split())
        assert relative_error(G, reference.frechet(A, M, divided)) <= by_precision(dtype, 1e-6, 5e-3)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("dtype", REAL)
def test_split_leaves_projectors_exact(dtype: torch.dtype, gap: float) -> None:
    A, M = clustered(gap, dtype, 0), random_hermitian(8, 8, dtype=dtype, seed=100)
    G = gradient(projector_loss(M), A, rule=sg.Split())
    # Split spreads the cluster, which changes the gaps across its border by about its width.
    width = torch.finfo(dtype).eps ** 0.5
    assert relative_error(G, reference.frechet(A, M, in_cluster)) <= 4 * width


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("dtype", DOUBLE)
def test_split_of_second_order_gives_hessian_vector_products(dtype: torch.dtype, gap: float, device: str) -> None:
    A = clustered(gap, dtype, 0, positive=True)
    M, E = (random_hermitian(8, 8, dtype=dtype, seed=seed) for seed in (100, 101))
    for f, divided in FUNCTIONS.values():
        X = A.to(device).clone().requires_grad_()
        loss = expectation(M.to(device), apply_function(f, *sg.eigh(X, rule=sg.Split(order=2))))
        (G,) = torch.autograd.grad(loss, X, create_graph=True)
        (product,) = torch.autograd.grad(expectation(E.to(device), G), X)
        assert relative_error(product, reference.second_frechet(A, M, E, divided)) <= 1e-4


@pytest.mark.parametrize("n", [8, 32, 64])
@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("exactly", [True, False], ids=["exact", "rounding-level"])
def test_tangent_of_a_projector(exactly: bool, dtype: torch.dtype, n: int, device: str) -> None:
    columns = slice(n // 4, n // 4 + n // 2)
    spectrum = [*torch.linspace(-2, 0, n // 4), *[1.0] * (n // 2), *torch.linspace(2, 4, n - n // 4 - n // 2)]
    shuffle = torch.randperm(n)
    A = torch.diag(torch.tensor(spectrum, dtype=dtype)[shuffle]) if exactly else with_spectrum(spectrum, dtype, seed=n)
    E = random_hermitian(n, n, dtype=dtype, seed=1)
    _, tangent = torch.func.jvp(lambda X: projector(sg.eigh(X).eigenvectors, columns), (A.to(device),), (E.to(device),))
    expected = reference.resolvent_frechet(A, E, 0.5, 1.5)
    if n == 8:
        exact = reference.frechet(A, E, reference.projector(columns.start, columns.stop))
        assert relative_error(expected, exact) <= 1e-13
        expected = exact
    assert relative_error(tangent, expected) <= 1e-13


def test_hessian_where_the_antisymmetric_part_vanishes() -> None:
    """Σ V_kk² at a diagonal matrix: S = 0, its derivative is not. Perturbation theory: n - Σ_{k≠j} E_kj²/(λk - λj)²."""
    levels = torch.tensor([0.5, -1.0, 2.0, 3.5], dtype=torch.float64)
    A = torch.diag(levels)

    def loss(eigh):
        # V_kk² for each eigenvalue's own row: rows in ascending order of their levels.
        order = levels.argsort()
        return lambda X: eigh((X + X.mT) / 2).eigenvectors[order].diagonal().square().sum()

    # E_kj = (X_kj + X_jk)/2, and the sum has E_kj² twice: each of the four second derivatives is -1/(λk - λj)².
    expected = torch.zeros(4, 4, 4, 4, dtype=torch.float64)
    for k, j in itertools.permutations(range(4), 2):
        expected[k, j, k, j] = expected[k, j, j, k] = -1 / (levels[k] - levels[j]) ** 2
    hessians = [
        torch.func.hessian(loss(sg.eigh))(A),
        torch.func.jacrev(torch.func.jacrev(loss(sg.eigh)))(A),
        torch.autograd.functional.hessian(loss(sg.eigh), A),
        torch.func.hessian(loss(torch.linalg.eigh))(A),
    ]
    for H in hessians:
        torch.testing.assert_close(H, expected, rtol=1e-13, atol=1e-13)
