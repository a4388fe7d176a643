"""Measures eigh, forward and forward + backward, against torch.linalg, TensorFlow, JAX and NumPy in one process.

The parts are: sizes (large batches), complex, batches (from a single matrix up), spectra (structured matrices).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from contenders import FORWARD, FORWARD_BACKWARD, all_peers, contenders, matrices
from harness import SETTLE, Benchmark, Session, run
from presentation import Plot, Target, per_matrix, speedup

BOTH = (FORWARD, FORWARD_BACKWARD)
# Size -> batch size. torch takes 10 to 100 ms for a batch, and longer for the largest matrices.
LARGE_BATCH = {2: 32768, 3: 16384, 4: 16384, 8: 4096, 16: 1024, 32: 512, 64: 128, 128: 128}
LARGE_BATCH |= {256: 8, 512: 4, 1024: 1, 2048: 1}
# With one thread, only sizes up to this one are measured.
LARGEST_OF_ONE_THREAD = 128
REAL, COMPLEX = ("float32", "float64"), ("complex64", "complex128")

# Speeds relative to torch.linalg.eigh with two threads, random spectra and AVX-512: (target, speed of a prototype).
# n -> float32 forward, float32 forward + backward, float64 forward, float64 forward + backward.
TARGETS: dict[int, tuple[tuple[float, float | None], ...]] = {
    2: ((40, 67), (25, 47), (38, 66), (21, 32)),
    3: ((40, 62), (27, 40), (20, 35), (17, 26)),
    4: ((33, 43), (23, 34), (15, 22), (13, 18)),
    8: ((15, 22), (12, 19), (9, 15), (8, 12)),
    16: ((15, 22), (10, 15), (8, 11), (6, 8)),
    32: ((11, 14), (8, 10), (5.5, 7), (4.3, 5.5)),
    64: ((4.5, 6), (3.5, 5), (2.5, 3.7), (2.3, 3)),
    128: ((1.6, 3), (1.4, 2.2), (1.6, 2.1), (1.4, 1.6)),
    512: ((1.3, 1.6), (1.15, 1.4), (1.25, 1.6), (1.15, 1.4)),
    1024: ((1.0, None), (1.05, 1.2), (1.0, None), (1.05, 1.2)),
    2048: ((1.0, None), (1.05, 1.2), (1.0, None), (1.05, 1.2)),
}
# n -> target for complex64, target for complex128, both forward.
COMPLEX_TARGETS: dict[int, tuple[float, float]] = {3: (12, 7), 8: (8, 5), 16: (6, 3.5), 32: (3.5, 2.2)}


def targets() -> Iterator[Target]:
    kinds = [(dtype, operation) for dtype in REAL for operation in BOTH]
    for n, row in TARGETS.items():
        for (dtype, operation), (first, second) in zip(kinds, row):
            case = {"part": "sizes", "operation": operation, "dtype": dtype, "n": n, "threads": 2}
            yield Target(case, "spectralgrad.eigh", first, second, ahead_of=("tf.linalg.eigh",))
    for n, speeds in COMPLEX_TARGETS.items():
        for dtype, first in zip(COMPLEX, speeds):
            case = {"part": "complex", "operation": FORWARD, "dtype": dtype, "n": n, "threads": 2}
            yield Target(case, "spectralgrad.eigh", first)


class Case(NamedTuple):
    part: str
    dtype: str
    n: int
    batch: int
    spectrum: str = "random"


def cases(session: Session) -> list[Case]:
    if session.quick:
        return [
            Case("sizes", "float32", 3, 512),
            Case("sizes", "float64", 16, 32),
            Case("complex", "complex64", 8, 64),
            Case("batches", "float32", 3, 1),
            Case("spectra", "float32", 16, 32, "repeated"),
        ]
    sizes = {n: b for n, b in LARGE_BATCH.items() if session.threads > 1 or n <= LARGEST_OF_ONE_THREAD}
    found = [Case("sizes", dtype, n, batch) for n, batch in sizes.items() for dtype in REAL]
    found += [Case("batches", "float32", n, b) for n in (3, 16) for b in (1, 8, 64, 512, LARGE_BATCH[n])]
    if session.threads > 1:
        found += [Case("complex", dtype, n, LARGE_BATCH[n]) for n in COMPLEX_TARGETS for dtype in COMPLEX]
        structured = ("repeated", "graded", "tridiagonal")
        found += [Case("spectra", "float32", n, LARGE_BATCH[n], s) for n in (3, 16, 64) for s in structured]
    return found


def measure(session: Session) -> None:
    peers = all_peers()
    for case in session.progress(cases(session)):
        A = matrices(case.n, case.batch, case.dtype, case.spectrum)
        for operation, calls in contenders(peers, "eigh", A, BOTH, case.spectrum).items():
            session.compare(calls, settle=SETTLE, operation=operation, **case._asdict())


def _speedup(name: str, part: str, panel: str) -> Plot:
    return Plot(name, "n", speedup, "times as fast as torch", (panel, "operation"), {"part": part}, level=1)


PLOTS = [
    Plot("eigh_sizes", "n", per_matrix, "µs per matrix", ("dtype", "operation"), {"part": "sizes"}),
    _speedup("eigh_speedup", "sizes", "dtype"),
    _speedup("eigh_complex", "complex", "dtype"),
    Plot("eigh_batches", "batch", per_matrix, "µs per matrix", ("n", "dtype", "operation"), {"part": "batches"}),
    _speedup("eigh_spectra", "spectra", "spectrum"),
]

if __name__ == "__main__":
    run(Benchmark("eigh", "eigh", measure, targets=list(targets()), plots=PLOTS), __doc__)
