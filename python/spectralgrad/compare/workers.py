"""The frameworks' processes, seen from the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import functions, peers
from .losses import Array
from .worker import INSTALLED, NOT_INSTALLED

if TYPE_CHECKING:
    from rich.progress import Progress

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


def _run(name: str, title: str, folder: Path, total: int, progress: Progress) -> None:
    task = progress.add_task(title, total=total)
    with (
        (folder / f"{name}.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("launch.py")), name, str(folder)],
            env={**os.environ, **_ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                progress.advance(task)
    if process.returncode:
        lines = (folder / f"{name}.log").read_text().strip().splitlines()
        status = f"stopped with exit code {process.returncode}" + (f": {lines[-1]}" if lines else "")
        (folder / f"{name}.json").write_text(json.dumps({"status": status}))


@contextmanager
def running(names: list[str], folder: Path, total: int, progress: Progress) -> Iterator[None]:
    """Runs the workers beside the block, as many at a time as there are cores, and waits for them at its end."""
    ordered = sorted(names, key=_ORDER.index)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        futures = [pool.submit(_run, name, peers.TITLES[name], folder, total, progress) for name in ordered]
        yield
        for future in futures:
            future.result()


def run_functions(folder: Path, options: dict[str, Any], total: int, progress: Progress) -> Answer:
    """Runs the process of part 5 on the problems in ``folder``, by itself: it takes times."""
    (folder / functions.OPTIONS).write_text(json.dumps(options))
    _run(functions.PROCESS, "matrix functions", folder, total + len(options["timed"]), progress)
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
