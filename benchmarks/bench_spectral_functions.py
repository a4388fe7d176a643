"""Measures expm and sqrtm, forward and forward + backward, against torch.

The contenders are V f(λ) Vᵀ by torch.linalg.eigh, and torch.linalg.matrix_exp. The matrices are symmetric positive
definite, with eigenvalues in [0.5, 2].
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import spectralgrad as sg
from contenders import FORWARD, FORWARD_BACKWARD, matrices
from harness import Benchmark, Session, run
from presentation import Plot, Target, per_matrix, speedup
from spectralgrad.compare.peers.functions import Function, by_hand

BATCH = {3: 8192, 8: 2048, 16: 512}
# n -> target speed relative to V f(λ) Vᵀ by torch.linalg.eigh, for two threads, float32 and both operations.
TARGETS = {3: 10, 8: 6, 16: 5}
BY_HAND, MATRIX_EXP = "torch.linalg.eigh by hand", "torch.linalg.matrix_exp"

FUNCTIONS: dict[str, dict[str, Function]] = {
    "expm": {BY_HAND: by_hand(torch.exp), "spectralgrad.expm": sg.expm, MATRIX_EXP: torch.linalg.matrix_exp},
    "sqrtm": {BY_HAND: by_hand(torch.sqrt), "spectralgrad.sqrtm": sg.sqrtm},
}


def _gradient(f: Function, leaf: Tensor, cotangent: Tensor) -> Any:
    return torch.autograd.grad(f(leaf), leaf, cotangent)


def _calls(functions: dict[str, Function], operation: str, A: Tensor) -> dict[str, Callable[[], Any]]:
    reference = functions[BY_HAND](A)
    for f in functions.values():
        torch.testing.assert_close(f(A), reference, rtol=1e-3, atol=1e-3)
    if operation == FORWARD:
        return {name: functools.partial(f, A) for name, f in functions.items()}
    leaf, cotangent = A.clone().requires_grad_(), torch.randn_like(A)
    cotangent = cotangent + cotangent.mT
    return {name: functools.partial(_gradient, f, leaf, cotangent) for name, f in functions.items()}


def measure(session: Session) -> None:
    cases = [(name, dtype, n) for name in FUNCTIONS for dtype in ("float32", "float64") for n in BATCH]
    for name, dtype, n in session.progress(cases[::3] if session.quick else cases):
        batch = 64 if session.quick else BATCH[n]
        A = torch.from_numpy(matrices(n, batch, dtype, "positive"))
        for operation in (FORWARD, FORWARD_BACKWARD):
            session.compare(
                _calls(FUNCTIONS[name], operation, A),
                function=name,
                operation=operation,
                dtype=dtype,
                n=n,
                batch=batch,
                spectrum="positive",
            )


if __name__ == "__main__":
    wanted = [
        Target(
            {"function": name, "operation": operation, "dtype": "float32", "n": n, "threads": 2},
            f"spectralgrad.{name}",
            first,
            ahead_of=(MATRIX_EXP,),
        )
        for name in FUNCTIONS
        for n, first in TARGETS.items()
        for operation in (FORWARD, FORWARD_BACKWARD)
    ]
    panels = ("function", "dtype", "operation")
    plots = [
        Plot("spectral_functions_sizes", "n", per_matrix, "µs per matrix", panels),
        Plot("spectral_functions_speedup", "n", speedup, "times as fast as by hand", panels, level=1),
    ]
    run(Benchmark("spectral_functions", "expm, sqrtm", measure, targets=wanted, plots=plots), __doc__)
