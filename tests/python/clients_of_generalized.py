"""Gradients of programs that solve A v = λ B v by torch, compared with contour integrals in 50 digits.

`test_clients.py` runs them. The functions are those of docs/clients.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import generalized_reference
from clients_of_eigh import relative_error
from problems import normal


@cache
def by_hand() -> dict[str, Callable[..., Any]]:
    """The functions `levels`, `populations` and `motion` of docs/clients.md, by name."""
    text = (Path(__file__).parents[2] / "docs/clients.md").read_text()
    (code,) = re.findall(r"```python\n(# Levels .*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"torch": torch}
    exec(code, names)
    return names


def twice(X: list[list[float]]) -> Tensor:
    """Two equal parts that do not touch: every level is exactly twofold."""
    part = torch.tensor(X, dtype=torch.float64)
    return torch.block_diag(part, part)


H, S = twice([[-1.0, -0.75], [-0.75, -0.5]]), twice([[1.0, 0.25], [0.25, 1.0]])
# A clamped mast of two elements that bends in two directions, with the mass of each element spread along it.
K, M = twice([[2.0, -1.0], [-1.0, 1.0]]), twice([[4.0, 1.0], [1.0, 2.0]])
WEIGHTS = normal(4, dtype=torch.float64, seed=1)


def gradient_error(loss: Callable[[Tensor, Tensor], Tensor], A: Tensor, B: Tensor, expected: list[Tensor]) -> float:
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    got = torch.autograd.grad(loss(a, b), (a, b))
    return max(relative_error((x + x.mT) / 2, y) for x, y in zip(got, expected, strict=True))


def populations_error() -> float:
    """Σ w_k q_k = tr(G P) with the Hermitian part G of 2 diag(w) S, for the lowest level."""
    G = WEIGHTS.unsqueeze(-1) * S
    exact = generalized_reference.projector_loss(H, S, G + G.mT, 1, center=-1.25, radius=0.5)
    direct = WEIGHTS.unsqueeze(-1) * exact.value
    return gradient_error(
        lambda h, s: WEIGHTS @ by_hand()["populations"](h, s, 2), H, S, [exact.A, exact.B + direct + direct.mT]
    )


def motion_error() -> float:
    exact = generalized_reference.projector_loss(K, M, WEIGHTS.diag(), 1, center=0.1, radius=0.2)
    return gradient_error(lambda k, m: WEIGHTS @ by_hand()["motion"](k, m, 2), K, M, [exact.A, exact.B])


# Key: the client, and the second column of docs/clients.md without the markup.
MEASUREMENTS: dict[tuple[str, str], Callable[[str], float]] = {
    ("by hand", "populations"): lambda at: populations_error(),
    ("by hand", "motion"): lambda at: motion_error(),
}
