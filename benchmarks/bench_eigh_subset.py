"""Measures a loss of k consecutive eigenvalues and their eigenvectors, of one Hermitian n × n matrix.

In the backward, the graph is retained and the forward is not timed. With `eigh`, the times include autograd's work for
the slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import spectralgrad as sg
from harness import Benchmark, Session, run
from presentation import Plot, Target, per_call, speedup

CASES = ((256, 8), (256, 32), (512, 8), (512, 32))
DTYPES = ("float32", "float64")


def _sliced(eigh: Callable[..., Any]) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    def decompose(A: Tensor, k: int) -> tuple[Tensor, Tensor]:
        L, V = eigh(A)
        return L[..., :k], V[..., :k]

    return decompose


def _subset(A: Tensor, k: int) -> tuple[Tensor, Tensor]:
    L, V = sg.eigh_subset(A, 0, k)
    return L, V


CONTENDERS: dict[str, Callable[[Tensor, int], tuple[Tensor, Tensor]]] = {
    "torch.linalg.eigh": _sliced(torch.linalg.eigh),
    "spectralgrad.eigh": _sliced(sg.eigh),
    "spectralgrad.eigh_subset": _subset,
}


def _backward(decompose: Callable[[Tensor, int], tuple[Tensor, Tensor]], A: Tensor, k: int) -> Callable[[], Any]:
    leaf = A.clone().requires_grad_()
    pairs = decompose(leaf, k)
    # Signs differ between the contenders, so the cotangents are those of a loss that does not depend on them.
    M = torch.randn(A.shape, dtype=A.dtype, generator=torch.Generator().manual_seed(1))
    L, V = (x.detach() for x in pairs)
    cotangents = (L.cos(), M @ V)
    return lambda: torch.autograd.grad(pairs, leaf, cotangents, retain_graph=True)


def measure(session: Session) -> None:
    cases = [(dtype, n, k) for n, k in CASES for dtype in DTYPES]
    for dtype, n, k in session.progress([("float32", 64, 8)] if session.quick else cases):
        X = np.random.default_rng(n).standard_normal((n, n))
        A = torch.from_numpy(((X + X.T) / 2).astype(dtype))
        calls = {name: _backward(decompose, A, k) for name, decompose in CONTENDERS.items()}
        gradients = [call()[0] for call in calls.values()]
        for gradient in gradients[1:]:
            torch.testing.assert_close(gradient, gradients[0], rtol=1e-2, atol=1e-2 * float(gradients[0].abs().max()))
        options: dict[str, Any] = {"repeats": 11, "dtype": dtype, "n": n, "batch": 1, "spectrum": "random"}
        session.compare(calls, operation=f"backward, k = {k}", **options)
        forward = {name: lambda f=f: f(A, k) for name, f in CONTENDERS.items()}  # noqa: B023
        session.compare(forward, operation=f"forward, k = {k}", **options)


if __name__ == "__main__":
    wanted = [
        Target(
            {"operation": f"backward, k = {k}", "dtype": dtype, "n": n, "threads": 2},
            "spectralgrad.eigh_subset",
            1,
            any_capability=True,
        )
        for n, k in CASES
        for dtype in DTYPES
    ]
    plots = [
        Plot("eigh_subset_sizes", "n", per_call, "µs", ("operation", "dtype")),
        Plot("eigh_subset_speedup", "n", speedup, "times as fast as torch", ("operation", "dtype"), level=1),
    ]
    run(
        Benchmark("eigh_subset", "A part of the spectrum", measure, targets=wanted, plots=plots),
        __doc__,
    )
