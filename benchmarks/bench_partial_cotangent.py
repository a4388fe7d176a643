"""Measures the backward of a loss that uses only the lowest k = n/8 eigenvectors: tr(M P), P the projector onto them.

The graph is retained and the forward is not timed. The times of both contenders include autograd's work for the slice
V[:, :k].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import spectralgrad as sg
from contenders import matrices
from harness import Benchmark, Session, run
from presentation import Plot, Target, per_call, speedup

SIZES = (256, 512, 1024)
BACKWARD = "backward, n/8 used"


def _backward(eigh: Callable[[Tensor], Any], A: Tensor) -> Callable[[], Any]:
    leaf = A.clone().requires_grad_()
    n = A.shape[-1]
    used = eigh(leaf).eigenvectors[..., : n // 8]
    M = torch.randn(n, n, dtype=A.dtype)
    cotangent = ((M + M.mT) @ used).detach()
    return lambda: torch.autograd.grad(used, leaf, cotangent, retain_graph=True)


def measure(session: Session) -> None:
    cases = [(dtype, n) for n in SIZES for dtype in ("float32", "float64")]
    for dtype, n in session.progress([("float32", 64)] if session.quick else cases):
        A = torch.from_numpy(matrices(n, 1, dtype))
        pair = {"torch.linalg.eigh": torch.linalg.eigh, "spectralgrad.eigh": sg.eigh}
        calls = {name: _backward(eigh, A) for name, eigh in pair.items()}
        session.compare(calls, repeats=11, operation=BACKWARD, dtype=dtype, n=n, batch=1, spectrum="random")


if __name__ == "__main__":
    wanted = [
        Target(
            {"operation": BACKWARD, "dtype": dtype, "n": n, "threads": 2}, "spectralgrad.eigh", 4, any_capability=True
        )
        for n in SIZES
        for dtype in ("float32", "float64")
    ]
    plots = [
        Plot("partial_cotangent_sizes", "n", per_call, "µs", ("dtype",)),
        Plot("partial_cotangent_speedup", "n", speedup, "times as fast as torch", ("dtype",), level=1),
    ]
    run(Benchmark("partial_cotangent", "n/8 used eigenvectors", measure, targets=wanted, plots=plots), __doc__)
