"""Measures svd and svdvals, forward and forward + backward, against torch.linalg in one process.

The parts are: sizes (large batches of square matrices), shapes (tall and wide), complex, values (svdvals), and sweep,
which looks for cases that are slower than torch. torch computes the thin decomposition, too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import spectralgrad as sg
from bench_eigh import BOTH, COMPLEX, LARGE_BATCH, REAL
from contenders import FORWARD, FORWARD_BACKWARD
from harness import Session, run
from parts import SWEEP_BATCHES, SWEEP_SIZES, calls_of, drawn, measure_parts, parts_benchmark, random_matrices
from presentation import Plot, Target, per_matrix, speedup

# n -> float32 forward, float32 forward + backward, float64 forward, float64 forward + backward: (target, aim).
TARGETS: dict[int, tuple[tuple[float, float], ...]] = {
    **dict.fromkeys((2, 3, 4), ((25, 50), (15, 30), (15, 30), (10, 20))),
    8: ((10, 20), (8, 15), (6, 12), (5, 9)),
    16: ((6, 12), (5, 9), (3.5, 7), (3, 6)),
    32: ((3.5, 7), (3, 6), (2, 4), (2, 3.5)),
    **dict.fromkeys((64, 128, 256, 512), ((1.3, 2), (1.3, 2), (1.3, 1.8), (1.3, 1.8))),
}
SHAPES = ((64, 3), (3, 64), (16, 3), (64, 16))


class Case(NamedTuple):
    part: str
    function: str
    operation: str
    dtype: str
    m: int
    n: int
    batch: int


def thin(module: Any) -> Callable[[Tensor], Any]:
    return functools.partial(module.svd, full_matrices=False)


def matrices(case: Case) -> Tensor:
    return random_matrices(case.batch, case.m, case.n, case.dtype, case.m + 1000 * case.n)


def cotangents(U: Tensor, S: Tensor, Vh: Tensor) -> list[Tensor]:
    """Returns the cotangents of Σ σ + σ²/2 + Re tr(Mᴴ U diag(w) Vᴴ), which does not depend on phases."""
    generator = torch.Generator().manual_seed(0)
    M = torch.randn(U.shape[-2], Vh.shape[-1], dtype=U.dtype, generator=generator)
    w = torch.randn(S.shape[-1], dtype=S.dtype, generator=generator)
    return [M @ Vh.mH * w, 1 + S, w[:, None] * (U.mH @ M)]


def calls(case: Case) -> dict[str, Callable[[], Any]]:
    A = matrices(case)
    found = calls_of(case, A, thin, cotangents)
    S = torch.linalg.svdvals(A)
    torch.testing.assert_close(sg.svd(A, full_matrices=False).S, S, rtol=0, atol=1e4 * torch.finfo(S.dtype).eps)
    return found


def affordable(case: Case) -> bool:
    """Whether torch takes a few tenths of a second at most."""
    weight = 4 if case.dtype in COMPLEX else 1
    least, most = min(case.m, case.n), max(case.m, case.n)
    return weight * least**2 * most * case.batch <= 2**26


def sweep(session: Session) -> list[Case]:
    every = []
    for k, dtype, batch in itertools.product(SWEEP_SIZES, REAL + COMPLEX, SWEEP_BATCHES):
        for m, n in ((k, k), (2 * k, k), (k, 3 * k + 1)):
            every += [Case("sweep", "svd", operation, dtype, m, n, batch) for operation in BOTH]
            every.append(Case("sweep", "svdvals", FORWARD, dtype, m, n, batch))
    return drawn(session, [case for case in every if affordable(case)])


def cases(session: Session) -> list[Case]:
    if session.quick:
        found = [Case("sizes", "svd", operation, "float32", 3, 3, 512) for operation in BOTH]
        return [*found, Case("shapes", "svd", FORWARD_BACKWARD, "float64", 16, 3, 64), *sweep(session)]
    sizes = {n: LARGE_BATCH[n] for n in TARGETS}
    found = [
        Case("sizes", "svd", operation, dtype, n, n, b)
        for n, b in sizes.items()
        for dtype in REAL
        for operation in BOTH
    ]
    found += [
        Case("shapes", "svd", operation, dtype, m, n, 4096) for m, n in SHAPES for dtype in REAL for operation in BOTH
    ]
    found += [
        Case("complex", "svd", operation, dtype, n, n, LARGE_BATCH[n])
        for n in (3, 8, 16, 32)
        for dtype in COMPLEX
        for operation in BOTH
    ]
    found += [Case("values", "svdvals", FORWARD, dtype, n, n, b) for n, b in sizes.items() for dtype in REAL]
    return found + sweep(session)


def measure(session: Session) -> None:
    measure_parts(session, cases(session), calls)


def targets() -> list[Target]:
    kinds = [(dtype, operation) for dtype in REAL for operation in BOTH]
    wanted = []
    for n, row in TARGETS.items():
        for (dtype, operation), (first, second) in zip(kinds, row):
            case = {"part": "sizes", "operation": operation, "dtype": dtype, "n": n, "threads": 2}
            wanted.append(Target(case, "spectralgrad.svd", first, second))
    return wanted


PLOTS = [
    Plot("svd_sizes", "n", per_matrix, "µs per matrix", ("dtype", "operation"), {"part": "sizes"}),
    Plot("svd_speedup", "n", speedup, "times as fast as torch", ("dtype", "operation"), {"part": "sizes"}, level=1),
    Plot("svd_complex", "n", speedup, "times as fast as torch", ("dtype", "operation"), {"part": "complex"}, level=1),
    Plot("svd_values", "n", speedup, "times as fast as torch", ("dtype",), {"part": "values"}, level=1),
]

if __name__ == "__main__":
    run(parts_benchmark("svd", "svd", measure, targets=targets(), plots=PLOTS), __doc__)
