"""Signal handlers that run inside a derivative find autograd, autocast and messages as the program has set them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import LinAlgError, random_hermitian


@pytest.mark.parametrize("f", [sg.eigh, sg.eigvalsh, sg.expm, lambda A: sg.eigh(A.detach())])
def test_a_signal_handler_sees_autograd_as_it_was(f: Callable[[Tensor], Any]) -> None:
    """The handler differentiates while a long decomposition is interrupted below autograd."""
    A = random_hermitian(300_000, 6, 6, dtype=torch.float32, seed=0).requires_grad_()
    seen: list[Any] = []

    def handler(*_: Any) -> None:
        X = torch.eye(3, dtype=torch.float64).requires_grad_()
        y = sg.eigh(X)[0].square().sum() + (X @ X).trace()
        (G,) = torch.autograd.grad(y, X)
        seen.append((torch.is_grad_enabled(), torch.equal(G, 4 * torch.eye(3, dtype=X.dtype))))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-2, 1e-2)
        result = f(A)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen
    assert all(state == (True, True) for state in seen)
    first = result if isinstance(result, Tensor) else result[0]
    assert first.requires_grad == (f in (sg.eigh, sg.eigvalsh, sg.expm))
    assert torch.is_grad_enabled()


def signal_states(f: Callable[[], Any]) -> list[tuple[bool, bool, bool]]:
    """The state in a signal handler while `f` runs. If gradients are on, the handler itself can differentiate."""
    seen: list[tuple[bool, bool, bool]] = []
    running = True

    def handler(*_: Any) -> None:
        if not running:  # the signal came at the end; a timer set now would end the process
            return
        state = (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
        with torch.enable_grad():
            X = torch.eye(3, dtype=torch.float64).requires_grad_()
            (G,) = torch.autograd.grad(sg.eigh(X)[0].square().sum() + X.square().sum(), X)
        seen.append((*state, torch.equal(G, 4 * torch.eye(3, dtype=X.dtype))))
        signal.setitimer(signal.ITIMER_REAL, 1e-2)  # never inside itself

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-2)
        f()
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return seen


def many(n: int = 6) -> Tensor:
    return random_hermitian(200_000, n, n, dtype=torch.float32, seed=0)


@pytest.mark.parametrize("how", ["eigh", "stand_in", "install", "expm"])
def test_a_signal_handler_in_a_backward_sees_the_same_state_as_in_torchs_backward(how: str) -> None:
    """Gradients are off there, as in any backward, and can be switched on."""
    X = many().requires_grad_()
    if how == "expm":
        loss = sg.expm(0.1 * X).square().sum()
    elif how == "stand_in":
        with sg.stand_in():
            L, V = torch.linalg.eigh(X)
        loss = L.sum() + V.abs().pow(3).sum()
    else:
        sg.install() if how == "install" else None
        L, V = (torch.linalg.eigh if how == "install" else sg.eigh)(X)
        sg.uninstall()
        loss = L.sum() + V.abs().pow(3).sum()
    seen = signal_states(lambda: torch.autograd.grad(loss, X))
    assert seen
    # Code after the backward runs with gradients on.
    assert all(right and not autocast for _, autocast, right in seen)
    assert not seen[0][0]


def test_errors_in_a_signal_handler_name_its_own_functions() -> None:
    """`eigvalsh` calls `eigh` and sets its own name for messages. Calls in the handler must not use that name."""
    bad = torch.full((2, 2), torch.nan)
    seen: list[str] = []
    running = True

    def handler(*_: Any) -> None:
        if running:
            with pytest.raises(LinAlgError) as error:
                sg.eigh(bad)
            seen.append(str(error.value))
            signal.setitimer(signal.ITIMER_REAL, 1e-2)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-2)
        sg.eigvalsh(many().requires_grad_())
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen
    assert all(message.startswith("spectralgrad.eigh: ") for message in seen)


@pytest.mark.parametrize("f", [sg.eigh, sg.eigvalsh, sg.expm], ids=["eigh", "eigvalsh", "expm"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_signal_handler_sees_autocast_as_it_was(f: Callable[[Tensor], Any], grad: bool) -> None:
    A = many().requires_grad_(grad)
    with torch.autocast("cpu"), torch.set_grad_enabled(grad):
        seen = signal_states(lambda: f(A))
    assert seen
    assert set(seen) == {(grad, True, True)}
