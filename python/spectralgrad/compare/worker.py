"""The process of one framework. It reads the problems, and writes the gradients and the errors that were raised."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import peers, problems, programs
from .losses import LOSSES, Array

INSTALLED = "installed"
NOT_INSTALLED = "not installed"


def status_of(error: Exception, missing: bool) -> str:
    """Describes a peer whose import failed. ``missing`` is true if the peer is not installed."""
    return NOT_INSTALLED if missing else f"cannot be imported ({programs.describe_error(error)})"


def work(name: str, folder: Path) -> None:
    """Runs one peer on the problems in ``folder`` and writes ``NAME.json`` and ``NAME.npz`` there.

    Prints one line on standard output after each problem, so that the parent can show the progress.
    """
    answer: dict[str, Any] = {}
    gradients: dict[str, Array] = {}
    try:
        peer = peers.create(name)
    except Exception as error:
        answer = {"status": status_of(error, peers.missing(name, error))}
    else:
        started = time.perf_counter()
        failures = []
        answer["programs"] = {program.key: programs.execute(program) for program in programs.programs_of_peer(name)}
        for problem in problems.load(folder):
            for variant in peer.variants:
                results = peer.gradients(variant, LOSSES[problem.loss], problem.matrices, problem.parameters)
                for i, result in enumerate(results):
                    key = f"{problem.key}/{variant}/{i}"
                    if isinstance(result, Exception):
                        failures.append({"key": key, "error": programs.describe_error(result)})
                    else:
                        gradients[key] = np.asarray(result)
            print(problem.key, flush=True)
        answer |= {
            "status": INSTALLED,
            "versions": peer.versions(),
            "variants": peer.variants,
            "failures": failures,
            "seconds": time.perf_counter() - started,
        }
    np.savez(folder / f"{name}.npz", **gradients)  # type: ignore[arg-type]
    (folder / f"{name}.json").write_text(json.dumps(answer))
