"""The reports of svd: each kind of ill-posed loss in its own words, and silence about the others.

Names of functions in messages, in every transform, are tested in test_messages.py.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import double_of, each_double, each_dtype, eps, gradient_of, normal, with_singular_values

SHAPES = [(4, 4), (6, 4), (4, 6)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["square", "tall", "wide"])
each_full = pytest.mark.parametrize("full", [False, True], ids=["thin", "full"])
REPEATED = [3.0, 1.0, 1.0, 0.5]
DEFICIENT = [3.0, 2.0, 0.0, 0.0]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def findings(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def reported(loss: Loss, A: Tensor, **options: Any) -> list[str]:
    return findings(lambda: gradient_of(lambda X: loss(*sg.svd(X, **options)), A))


def check_message(loss: Loss, A: Tensor, *parts: str, **options: Any) -> None:
    (message,) = reported(loss, A, **options)
    assert message.startswith("spectralgrad.svd: ")
    for part in parts:
        assert part in message
    assert "eigen" not in message
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match=r"^spectralgrad\.svd: "):
        gradient_of(lambda X: loss(*sg.svd(X, **options)), A)
    with sg.checks("ignore"):
        assert not reported(loss, A, **options)


def weight(A: Tensor, seed: int = 5) -> Tensor:
    return normal(*A.shape, dtype=A.dtype, seed=seed)


def pairing(M: Tensor, X: Tensor) -> Tensor:
    return (M.conj() * X).sum().real


def left_projector(M: Tensor, columns: slice) -> Loss:
    return lambda U, S, Vh: pairing(M @ M.mH, U[:, columns] @ U[:, columns].mH)


def right_projector(M: Tensor, columns: slice) -> Loss:
    return lambda U, S, Vh: pairing(M.mH @ M, Vh[columns].mH @ Vh[columns])


def turned(M: Tensor, columns: slice) -> Loss:
    return lambda U, S, Vh: pairing(M, U[:, columns] @ Vh[columns])


# --- reported --------------------------------------------------------------------------------------------------------


@each_full
@each_shape
@each_dtype
def test_the_basis_inside_a_repeated_singular_value(dtype: torch.dtype, shape: tuple[int, int], full: bool) -> None:
    A = with_singular_values(*shape, REPEATED, dtype, 1)
    parts = (
        "The loss depends on the choice of singular vectors inside a singular subspace, so it has no gradient there",
        "(singular values 1 and 2 of matrix 0 of the batch are equal)",
        "U and V turn together there, so U V^H and the projectors onto whole subspaces are well defined.",
        "With the default rule these singular vectors contribute zero to each other's part of the gradient.",
    )
    one = slice(1, 2)
    for loss in (left_projector(weight(A), one), right_projector(weight(A), one), turned(weight(A), one)):
        check_message(loss, A, *parts, full_matrices=full)


@each_shape
@each_dtype
def test_null_spaces_turn_separately(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    A = with_singular_values(*shape, DEFICIENT, dtype, 1)
    parts = (
        "The loss depends on the choice of singular vectors of the singular value 0, so it has no gradient there",
        "of matrix 0 of the batch is 0)",
        "The left and the right null space turn separately, so only the projectors onto the whole null spaces are",
    )
    M = weight(A)
    check_message(turned(M, slice(0, 4)), A, *parts)  # U Vᴴ is not defined there
    check_message(turned(M, slice(2, 4)), A, *parts)
    check_message(left_projector(M, slice(2, 3)), A, *parts)  # nor is U V^H, as the message about a basis says
    check_message(right_projector(M, slice(3, 4)), A, *parts)


@each_dtype
def test_a_single_null_vector_of_a_rectangular_matrix_is_not_separate(dtype: torch.dtype) -> None:
    """The singular vector of σ = 0 turns against the complement. Only both together are well defined."""
    A = with_singular_values(5, 3, [2.0, 1.0, 0.0], dtype, 1)
    M = weight(A)
    message = "The loss depends on the choice of singular vectors of the singular value 0"
    for full in (False, True):
        check_message(left_projector(M, slice(2, 3)), A, message, full_matrices=full)
        check_message(right_projector(M.mH, slice(2, 3)), A.mH.resolve_conj(), message, full_matrices=full)
    assert not reported(left_projector(M, slice(2, 5)), A)
    assert not reported(right_projector(M, slice(2, 3)), A)


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0, 0.5], REPEATED, DEFICIENT], ids=["distinct", "repeated", "zero"])
@each_shape
@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_phases_in_torchs_words(dtype: torch.dtype, shape: tuple[int, int], values: list[float]) -> None:
    A = with_singular_values(*shape, values, dtype, 1)
    words = (
        r"svd_backward: The singular vectors in the complex case are specified up to multiplication by e\^\{i phi\}. "
        "The specified loss function depends on this phase term, making it ill-defined."
    )
    losses: list[Loss] = [
        lambda U, S, Vh: (U[0, 0] * (0.6 + 0.8j)).real,
        lambda U, S, Vh: (Vh[0, 0] * (0.6 + 0.8j)).real,
        lambda U, S, Vh: (U[:, 0].sum() * Vh[0].sum().conj()).real,
    ]
    for loss in losses:
        with pytest.raises(sg.GaugeError, match=words):
            gradient_of(lambda X, loss=loss: loss(*sg.svd(X)), A)
        if values == [3.0, 2.0, 1.0, 0.5]:
            with pytest.raises(RuntimeError, match=words):
                gradient_of(lambda X, loss=loss: loss(*torch.linalg.svd(X, full_matrices=False)), A)


@each_shape
@each_dtype
def test_a_single_repeated_singular_value(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    A = with_singular_values(*shape, REPEATED, dtype, 1)
    parts = (
        "The loss treats equal singular values differently",
        "(singular values 1 and 2 of matrix 0 of the batch are equal), where they are not differentiable",
    )
    check_message(lambda U, S, Vh: S[1], A, *parts)
    check_message(lambda U, S, Vh: S[2].square() + S[0], A, *parts)
    (message,) = findings(lambda: gradient_of(lambda X: sg.svdvals(X)[1], A))
    assert message.startswith("spectralgrad.svdvals: The loss treats equal singular values differently")
    pair = torch.stack([with_singular_values(*shape, [4.0, 3.0, 2.0, 1.0], dtype, 1), A])
    (message,) = findings(lambda: gradient_of(lambda X: sg.svdvals(X)[:, 1].sum(), pair))
    assert "(singular values 1 and 2 of matrix 1 of the batch are equal)" in message


@each_shape
@each_double
def test_the_lost_limit_of_a_function_of_a_matrix(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    A = with_singular_values(*shape, REPEATED, dtype, 1)
    M = weight(A)
    check_message(
        lambda U, S, Vh: pairing(M, (U * S.exp()) @ Vh),
        A,
        "looks like tr(M f(A)) written with singular vectors of a repeated singular value",
        "(singular values 1 and 2 of matrix 0 of the batch are equal)",
        "Part of its gradient is a limit 0/0 that no backward of svd can see, and is missing.",
        "spectralgrad.funm and spectral_map of A^H A or A A^H have it; rule=spectralgrad.Split() recovers most of it.",
        full_matrices=False,
    )


def second_derivative(A: Tensor, f: Callable[..., Tensor] = sg.svdvals, **options: Any) -> Tensor:
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(f(X, **options).square().sum(), X, create_graph=True)
    return torch.autograd.grad(G, X, weight(A))[0]


@each_shape
@each_dtype
def test_second_derivatives_through_a_repeated_singular_value(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    A = with_singular_values(*shape, REPEATED, dtype, 1)
    text = "A second derivative is taken through a repeated or zero singular value (of matrix 0 of the batch)"
    functions: dict[str, Callable[[Tensor], Tensor]] = {"svdvals": sg.svdvals, "svd": lambda X: sg.svd(X).S}
    for name, f in functions.items():
        (message,) = findings(functools.partial(second_derivative, A, f))
        assert message.startswith(f"spectralgrad.{name}: {text}")
        assert message.endswith("rule=spectralgrad.Split(order=2) recovers most of it.")
    assert not findings(lambda: second_derivative(A, rule=sg.Split(order=2)))
    assert not findings(lambda: second_derivative(with_singular_values(*shape, [4.0, 3.0, 2.0, 1.0], dtype, 1)))


@each_shape
@each_double
def test_second_derivatives_through_a_zero(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """The Hessian of Σσ² is 2. Its part at a single zero is lost unless A is square and real."""
    A = with_singular_values(*shape, [3.0, 2.0, 1.0, 0.0], dtype, 1)
    found: list[Tensor] = []
    messages = findings(lambda: found.append(second_derivative(A)))
    error = float((found[0] - 2 * weight(A)).abs().max())
    if shape == (4, 4) and not dtype.is_complex:
        assert not messages
        assert error <= 1e-13
    else:
        assert error > 1e-3
        (message,) = messages
        assert message.startswith("spectralgrad.svdvals: A second derivative is taken through a repeated or zero")


# --- not reported ----------------------------------------------------------------------------------------------------


def special_matrices(dtype: torch.dtype) -> dict[str, Tensor]:
    angle = torch.tensor(0.7, dtype=torch.float64)
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[:2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    column, row = normal(4, 1, dtype=double_of(dtype), seed=1), normal(1, 3, dtype=double_of(dtype), seed=2)
    matrices = {
        "zero": torch.zeros(3, 3),
        "tall zero": torch.zeros(4, 3),
        "wide zero": torch.zeros(3, 4),
        "identity": torch.eye(3),
        "tall identity": torch.eye(4, 3),
        "permutation": torch.eye(3)[[1, 2, 0]],
        "quarter turn": torch.tensor([[0.0, -1.0], [1.0, 0.0]]),
        "rotation": rotation,
        "reflection": torch.diag(torch.tensor([1.0, 1.0, -1.0])),
        "rank 1": column @ row,
        "wide rank 1": (column @ row).mH,
        "rank 1 of ones": torch.ones(3, 3),
    }
    return {name: A.to(dtype) for name, A in matrices.items()}


SPECIAL = list(special_matrices(torch.float64))


@pytest.mark.parametrize("name", SPECIAL)
@each_dtype
def test_well_posed_losses_of_special_matrices(dtype: torch.dtype, name: str) -> None:
    """No message, and the gradients in closed form: of Σσ, Σσ², and of the whole range and null spaces."""
    A = special_matrices(dtype)[name]
    m, n = A.shape
    U, S, Vh = torch.linalg.svd(A.to(double_of(dtype)))
    rank = int((S > 1e-5).sum())
    k = min(m, n)
    tolerance = 100 * eps(dtype)
    polar = (U[:, :rank] @ Vh[:rank]).to(dtype)
    M = weight(A)
    for full in (False, True):

        def gradient(loss: Loss, full: bool = full) -> Tensor:
            assert not reported(loss, A, full_matrices=full)
            return gradient_of(lambda X: loss(*sg.svd(X, full)), A)

        assert float((gradient(lambda U, S, Vh: S[:rank].sum() + 0 * S.sum()) - polar).abs().max()) <= tolerance
        assert float((gradient(lambda U, S, Vh: S.square().sum()) - 2 * A).abs().max()) <= tolerance
        G = gradient(lambda U, S, Vh: S.sum())
        assert bool(G.isfinite().all())
        # On the range and its row space, a subgradient of the nuclear norm is the polar factor.
        back = polar @ polar.mH @ G @ polar.mH @ polar
        assert float((back - polar).abs().max()) <= tolerance
        for loss in (left_projector, right_projector):
            G = gradient(loss(M, slice(0, rank)))
            assert bool(G.isfinite().all())
            if full:
                rest = gradient(loss(M, slice(rank, None)))
                assert float((G + rest).abs().max()) <= tolerance * max(1, float(G.abs().max()))
            elif rank == 0:
                assert not bool(G.any())
        if 0 < rank == m == n:  # d(U Vᴴ) = (dA - Q dAᴴ Q)/2 for a unitary A = Q
            G = gradient(turned(M, slice(0, k)))
            assert float((G - (M - A @ M.mH @ A) / 2).abs().max()) <= tolerance
    if k == rank:
        assert not findings(lambda: gradient_of(lambda X: sg.svdvals(X).sin().sum(), A))


@each_full
@each_shape
@each_dtype
def test_well_posed_losses_at_repeated_and_zero_singular_values(
    dtype: torch.dtype, shape: tuple[int, int], full: bool
) -> None:
    for values in ([2.0] * 4, REPEATED, [3.0, 1.0, 1.0, 0.0], DEFICIENT, [1.0, 1.0, 0.0, 0.0], [2.0, 0, 0, 0]):
        A = with_singular_values(*shape, values, dtype, 1)
        M = weight(A)
        rank = sum(x > 0 for x in values)
        levels = sorted({x for x in values if x > 0})
        groups = [slice(values.index(x), values.index(x) + values.count(x)) for x in levels]
        losses = [left_projector(M, group) for group in groups] + [right_projector(M, group) for group in groups]
        losses += [turned(M, slice(0, rank)), *(turned(M, group) for group in groups)]
        losses += [lambda U, S, Vh: S.sum(), lambda U, S, Vh: S.square().sum()]
        if full:
            losses += [left_projector(M, slice(rank, None)), right_projector(M, slice(rank, None))]
        for i, loss in enumerate(losses):
            assert not reported(loss, A, full_matrices=full), (values, i)
        assert not findings(functools.partial(gradient_of, lambda X: sg.svdvals(X).sum(), A))


@each_dtype
def test_scale_does_not_matter(dtype: torch.dtype) -> None:
    for scale in (1e-12, 1e12):
        A = with_singular_values(4, 4, REPEATED, dtype, 1) * scale
        M = weight(A)
        assert not reported(turned(M, slice(0, 4)), A)
        # A cotangent below the round-off of A may be nothing else, so the loss has the scale of A.
        for loss in (left_projector(M * scale**0.5, slice(1, 2)), turned(M * scale, slice(1, 2))):
            assert reported(loss, A)
