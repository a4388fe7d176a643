"""Measures programs with a loop over eigh, svd or expm under torch.compile against the same program without it.

Each step of the loop uses the result of the one before, so the decompositions cannot run at the same time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

import spectralgrad as sg
from bench_eigh import REAL
from bench_transforms import Case
from harness import Benchmark, Session, run
from presentation import Target

STEPS = 8
# n -> batch
BATCHES = {3: 4096, 8: 1024, 16: 256, 64: 16}
FORWARD, FORWARD_BACKWARD = OPERATIONS = ("forward", "forward + backward")
COMPILED = "torch.compile"


def eigh_step(A: Tensor) -> Tensor:
    L, V = sg.eigh(A)
    return (V * L.tanh().unsqueeze(-2)) @ V.mT + 0.1 * A


def svd_step(A: Tensor) -> Tensor:
    U, S, Vh = sg.svd(A)
    return (U * S.tanh().unsqueeze(-2)) @ Vh + 0.1 * A


def expm_step(A: Tensor) -> Tensor:
    return sg.expm(-A @ A.mT) / 2


STEP: dict[str, Callable[[Tensor], Tensor]] = {"eigh": eigh_step, "svd": svd_step, "expm": expm_step}


def program(case: Case, A: Tensor) -> Tensor:
    for _ in range(STEPS):
        A = STEP[case.function](A)
    return A.square().sum()


def call(loss: Callable[[Tensor], Tensor], case: Case) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(case.n)
    A = torch.randn(case.batch, case.n, case.n, dtype=getattr(torch, case.dtype), generator=generator)
    A = (A + A.mH) / 4

    def forward() -> Tensor:
        with torch.no_grad():
            return loss(A)

    def forward_backward() -> Tensor:
        leaf = A.clone().requires_grad_()
        return torch.autograd.grad(loss(leaf), leaf)[0]

    return forward if case.operation == FORWARD else forward_backward


def cases(session: Session) -> list[Case]:
    sizes = {3: 64} if session.quick else BATCHES
    dtypes = REAL[1:] if session.quick else REAL
    return [Case(f, o, d, n, b) for f in STEP for n, b in sizes.items() for d in dtypes for o in OPERATIONS]


def measure(session: Session) -> None:
    for case in session.progress(cases(session)):
        torch.compiler.reset()
        loss = functools.partial(program, case)
        # `fullgraph`, so that no part of the program runs without being compiled.
        compiled = call(torch.compile(loss, fullgraph=True), case)
        plain = call(loss, case)
        torch.testing.assert_close(compiled(), plain(), rtol=1e-2, atol=1e-3)
        session.compare({"eager": plain, COMPILED: compiled}, **case._asdict())


TARGETS = [
    Target(Case(f, o, d, n, b)._asdict() | {"threads": 2}, COMPILED, 1.0, any_capability=True)
    for f in STEP
    for n, b in BATCHES.items()
    for d in REAL
    for o in OPERATIONS
]

if __name__ == "__main__":
    run(Benchmark("compile", "torch.compile", measure, threads=(2,), targets=TARGETS), __doc__)
