"""A problem: matrices of one size and dtype, and one loss whose gradient every framework computes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import _high_precision as reference
from .loss import Array, Parameters
from .losses import LOSSES


@dataclass(frozen=True)
class Problem:
    """``matrices`` (b, m, n) with one label each (the gap, the seed ...), and the loss to differentiate."""

    key: str
    loss: str
    matrices: Array
    parameters: Parameters
    labels: list[str]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        return str(self.matrices.dtype)


def save(problems: Iterable[Problem], folder: Path) -> None:
    """Writes the problems for the workers: arrays in ``inputs.npz``, everything else in ``problems.json``."""
    arrays: dict[str, Array] = {}
    listed = []
    for problem in problems:
        arrays[f"{problem.key}/matrices"] = problem.matrices
        arrays.update({f"{problem.key}/{name}": array for name, array in problem.parameters.arrays.items()})
        listed.append(
            {
                "key": problem.key,
                "loss": problem.loss,
                "start": problem.parameters.start,
                "stop": problem.parameters.stop,
                "columns": problem.parameters.columns,
                "arrays": list(problem.parameters.arrays),
                "labels": problem.labels,
            }
        )
    np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    (folder / "problems.json").write_text(json.dumps(listed))


def load(folder: Path) -> list[Problem]:
    """Reads the problems that ``save`` wrote."""
    arrays = np.load(folder / "inputs.npz")
    return [
        Problem(
            key=entry["key"],
            loss=entry["loss"],
            matrices=arrays[f"{entry['key']}/matrices"],
            parameters=Parameters(
                entry["start"],
                entry["stop"],
                {name: arrays[f"{entry['key']}/{name}"] for name in entry["arrays"]},
                entry["columns"],
            ),
            labels=entry["labels"],
        )
        for entry in json.loads((folder / "problems.json").read_text())
    ]


@dataclass(frozen=True)
class Exact:
    """The reference gradient of one matrix, or the reason why there is none, and the smallest gap of the matrix."""

    gradient: reference.HighPrecisionMatrix | None
    why_not: str | None
    smallest_gap: float


class References:
    """Computes exact gradients. A matrix that several losses share is decomposed once."""

    def __init__(self) -> None:
        self._spectra: dict[tuple[str, bytes], reference.Spectrum] = {}

    def spectrum(self, matrix: Array) -> reference.Spectrum:
        key = (str(matrix.dtype), matrix.tobytes())
        if key not in self._spectra:
            self._spectra[key] = reference.eigh_mp(matrix)
        return self._spectra[key]

    def exact(self, problem: Problem, tick: Callable[[], None] = lambda: None) -> list[Exact]:
        """Returns one ``Exact`` for each matrix, and calls ``tick`` after each."""
        results = []
        for matrix in problem.matrices:
            results.append(self._one(problem, matrix))
            tick()
        return results

    def _one(self, problem: Problem, matrix: Array) -> Exact:
        loss, p = LOSSES[problem.loss], problem.parameters
        spectrum = self.spectrum(matrix)
        gap = float(spectrum.smallest_gap)
        with reference.working_precision():
            degenerate = spectrum.smallest_gap < 1e-40 * max(abs(x) for x in spectrum.values)
            if degenerate and not loss.exists_inside_degeneracy:
                return Exact(None, "no derivative: the eigenvalue is repeated exactly", gap)
            weights = loss.weights(spectrum.values, p)
            return Exact(reference.gradient(spectrum, weights, loss.matrix(p)), None, gap)
