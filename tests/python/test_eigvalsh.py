"""eigvalsh: eigh without eigenvectors. test_eigh.py tests bad input of both."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from problems import ALL, DOUBLE, clustered, distinct, double_of, eps, hermitian_part, random_hermitian, with_spectrum
from reference import relative_error
from spectralgrad import _high_precision as exact


@pytest.mark.parametrize("UPLO", ["L", "U", "l", "u"])
@pytest.mark.parametrize("batch", [(), (0,), (2,), (1, 1), (2, 0, 3)])
@pytest.mark.parametrize("dtype", ALL)
def test_values_are_torchs(dtype: torch.dtype, batch: tuple[int, ...], UPLO: str, device: str) -> None:
    for n in (0, 1, 2, 6):
        A = random_hermitian(*batch, n, n, dtype=dtype, seed=n).to(device)
        L = sg.eigvalsh(A, UPLO)
        assert (L.shape, L.dtype, L.device) == ((*batch, n), dtype.to_real(), A.device)
        torch.testing.assert_close(L, torch.linalg.eigvalsh(A, UPLO), rtol=0, atol=40 * eps(dtype))


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=6),
    st.integers(0, 10**6),
    st.sampled_from(ALL),
    st.sampled_from([torch.exp, torch.square, torch.sin]),
)
def test_symmetric_functions_of_any_spectrum(
    values: list[float], seed: int, dtype: torch.dtype, f: Callable[[Tensor], Tensor]
) -> None:
    """Σ f(λ) has the gradient f'(A), here by power series without eigenvectors; eigenvalues may be degenerate."""
    A = with_spectrum(values, dtype, seed).requires_grad_()
    with sg.checks("ignore"):  # near a zero of f', gλ differs between equal eigenvalues by round-off
        f(sg.eigvalsh(A)).sum().backward()
    X = A.detach().to(torch.complex128)
    derivatives: dict[Callable[[Tensor], Tensor], Callable[[], Tensor]] = {
        torch.exp: lambda: torch.linalg.matrix_exp(X),
        torch.square: lambda: 2 * X,
        torch.sin: lambda: (torch.linalg.matrix_exp(1j * X) + torch.linalg.matrix_exp(-1j * X)) / 2,
    }
    expected = derivatives[f]()
    assert A.grad is not None
    assert float(torch.linalg.vector_norm(A.grad - expected)) <= 200 * eps(dtype) * float(
        expected.abs().max().clamp(min=1)
    )


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("gap", [1e-3, 1e-9, 0])
def test_sum_of_a_cluster(gap: float, dtype: torch.dtype, device: str) -> None:
    """The sum of a cluster's eigenvalues has its projector as gradient."""
    A = clustered(gap, dtype, 0).to(device).requires_grad_()
    (G,) = torch.autograd.grad(sg.eigvalsh(A)[2:6].sum(), A)
    with exact.working_precision():
        V = exact.eigh_mp(A.detach().cpu().to(double_of(dtype)).numpy()).vectors
        V = V[:, 2:6]
        expected = torch.from_numpy((V @ V.adjoint).to_numpy())
    assert relative_error(G, expected) <= 40 * eps(dtype)
    assert torch.equal(G, G.mH.resolve_conj())


@pytest.mark.parametrize("dtype", DOUBLE)
def test_gradcheck(dtype: torch.dtype, device: str) -> None:
    A = distinct(3, dtype, 0).to(device).requires_grad_()
    real = not dtype.is_complex

    def f(X: torch.Tensor) -> torch.Tensor:
        return sg.eigvalsh(hermitian_part(X))

    assert gradcheck(f, A, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=real)
    assert gradgradcheck(f, A, check_batched_grad=True, check_fwd_over_rev=True)


@pytest.mark.parametrize("dtype", ALL)
def test_equals_the_first_half_of_eigh(dtype: torch.dtype, device: str) -> None:
    A = torch.stack([distinct(5, dtype, seed) for seed in range(2)]).to(device)
    for rule in (None, sg.Split(0.5), sg.Bare()):
        grads = []
        for values in (sg.eigvalsh, lambda X, rule: sg.eigh(X, rule=rule).eigenvalues):
            X = A.clone().requires_grad_()
            values(X, rule=rule).exp().sum().backward()
            assert X.grad is not None
            grads.append(X.grad)
        assert torch.equal(*grads)


def test_out(device: str) -> None:
    A = distinct(4, torch.complex128, 0).to(device)
    out = torch.empty(0, dtype=torch.float64, device=device)
    assert sg.eigvalsh(A, out=out) is out
    assert torch.equal(out, sg.eigvalsh(A))
    for f in (sg.eigvalsh, torch.linalg.eigvalsh):
        with pytest.raises(RuntimeError, match="Expected out tensor to have dtype double, but got float instead"):
            f(A, out=torch.empty(4, device=device))
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            f(A.clone().requires_grad_(), out=out)
        with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
            f(A, out=torch.empty(2, dtype=torch.float64, device=device))
