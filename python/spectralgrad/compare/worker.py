"""The process of one framework. It reads the problems, and writes the gradients and the errors that were raised."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import peers, problems, program_runs, programs
from .loss import EIG, Array
from .losses import LOSSES

INSTALLED = "installed"
NOT_INSTALLED = "not installed"


def status_of(error: Exception, missing: bool) -> str:
    """Describes a peer whose import failed. ``missing`` is true if the peer is not installed."""
    return NOT_INSTALLED if missing else f"cannot be imported ({program_runs.describe_error(error)})"


def write_answer(name: str, folder: Path, answer: dict[str, Any], results: dict[str, Array | Exception]) -> None:
    """Writes the answer and the raised errors to ``NAME.json``, and the gradients to ``NAME.npz``."""
    gradients = {key: np.asarray(result) for key, result in results.items() if not isinstance(result, Exception)}
    failures = [
        {"key": key, "error": program_runs.describe_error(result)}
        for key, result in results.items()
        if isinstance(result, Exception)
    ]
    np.savez(folder / f"{name}.npz", **gradients)  # type: ignore[arg-type]
    (folder / f"{name}.json").write_text(json.dumps(answer | {"failures": failures}))


def work(name: str, folder: Path) -> None:
    """Runs one peer on the problems in ``folder`` and writes ``NAME.json`` and ``NAME.npz`` there.

    Prints one line on standard output after each problem, so that the parent can show the progress.
    """
    results: dict[str, Array | Exception] = {}
    warned: dict[str, str] = {}
    try:
        peer = peers.create(name)
    except Exception as error:
        answer: dict[str, Any] = {"status": status_of(error, peers.missing(name, error))}
    else:
        started = time.perf_counter()
        runs = {program.key: program_runs.execute(program) for program in programs.programs_of_peer(name)}
        for problem in problems.load(folder):
            loss = LOSSES[problem.loss]
            for variant in peer.variants[loss.task]:
                arguments = variant, loss, problem.matrices, problem.parameters
                if loss.task == EIG:
                    gradients, texts = peer.gradients_and_warnings(*arguments)
                    warned |= {f"{problem.key}/{variant}/{i}": text for i, text in enumerate(texts) if text}
                else:
                    gradients = peer.gradients(*arguments)
                results |= {f"{problem.key}/{variant}/{i}": gradient for i, gradient in enumerate(gradients)}
            print(problem.key, flush=True)
        answer = {
            "programs": runs,
            "warnings": warned,
            "status": INSTALLED,
            "versions": peer.versions(),
            "variants": peer.variants,
            "seconds": time.perf_counter() - started,
        }
    write_answer(name, folder, answer, results)
