"""Gradients of eigh have the same bits at every place of a batch: under deterministic algorithms, and up to n = 8."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import ALL, eps, normal, random_hermitian


def gradients(copies: int, n: int, dtype: torch.dtype, columns: int) -> Tensor:
    """Gradients of `copies` times the same matrix, for cotangents of the eigenvalues and of some eigenvectors."""
    A = random_hermitian(n, n, dtype=dtype, seed=n).expand(copies, n, n).clone().requires_grad_()
    L, V = sg.eigh(A)
    gL = normal(n, dtype=L.dtype, seed=1).expand(copies, n)
    # A cotangent of a loss that does not depend on phases: 2 (M v_k) w_k.
    M = random_hermitian(n, n, dtype=dtype, seed=2)
    weights = normal(n, dtype=L.dtype, seed=3)
    weights[columns:] = 0
    one = (M @ V[0].detach()) * weights
    return torch.autograd.grad((L, V), A, (gL, one.expand(copies, n, n)))[0]


def assert_same_everywhere(gradient: Tensor) -> None:
    assert torch.equal(gradient, gradient[:1].expand_as(gradient))


@pytest.mark.usefixtures("threads", "deterministic")
@pytest.mark.parametrize(
    ("n", "copies"), [(9, 37), (17, 17), (49, 2), (49, 37), (50, 17), (63, 37), (65, 2), (101, 17)]
)
@pytest.mark.parametrize("dtype", ALL)
def test_bits_under_deterministic_algorithms(n: int, copies: int, dtype: torch.dtype) -> None:
    assert_same_everywhere(gradients(copies, n, dtype, n))


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("columns", [3, 129])
@pytest.mark.parametrize("dtype", ALL)
def test_bits_of_larger_matrices(columns: int, dtype: torch.dtype) -> None:
    assert_same_everywhere(gradients(5, 129, dtype, columns))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("copies", [1, 2, 17, 37])
@pytest.mark.parametrize("n", [2, 5, 8])
@pytest.mark.parametrize("dtype", ALL)
def test_bits_of_small_matrices(n: int, copies: int, dtype: torch.dtype) -> None:
    gradient = gradients(copies, n, dtype, n)
    assert_same_everywhere(gradient)
    assert torch.equal(gradient[:1], gradients(1, n, dtype, n))


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize(("n", "columns"), [(9, 9), (49, 49), (65, 65), (129, 3), (129, 129), (300, 300)])
@pytest.mark.parametrize("dtype", ALL)
def test_deterministic_algorithms_change_no_more_than_round_off(
    n: int, columns: int, copies: int, dtype: torch.dtype
) -> None:
    plain = gradients(copies, n, dtype, columns)
    torch.use_deterministic_algorithms(True)
    try:
        found = gradients(copies, n, dtype, columns)
    finally:
        torch.use_deterministic_algorithms(False)
    assert float((found - plain).abs().max()) < 2000 * n * eps(dtype) * float(plain.abs().max())
