"""The process of part 5. It computes derivatives of matrix functions with all contenders, and times them in turn."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import functions, problems, timing
from .loss import Array
from .peers import functions as peers
from .peers import missing
from .problems import Problem
from .worker import INSTALLED, status_of, write_answer

OURS = "spectralgrad"


def _contenders(names: list[str]) -> tuple[dict[str, peers.Contender], dict[str, Any]]:
    """Returns the contenders by title, this project first, and the status and versions of each peer by name."""
    contenders: dict[str, peers.Contender] = {}
    found: dict[str, Any] = {}
    for name in sorted(names, key=lambda name: name != OURS):
        try:
            created = peers.create(name)
        except Exception as error:
            found[name] = {"status": status_of(error, missing(name, error))}
            continue
        contenders |= {contender.title: contender for contender in created}
        if created:
            found[name] = {"status": INSTALLED, "versions": {k: v for c in created for k, v in c.versions.items()}}
    return contenders, found


def _derivatives(problem: Problem, contender: peers.Contender) -> dict[str, Array | Exception]:
    """Returns the derivatives, or the errors that were raised, by order of the derivative and index of the matrix."""
    function, arrays = contender.functions[problem.loss], problem.parameters.arrays
    m, e = torch.from_numpy(arrays["M"]), torch.from_numpy(arrays["E"])
    orders = {
        functions.FIRST: partial(peers.gradient, function, m=m),
        functions.SECOND: partial(peers.hessian_product, function, m=m, e=e),
    }
    results: dict[str, Array | Exception] = {}
    for order, derivative in orders.items():
        for i, a in enumerate(problem.matrices):
            try:
                results[f"{order}/{i}"] = derivative(a=torch.from_numpy(a)).numpy()
            except Exception as error:
                results[f"{order}/{i}"] = error
    return results


def _once(function: peers.Function, a: Tensor, m: Tensor) -> None:
    torch.autograd.grad((m * function(a)).sum(), a)


def _timings(
    contenders: dict[str, peers.Contender], name: str, n: int, count: int, precision: str, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Times forward and backward of tr(M f(A)) for a batch of ``count`` matrices with separated eigenvalues."""
    batch = np.stack(
        [functions.matrix(functions.SEPARATED, "", n, np.random.default_rng([n, i, 23])) for i in range(count)]
    ).astype(functions.DTYPES[precision])
    a = torch.from_numpy(batch).requires_grad_()
    m = torch.ones_like(a)
    calls = {
        title: partial(_once, contender.functions[name], a, m)
        for title, contender in contenders.items()
        if name in contender.functions
    }
    taken = timing.interleaved(calls, repeats=options["repeats"], seconds=options["seconds"])
    return [
        {"function": name, "n": n, "batch": count, "precision": precision, "contender": title, **asdict(result)}
        for title, result in taken.items()
    ]


def work(folder: Path, wait: Callable[[], object] = lambda: None) -> None:
    """Runs the problems in ``folder`` and writes ``functions.json`` and ``functions.npz`` there.

    Calls ``wait`` before it measures times. ``wait`` returns when the command runs no other process.
    """
    options = json.loads((folder / functions.OPTIONS).read_text())
    started = time.perf_counter()
    contenders, found = _contenders(options["peers"])
    results: dict[str, Array | Exception] = {}
    for problem in problems.load(folder):
        for title, contender in contenders.items():
            if problem.loss in contender.functions:
                derivatives = _derivatives(problem, contender)
                results |= {f"{problem.key}/{title}/{index}": result for index, result in derivatives.items()}
        print(problem.key, flush=True)
    wait()
    timings = []
    for precision, name, n, count in options["timed"]:
        timings += _timings(contenders, name, n, count, precision, options)
        print(name, n, precision, flush=True)
    answer = {
        "status": INSTALLED,
        "peers": found,
        "contenders": {
            title: {"rule": contender.rule, "functions": list(contender.functions)}
            for title, contender in contenders.items()
        },
        "timings": timings,
        "seconds": time.perf_counter() - started,
    }
    write_answer(functions.PROCESS, folder, answer, results)
