"""The closed form of eig for n = 2, against mpmath and torch.linalg."""

from __future__ import annotations

import itertools

import mpmath
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import double_of, each_dtype, eps, normal


def with_graded_entries(count: int, dtype: torch.dtype) -> Tensor:
    """Random matrices whose entries differ by up to three powers of ten in each direction."""
    A = normal(count, 2, 2, dtype=dtype, seed=1)
    powers = 10.0 ** (
        3 * torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 1.5
    )
    return torch.cat([A, (A.to(double_of(dtype)) * powers).to(dtype)])


@each_dtype
def test_order_and_phases_are_those_of_torch(dtype: torch.dtype) -> None:
    """But for the sign of conjugate pairs, which differs between LAPACK's precisions."""
    A = with_graded_entries(500, dtype)
    L, V = sg.eig(A)
    expected = torch.linalg.eig(A)
    size = A.abs().amax((-1, -2))
    # Eigenvalues that are nearly equal are sensitive.
    clear = (L[:, 0] - L[:, 1]).abs() > 1e-2 * size
    assert float(clear.to(torch.float64).mean()) > 0.9
    limit = 1e4 * eps(dtype)
    assert float(((L - expected.eigenvalues).abs().amax(-1) / size)[clear].max()) <= limit
    same = (V - expected.eigenvectors).abs().amax(-2)
    opposite = (V + expected.eigenvectors).abs().amax(-2)
    pair = L.imag != 0 if not dtype.is_complex else torch.zeros_like(L, dtype=torch.bool)
    assert float(torch.where(pair, torch.minimum(same, opposite), same)[clear].max()) <= limit
    largest = V.gather(-2, V.abs().argmax(-2, keepdim=True)).squeeze(-2)
    assert float(largest.imag.abs().max()) <= 2 * eps(dtype)
    assert float((V.norm(dim=-2) - 1).abs().max()) <= 4 * eps(dtype)


@pytest.mark.parametrize("scale", [1.0, 1e20, 1e-20])
@each_dtype
def test_residuals_are_round_off(dtype: torch.dtype, scale: float) -> None:
    A = with_graded_entries(500, dtype) * scale
    L, V = sg.eig(A)
    wide = A.to(torch.complex128)
    residuals = (wide @ V.to(torch.complex128) - V.to(torch.complex128) * L.to(torch.complex128).unsqueeze(-2)).abs()
    assert float((residuals.amax((-1, -2)) / A.abs().amax((-1, -2))).max()) <= 8 * eps(dtype)
    assert torch.equal(sg.eigvals(A), L)


@each_dtype
def test_small_eigenvalues_are_relatively_accurate(dtype: torch.dtype) -> None:
    """[[1, b], [c, 1]] with large b and small c has eigenvalues 1 ± √(b c), as a balanced matrix has."""
    for b, c in itertools.product((1e3, 1e10), (2e-12, -2e-12)):
        A = torch.tensor([[1, b], [c, 1]], dtype=dtype)
        exact_b, exact_c = (complex(A[i, 1 - i]) for i in range(2))
        with mpmath.workdps(40):
            root = mpmath.sqrt(mpmath.mpmathify(exact_b) * mpmath.mpmathify(exact_c))
            expected = [complex(1 + root), complex(1 - root)]
        found = [complex(x) for x in sg.eigvals(A)]
        for x in expected:
            assert min(abs(x - y) for y in found) <= 4 * eps(dtype) * abs(x)


@each_dtype
def test_results_do_not_depend_on_batch_and_layout(dtype: torch.dtype) -> None:
    A = with_graded_entries(50, dtype)
    L, V = sg.eig(A)
    transposed = sg.eig(A.mT.contiguous().mT)
    assert torch.equal(transposed.eigenvalues, L)
    assert torch.equal(transposed.eigenvectors, V)
    for i in (0, 7, 99):
        single = sg.eig(A[i])
        assert torch.equal(single.eigenvalues, L[i])
        assert torch.equal(single.eigenvectors, V[i])
    if not dtype.is_complex:
        pair = L[:, 0].imag != 0
        assert bool(pair.any())
        assert torch.equal(L[pair, 0], L[pair, 1].conj())
        assert torch.equal(V[pair, :, 0], V[pair, :, 1].conj())


@each_dtype
def test_special_matrices(dtype: torch.dtype) -> None:
    for rows in (
        [[0, 1], [0, 0]],
        [[2, 1], [0, 2]],
        [[0, 0], [3, 0]],
        [[1, 5], [0, 3]],
        [[1, 0], [5, 3]],
        [[0, 4], [1, 0]],
    ):
        A = torch.tensor(rows, dtype=dtype)
        L, V = sg.eig(A)
        assert float((A.to(V.dtype) @ V - V * L).abs().max()) <= 8 * eps(dtype) * float(A.abs().max())
        assert float((V.norm(dim=-2) - 1).abs().max()) <= 4 * eps(dtype)
        expected = torch.linalg.eigvals(A)
        torch.testing.assert_close(L.sum(), expected.sum())
