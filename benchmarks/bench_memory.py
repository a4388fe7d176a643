"""Measures the peak resident memory of one forward + backward, each in a fresh process.

Memory in use before the call is subtracted: the matrices, the cotangents, the imported modules, and workspaces that the
decomposition of a 2×2 matrix has allocated.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from contenders import FORWARD_BACKWARD, contenders, matrices, torch_peers
from harness import Benchmark, Session, run
from presentation import Record, words

BATCH = {3: 1_000_000, 16: 8192, 64: 512, 256: 32, 2048: 1}
# Targets: `of_torch` for all cases, and `of_needed` for n = 3, where the workspaces are small beside the batch.
MOST_OF_TORCH = 1.0
MOST_OF_NEEDED = 1.2
DTYPES = ("float32", "float64")


def _status(name: str) -> int:
    """Returns the value of a line of /proc/self/status, in kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def peak(contender: str, n: int, batch: int, dtype: str, threads: int) -> float:
    """Returns the peak memory of this process, in MiB, minus the memory before the call."""
    torch.set_num_threads(threads)
    peer = next(peer for peer in torch_peers() if contender.startswith(peer.prefix))

    def call(A: np.ndarray) -> Callable[[], Any]:
        return contenders([peer], "eigh", A, (FORWARD_BACKWARD,))[FORWARD_BACKWARD][contender]

    call(matrices(2, 1, dtype))()
    prepared = call(matrices(n, batch, dtype))
    # Without this, the call could reuse memory that was freed earlier, which would not be counted.
    ctypes.CDLL(None).malloc_trim(0)
    held = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current resident memory
    kept = prepared()
    reached = _status("VmHWM")
    del kept
    return (reached - held) / 1024


def needed(n: int, batch: int, dtype: str) -> float:
    """The memory of A, its eigenvalues and eigenvectors, and its gradient, in MiB."""
    return batch * (3 * n * n + n) * np.dtype(dtype).itemsize / 2**20


def measure(session: Session) -> None:
    cases = [(n, dtype) for n in BATCH for dtype in DTYPES]
    for n, dtype in session.progress(cases[2:3] if session.quick else cases):
        given = BATCH[n] * n * n * np.dtype(dtype).itemsize / 2**20  # A itself
        peaks = {}
        for contender in ("torch.linalg.eigh", "spectralgrad.eigh"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                peaks[contender] = process.submit(peak, contender, n, BATCH[n], dtype, session.threads).result()
        session.records += [
            {
                "operation": FORWARD_BACKWARD,
                "dtype": dtype,
                "n": n,
                "batch": BATCH[n],
                "threads": session.threads,
                "contender": contender,
                "peak_mib": mib,
                "of_torch": mib / peaks["torch.linalg.eigh"],
                "of_needed": (mib + given) / needed(n, BATCH[n], dtype),
            }
            for contender, mib in peaks.items()
        ]


def show(records: Sequence[Record], console: Console) -> bool:
    title = "Peak of memory beyond the memory held before; with A, relative to A, the results and the gradient"
    table = Table("case", "contender", "peak MiB", "of torch's", "of A, results, gradient", title=title)
    for r in records:
        table.add_row(words(r), r["contender"], f"{r['peak_mib']:.1f}", f"{r['of_torch']:.2f}", f"{r['of_needed']:.3f}")
    console.print(table)
    ours = [r for r in records if r["contender"].startswith("spectralgrad")]
    return all(r["of_torch"] <= MOST_OF_TORCH and (r["n"] > 3 or r["of_needed"] <= MOST_OF_NEEDED) for r in ours)


if __name__ == "__main__":
    run(Benchmark("memory", "Memory", measure, threads=(2,), show=show), __doc__)
