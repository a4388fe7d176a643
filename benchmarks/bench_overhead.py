"""What a call costs where there is next to nothing to compute: one 4×4 matrix, through Python.

Aimed at: forward at most 1.5 times torch.linalg's, forward and backward together at most 1.2 times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import spectralgrad as sg
from harness import arguments, interleave, report


def forward_and_backward(eigh: Callable[..., Any], A: torch.Tensor) -> Callable[[], Any]:
    leaf = A.clone().requires_grad_()
    cotangents = (torch.randn(1, 4, dtype=A.real.dtype), torch.randn_like(A))
    if A.is_complex():  # a loss that does not see phases
        with torch.no_grad():
            V = torch.linalg.eigh(A).eigenvectors
            cotangents = (cotangents[0], V * torch.randn(1, 4, 4, dtype=A.real.dtype))
    return lambda: torch.autograd.grad(tuple(eigh(leaf)), leaf, cotangents)


def main() -> None:
    parsed = arguments(__doc__)
    torch.manual_seed(0)
    measurements = []
    for dtype in (torch.float32, torch.float64, torch.complex128):
        A = torch.randn(1, 4, 4, dtype=dtype)
        A = A + A.mH
        kind = str(dtype).removeprefix("torch.")
        pair = {"torch.linalg.eigh": torch.linalg.eigh, "spectralgrad.eigh": sg.eigh}
        measurements += interleave(
            f"{kind} forward", {name: lambda eigh=eigh, A=A: eigh(A) for name, eigh in pair.items()}
        )
        measurements += interleave(
            f"{kind} forward + backward", {name: forward_and_backward(eigh, A) for name, eigh in pair.items()}
        )
    report("One 4×4 matrix, through Python", measurements, parsed.out)


if __name__ == "__main__":
    main()
