"""eig and eigvals as functions: values, gradients at separated eigenvalues, shapes, dtypes, rules, out=, errors.

Normal and defective matrices are tested in test_eig_degenerate.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import eig_reference
import spectralgrad as sg
from problems import ALL, LinAlgError, by_precision, each_double, each_dtype, eps, gradient_of, normal, return_types
from reference import relative_error

BATCHES: list[tuple[int, ...]] = [(), (0,), (2,), (2, 0, 3), (2, 3)]
Loss = Callable[[Tensor, Tensor], Tensor]


def gradient(loss: Loss, A: Tensor, eig: Callable[..., Any] = sg.eig, **options: Any) -> Tensor:
    return gradient_of(lambda X: loss(*eig(X, **options)), A)


def invariant_loss(n: int, dtype: torch.dtype) -> Loss:
    """Depends on every eigenvalue, and on every eigenvector up to its phase, in whatever order they come."""
    M = normal(n, n, dtype=dtype, seed=1)

    def loss(L: Tensor, V: Tensor) -> Tensor:
        quadratic = (V.conj() * (M.to(V.dtype) @ V)).sum(-2)
        return (L.sin() + L.exp() * quadratic + quadratic.square()).sum().real

    return loss


def distinct(n: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return eig_reference.similar(torch.diag(torch.arange(n) * (3 / max(n, 3)) + 0.3), dtype, seed)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 12])
@pytest.mark.parametrize("batch", BATCHES)
@each_dtype
def test_decomposes(dtype: torch.dtype, batch: tuple[int, ...], n: int) -> None:
    A = normal(*batch, n, n, dtype=dtype, seed=n)
    result = sg.eig(A)
    assert isinstance(result, return_types.linalg_eig)
    L, V = result
    assert result.eigenvalues is L
    assert result.eigenvectors is V
    for ours, torchs in zip(result, torch.linalg.eig(A), strict=True):
        assert (ours.shape, ours.dtype, ours.stride()) == (torchs.shape, torchs.dtype, torchs.stride())
    tolerance: dict[str, Any] = {"rtol": 0, "atol": 20 * (n + 3) * eps(dtype)}
    torch.testing.assert_close(A.to(V.dtype) @ V, V * L.unsqueeze(-2), **tolerance)
    torch.testing.assert_close(V.abs().square().sum(-2), torch.ones(*batch, n, dtype=L.real.dtype), **tolerance)
    torch.testing.assert_close(L.sum(-1), A.diagonal(0, -2, -1).sum(-1).to(L.dtype), **tolerance)
    values = sg.eigvals(A)
    assert values.shape == L.shape
    for power in (1, 2, 3):
        torch.testing.assert_close(
            values.pow(power).sum(-1), L.pow(power).sum(-1), rtol=0, atol=4000 * (n + 1) * eps(dtype)
        )


@each_dtype
def test_vectors_are_normalised_as_torchs(dtype: torch.dtype) -> None:
    """The largest component is real. Real matrices have conjugate pairs, and real vectors of real eigenvalues."""
    for A in (normal(7, 7, dtype=dtype, seed=3), distinct(7, dtype), torch.linalg.qr(distinct(7, dtype)).Q):
        L, V = sg.eig(A)
        largest = V.gather(-2, V.abs().argmax(-2, keepdim=True))
        assert float(largest.imag.abs().max()) <= 4 * eps(dtype)
        if not dtype.is_complex:
            real = L.imag == 0
            assert bool((V[:, real].imag == 0).all())
            upper, lower = L.imag > 0, L.imag < 0
            assert torch.equal(L[upper], L[lower].conj())
            assert torch.equal(V[:, upper], V[:, lower].conj())
            assert bool((L.imag > 0).nonzero().equal((L.imag < 0).nonzero() - 1))


def test_arguments_have_torchs_names() -> None:
    A = distinct(4, torch.float64)
    for torchs, ours in ((torch.linalg.eig, sg.eig), (torch.linalg.eigvals, sg.eigvals)):
        for x, y in zip(torchs(input=A), ours(input=A), strict=True):
            torch.testing.assert_close(x, y)
        for x, y in zip(ours(A=A), ours(A), strict=True):  # the name in torch's documentation
            assert torch.equal(x, y)
        with pytest.raises(TypeError):
            ours(A, input=A)


@each_dtype
def test_gradient_has_the_shape_of_its_matrix(dtype: torch.dtype) -> None:
    for batch in BATCHES:
        A = normal(*batch, 3, 3, dtype=dtype, seed=2)
        for loss in (lambda X: sg.eigvals(X).sum().real, lambda X: sg.eig(X).eigenvalues.sum().real):
            G = gradient_of(loss, A)
            assert G.dtype == dtype
            torch.testing.assert_close(
                G, torch.eye(3, dtype=dtype).expand(*batch, 3, 3).clone(), rtol=0, atol=2000 * eps(dtype)
            )
    for empty in ((0, 0), (2, 0, 0)):
        A = torch.zeros(empty, dtype=dtype)
        assert gradient(lambda L, V: V.abs().sum() + L.abs().sum(), A).shape == A.shape


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 20])
@each_dtype
def test_equals_torch_at_separated_eigenvalues(dtype: torch.dtype, n: int) -> None:
    A = torch.stack([distinct(n, dtype, seed) for seed in range(3)])
    loss = invariant_loss(n, dtype)
    parts: list[Loss] = [loss, lambda L, V: L.exp().sum().real]
    if n > 1:  # a single eigenvector is constant
        parts.append(lambda L, V: loss(torch.zeros_like(L), V))
    wide = A.to(torch.complex128 if dtype.is_complex else torch.float64)
    for part in parts:
        expected = gradient(part, wide, torch.linalg.eig)
        assert relative_error(gradient(part, A), expected) <= 2000 * eps(dtype)


@each_dtype
def test_gradient_of_eigenvalues_is_left_times_right(dtype: torch.dtype) -> None:
    for A in (distinct(5, dtype), normal(5, 5, dtype=dtype, seed=8), torch.eye(5, dtype=dtype).roll(1, 0)):
        expected = eig_reference.eigenvalues_gradient(A, lambda x: mpmath.conj(mpmath.cos(x)))
        for f in (sg.eigvals, lambda X: sg.eig(X).eigenvalues):
            G = gradient_of(lambda X, f=f: f(X).sin().sum().real, A)
            assert relative_error(G, expected) <= 200 * eps(dtype)


@each_dtype
def test_scale(dtype: torch.dtype) -> None:
    """Eigenvectors do not change with the scale of A, eigenvalues are proportional to it."""
    A = distinct(5, dtype)
    loss = invariant_loss(5, dtype)
    expected = gradient(lambda L, V: loss(L, V), A)
    for scale in (1e20, 1e-20):
        G = gradient(lambda L, V, scale=scale: loss(L / scale, V), A * scale)  # type: ignore[misc]
        assert relative_error(G * scale, expected) <= 100 * eps(dtype)
    symmetric = torch.tensor([[2.0, 1], [1, 2]], dtype=dtype)
    for scale in (1e20, 1e-20):
        values = sg.eig(symmetric * scale).eigenvalues.real.sort().values / scale
        torch.testing.assert_close(values, torch.tensor([1.0, 3.0], dtype=values.dtype), rtol=4 * eps(dtype), atol=0)


@each_double
def test_gradcheck(dtype: torch.dtype) -> None:
    loss = invariant_loss(3, dtype)
    A = torch.stack([distinct(3, dtype, 1), normal(3, 3, dtype=dtype, seed=4)]).requires_grad_()

    def f(X: Tensor) -> Tensor:
        return loss(*sg.eig(X))

    assert gradcheck(f, A, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, A, check_fwd_over_rev=True)
    assert gradcheck(lambda X: sg.eigvals(X).sin().sum(), A, check_forward_ad=True)


@each_double
def test_forward_mode_is_torchs(dtype: torch.dtype) -> None:
    """The free phases turn as in torch."""
    A, E = distinct(4, dtype), normal(4, 4, dtype=dtype, seed=5)
    ours = torch.func.jvp(lambda X: tuple(sg.eig(X)), (A,), (E,))[1]
    torchs = torch.func.jvp(lambda X: tuple(torch.linalg.eig(X)), (A,), (E,))[1]
    phases = (sg.eig(A).eigenvectors.conj() * torch.linalg.eig(A).eigenvectors).sum(-2)
    torch.testing.assert_close(ours[0], torchs[0])
    torch.testing.assert_close(ours[1] * phases, torchs[1])


@pytest.mark.parametrize("rule", [sg.Bare(), sg.Lorentzian(1e-9), sg.Cutoff(1e-9), sg.Split(), sg.Gated()], ids=repr)
@pytest.mark.parametrize("n", [3, 6])
@each_double
def test_rules_agree_at_separated_eigenvalues(dtype: torch.dtype, n: int, rule: sg.Rule) -> None:
    A = distinct(n, dtype)
    loss = invariant_loss(n, dtype)
    assert relative_error(gradient(loss, A, rule=rule), gradient(loss, A, torch.linalg.eig)) <= 1e-12


@pytest.mark.parametrize("rule", [sg.Lorentzian(0.7), sg.Cutoff(1.2), sg.Lorentzian(0.1, relative=True)], ids=repr)
@each_double
def test_broadening_of_complex_gaps(dtype: torch.dtype, rule: sg.Rule) -> None:
    """1/d becomes conj(d)/(|d|² + η²), in the kernel, in tensor code and in forward mode."""
    D = torch.tensor([0.5, 1.5 + 1j, 1.5 - 1j], dtype=torch.complex128)
    A = eig_reference.normal_matrix(D.tolist(), dtype, 1)
    E = normal(3, 3, dtype=dtype, seed=2)
    L, V = sg.eig(A)
    d = L.unsqueeze(-2) - L.unsqueeze(-1)
    if isinstance(rule, sg.Cutoff):
        F = torch.where(d.abs() <= 1.2, 0, 1 / torch.where(d == 0, 1, d))
    else:
        width = rule.width * float(L.abs().max()) if rule.relative else rule.width  # type: ignore[attr-defined]
        F = d.conj() / (d.abs() ** 2 + width**2)
    Y = F * (V.mH @ E.to(V.dtype) @ V)
    expected = V @ Y - V * (V.conj() * (V @ Y)).sum(-2).real
    tangent = torch.func.jvp(lambda X: sg.eig(X, rule=rule).eigenvectors, (A,), (E,))[1]
    torch.testing.assert_close(tangent, expected)
    # The vjp is its adjoint.
    gV = V * torch.tensor([1.0, 2.0, 3.0]) + normal(3, 3, dtype=V.dtype, seed=3)
    inner = (gV.conj() * expected).sum().real
    with sg.checks("ignore"):
        G = gradient(lambda _, V: (gV.conj() * V).sum().real, A, rule=rule)
        X = A.clone().requires_grad_()
        (H,) = torch.autograd.grad((gV.conj() * sg.eig(X, rule=rule).eigenvectors).sum().real, X, create_graph=True)
    torch.testing.assert_close((G.conj() * E).sum().real, inner)
    torch.testing.assert_close(H.detach(), G)


@each_double
def test_kernel_equals_tensor_code(dtype: torch.dtype) -> None:
    for n in (2, 3, 4, 5, 9, 33):
        A = normal(3, n, n, dtype=dtype, seed=n)
        for loss in (invariant_loss(n, dtype), lambda L, V: L.sin().sum().real, lambda L, V: V.abs().pow(3).sum()):
            by_kernel = gradient(loss, A)
            X = A.clone().requires_grad_()
            (by_tensors,) = torch.autograd.grad(loss(*sg.eig(X)), X, create_graph=True)
            assert relative_error(by_kernel, by_tensors.detach()) <= 1e-11


@each_dtype
def test_out(dtype: torch.dtype) -> None:
    A = distinct(3, dtype)
    L, V = sg.eig(A)
    out = (torch.empty_like(L), torch.empty(0, dtype=V.dtype))
    result = sg.eig(A, out=out)
    assert isinstance(result, return_types.linalg_eig_out)
    assert result[0] is out[0]
    assert torch.equal(out[0], L)
    assert torch.equal(out[1], V)
    values = torch.empty_like(L)
    assert sg.eigvals(A, out=values) is values
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype"):
        sg.eigvals(A, out=torch.empty(3, dtype=torch.float64))
    with pytest.raises(RuntimeError, match=r"^spectralgrad\.eig\(\): functions with out=... arguments don't support"):
        sg.eig(A.requires_grad_(), out=out)


@each_dtype
def test_nan_of_one_matrix(dtype: torch.dtype) -> None:
    A = torch.stack([distinct(4, dtype, seed) for seed in range(3)])
    good = sg.eig(A)
    A[1, 2, 3] = torch.nan
    for f in (sg.eig, sg.eigvals):
        name = f.__name__
        with pytest.raises(
            LinAlgError, match=rf"spectralgrad.{name}: \(Batch element 1\): Expected A to be finite, but the entry"
        ):
            f(A)
    with sg.checks("ignore"):
        L, V = sg.eig(A)
        G = gradient(lambda L, V: L.exp().sum().real + V.abs().pow(3).sum(), A)
        assert bool(sg.eigvals(A)[1].isnan().all())
        assert bool(gradient(lambda L, V: V.abs().pow(3).sum(), A)[1].isnan().all())
    assert bool(L[1].isnan().all())
    assert bool(V[1].isnan().all())
    assert bool(G[1].isnan().all())
    for i in (0, 2):
        assert torch.equal(L[i], good[0][i])
        assert torch.equal(V[i], good[1][i])
        assert bool(G[i].isfinite().all())


@each_double
def test_results_depend_on_their_matrix_only(dtype: torch.dtype) -> None:
    A = normal(40, 9, 9, dtype=dtype, seed=1)
    V = sg.eig(A).eigenvectors
    G = gradient(invariant_loss(9, dtype), A)
    for i in (0, 17, 39):
        with torch.no_grad():
            assert torch.equal(sg.eig(A[i : i + 2]).eigenvectors[0], V[i])
        part = gradient(invariant_loss(9, dtype), A[i : i + 2])
        assert torch.equal(part[0], G[i])


def test_errors_are_torchs() -> None:
    for ours, name in ((sg.eig, "eig"), (sg.eigvals, "eigvals")):
        with pytest.raises(
            RuntimeError, match=rf"spectralgrad.{name}: A must be batches of square matrices, but they "
        ):
            ours(torch.ones(2, 3))
        with pytest.raises(RuntimeError, match=rf"spectralgrad.{name}: The input tensor A must have at least 2 dim"):
            ours(torch.ones(3))
        with pytest.raises(NotImplementedError, match=rf'"spectralgrad.{name}" not implemented for \'BFloat16\''):
            ours(torch.eye(2, dtype=torch.bfloat16))
        with pytest.raises(TypeError, match=rf"spectralgrad.{name}: Expected A to be a Tensor, but got list"):
            ours([[1.0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"spectralgrad\.eig: Expected method to be 'lapack'"):
        torch.ops.spectralgrad.eig(torch.eye(2), method="lanes")


def test_a_change_of_the_matrix_does_not_matter() -> None:
    A = distinct(3, torch.float64)
    expected = gradient(lambda L, V: L.exp().sum().real, A)
    X = A.clone().requires_grad_()
    Y = X * 1
    loss = sg.eig(Y).eigenvalues.exp().sum().real
    Y.mul_(3)
    assert torch.equal(torch.autograd.grad(loss, X)[0], expected)


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_method_torch_gives_torchs_bits(dtype: torch.dtype) -> None:
    A = normal(2, 5, 5, dtype=dtype, seed=1)
    L, V = torch.ops.spectralgrad.eig(A, method="torch")
    assert torch.equal(L, torch.linalg.eig(A).eigenvalues)
    assert torch.equal(V, torch.linalg.eig(A).eigenvectors)


@each_double
def test_second_derivatives(dtype: torch.dtype) -> None:
    """The Hessian of tr(A³) is known."""
    A, E = distinct(4, dtype), normal(4, 4, dtype=dtype, seed=9)

    def loss(X: Tensor) -> Tensor:
        return sg.eigvals(X).pow(3).sum().real

    tangent: Tensor = torch.func.jvp(torch.func.grad(loss), (A,), (E,))[1]
    expected = 3 * (A @ E + E @ A).mH
    assert relative_error(tangent, expected) <= by_precision(dtype, 1e-12, 1e-3)
