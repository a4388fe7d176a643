"""Measures the backward of a loss of the k largest singular values and their singular vectors, of one n × n matrix.

The graph is retained and the forward is not timed. With `svd`, the times include autograd's work for the slices.
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

SIZES = (256, 512)
RANKS = (8, 32)
DTYPES = ("float32", "float64")


def _operation(rank: int) -> str:
    return f"backward, k = {rank}"


def _sliced(svd: Callable[..., Any]) -> Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]]:
    def decompose(A: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
        U, S, Vh = svd(A, full_matrices=False)
        return U[..., :rank], S[..., :rank], Vh[..., :rank, :]

    return decompose


CONTENDERS: dict[str, Callable[[Tensor, int], Any]] = {
    "torch.linalg.svd": _sliced(torch.linalg.svd),
    "spectralgrad.svd": _sliced(sg.svd),
    "spectralgrad.svd_truncated": sg.svd_truncated,
}


def _backward(decompose: Callable[[Tensor, int], Any], A: Tensor, rank: int) -> Callable[[], Any]:
    leaf = A.clone().requires_grad_()
    triples = tuple(decompose(leaf, rank))
    # Signs differ between the contenders, so the cotangents are those of a loss that does not depend on them.
    M = torch.randn(A.shape, dtype=A.dtype, generator=torch.Generator().manual_seed(1))
    U, S, Vh = (x.detach() for x in triples)
    cotangents = (M @ Vh.mT, S.cos(), U.mT @ M)
    return lambda: torch.autograd.grad(triples, leaf, cotangents, retain_graph=True)


def measure(session: Session) -> None:
    cases = [(dtype, n, rank) for n in SIZES for rank in RANKS for dtype in DTYPES]
    for dtype, n, rank in session.progress([("float32", 64, 8)] if session.quick else cases):
        A = torch.from_numpy(np.random.default_rng(n).standard_normal((n, n)).astype(dtype))
        calls = {name: _backward(decompose, A, rank) for name, decompose in CONTENDERS.items()}
        gradients = [call()[0] for call in calls.values()]
        for gradient in gradients[1:]:
            torch.testing.assert_close(gradient, gradients[0], rtol=1e-2, atol=1e-2)
        session.compare(calls, repeats=11, operation=_operation(rank), dtype=dtype, n=n, batch=1, spectrum="random")


if __name__ == "__main__":
    wanted = [
        Target(
            {"operation": _operation(rank), "dtype": dtype, "n": n, "threads": 2},
            "spectralgrad.svd_truncated",
            1,
            any_capability=True,
        )
        for n in SIZES
        for rank in RANKS
        for dtype in DTYPES
    ]
    plots = [
        Plot("svd_truncated_sizes", "n", per_call, "µs", ("operation", "dtype")),
        Plot("svd_truncated_speedup", "n", speedup, "times as fast as torch", ("operation", "dtype"), level=1),
    ]
    run(
        Benchmark("svd_truncated", "Backward of the k largest singular triples", measure, targets=wanted, plots=plots),
        __doc__,
    )
