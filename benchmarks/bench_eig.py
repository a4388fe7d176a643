"""Measures eig and eigvals, forward and forward + backward, against torch.linalg in one process.

The parts are: sizes (large batches), complex, values (eigvals), normal (rotations and other orthogonal matrices), and
sweep, which looks for cases that are slower than torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import spectralgrad as sg
from bench_eigh import BOTH, COMPLEX, REAL
from contenders import FORWARD, FORWARD_BACKWARD
from harness import Session, run
from parts import SWEEP_BATCHES, SWEEP_SIZES, calls_of, drawn, measure_parts, parts_benchmark, random_matrices
from presentation import Plot, Target, per_matrix, speedup

BATCHES = {2: 16384, 3: 8192, 4: 4096, 8: 2048, 16: 512, 32: 128, 64: 32, 128: 8}
TARGET, AIM = 1.5, 2.0
LARGEST_WITH_TARGET = 64
# Of the condition numbers of eigenvalues, in every part.
LARGEST_CONDITION = 20


class Case(NamedTuple):
    part: str
    function: str
    operation: str
    dtype: str
    n: int
    batch: int


def matrices(case: Case) -> Tensor:
    A = random_matrices(case.batch, case.n, case.n, case.dtype, case.n)
    return torch.linalg.qr(A).Q if case.part == "normal" else well_conditioned(A)


def well_conditioned(A: Tensor) -> Tensor:
    """Replaces matrices that are nearly defective, because the derivative reports these and takes another path."""
    V = torch.linalg.eig(A.to(torch.complex128)).eigenvectors
    # One by one, because torch.linalg.inv of a batch of large matrices may fail with two threads.
    conditions = torch.stack([torch.linalg.inv(v).norm(dim=-1).amax() for v in V])
    return torch.where((conditions < LARGEST_CONDITION)[:, None, None], A, A[conditions.argmin()])


def cotangents(L: Tensor, V: Tensor) -> list[Tensor]:
    """Returns the cotangents of Σ |λ|²/2 + Σ Mᵢⱼ |Vᵢⱼ|²/2, which does not depend on phases."""
    generator = torch.Generator().manual_seed(0)
    M = torch.randn(V.shape[-1], V.shape[-1], dtype=V.real.dtype, generator=generator)
    return [L, M * V]


def calls(case: Case) -> dict[str, Callable[[], Any]]:
    A = matrices(case)
    found = calls_of(case, A, lambda module: module.eig, cotangents)
    L, V = sg.eig(A)
    limit = 1e3 * torch.finfo(A.dtype).eps
    torch.testing.assert_close(A.to(V.dtype) @ V, V * L.unsqueeze(-2), rtol=0, atol=limit)
    return found


def affordable(case: Case) -> bool:
    """Whether torch takes a few tenths of a second at most."""
    weight = 4 if case.dtype in COMPLEX else 1
    return weight * case.n**3 * case.batch <= 2**24


def sweep(session: Session) -> list[Case]:
    every = []
    for n, dtype, batch in itertools.product(SWEEP_SIZES, REAL + COMPLEX, SWEEP_BATCHES):
        every += [Case("sweep", "eig", operation, dtype, n, batch) for operation in BOTH]
        every.append(Case("sweep", "eigvals", FORWARD, dtype, n, batch))
    return drawn(session, [case for case in every if affordable(case)])


def cases(session: Session) -> list[Case]:
    if session.quick:
        found = [Case("sizes", "eig", operation, "float32", 3, 512) for operation in BOTH]
        return [*found, Case("normal", "eig", FORWARD_BACKWARD, "float64", 3, 64), *sweep(session)]
    found = []
    for part, dtypes in (("sizes", REAL), ("complex", COMPLEX), ("normal", REAL)):
        found += [
            Case(part, "eig", operation, dtype, n, b)
            for n, b in BATCHES.items()
            for dtype in dtypes
            for operation in BOTH
        ]
    found += [Case("values", "eigvals", FORWARD, dtype, n, b) for n, b in BATCHES.items() for dtype in REAL]
    return found + sweep(session)


def measure(session: Session) -> None:
    measure_parts(session, cases(session), calls)


def targets() -> list[Target]:
    return [
        Target(
            {"part": part, "operation": operation, "dtype": dtype, "n": n, "threads": 2},
            "spectralgrad.eig",
            TARGET,
            AIM,
        )
        for part, dtypes in (("sizes", REAL), ("complex", COMPLEX))
        for n in BATCHES
        if n <= LARGEST_WITH_TARGET
        for dtype in dtypes
        for operation in BOTH
    ]


PLOTS = [
    Plot("eig_sizes", "n", per_matrix, "µs per matrix", ("dtype", "operation"), {"part": "sizes"}),
    Plot("eig_speedup", "n", speedup, "times as fast as torch", ("dtype", "operation"), {"part": "sizes"}, level=1),
    Plot("eig_complex", "n", speedup, "times as fast as torch", ("dtype", "operation"), {"part": "complex"}, level=1),
    Plot("eig_normal", "n", speedup, "times as fast as torch", ("dtype", "operation"), {"part": "normal"}, level=1),
    Plot("eig_values", "n", speedup, "times as fast as torch", ("dtype",), {"part": "values"}, level=1),
]

if __name__ == "__main__":
    run(parts_benchmark("eig", "eig", measure, targets=targets(), plots=PLOTS), __doc__)
