"""The data of the comparison: the list of problems, and the error of every gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from .. import _high_precision as reference
from . import (
    alignment,
    dimension,
    functions,
    generalized,
    graphs,
    jordan,
    peers,
    program_runs,
    programs,
    singular_values,
    sweep,
)
from .loss import EIGH, GENERALIZED
from .losses import LOSSES
from .problems import Exact, Problem, References
from .progress import Progress
from .worker import INSTALLED
from .workers import Answer

OK = "ok"
NOT_FINITE = "not finite"
UNDEFINED = "no derivative"
RAISED = "raised"

_SIZES = {"full": (2, 3, 8, 32), "quick": (8,)}
_DIMENSIONS = {"full": (2, 4, 8, 16, 32, 64, 128, 256), "quick": (2, 8, 32)}
_QUICK_GRAPHS = ("benzene, Hückel", "C60, Hückel")
_QUICK_GAPS = ["1", "1e-2", "1e-4", "1e-6", "1e-8", "1e-10", "1e-12", "1e-14", "1e-16", "0", sweep.EXACT]


@dataclass(frozen=True)
class Record:
    """The result for the gradient of one loss at one matrix, from one variant of one peer.

    ``error`` is the relative error of the gradient in the Frobenius norm, or of its Hermitian part for a Hermitian
    matrix. It is None unless ``status`` is OK. ``smallest_gap`` is the smallest gap of the rounded matrix that the
    frameworks got. ``warning`` is the text of the warnings that came with the gradient, for losses of eig.
    """

    part: str
    loss: str
    peer: str
    variant: str
    label: str
    n: int
    precision: str
    family: str
    status: str
    error: float | None
    note: str
    smallest_gap: float
    warning: str = ""

    @property
    def reported(self) -> bool:
        """Whether a warning or an error came with the gradient."""
        return bool(self.warning) or self.status == RAISED


@dataclass(frozen=True)
class Comparison:
    """The data from which tables, plots, report and JSON are made."""

    records: list[Record]
    answers: dict[str, dict[str, Any]]
    functions: dict[str, Any]
    machine: dict[str, Any]
    quick: bool
    seconds: float
    complete: bool = True

    def variants(self, task: str = EIGH) -> list[tuple[str, str, str]]:
        """Returns (peer, label, rule in words) of every variant that has a task, in the order of the tables."""
        return [
            (name, label, rule)
            for name in peers.MODULES
            if name in self.answers
            for label, rule in self.answers[name].get("variants", {}).get(task, {}).items()
        ]

    def absent(self) -> list[tuple[str, str]]:
        """Returns (title, status) of the peers without results."""
        return [
            (peers.TITLES[name], answer["status"])
            for name, answer in self.answers.items()
            if answer["status"] != INSTALLED
        ]

    def absent_libraries(self) -> list[tuple[str, str]]:
        """Returns (title, status) of the libraries without results in part 5."""
        if self.functions["status"] != INSTALLED:
            return [("Matrix functions", self.functions["status"])]
        return [
            (peers.TITLES[name], found["status"])
            for name, found in self.functions["peers"].items()
            if found["status"] != INSTALLED
        ]

    def select(self, **wanted: Any) -> list[Record]:
        """Returns the records whose fields have the given values. A tuple means any of its values."""
        return [
            record
            for record in self.records
            if all(
                getattr(record, name) in value if isinstance(value, tuple) else getattr(record, name) == value
                for name, value in wanted.items()
            )
        ]


def title(peer: str, label: str) -> str:
    """Returns the name of a variant in a list of variants of several peers."""
    return f"{peers.TITLES[peer]} {label}" if peers.TITLES[peer] != label else label


def all_problems(quick: bool) -> list[Problem]:
    size = "quick" if quick else "full"
    return [
        *sweep.problems(_SIZES[size], _QUICK_GAPS if quick else None),
        *graphs.problems(_QUICK_GRAPHS if quick else None),
        *dimension.problems(_DIMENSIONS[size]),
        *singular_values.problems(singular_values.SHAPES[size], _QUICK_GAPS if quick else None),
        *alignment.problems(_QUICK_GAPS if quick else None),
        *jordan.problems(jordan.SIZES[size], _QUICK_GAPS if quick else None),
        *generalized.problems(generalized.SIZES[size], generalized.GAPS[size]),
    ]


class Referee(Protocol):
    """Computes the exact gradients of a part."""

    def exact(self, problem: Problem, tick: Callable[[], None]) -> list[Exact]: ...


def references(problems: list[Problem], progress: Progress) -> dict[str, list[Exact]]:
    """Returns the exact gradients of every problem, by its key."""
    task = progress.add_task(f"references ({reference.DIGITS} digits)", total=sum(len(p.labels) for p in problems))
    general = References()
    special: dict[str, Referee] = {
        graphs.PART: graphs.ClosedForms(),
        singular_values.PART: singular_values.SingularReferences(),
        alignment.PART: alignment.AlignmentReferences(),
        jordan.PART: jordan.JordanReferences(),
        generalized.PART: generalized.GeneralizedReferences(),
    }

    def tick() -> None:
        progress.advance(task)

    return {problem.key: special.get(problem.meta["part"], general).exact(problem, tick) for problem in problems}


def function_references(
    problems: list[Problem], progress: Progress, after_each: Callable[[], None]
) -> dict[str, list[functions.Exact]]:
    """Returns the exact derivatives of part 5 by the problem's key. Calls ``after_each`` after each problem."""
    task = progress.add_task("references of matrix functions", total=sum(len(p.labels) for p in problems))
    shared = References()
    exact = {}
    for problem in problems:
        exact[problem.key] = functions.references(problem, shared, lambda: progress.advance(task))
        after_each()
    return exact


def _outcome(
    answer: Answer, key: str, truth: reference.HighPrecisionMatrix | None, why_not: str = "", hermitian: bool = True
) -> tuple[str, float | None, str]:
    """Returns (status, error, note) of one derivative."""
    if key in answer.failures:
        return RAISED, None, answer.failures[key]
    if truth is None:
        return UNDEFINED, None, why_not
    error = reference.relative_error(answer.gradients[key], truth, hermitian)
    return (OK, error, "") if math.isfinite(error) else (NOT_FINITE, None, "")


def measure(problems: list[Problem], exact: dict[str, list[Exact]], answers: dict[str, Answer]) -> list[Record]:
    """Returns one record for each problem, matrix and variant of every peer that has results."""
    records = []
    for name, answer in answers.items():
        for problem in problems:
            task = LOSSES[problem.loss].task
            for variant in answer.summary.get("variants", {}).get(task, {}):
                for i, (label, truth) in enumerate(zip(problem.labels, exact[problem.key], strict=True)):
                    key = f"{problem.key}/{variant}/{i}"
                    hermitian = task in (EIGH, GENERALIZED)
                    status, error, note = _outcome(answer, key, truth.gradient, truth.why_not or "", hermitian)
                    meta = problem.meta
                    records.append(
                        Record(
                            part=meta["part"],
                            loss=problem.loss,
                            peer=name,
                            variant=variant,
                            label=label,
                            n=meta["n"],
                            precision=meta["precision"],
                            family=meta.get("graph") or meta.get("family") or meta["kind"],
                            status=status,
                            error=error,
                            note=note,
                            smallest_gap=truth.smallest_gap,
                            warning=answer.warnings.get(key, ""),
                        )
                    )
    return records


def measure_functions(problems: list[Problem], exact: dict[str, list[functions.Exact]], answer: Answer) -> list[Record]:
    """Returns one record for each problem, matrix, contender and order of derivative of part 5."""
    return [
        Record(
            order,
            problem.loss,
            title,
            "",
            label,
            problem.meta["n"],
            problem.meta["precision"],
            family,
            *_outcome(
                answer,
                f"{problem.key}/{title}/{order}/{i}",
                truth.gradient if order == functions.FIRST else truth.hessian_product,
            ),
            smallest_gap=truth.smallest_gap,
        )
        for title, contender in answer.summary.get("contenders", {}).items()
        for problem in problems
        if problem.loss in contender["functions"]
        for order in (functions.FIRST, functions.SECOND)
        for i, (label, family, truth) in enumerate(
            zip(problem.labels, problem.meta["families"], exact[problem.key], strict=True)
        )
    ]


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Returns every number and every version in the form of JSON."""
    return {
        "complete": comparison.complete,
        "quick": comparison.quick,
        "seconds": comparison.seconds,
        "machine": comparison.machine,
        "peers": comparison.answers,
        "functions": comparison.functions,
        "reference_digits": reference.DIGITS,
        "error": "relative, Frobenius norm, of the gradient, or of its Hermitian part if the matrix is Hermitian",
        "losses": {loss.name: {"title": loss.title, "formula": loss.formula} for loss in LOSSES.values()},
        "programs": {program.key: asdict(program) for program in programs.PROGRAMS},
        "finite_differences": [{"step": step, "error": error} for step, error in program_runs.finite_differences()],
        "records": [asdict(record) for record in comparison.records],
    }
