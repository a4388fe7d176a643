"""Derivatives of svd at repeated and zero singular values.

The reference is a spectral function of [[0, A], [Aᴴ, 0]], whose eigenvalues are ±σ and zeros, in 60 digits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import reference
import spectralgrad as sg
from problems import ALL, DOUBLE, GAPS, by_precision, expectation, normal, random_hermitian, with_singular_values
from reference import relative_error

SHAPES = [(5, 5), (8, 8), (7, 5), (5, 8)]


class Case(NamedTuple):
    """A matrix with a cluster of singular values at the indices `cluster`."""

    A: Tensor
    cluster: slice


def clustered(m: int, n: int, gap: float, dtype: torch.dtype, seed: int, *, at: float = 1.0) -> Case:
    """Three singular values `gap` apart, the lowest one at `at`; the others are at least 0.4 away."""
    rest = min(m, n) - 3
    low = [] if at < 0.8 else [0.3]
    high = [at + 0.5 + 0.6 * i for i in range(rest - len(low))]
    values = [*reversed(high), *(at + gap * i for i in (2, 1, 0)), *low]
    start = len(high)
    return Case(with_singular_values(m, n, values, dtype, seed), slice(start, start + 3))


def jordan_wielandt(A: Tensor) -> Tensor:
    m, n = A.shape
    H = torch.zeros(m + n, m + n, dtype=A.dtype)
    H[:m, m:], H[m:, :m] = A, A.mH
    return H


def side_weights(side: np.ndarray) -> reference.Weights:
    """For the function of H that is `side[i]` near eigenvalue i, constant on each cluster."""

    def weights(values: Any) -> Any:
        K = np.zeros((len(values), len(values)), dtype=object)
        for i, j in np.argwhere(side[:, None] != side[None]):
            K[i, j] = int(side[j] - side[i]) / (values[j] - values[i])
        return K

    return weights


def expected_gradient(A: Tensor, M: Tensor, plus: Any, minus: Any, zero: int = 0) -> Tensor:
    """The gradient of Re tr(M f(H)), f(σ_i) = plus[i], f(-σ_i) = minus[i], and f = `zero` at the zeros of H."""
    m, n = A.shape
    side = np.array([*minus, *[zero] * abs(m - n), *reversed(plus)])
    return 2 * reference.frechet(jordan_wielandt(A), M, side_weights(side))[:m, m:]


def indicator(case: Case) -> list[int]:
    k = min(case.A.shape)
    return [int(i in range(k)[case.cluster]) for i in range(k)]


def block(
    m: int, n: int, *, left: Tensor | None = None, right: Tensor | None = None, X: Tensor | None = None
) -> Tensor:
    M = torch.zeros(m + n, m + n, dtype=torch.complex128)
    if left is not None:
        M[:m, :m] = left
    if right is not None:
        M[m:, m:] = right
    if X is not None:
        M[:m, m:], M[m:, :m] = X / 2, X.mH / 2
    return M


def gradient(loss: Any, A: Tensor, **options: Any) -> Tensor:
    X = A.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(*sg.svd(X, **options)), X)[0]


def real_if(A: Tensor, M: Tensor) -> Tensor:
    return M if A.is_complex() else M.real


GAPS_AND_DTYPES = [(dtype, gap) for dtype in ALL for gap in GAPS if dtype in DOUBLE or gap >= 1e-8 or gap == 0]


def check_cluster(case: Case, tolerance: float) -> None:
    A, columns = case
    m, n = A.shape
    dtype, inside = A.dtype, indicator(case)
    L, R = random_hermitian(m, m, dtype=dtype, seed=1), random_hermitian(n, n, dtype=dtype, seed=2)
    X = normal(m, n, dtype=dtype, seed=3)
    opposite = [-x for x in inside]
    losses = {
        "U Uᴴ": (
            lambda U, S, Vh: expectation(L, U[:, columns] @ U[:, columns].mH),
            (block(m, n, left=L), inside, inside),
        ),
        "V Vᴴ": (
            lambda U, S, Vh: expectation(R, Vh[columns].mH @ Vh[columns]),
            (block(m, n, right=R), inside, inside),
        ),
        "U Vᴴ": (
            lambda U, S, Vh: (X.conj() * (U[:, columns] @ Vh[columns])).sum().real,
            (block(m, n, X=X), inside, opposite),
        ),
    }
    for name, (loss, (M, plus, minus)) in losses.items():
        expected = expected_gradient(A, real_if(A, M), plus, minus)
        for full_matrices in (False, True):
            G = gradient(loss, A, full_matrices=full_matrices)
            assert relative_error(G, expected) <= tolerance, (name, full_matrices)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "gap"), GAPS_AND_DTYPES)
def test_losses_of_a_cluster(dtype: torch.dtype, gap: float, shape: tuple[int, int]) -> None:
    check_cluster(clustered(*shape, gap, dtype, 0), by_precision(dtype, 1e-12, 1e-4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gap", [1e-2, 1e-6, 1e-10, 1e-14, 0.0])
@pytest.mark.parametrize("dtype", ALL)
def test_losses_of_the_singular_subspaces_of_zero(dtype: torch.dtype, gap: float, shape: tuple[int, int]) -> None:
    """Projectors onto the range, and onto each whole null space."""
    if dtype not in DOUBLE and 0 < gap < 1e-4:
        pytest.skip("single precision does not resolve such gaps beside the round-off of A")
    m, n = shape
    A, columns = clustered(m, n, gap, dtype, 0, at=0.0)
    k = min(m, n)
    inside = [int(i < columns.start) for i in range(k)]
    opposite = [-x for x in inside]
    outside = [1 - x for x in inside]
    L, R = random_hermitian(m, m, dtype=dtype, seed=1), random_hermitian(n, n, dtype=dtype, seed=2)
    X = normal(m, n, dtype=dtype, seed=3)
    kept = slice(0, columns.start)
    rest = slice(columns.start, None)
    cases: list[tuple[Any, Any, bool]] = [
        (lambda U, S, Vh: expectation(L, U[:, kept] @ U[:, kept].mH), (block(m, n, left=L), inside, inside), False),
        (lambda U, S, Vh: expectation(R, Vh[kept].mH @ Vh[kept]), (block(m, n, right=R), inside, inside), False),
        (
            lambda U, S, Vh: (X.conj() * (U[:, kept] @ Vh[kept])).sum().real,
            (block(m, n, X=X), inside, opposite),
            False,
        ),
        (lambda U, S, Vh: expectation(L, U[:, rest] @ U[:, rest].mH), (block(m, n, left=L), outside, outside, 1), True),
        (lambda U, S, Vh: expectation(R, Vh[rest].mH @ Vh[rest]), (block(m, n, right=R), outside, outside, 1), True),
    ]
    for loss, (M, *sides), full_matrices in cases:
        G = gradient(loss, A, full_matrices=full_matrices)
        expected = expected_gradient(A, real_if(A, M), *sides)
        assert relative_error(G, expected) <= by_precision(dtype, 1e-12, 1e-4)
