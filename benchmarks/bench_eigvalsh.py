"""Measures eigvalsh without gradients against torch.linalg, TensorFlow, JAX and NumPy in one process."""

from __future__ import annotations

from contenders import FORWARD, all_peers, contenders, matrices
from harness import SETTLE, Benchmark, Session, run
from presentation import Plot, Target, per_matrix, speedup

LARGE_BATCH = {3: 16384, 8: 4096, 16: 1024, 32: 512, 128: 64, 512: 4}
# n -> target speed relative to torch.linalg.eigvalsh, for two threads and float32.
TARGETS = {3: 15, 8: 15, 16: 15, 32: 12}


def measure(session: Session) -> None:
    peers = all_peers()
    cases = [(dtype, n) for n in LARGE_BATCH for dtype in ("float32", "float64")]
    if session.quick:
        cases = [("float32", 3), ("float64", 16)]
    for dtype, n in session.progress(cases):
        batch = 64 if session.quick else LARGE_BATCH[n]
        calls = contenders(peers, "eigvalsh", matrices(n, batch, dtype), (FORWARD,))
        session.compare(
            calls[FORWARD], settle=SETTLE, operation=FORWARD, dtype=dtype, n=n, batch=batch, spectrum="random"
        )


if __name__ == "__main__":
    wanted = [
        Target({"operation": FORWARD, "dtype": "float32", "n": n, "threads": 2}, "spectralgrad.eigvalsh", first)
        for n, first in TARGETS.items()
    ]
    plots = [
        Plot("eigvalsh_sizes", "n", per_matrix, "µs per matrix", ("dtype",)),
        Plot("eigvalsh_speedup", "n", speedup, "times as fast as torch", ("dtype",), level=1),
    ]
    run(Benchmark("eigvalsh", "eigvalsh", measure, targets=wanted, plots=plots), __doc__)
