"""Batches of matrices, forward, against torch.linalg.eigh in the same process, interleaved.

Random symmetric and Hermitian matrices, one to thousands of them; the number of threads is `--threads`.
"""

from __future__ import annotations

import torch

import spectralgrad as sg
from harness import arguments, interleave, report

# Size and number of matrices.
SIZES = [
    (2, 10_000),
    (3, 1),
    (3, 10_000),
    (4, 10_000),
    (8, 1),
    (8, 2_000),
    (16, 500),
    (32, 200),
    (64, 1),
    (64, 100),
    (128, 2),
    (128, 64),
    (256, 8),
    (512, 1),
    (512, 4),
    (1024, 1),
]


def main() -> None:
    parsed = arguments(__doc__)
    torch.manual_seed(0)
    measurements = []
    for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        for n, count in SIZES:
            if dtype.is_complex and n > 256:
                continue
            A = torch.randn(count, n, n, dtype=dtype)
            A = A + A.mH
            kind = str(dtype).removeprefix("torch.")
            measurements += interleave(
                f"{kind} {count} x {n} x {n}",
                {
                    "torch.linalg.eigh": lambda A=A: torch.linalg.eigh(A),
                    "spectralgrad.eigh": lambda A=A: sg.eigh(A),
                },
                repeats=7,
            )
    report(f"eigh, forward, {parsed.threads} threads", measurements, parsed.out)


if __name__ == "__main__":
    main()
