"""Measures generalized_eigh, forward and forward + backward, against the same written with torch.linalg.

The reference is the reduction that users write by hand: cholesky, two triangular solves, eigh, a triangular solve. The
parts are: sizes (batches of problems), complex, shared (one B for the batch), and types (itype 2 and 3).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import spectralgrad as sg
from bench_eigh import BOTH, COMPLEX, REAL
from contenders import FORWARD, FORWARD_BACKWARD
from harness import Benchmark, Session, run
from presentation import Plot, Target, per_matrix, speedup

BATCHES = {3: 4096, 8: 4096, 16: 4096, 32: 1024, 64: 128, 128: 32, 256: 8}
OURS, BY_HAND = "spectralgrad.generalized_eigh", "torch.linalg, by hand"


class Case(NamedTuple):
    part: str
    operation: str
    dtype: str
    n: int
    batch: int
    itype: int = 1


def by_hand(A: Tensor, B: Tensor, itype: int) -> tuple[Tensor, Tensor]:
    solve = torch.linalg.solve_triangular
    factor = torch.linalg.cholesky(B)
    if itype == 1:
        C = solve(factor.mH, solve(factor, A, upper=False), upper=True, left=False)
    else:
        C = factor.mH @ A @ factor
    L, Y = torch.linalg.eigh(C)
    return L, factor @ Y if itype == 3 else solve(factor.mH, Y, upper=True)


def ours(A: Tensor, B: Tensor, itype: int) -> tuple[Tensor, Tensor]:
    L, V = sg.generalized_eigh(A, B, itype=itype)
    return L, V


def problem(case: Case) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(case.n)
    shape = (case.batch, case.n, case.n)
    X, Y = (torch.randn(shape, dtype=getattr(torch, case.dtype), generator=generator) for _ in range(2))
    B = Y @ Y.mH / case.n + torch.eye(case.n, dtype=Y.dtype)
    return (X + X.mH) / 2, B[0] if case.part == "shared" else B


def cotangents(case: Case, L: Tensor, V: Tensor) -> list[Tensor]:
    """Returns the cotangents of Σ λ²/2 + tr(M V diag(w) Vᴴ), which does not depend on phases."""
    generator = torch.Generator().manual_seed(0)
    M = torch.randn(case.n, case.n, dtype=V.dtype, generator=generator)
    w = torch.randn(case.n, dtype=L.dtype, generator=generator)
    return [L, (M + M.mH) @ V * w]


def gradient(solve: Callable[..., Any], A: Tensor, B: Tensor, g: list[Tensor], itype: int) -> Any:
    return torch.autograd.grad(solve(A, B, itype), (A, B), g)


def calls(case: Case) -> dict[str, Callable[[], Any]]:
    A, B = problem(case)
    L = by_hand(A, B, case.itype)[0]
    found = ours(A, B, case.itype)[0]
    torch.testing.assert_close(found, L, rtol=0, atol=float(1e4 * torch.finfo(L.dtype).eps * L.abs().max()))
    contenders = {BY_HAND: by_hand, OURS: ours}
    if case.operation == FORWARD:
        return {name: functools.partial(solve, A, B, case.itype) for name, solve in contenders.items()}
    a, b = (x.clone().requires_grad_() for x in (A, B))
    return {
        # Of the contender's own eigenvectors, because their phases differ.
        name: functools.partial(gradient, solve, a, b, cotangents(case, *solve(A, B, case.itype)), case.itype)
        for name, solve in contenders.items()
    }


def cases(session: Session) -> list[Case]:
    if session.quick:
        return [Case("sizes", operation, "float64", n, 64) for n in (3, 40) for operation in BOTH]
    found = [Case("sizes", *kind, n, b) for n, b in BATCHES.items() for kind in itertools.product(BOTH, REAL)]
    found += [Case("complex", *kind, n, BATCHES[n]) for n in (3, 16, 64) for kind in itertools.product(BOTH, COMPLEX)]
    found += [Case("shared", FORWARD_BACKWARD, "float64", n, BATCHES[n]) for n in (3, 16, 64)]
    return found + [
        Case("types", FORWARD_BACKWARD, "float64", n, BATCHES[n], itype) for n in (3, 16, 64) for itype in (2, 3)
    ]


def measure(session: Session) -> None:
    for case in session.progress(cases(session)):
        session.compare(calls(case), **case._asdict())


def targets() -> list[Target]:
    wanted = {3: (5, 10), 8: (5, 10), 16: (5, 8), 64: (1.3, 2), 128: (1.3, 2), 256: (1.3, 1.8)}
    return [
        Target(
            {"part": "sizes", "operation": FORWARD_BACKWARD, "dtype": dtype, "n": n, "threads": 2}, OURS, first, second
        )
        for n, (first, second) in wanted.items()
        for dtype in REAL
    ]


PLOTS = [
    Plot("generalized_eigh_sizes", "n", per_matrix, "µs per matrix", ("dtype", "operation"), {"part": "sizes"}),
    Plot(
        "generalized_eigh_speedup",
        "n",
        speedup,
        "times as fast as torch.linalg",
        ("dtype", "operation"),
        {"part": "sizes"},
        level=1,
    ),
]

if __name__ == "__main__":
    run(
        Benchmark("generalized_eigh", "generalized_eigh", measure, threads=(2,), targets=targets(), plots=PLOTS),
        __doc__,
    )
