"""Starts the processes of the frameworks, waits for them, and reads their results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import functions, peers
from .loss import Array
from .progress import Progress
from .stopping import signals_delayed, writing
from .worker import INSTALLED, NOT_INSTALLED

# The slowest frameworks start first, so that they overlap with all others.
_ORDER = ("tensorflow", "jax", "spectralgrad", "torch", "numpy")

# Each process has one thread, because the matrices are small and the processes share the cores. The other variables
# silence messages of the frameworks.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONWARNINGS": "ignore",
    # POT imports every framework that it finds.
    "POT_BACKEND_DISABLE_JAX": "1",
    "POT_BACKEND_DISABLE_TENSORFLOW": "1",
}


@dataclass(frozen=True)
class Answer:
    """The results of a worker: its summary (status, versions, variants, programs); the others are by key."""

    summary: dict[str, Any]
    gradients: dict[str, Array]
    failures: dict[str, str]
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the framework did its work, or is not installed."""
        return self.summary["status"] in (INSTALLED, NOT_INSTALLED)


class _Processes:
    """The set of running processes, which can be killed together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._killed = False

    def start(self, name: str, folder: Path, log: IO[str], stdin: int) -> subprocess.Popen[str] | None:
        """Starts the worker and returns it, or returns None after ``kill``."""
        with self._lock:
            if self._killed:
                return None
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("launch.py")), name, str(folder)],
                env={**os.environ, **_ENVIRONMENT},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            self._running.add(process)
            return process

    def forget(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._running.discard(process)

    def kill(self) -> None:
        """Kills every process and lets no other start. Workers need no clean-up: their files are in our folder."""
        with self._lock:
            self._killed = True
            for process in self._running:
                process.kill()


def _run(
    processes: _Processes,
    progress: Progress,
    name: str,
    title: str,
    folder: Path,
    total: int,
    stdin: int = subprocess.DEVNULL,
) -> None:
    task = progress.add_task(title, total=total)
    log_file = folder / f"{name}.log"
    with writing(f"the temporary file {str(log_file)!r}"):
        log = log_file.open("w")
    with log:
        process = processes.start(name, folder, log, stdin)
        if process is None:
            return
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    progress.advance(task)
        processes.forget(process)
    progress.stop_task(task)
    if process.returncode:
        lines = log_file.read_text().strip().splitlines()
        status = f"stopped with exit code {process.returncode}" + (f": {lines[-1]}" if lines else "")
        answer_file = folder / f"{name}.json"
        with writing(f"the temporary file {str(answer_file)!r}"):
            answer_file.write_text(json.dumps({"status": status}))


class Running:
    """The workers while they run."""

    def __init__(self, frameworks: list[Future[None]], timing: int) -> None:
        self._frameworks = frameworks
        self._timing = timing

    def frameworks_ended(self) -> bool:
        """Whether every framework has ended."""
        return all(future.done() for future in self._frameworks)

    def wait_for_frameworks(self) -> None:
        """Returns when every framework has ended."""
        for future in self._frameworks:
            future.result()

    def start_timing(self) -> None:
        """Signals the process of part 5 that no other process runs, so that it can measure times."""
        os.write(self._timing, b"\n")


@contextmanager
def running(names: list[str], folder: Path, totals: tuple[int, int], progress: Progress) -> Iterator[Running]:
    """Runs the workers while the block runs, one for each core at a time, and waits for them at its end.

    The last one is the process of part 5, with its problems in ``folder / functions.PROCESS``. ``totals`` holds the
    number of lines that a framework prints, and the number that part 5 prints. An exception in the block kills the
    workers.

    Threads start the processes, because the main thread handles signals. Therefore no signal can interrupt between the
    start of a process and its registration.
    """
    functions_folder = folder / functions.PROCESS
    processes = _Processes()
    read_end, write_end = os.pipe()
    try:
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            run = partial(_run, processes, progress)
            try:
                # A thread whose start is interrupted runs on, and the pool does not know it.
                with signals_delayed():
                    frameworks = [
                        pool.submit(run, name, peers.TITLES[name], folder, totals[0])
                        for name in sorted(names, key=_ORDER.index)
                    ]
                    last = pool.submit(
                        run, functions.PROCESS, "matrix functions", functions_folder, totals[1], read_end
                    )
                yield Running(frameworks, write_end)
                last.result()
            except BaseException:
                processes.kill()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        os.close(read_end)
        os.close(write_end)


def read(name: str, folder: Path) -> Answer:
    """Reads the results that the worker wrote."""
    summary = json.loads((folder / f"{name}.json").read_text())
    failures = {failure["key"]: failure["error"] for failure in summary.pop("failures", [])}
    warnings = summary.pop("warnings", {})
    gradients: dict[str, Array] = {}
    if summary["status"] == INSTALLED:
        with np.load(folder / f"{name}.npz") as archive:
            gradients = {key: archive[key] for key in archive.files}
    return Answer(summary, gradients, failures, warnings)
