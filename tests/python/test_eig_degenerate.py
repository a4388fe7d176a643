"""eig of normal matrices at every gap, and of defective matrices and their neighbours."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

import eig_reference
import spectralgrad as sg
from problems import (
    DOUBLE,
    DTYPES_AND_GAPS,
    by_precision,
    double_of,
    each_double,
    each_dtype,
    eps,
    gradient_of,
    normal,
)
from reference import relative_error

# --- normal matrices -------------------------------------------------------------------------------------------------


def rotation(dtype: torch.dtype) -> Tensor:
    """About a diagonal, by 120 degrees: a permutation."""
    return torch.eye(3, dtype=dtype).roll(1, 0)


def circulant(n: int, dtype: torch.dtype) -> Tensor:
    row = normal(n, dtype=dtype, seed=3)
    return torch.stack([row.roll(i) for i in range(n)])


NORMAL: dict[str, Callable[[torch.dtype], Tensor]] = {
    "identity": lambda dtype: torch.eye(4, dtype=dtype),
    "zero": lambda dtype: torch.zeros(3, 3, dtype=dtype),
    "-2": lambda dtype: torch.full((1, 1), -2, dtype=dtype),
    "rotation": rotation,
    "cycle of 12": lambda dtype: torch.eye(12, dtype=dtype).roll(1, 0),
    "two cycles": lambda dtype: torch.block_diag(*2 * [torch.eye(4, dtype=dtype).roll(1, 0)]),
    "circulant": lambda dtype: circulant(7, dtype),
    "reflection": lambda dtype: torch.eye(6, dtype=dtype) - torch.ones(6, 6, dtype=dtype) / 3,
    "projector": lambda dtype: torch.ones(5, 5, dtype=dtype) / 5,
    "skew": lambda dtype: (lambda X: X - X.mH)(normal(6, 6, dtype=dtype, seed=1)),
    "Hermitian": lambda dtype: (lambda X: X + X.mH)(normal(6, 6, dtype=dtype, seed=2)),
    "unitary": lambda dtype: torch.linalg.qr(normal(9, 9, dtype=double_of(dtype), seed=4)).Q.to(dtype),
    "repeated": lambda dtype: eig_reference.normal_matrix([1, 1, 1, 2j, -2j, 2j, -2j, -1], dtype, 5),
    "quaternion": lambda dtype: torch.kron(torch.eye(3), torch.tensor([[0.0, -1.0], [1.0, 0.0]])).to(dtype),
}


@pytest.mark.parametrize("scale", [1.0, 1e18, 1e-18])
@pytest.mark.parametrize("name", NORMAL)
@each_dtype
def test_vectors_of_normal_matrices_are_orthonormal(dtype: torch.dtype, name: str, scale: float) -> None:
    A = NORMAL[name](dtype) * scale
    L, V = sg.eig(A)
    n = A.shape[-1]
    tolerance = 8 * n * eps(dtype)
    assert float((V.mH @ V - torch.eye(n)).abs().max()) <= tolerance
    assert float((A.to(V.dtype) / scale @ V - V * (L / scale)).abs().max()) <= tolerance * max(
        1, float(L.abs().max()) / scale
    )
    if not dtype.is_complex:
        assert bool((V[:, L.imag == 0].imag == 0).all())
        upper, lower = L.imag > 0, L.imag < 0
        assert torch.equal(V[:, upper], V[:, lower].conj())
        assert torch.equal(L[upper], L[lower].conj())
    if torch.equal(A, A.mH):
        assert bool((L.imag == 0).all())
    values = sg.eigvals(A)
    assert torch.equal(values, L)


@each_dtype
def test_large_normal_matrices(dtype: torch.dtype) -> None:
    """LAPACK's eigenvectors are kept if they are orthonormal up to √eps."""
    n = 70
    Q = torch.linalg.qr(normal(n, n, dtype=double_of(dtype), seed=4)).Q.to(dtype)
    repeated = eig_reference.normal_matrix([*30 * [1], *20 * [1j, -1j]], dtype, 5)
    for A in (Q, repeated, torch.eye(n, dtype=dtype), torch.eye(n, dtype=dtype).roll(1, 0)):
        L, V = sg.eig(A)
        assert float((V.mH @ V - torch.eye(n)).abs().max()) <= (8 * n * eps(dtype) if A is not Q else eps(dtype) ** 0.5)
        assert float((A.to(V.dtype) @ V - V * L).abs().max()) <= 8 * n * eps(dtype)


@pytest.mark.parametrize("departure", [1e-1, 1e-3, 1e-6, 1e-9, 1e-12])
@each_dtype
def test_nearly_normal_matrices(dtype: torch.dtype, departure: float) -> None:
    """A small departure from a normal matrix is not lost, even where AᴴA - AAᴴ is of second order in it."""
    upper = normal(5, 5, dtype=dtype, seed=1).triu(1)
    for values in (torch.ones(5), torch.arange(5) / 2, torch.tensor([0.0, 0, 1, 1, 1])):
        A = torch.diag(values).to(dtype) + departure * upper
        L, V = sg.eig(A)
        assert float((A.to(V.dtype) @ V - V * L).abs().max()) <= 20 * eps(dtype)
    small = torch.block_diag(torch.eye(2), 1e-20 * torch.tensor([[1.0, 2.0], [0.0, 3.0]])).to(dtype)
    L, V = sg.eig(small)
    residual = (small.to(V.dtype) @ V - V * L)[2:].abs().max()
    assert float(residual) <= 1e-20 * 20 * eps(dtype)


def riesz(L: Tensor, V: Tensor, center: complex, radius: float) -> Tensor:
    inside = ((L - center).abs() < radius).to(V.dtype)
    return (V * inside.unsqueeze(-2)) @ torch.linalg.inv(V)


def spectrum(gap: float, dtype: torch.dtype) -> tuple[list[complex], complex]:
    """Four eigenvalues `gap` apart around `center`, in the plane, and others."""
    if dtype.is_complex:
        return [1j, 1j + gap, 1j + gap * 1j, 1j - 2 * gap, -1, 2 - 1j, 0.5], 1j
    pair = complex(1 + gap, gap)
    return [1, 1 + 2 * gap, pair, pair.conjugate(), -1, 2j, -2j], 1


@pytest.mark.parametrize(("dtype", "gap"), DTYPES_AND_GAPS)
def test_riesz_projectors_of_normal_matrices(dtype: torch.dtype, gap: float) -> None:
    values, center = spectrum(gap, dtype)
    A = eig_reference.normal_matrix(values, dtype, 3)
    M = normal(7, 7, dtype=dtype, seed=4)
    expected = eig_reference.projector_gradient(A, M, center, 0.3)

    def loss(L: Tensor, V: Tensor) -> Tensor:
        return (M.conj() * riesz(L, V, center, 0.3)).sum().real

    for X in (A, A.expand(2, 7, 7)):
        G = gradient_of(lambda X: loss(*sg.eig(X)), X)
        assert relative_error(G.reshape(-1, 7, 7)[0], expected) <= by_precision(dtype, 2e-14, 1e-5)
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(*sg.eig(X)), X, create_graph=True)  # by tensor code
    assert relative_error(G.detach(), expected) <= by_precision(dtype, 2e-14, 1e-5)


@each_dtype
def test_orthogonal_projectors_of_normal_matrices_have_the_right_values(dtype: torch.dtype) -> None:
    for gap in (0.0, 1e-15, 1e-8, 1e-3):
        values, center = spectrum(gap, dtype)
        A = eig_reference.normal_matrix(values, dtype, 3)
        L, V = sg.eig(A)
        inside = (L - center).abs() < 0.3
        assert int(inside.sum()) == 4
        P = V[:, inside] @ V[:, inside].mH
        torch.testing.assert_close(P, riesz(L, V, center, 0.3), rtol=0, atol=100 * eps(dtype))
        assert float((P @ A.to(P.dtype) - A.to(P.dtype) @ P).abs().max()) <= 100 * eps(dtype)


@pytest.mark.parametrize("gap", [1e-6, 1e-13, 0.0])
@each_double
def test_symmetric_functions_of_normal_matrices(dtype: torch.dtype, gap: float) -> None:
    values, _ = spectrum(gap, dtype)
    A = eig_reference.normal_matrix(values, dtype, 6)
    G = gradient_of(lambda X: sg.eigvals(X).exp().sum().real, A)
    expected = torch.linalg.matrix_exp(A).mH
    assert relative_error(G, expected) <= 1e-13


# --- losses without a gradient ---------------------------------------------------------------------------------------


def messages(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", sg.GaugeWarning)
        call()
    return [str(warning.message) for warning in caught if issubclass(warning.category, sg.GaugeWarning)]


def silent_gradient(loss: Callable[[Tensor], Tensor], A: Tensor) -> tuple[Tensor, list[str]]:
    """The gradient and the messages."""
    result: list[Tensor] = []
    found = messages(lambda: result.append(gradient_of(loss, A)))
    return result[0], found


@pytest.mark.parametrize("n", [2, 5])
@each_dtype
def test_a_loss_that_depends_on_phases_raises(dtype: torch.dtype, n: int) -> None:
    A = normal(n, n, dtype=dtype, seed=1) + torch.diag(torch.arange(n)).to(dtype)
    words = "linalg_eig_backward: The eigenvectors in the complex case are specified up to multiplication by e"
    for loss in (lambda V: V.imag.sum(), lambda V: (V * normal(n, n, dtype=V.dtype, seed=2)).sum().real):
        with pytest.raises(sg.GaugeError, match=re.escape(words)):
            gradient_of(lambda X, loss=loss: loss(sg.eig(X).eigenvectors), A)
        with pytest.raises(RuntimeError, match=re.escape(words)):
            gradient_of(lambda X, loss=loss: loss(torch.linalg.eig(X).eigenvectors), A)
    with sg.checks("ignore"):
        gradient_of(lambda X: sg.eig(X).eigenvectors.imag.sum(), A)


def test_losses_that_see_inside_a_repeated_eigenvalue() -> None:
    A = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64))
    M = normal(3, 3, dtype=torch.float64, seed=1)
    (found,) = messages(lambda: gradient_of(lambda X: (M @ sg.eig(X).eigenvectors.real).square()[0, 0], A))
    assert found.startswith("spectralgrad.eig: The loss depends on the choice of eigenvectors inside an eigenspace")
    assert "V[:, c] @ inv(V)[c, :]" in found
    (found,) = messages(lambda: gradient_of(lambda X: sg.eigvals(X)[0].real, A))
    assert found.startswith(
        "spectralgrad.eigvals: The loss treats equal eigenvalues differently (eigenvalues 0 and 1 of"
    )

    def f_of_A(X: Tensor) -> Tensor:
        L, V = sg.eig(X)
        return (M * ((V * L.exp()) @ torch.linalg.inv(V))).sum().real

    (found,) = messages(lambda: gradient_of(f_of_A, A))
    assert found.startswith("spectralgrad.eig: The loss looks like tr(M f(A))")
    assert "Split" not in found
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match="The loss looks like"):
        gradient_of(f_of_A, A)

    def second() -> Any:
        return torch.func.hessian(lambda X: sg.eigvals(X).exp().sum().real)(A)

    (found, *_) = messages(second)
    assert found.startswith("spectralgrad.eigvals: A second derivative is taken through a repeated eigenvalue")


@each_dtype
def test_well_posed_losses_are_silent(dtype: torch.dtype) -> None:
    def all_of_them() -> None:
        for seed in range(8):
            n = 2 + seed
            A = normal(n, n, dtype=dtype, seed=seed)
            M = normal(n, n, dtype=dtype, seed=seed + 50).to(torch.complex128)
            gradient_of(lambda X: sg.eigvals(X)[0].abs(), A)
            gradient_of(lambda X: sg.eigvals(X).sum().real, A)
            weight = M.to(torch.complex128 if dtype in DOUBLE else torch.complex64)
            gradient_of(lambda X, M=weight: (M * riesz(*sg.eig(X), 0, 1.0)).sum().real, A)
            gradient_of(lambda X: sg.eig(X).eigenvectors.abs().pow(3).sum(), A)
        for make in NORMAL.values():
            gradient_of(lambda X: sg.eigvals(X).square().sum().real, make(dtype))

    assert not messages(all_of_them)


# --- defective matrices ----------------------------------------------------------------------------------------------


def jordan(size: int, value: complex, dtype: torch.dtype) -> Tensor:
    return torch.diag(torch.full((size,), value, dtype=double_of(dtype))) + torch.diag(
        torch.ones(size - 1, dtype=double_of(dtype)), 1
    )


def with_jordan_block(size: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Similar to a Jordan block of the eigenvalue 1 beside the eigenvalues -1, 2 and 3."""
    rest = torch.diag(torch.tensor([-1.0, 2.0, 3.0], dtype=double_of(dtype)))
    return eig_reference.similar(torch.block_diag(jordan(size, 1, dtype), rest), dtype, seed)


def near_one(L: Tensor) -> Tensor:
    return (L - 1).abs() < 0.6


@pytest.mark.parametrize("size", [2, 3])
@each_dtype
def test_sums_over_a_jordan_block(dtype: torch.dtype, size: int) -> None:
    """Right to rounding, and silent: its gradient is that of the projector."""
    for seed in range(3):
        A = with_jordan_block(size, dtype, seed)
        n = A.shape[-1]
        for power in (1, 2):
            expected = eig_reference.eigenvalues_gradient(
                A,
                lambda x, power=power: mpmath.conj(power * x ** (power - 1)) if abs(complex(x) - 1) < 0.6 else 0,
            )

            def loss(X: Tensor, power: int = power) -> Tensor:
                L = sg.eigvals(X)
                return torch.where(near_one(L), L.pow(power), 0).sum().real

            G, found = silent_gradient(loss, A)
            assert not found
            if power == 1:
                assert relative_error(G, expected) <= by_precision(dtype, 2e-13, 4e-6)
            else:  # eps over the gap, to the power of size - 1
                limit = eps(dtype) ** (1 / size)
                assert relative_error(G, expected) <= (limit if dtype in DOUBLE else 10 * limit)
        G = gradient_of(lambda X: sg.eigvals(X).sum().real, A)  # the trace
        torch.testing.assert_close(G, torch.eye(n, dtype=dtype), rtol=0, atol=by_precision(dtype, 1e-13, 1e-5))


@pytest.mark.parametrize("A", [[[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]], [[1.0, 1e-3], [0.0, 1.0]]], ids=str)
@each_dtype
def test_a_jordan_block_itself(dtype: torch.dtype, A: list[list[float]]) -> None:
    block = torch.tensor(A, dtype=dtype)
    torch.testing.assert_close(gradient_of(lambda X: sg.eigvals(X).sum().real, block), torch.eye(2, dtype=dtype))
    found = messages(lambda: gradient_of(lambda X: sg.eigvals(X)[0].real, block))
    assert len(found) == 1
    for words in (
        "spectralgrad.eigvals: The matrix is defective to working precision, like a Jordan block",
        "eigenvalues 0 and 1 of matrix 0 of the batch have the condition numbers 1/|y^H x| = ",
        "cond(V) = ",
        "Puiseux",
        "the trace have a derivative",
        "spectralgrad.funm, trace_funm and eigh",
    ):
        assert words in found[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        G = gradient_of(lambda X: sg.eigvals(X)[0].real, block)
    assert bool(G.isfinite().all())
    torch.testing.assert_close(G, torch.eye(2, dtype=dtype) / 2)
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match="The matrix is defective to working precision"):
        gradient_of(lambda X: sg.eigvals(X)[0].real, block)


@each_double
def test_sweep_towards_a_jordan_block(dtype: torch.dtype) -> None:
    """[[0, 1], [ε², 0]] has the eigenvalues ±ε. From ε ≈ eps^(1/4) on, half of the digits are lost, and reported."""
    for exponent in range(13):
        e = 10.0**-exponent
        A = torch.tensor([[0, 1], [e * e, 0]], dtype=dtype)
        G, found = silent_gradient(lambda X: sg.eigvals(X).sum().real, A)
        assert not found
        torch.testing.assert_close(G, torch.eye(2, dtype=dtype), rtol=0, atol=1e-12)
        _, found = silent_gradient(lambda X: sg.eigvals(X).real.max(), A)
        if e >= 1e-3:
            assert not found
        elif 1e-7 < e <= 1e-5:
            assert len(found) == 1
            assert "The matrix is nearly defective (eigenvalues 0 and 1 of matrix 0 of the batch have" in found[0]
            stated = float(re.search(r"relative error of about ([0-9.e+-]+),", found[0])[1])  # type: ignore[index]
            assert stated == pytest.approx(eps(dtype) / 4 / e**2, rel=0.2)
        elif e < 1e-8:
            assert len(found) == 1
            assert "The matrix is defective to working precision" in found[0]


def test_messages_number_the_matrices_of_the_batch() -> None:
    good = torch.diag(torch.tensor([1.0, 2.0], dtype=torch.float64))
    bad = jordan(2, 1, torch.float64)
    A = torch.stack([good, good, bad, good])
    (found,) = messages(lambda: gradient_of(lambda X: sg.eigvals(X)[..., 0].sum().real, A))
    assert "of matrix 2 of the batch" in found
    G = gradient_of(lambda X: sg.eigvals(X).sum().real, A)
    torch.testing.assert_close(G, torch.eye(2, dtype=torch.float64).expand(4, 2, 2).clone(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", DOUBLE, ids=str)
def test_a_separated_eigenvalue_beside_a_jordan_block(dtype: torch.dtype) -> None:
    """Its gradient is right to rounding, although cond(V) is 10⁸."""
    A = with_jordan_block(2, dtype, 1)
    for value in (-1, 2, 3):
        expected = eig_reference.eigenvalues_gradient(
            A,
            lambda x, value=value: 1 if abs(complex(x) - value) < 0.3 else 0,
        )

        def loss(X: Tensor, value: int = value) -> Tensor:
            L = sg.eigvals(X)
            return torch.where((L - value).abs() < 0.3, L, 0).sum().real

        assert relative_error(gradient_of(loss, A), expected) <= 1e-12
    assert math.isfinite(float(sg.eigvals(A).abs().max()))
