"""Arguments that density_matrix refuses, and the text of each message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from density_matrix_cases import RING, error
from problems import LinAlgError, with_spectrum

SINGULAR = torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64))


def _with_nan(A: Tensor, *index: int) -> Tensor:
    A = A.clone()
    A[index] = torch.nan
    return A


# For calls that a type checker rejects.
untyped_density_matrix: Any = sg.density_matrix

ERRORS: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "neither": (
        lambda: sg.density_matrix(RING),
        ValueError,
        r"spectralgrad\.density_matrix: Expected one of electrons and mu, but got neither",
    ),
    "both": (
        lambda: sg.density_matrix(RING, electrons=4, mu=0.0),
        ValueError,
        r"spectralgrad\.density_matrix: Expected one of electrons and mu, but got both",
    ),
    "too many": (
        lambda: sg.density_matrix(RING, electrons=8.5, kT=0.1),
        (ValueError, RuntimeError),
        r"electrons.*8.*8\.5",
    ),
    "too many of spin 1": (
        lambda: sg.density_matrix(RING, electrons=5, kT=0.1, spin=1),
        (ValueError, RuntimeError),
        r"electrons.*4.*5",
    ),
    "negative": (lambda: sg.density_matrix(RING, electrons=-1), (ValueError, RuntimeError), r"electrons.*-1"),
    "too many for one of a batch": (
        lambda: sg.density_matrix(RING.expand(2, 4, 4), electrons=torch.tensor([2.0, 9.0]), kT=0.1),
        (ValueError, RuntimeError),
        r"electrons.*8.*9",
    ),
    "NaN electrons": (
        lambda: sg.density_matrix(RING, electrons=float("nan"), kT=0.1),
        (ValueError, RuntimeError),
        "electrons.*nan",
    ),
    "NaN electrons at zero temperature": (
        lambda: sg.density_matrix(RING, electrons=float("nan")),
        ValueError,
        "electrons to be finite",
    ),
    "infinitely many electrons": (
        lambda: sg.density_matrix(RING, electrons=float("inf")),
        ValueError,
        "electrons.*8.*inf",
    ),
    "negative kT": (lambda: sg.density_matrix(RING, electrons=4, kT=-0.1), (ValueError, RuntimeError), r"kT.*-0\.1"),
    "a tensor of temperatures with a zero": (
        lambda: sg.density_matrix(RING, electrons=4, kT=torch.tensor([0.1, 0.0])),
        ValueError,
        r"kT.*positive.*0",
    ),
    "complex mu": (lambda: sg.density_matrix(RING, mu=torch.tensor(1j), kT=0.1), TypeError, "mu to be real"),
    "kT is no number": (lambda: untyped_density_matrix(RING, electrons=4, kT="hot"), TypeError, "kT"),
    "electrons are no number": (lambda: untyped_density_matrix(RING, electrons="four"), TypeError, "electrons"),
    "spin": (lambda: sg.density_matrix(RING, electrons=4, kT=0.1, spin=0), (ValueError, RuntimeError), "spin.*0"),
    "H is no tensor": (lambda: untyped_density_matrix([[1.0]], electrons=1), TypeError, "Tensor"),
    "1-D": (
        lambda: sg.density_matrix(torch.ones(3), electrons=1),
        RuntimeError,
        r"spectralgrad\.density_matrix: The input tensor H must have at least 2 dimensions, but it has 1",
    ),
    "not square": (
        lambda: sg.density_matrix(torch.ones(2, 3), electrons=1),
        RuntimeError,
        r"spectralgrad\.density_matrix: H must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    "float16": (lambda: sg.density_matrix(RING.half(), electrons=1), NotImplementedError, "density_matrix.*Half"),
    "NaN": (
        lambda: sg.density_matrix(_with_nan(RING.expand(3, 4, 4), 1, 2, 0), electrons=2, kT=0.1),
        LinAlgError,
        r"spectralgrad\.density_matrix: \(Batch element 1\): Expected the lower triangle of H to be finite, "
        r"but the entry \(2, 0\) is nan",
    ),
    "NaN overlap": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=_with_nan(torch.eye(4, dtype=RING.dtype), 3, 1)),
        LinAlgError,
        r"overlap.* the entry \(3, 1\) is nan",
    ),
    "overlap's shape": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=torch.eye(3, dtype=RING.dtype)),
        (ValueError, RuntimeError),
        "overlap",
    ),
    "overlap's type": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=torch.eye(4, dtype=torch.float32)),
        (ValueError, RuntimeError, TypeError),
        "overlap",
    ),
    "singular overlap": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=SINGULAR),
        LinAlgError,
        r"spectralgrad\.density_matrix: Expected overlap to be positive definite",
    ),
    "indefinite overlap in a batch": (
        lambda: sg.density_matrix(
            RING.expand(2, 4, 4), electrons=2, overlap=torch.stack([torch.eye(4, dtype=RING.dtype), -SINGULAR])
        ),
        LinAlgError,
        r"\(Batch element 1\): Expected overlap to be positive definite",
    ),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kT", [0, 0.1])
def test_a_fermi_level_that_is_not_finite(value: float, kT: float) -> None:
    message = rf"spectralgrad\.density_matrix: Expected mu to be finite, but got {value}"
    for mu in (value, torch.tensor([0.3, value])):
        for full in (False, True):
            with pytest.raises(ValueError, match=message):
                sg.density_matrix(RING, mu=mu, kT=kT, full_output=full)
    with pytest.raises(ValueError, match=r"kT .*to be (finite|positive), but got"):
        sg.density_matrix(RING, mu=0.3, kT=torch.tensor(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_numbers_are_checked_under_every_transform(value: float) -> None:
    """The message is the same as in eager mode."""

    def by_mu(mu: Tensor, kT: Any = 0.1) -> Tensor:
        return sg.density_matrix(RING, mu=mu, kT=kT)[0, 1]

    def by_kT(kT: Tensor) -> Tensor:
        return sg.density_matrix(RING, electrons=3.0, kT=kT)[0, 1]

    def ways(f: Callable[..., Tensor], x: Tensor) -> list[Callable[[], Any]]:
        return [
            lambda: torch.func.grad(f)(x),
            lambda: torch.func.jvp(f, (x,), (torch.ones_like(x),)),
            lambda: torch.func.grad(torch.func.grad(f))(x),
            lambda: torch.func.vmap(f)(torch.stack([torch.full_like(x, 0.3), x])),
            lambda: torch.func.vmap(torch.func.grad(f))(torch.stack([torch.full_like(x, 0.3), x])),
            lambda: torch.compile(f, backend="eager", fullgraph=True)(x),
        ]

    x = torch.tensor(value, dtype=torch.float64)
    if value not in (0.0, -1.0):
        for kT in (0.1, 0.0):
            for call in ways(functools.partial(by_mu, kT=kT), x):
                with pytest.raises(
                    ValueError, match=f"spectralgrad.density_matrix: Expected mu to be finite, but got {value}"
                ):
                    call()
    expected = "finite" if value == float("inf") else "positive"
    for call in ways(by_kT, x):
        with pytest.raises(
            ValueError, match=f"spectralgrad.density_matrix: Expected kT to be {expected}, but got {value:g}"
        ):
            call()


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input(name: str) -> None:
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


def test_a_single_level_may_be_partly_filled() -> None:
    """The derivative in the electrons is then that level's projector. A level at μ is half filled."""
    H = with_spectrum([-1, 0.5, 2], torch.float64, seed=1)
    v = torch.linalg.eigh(H).eigenvectors[:, 1]
    electrons = torch.tensor(2.5, dtype=H.dtype)
    result = sg.density_matrix(H, electrons=electrons, full_output=True)
    assert abs(float(result.mu) - 0.5) <= 1e-15
    assert abs(float(result.energy) + 2 - 0.25) <= 1e-15
    along = torch.func.jvp(lambda N: sg.density_matrix(H, electrons=N), (electrons,), (torch.ones_like(electrons),))[1]
    assert error(along, torch.outer(v, v)) <= 1e-15
    levels = torch.tensor([-1.0, 0.5, 2.0], dtype=H.dtype)
    assert error(sg.density_matrix(levels.diag(), mu=0.5), torch.diag(torch.tensor([2.0, 1.0, 0.0])).double()) <= 1e-15


def test_one_bad_matrix_does_not_change_the_others() -> None:
    """Under checks("ignore"), only the bad matrix gives NaN: not finite, or its overlap not positive definite."""
    good = torch.diag(torch.tensor([-1.0, 0.5, 2.0, 3.0], dtype=torch.float64)) + 0.1
    eye = torch.eye(4, dtype=good.dtype)
    for H, S, filling in (
        (_with_nan(good, 2, 1), None, {"electrons": 4, "kT": 0.1}),
        (_with_nan(good, 2, 1), None, {"electrons": 4}),
        (_with_nan(good, 0, 0), eye, {"mu": 0.4, "kT": 0.1}),
        (good, -eye, {"electrons": 4, "kT": 0.1}),
        (good, _with_nan(eye, 1, 0), {"electrons": 4}),
    ):
        X = torch.stack([good, H, good]).requires_grad_()
        overlap = None if S is None else torch.stack([eye, S, eye])
        with sg.checks("ignore"):
            result = sg.density_matrix(X, overlap=overlap, full_output=True, **filling)
            (G,) = torch.autograd.grad(result.energy.sum(), X)
        Y = good.clone().requires_grad_()
        alone = sg.density_matrix(Y, overlap=None if S is None else eye, full_output=True, **filling)
        (expected,) = torch.autograd.grad(alone.energy, Y)
        for k in (0, 2):
            for ours, clean in zip(result, alone):
                assert error(ours[k], clean.detach()) <= 1e-15
            assert error(G[k], expected) <= 1e-14
        assert bool(result.density_matrix[1].isnan().all())
        assert bool(result.energy[1].isnan())
