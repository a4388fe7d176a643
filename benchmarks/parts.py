"""Common code of the benchmarks that measure a decomposition against torch.linalg in parts, one of which is a sweep.

A case is a named tuple with the fields part, function, operation, dtype, n and batch.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import spectralgrad as sg
from bench_sweep import LONGER_AND_LONGER, compare_until_fast
from contenders import FORWARD
from harness import Benchmark, Item, Session

SWEEP_SIZES = (1, 2, 3, 5, 8, 12, 16, 24, 32, 48, 64, 65, 100, 200)
SWEEP_BATCHES = (1, 2, 3, 8, 17, 100, 1000)

# Benchmarks with these parts have these settings.
parts_benchmark = functools.partial(Benchmark, threads=(2,), options={"cases": 150, "seed": 0})


def random_matrices(batch: int, m: int, n: int, dtype: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, m, n, dtype=getattr(torch, dtype), generator=generator)


def gradient(decompose: Callable[[Tensor], Any], leaf: Tensor, g: list[Tensor]) -> Any:
    return torch.autograd.grad(tuple(decompose(leaf)), leaf, g)


def calls_of(
    case: Any,
    A: Tensor,
    decomposition: Callable[[Any], Callable[[Tensor], Any]],
    cotangents: Callable[..., list[Tensor]],
) -> dict[str, Callable[[], Any]]:
    """The contenders. `decomposition` returns the function of a module, torch.linalg or spectralgrad."""
    found: dict[str, Callable[[], Any]] = {}
    modules: dict[str, Any] = {"torch.linalg.": torch.linalg, "spectralgrad.": sg}
    for prefix, module in modules.items():
        name, decompose = prefix + case.function, decomposition(module)
        if case.function.endswith("vals"):
            found[name] = functools.partial(getattr(module, case.function), A)
        elif case.operation == FORWARD:
            found[name] = functools.partial(decompose, A)
        else:
            found[name] = functools.partial(gradient, decompose, A.clone().requires_grad_(), cotangents(*decompose(A)))
    return found


def drawn(session: Session, every: Sequence[Item]) -> list[Item]:
    """Draws the cases of a sweep."""
    count = min(len(every), 8 if session.quick else session.options["cases"])
    return random.Random(session.options["seed"]).sample(every, count)


def measure_parts(session: Session, cases: Sequence[Any], calls: Callable[[Any], dict[str, Callable[[], Any]]]) -> None:
    for case in session.progress(cases):
        turns = LONGER_AND_LONGER if case.part == "sweep" else ((7, 0.015),)
        compare_until_fast(session, calls(case), turns, **case._asdict())
