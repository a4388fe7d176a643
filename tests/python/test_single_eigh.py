"""The method "single" of eigh: accuracy for all families, deflation, closed forms, bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from decomposition_errors import (
    assert_accurate,
    bits,
    fill_unread_entries_with_nan,
    slow_if_large,
    value_bound,
)
from problems import REAL, random_hermitian
from spectra import FAMILIES, Batch, mixed_batch


def divided(A: Tensor, UPLO: str = "L") -> tuple[Tensor, Tensor]:
    L, V = torch.ops.spectralgrad.eigh(A, UPLO, method="single")
    return L, V


def check(batch: Batch, L: Tensor, V: Tensor) -> None:
    assert bool((L.diff() >= 0).all())
    assert_accurate(batch, L, V)


@pytest.mark.parametrize("UPLO", ["L", "U"])
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", slow_if_large([1, 2, 3, 5, 15, 16, 17, 33, 64, 65, 130]))
def test_a_mixed_batch(n: int, dtype: torch.dtype, UPLO: str) -> None:
    """All families, from degenerate and graded to subnormal, which have every kind of deflation."""
    batch = mixed_batch(n, dtype, every_scale=n <= 5)
    if n > 17 and UPLO == "U":  # to save time
        batch = Batch(batch.names[:24], batch.A[:24])
    check(batch, *divided(fill_unread_entries_with_nan(batch.A, UPLO), UPLO))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", [200, 301, 400])
def test_large_matrices(n: int, dtype: torch.dtype) -> None:
    names = ["repeated", "clustered", "glued Wilkinson", "normal", "projector"]
    assert set(names) <= FAMILIES.keys(), f"the families are {list(FAMILIES)}"
    batch = mixed_batch(n, dtype, every_scale=False)
    chosen = [next(k for k, name in enumerate(batch.names) if name.startswith(wanted)) for wanted in names]
    batch = Batch([batch.names[k] for k in chosen], batch.A[chosen])
    check(batch, *divided(batch.A))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("exponent", [0, 100, -100])
@pytest.mark.parametrize("n", [2, 31, 64, 100, 257])
def test_eigenvalues_with_closed_forms(n: int, exponent: int, dtype: torch.dtype) -> None:
    """Tridiagonal matrices: the path, whose eigenvalues are distinct, and its square root of ones, |i - j| = 1."""
    unit = 2.0**exponent
    k = np.arange(1, n + 1)
    side = torch.ones(n - 1, dtype=torch.float64).diag(1)
    path = 2 * torch.eye(n, dtype=torch.float64) - side - side.mT
    # M. Kac's matrix, made symmetric by a diagonal similarity, has the eigenvalues -(n - 1), -(n - 3), ..., n - 1.
    kac = torch.from_numpy(np.sqrt(k[:-1] * (n - k[:-1]))).diag(1)
    for A, expected in [
        (path, 2 - 2 * np.cos(np.pi * k / (n + 1))),
        (kac + kac.mT, 2.0 * k - n - 1),
    ]:
        L, _ = divided((unit * A).to(dtype))
        error = np.abs(L.double().numpy() / unit - np.sort(expected)).max() / np.abs(expected).max()
        assert error <= value_bound(n) * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", REAL)
def test_everything_deflates(dtype: torch.dtype) -> None:
    """A multiple of the identity plus a matrix of rank one, and blocks that repeat, leave few secular equations."""
    n = 96
    u = torch.ones(n, 1, dtype=dtype)
    block = random_hermitian(n // 6, n // 6, dtype=dtype, seed=3)
    A = torch.stack([torch.eye(n, dtype=dtype) + u @ u.mT, torch.block_diag(*[block] * 6)])
    check(Batch(["rank one", "equal blocks"], A), *divided(A))
    L, _ = divided(A[:1])
    expected = torch.ones(1, n, dtype=dtype)
    expected[:, -1] = n + 1
    assert (L - expected).abs().max() <= value_bound(n) * (n + 1) * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("n", [70, 129, 193, 400])
def test_a_matrix_has_the_same_bits_in_every_batch(
    n: int, dtype: torch.dtype, set_threads: Callable[[int], None]
) -> None:
    """From 128 rows on, threads share a matrix if there are at least twice as many threads as matrices."""
    count = 6 if n < 128 else 3
    A = torch.stack([random_hermitian(n, n, dtype=dtype, seed=k) for k in range(count)])
    set_threads(1)
    expected = divided(A)
    for threads in (1, 2, 5, 8):
        set_threads(threads)
        for k in (0, count - 1):
            for x, y in zip(divided(A[k]), expected, strict=True):
                assert torch.equal(bits(x), bits(y[k]))
        for x, y in zip(divided(A.flip(0)), expected, strict=True):
            assert torch.equal(bits(x.flip(0)), bits(y))


@pytest.mark.parametrize("n", [80, 130])
def test_a_non_finite_matrix_does_not_disturb_the_others(n: int, set_threads: Callable[[int], None]) -> None:
    set_threads(6)
    A = torch.stack([random_hermitian(n, n, dtype=torch.float64, seed=k) for k in range(3)])
    expected = divided(A)
    A[1, 40, 3] = torch.nan
    with sg.checks("ignore"):
        results = divided(A)
    for x, y in zip(results, expected, strict=True):
        assert bool(x[1].isnan().all())
        assert torch.equal(bits(x[::2]), bits(y[::2]))


@pytest.mark.parametrize("A", [torch.eye(3, dtype=torch.complex64)])
def test_complex_matrices_need_another_method(A: Tensor) -> None:
    with pytest.raises(ValueError, match="'single' \\(for eigenvectors of real matrices\\)"):
        divided(A)
