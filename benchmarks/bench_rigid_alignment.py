"""Measures rigid_alignment, forward and forward + backward, against the same written with torch.linalg.svd.

The target: for 100,000 clouds of 16 points in three dimensions, forward + backward is 10 times as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import spectralgrad as sg
from contenders import FORWARD, FORWARD_BACKWARD
from harness import Benchmark, Session, run
from presentation import Plot, Target, per_matrix, speedup

Align = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
BY_HAND, OURS = "torch.linalg.svd", "spectralgrad.rigid_alignment"
DTYPES = ("float32", "float64")
# The number of clouds -> the number of points of each.
CLOUDS = {100_000: 16, 10_000: 64, 1_000: 256, 1: 16}


def by_hand(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Kabsch's algorithm as it is usually written."""
    a, b = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    U, _, Vh = torch.linalg.svd((source - a).mT @ (target - b))
    sign = torch.linalg.det(Vh.mT @ U.mT).sign()
    signs = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    R = (Vh.mT * signs.unsqueeze(-2)) @ U.mT
    return R, b.squeeze(-2) - (R @ a.mT).squeeze(-1)


def ours(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    R, t, _ = sg.rigid_alignment(source, target)
    return R, t


class Case(NamedTuple):
    dtype: str
    n: int
    batch: int


def _calls(align: Align, case: Case) -> dict[str, Callable[[], Any]]:
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, case.dtype)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    source, target = normal(case.batch, case.n, 3), normal(case.batch, case.n, 3)
    cotangents = (normal(case.batch, 3, 3), normal(case.batch, 3))
    leaf = source.clone().requires_grad_()
    return {
        FORWARD: lambda: align(source, target),
        FORWARD_BACKWARD: lambda: torch.autograd.grad(align(leaf, target), leaf, cotangents),
    }


def measure(session: Session) -> None:
    clouds = {1_000: 16} if session.quick else CLOUDS
    for case in session.progress([Case(dtype, n, batch) for batch, n in clouds.items() for dtype in DTYPES]):
        calls = {BY_HAND: _calls(by_hand, case), OURS: _calls(ours, case)}
        expected, found = (contender[FORWARD_BACKWARD]()[0] for contender in calls.values())
        # Random covariances are nearly singular now and then, so the typical error counts.
        error = ((found - expected).flatten(1).norm(dim=-1) / expected.flatten(1).norm(dim=-1)).median()
        assert error < 1e4 * torch.finfo(found.dtype).eps
        for operation in (FORWARD, FORWARD_BACKWARD):
            contenders = {name: contender[operation] for name, contender in calls.items()}
            session.compare(contenders, operation=operation, **case._asdict())


PLOTS = [
    Plot("rigid_alignment", "batch", per_matrix, "µs per cloud", ("dtype", "operation")),
    Plot("rigid_alignment_speedup", "batch", speedup, "times as fast as torch", ("dtype", "operation"), level=1),
]
TARGETS = [
    Target({"operation": FORWARD_BACKWARD, "dtype": dtype, "n": 16, "batch": 100_000, "threads": 2}, OURS, 10)
    for dtype in DTYPES
]

if __name__ == "__main__":
    run(Benchmark("rigid_alignment", "Rigid alignment", measure, targets=TARGETS, plots=PLOTS), __doc__)
