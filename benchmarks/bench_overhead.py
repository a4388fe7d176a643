"""Measures the overhead of a call: one 4×4 matrix, from Python, one thread.

The targets: forward takes at most 1.5 times as long as torch.linalg, forward + backward at most 1.2 times.
"""

from __future__ import annotations

from contenders import FORWARD, FORWARD_BACKWARD, contenders, matrices, torch_peers
from harness import Benchmark, Session, run
from presentation import Target

DTYPES = ("float32", "float64", "complex128")
TARGETS = {FORWARD: 1 / 1.5, FORWARD_BACKWARD: 1 / 1.2}


def measure(session: Session) -> None:
    for dtype in session.progress(DTYPES):
        calls = contenders(torch_peers(), "eigh", matrices(4, 1, dtype), tuple(TARGETS))
        for operation in TARGETS:
            session.compare(calls[operation], repeats=21, operation=operation, dtype=dtype, n=4, batch=1)


if __name__ == "__main__":
    wanted = [
        Target({"operation": operation, "dtype": dtype}, "spectralgrad.eigh", first, any_capability=True)
        for dtype in DTYPES
        for operation, first in TARGETS.items()
    ]
    run(Benchmark("overhead", "One 4×4 matrix, through Python", measure, threads=(1,), targets=wanted), __doc__)
