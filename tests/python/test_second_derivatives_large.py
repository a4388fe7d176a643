"""Second derivatives of eigh for matrices that are too large for SIMD lanes, against contour integrals.

The integrals need no eigenvectors, so near eigenvalues are no difficulty for them. The second derivatives of
eigenvectors contain 1/gap², so their round-off is amplified by as much.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

import reference
import spectralgrad as sg
from problems import ALL, eps, expectation, projector, random_hermitian, with_spectrum
from reference import relative_error

Loss = Callable[[Tensor], Tensor]
LOW = (0.0, 3.0)  # the eigenvalues that the loss sees are between these


def hvp(loss: Loss, A: Tensor, E: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(X), X, create_graph=True)
    return torch.autograd.grad(G, X, E)[0]


def reverse_twice(loss: Loss, A: Tensor, E: Tensor) -> Tensor:
    return vjp(grad(loss), A)[1](E)[0]


def forward_over_reverse(loss: Loss, A: Tensor, E: Tensor) -> Tensor:
    return jvp(grad(loss), (A,), (E,))[1]


def matrices(n: int, dtype: torch.dtype, gap: float) -> Tensor:
    """Two matrices with n/10 eigenvalues near 1 to 2, in pairs at a distance of `gap`, and the others above 5."""
    few = n // 10 // 2 * 2
    low = torch.linspace(1, 2, few // 2).repeat_interleave(2) + gap * (torch.arange(few) % 2)
    spectrum = torch.cat([low, torch.linspace(5, 9, n - few)]).double()
    return torch.stack([with_spectrum(spectrum, dtype, seed) for seed in range(2)])


@pytest.mark.parametrize("derivative", [hvp, reverse_twice, forward_over_reverse])
@pytest.mark.parametrize("gap", [0.05, 1e-3])
@pytest.mark.parametrize("n", [70, 130])
@pytest.mark.parametrize("dtype", ALL)
def test_hessian_products(
    dtype: torch.dtype, n: int, gap: float, derivative: Callable[[Loss, Tensor, Tensor], Tensor], device: str
) -> None:
    A = matrices(n, dtype, gap).to(device)
    M, E = (random_hermitian(n, n, dtype=dtype, seed=seed).to(device) for seed in (3, 4))
    few = n // 10 // 2 * 2
    ours = derivative(lambda X: expectation(M, projector(sg.eigh(X).eigenvectors, slice(0, few))), A, E.expand_as(A))
    for result, matrix in zip(ours, A, strict=True):
        expected = reference.resolvent_second(matrix, M, E, *LOW, points=60)
        assert relative_error(result, expected) <= 8 * eps(dtype) / gap**2


@pytest.mark.parametrize("dtype", ALL)
def test_at_the_optimum_of_the_loss(dtype: torch.dtype, device: str) -> None:
    """tr(A P(B)) has its least value at B = A. There the gradient vanishes, and the second derivative does not."""
    n, few, gap = 70, 6, 0.05
    A = matrices(n, dtype, gap)[0].to(device)
    E = random_hermitian(n, n, dtype=dtype, seed=4).to(device)
    ours = hvp(lambda X: expectation(A, projector(sg.eigh(X).eigenvectors, slice(0, few))), A, E)
    expected = reference.resolvent_second(A, A, E, *LOW, points=60)
    assert relative_error(ours, expected) <= 8 * eps(dtype) / gap**2


@pytest.mark.parametrize("exponent", [-60, 60])
@pytest.mark.parametrize("dtype", ALL)
def test_scale_does_not_matter(dtype: torch.dtype, exponent: int, device: str) -> None:
    """tr(M P(A)) has the same values for all multiples of A. Its second derivative has the unit of 1/A²."""
    n, few, gap = 70, 6, 0.05
    scale = 2.0**exponent
    A = matrices(n, dtype, gap)[0].to(device)
    M, E = (random_hermitian(n, n, dtype=dtype, seed=seed).to(device) for seed in (3, 4))

    def loss(X: Tensor) -> Tensor:
        return expectation(M, projector(sg.eigh(X).eigenvectors, slice(0, few)))

    # E in the unit of A, so that the result has that of 1/A, which float32 can hold.
    ours = hvp(loss, A * scale, E * scale) * scale
    assert relative_error(ours, reference.resolvent_second(A, M, E, *LOW, points=60)) <= 8 * eps(dtype) / gap**2
