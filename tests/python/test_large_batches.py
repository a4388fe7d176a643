"""Batches of matrices for which MKL's LU decomposition would use threads inside torch's own threads.

With two threads, torch.linalg.inv and solve hang on such batches or return wrong results (PyTorch's issues 141358 and
142815). The results are compared with those of single matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

import spectralgrad as sg
from problems import normal

N = 160


def positive(A: Tensor) -> Tensor:
    return A @ A.mH / N + torch.eye(N, dtype=A.dtype)


def of_eig(A: Tensor) -> Tensor:
    L, V = sg.eig(A)
    return (L.abs() ** 2).sum() + (V.abs() ** 2)[..., 0, :].sum()


def generalized(itype: int) -> Callable[[Tensor], Tensor]:
    def of_generalized_eigh(A: Tensor) -> Tensor:
        L, V = sg.generalized_eigh(A + A.mH, positive(A), itype=itype)
        return (L**2).sum() + (V.abs() ** 2)[..., 0, :].sum() / N

    return of_generalized_eigh


def of_rotation(A: Tensor) -> Tensor:
    return (sg.orthogonal_procrustes(A, positive(A.mT), proper=True).R * torch.arange(N, dtype=A.dtype)).sum()


def gradient(loss: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    leaf = A.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def hessian_product(loss: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    leaf = A.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    return torch.autograd.grad((first * A).sum(), leaf)[0]


def in_vmap(loss: Callable[[Tensor], Tensor], A: Tensor) -> Tensor:
    return vmap(grad(loss))(A) if A.dim() > 2 else grad(loss)(A)


@pytest.mark.parametrize("derivative", [gradient, in_vmap, hessian_product])
@pytest.mark.parametrize("loss", [of_eig, generalized(2), generalized(3), of_rotation])
def test_batch_equals_single_matrices(
    loss: Callable[[Tensor], Tensor], derivative: Callable[..., Any], set_threads: Callable[[int], None]
) -> None:
    A = normal(2, N, N, dtype=torch.float64, seed=3)
    set_threads(2)
    together = derivative(loss, A)
    set_threads(1)
    for result, X in zip(together, A, strict=True):
        expected = derivative(loss, X)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-8 * float(expected.abs().max()))


def test_determinants_of_large_rotations(set_threads: Callable[[int], None]) -> None:
    """Both signs, in one batch."""
    Q = torch.linalg.qr(normal(4, N, N, dtype=torch.float64, seed=2)).Q
    set_threads(1)
    Q[:, 0] *= torch.stack([torch.linalg.det(q) for q in Q]).sign()[:, None] * torch.tensor([[1.0], [-1], [1], [-1]])
    set_threads(2)
    found = sg.orthogonal_procrustes(torch.eye(N, dtype=Q.dtype), Q, proper=True).R
    set_threads(1)
    for q, U in zip(Q, found, strict=True):
        torch.testing.assert_close(torch.linalg.det(U), torch.ones((), dtype=Q.dtype))
        expected = torch.linalg.det(q) > 0
        assert bool(((q - U).abs().max() < 1e-12) == expected)
