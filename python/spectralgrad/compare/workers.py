"""The frameworks' processes, seen from the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import functions, peers
from .losses import Array
from .progress import Progress
from .stopping import writing
from .worker import INSTALLED, NOT_INSTALLED

# The longest first: they overlap with all the others.
_ORDER = ("tensorflow", "jax", "spectralgrad", "torch", "numpy")

# The matrices are small and the processes share the cores: one thread each. The frameworks' chatter is not ours.
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
    """What a worker left behind: its summary (status, versions, variants, programs), gradients and failures by key."""

    summary: dict[str, Any]
    gradients: dict[str, Array]
    failures: dict[str, str]

    @property
    def finished(self) -> bool:
        """Whether the framework did its work, or is simply not there."""
        return self.summary["status"] in (INSTALLED, NOT_INSTALLED)


class _Processes:
    """The processes that run, so that they can be killed together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._killed = False

    def start(self, name: str, folder: Path, log: IO[str]) -> subprocess.Popen[str] | None:
        """Starts the worker; None after kill."""
        with self._lock:
            if self._killed:
                return None
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("launch.py")), name, str(folder)],
                env={**os.environ, **_ENVIRONMENT},
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
        """Kills every process and lets no other start. A worker has nothing to clean: its files are in our folder."""
        with self._lock:
            self._killed = True
            for process in self._running:
                process.kill()


def _run(processes: _Processes, name: str, title: str, folder: Path, total: int, progress: Progress) -> None:
    task = progress.add_task(title, total=total)
    log_file = folder / f"{name}.log"
    with log_file.open("w") as log:
        process = processes.start(name, folder, log)
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


@contextmanager
def _in_threads(calls: Iterable[Callable[[_Processes], None]]) -> Iterator[Callable[[], bool]]:
    """Makes the calls beside the block, and waits for them at its end. An exception kills their processes at once.

    The threads start the processes: a signal, which the main thread handles, cannot fall between the start of
    a process and its registration.
    """
    processes = _Processes()
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            futures = [pool.submit(call, processes) for call in calls]
            yield lambda: all(future.done() for future in futures)
            for future in futures:
                future.result()
        except BaseException:
            processes.kill()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def running(names: list[str], folder: Path, total: int, progress: Progress) -> Iterator[Callable[[], bool]]:
    """Runs the workers beside the block, as many at a time as there are cores, and waits for them at its end.

    Yields a function that tells whether all have ended. An exception in the block kills the workers.
    """
    calls = [
        partial(_run, name=name, title=peers.TITLES[name], folder=folder, total=total, progress=progress)
        for name in sorted(names, key=_ORDER.index)
    ]
    with _in_threads(calls) as ended:
        yield ended


def run_functions(folder: Path, options: dict[str, Any], total: int, progress: Progress) -> Answer:
    """Runs the process of part 5 on the problems in ``folder``, by itself: it takes times."""
    (folder / functions.OPTIONS).write_text(json.dumps(options))
    total += len(options["timed"])
    title = "matrix functions"
    call = partial(_run, name=functions.PROCESS, title=title, folder=folder, total=total, progress=progress)
    with _in_threads([call]):
        pass
    return read(functions.PROCESS, folder)


def read(name: str, folder: Path) -> Answer:
    """What the worker wrote."""
    summary = json.loads((folder / f"{name}.json").read_text())
    failures = {failure["key"]: failure["error"] for failure in summary.pop("failures", [])}
    gradients: dict[str, Array] = {}
    if summary["status"] == INSTALLED:
        with np.load(folder / f"{name}.npz") as archive:
            gradients = {key: archive[key] for key in archive.files}
    return Answer(summary, gradients, failures)
