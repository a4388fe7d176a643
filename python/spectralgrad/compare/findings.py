"""The findings of a run: one line each, with the figures of this run."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

import numpy as np

from . import (
    alignment,
    dimension,
    functions,
    generalized,
    graphs,
    jordan,
    program_runs,
    programs,
    singular_values,
    sweep,
)
from .jordan_tables import counted, lost_half_its_digits
from .loss import ALIGNMENT, EIG, EIGH, GENERALIZED, SVD
from .peers import TITLES
from .results import NOT_FINITE, OK, RAISED, Comparison, Record, title
from .table import number

_OURS = "spectralgrad"
_WELL_POSED = ("projector", "separated_vector", "symmetric_function")
_DEFAULT = "Gated"
_LORENTZIAN, _MASK = "Lorentzian ε=1e-12", "Cutoff 1e-6"


def amount(error: float) -> str:
    """Returns an error for a sentence: in per cent if it is at least 1 %, and in scientific notation otherwise."""
    if error >= 10:
        return "more than 1000 %"
    return f"{100 * error:.0f} %" if error >= 0.01 else number(error)


def _largest(records: Iterable[Record]) -> Record | None:
    return max((r for r in records if r.error is not None), key=lambda r: r.error or 0.0, default=None)


def _worst_text(records: list[Record]) -> str:
    """Returns the worst error, NaN if some gradients are not finite, and whether some raised an error."""
    largest = _largest(records)
    parts = [amount(largest.error or 0.0)] if largest else []
    if any(record.status == NOT_FINITE for record in records):
        parts.append("NaN")
    if any(record.status == RAISED for record in records):
        parts.append("an error")
    return " and ".join(parts) or "no gradient"


def _frameworks(comparison: Comparison, records: list[Record], also: tuple[str, ...] = (), task: str = EIGH) -> str:
    """Returns the worst error of each framework, of our default rule, and of our variants that ``also`` names."""
    texts = []
    for peer, label, _ in comparison.variants(task):
        chosen = [r for r in records if (r.peer, r.variant) == (peer, label)]
        if chosen and (peer != _OURS or label in (_DEFAULT, *also)):
            name = _OURS if label == _DEFAULT else title(peer, label)
            texts.append(f"{name.removesuffix(' + formula')} {_worst_text(chosen)}")
    return ", ".join(texts)


def _framework_findings(comparison: Comparison) -> list[str]:
    """Returns the worst errors of the frameworks, with one line for each loss."""
    every = {"part": sweep.PART, "precision": "double"}
    cases: list[tuple[str, dict[str, object], tuple[str, ...]]] = [
        ("The loss of the picture, tr(M P)", {**every, "loss": "projector"}, ()),
        ("The same in single precision", {**every, "precision": "single", "loss": "projector"}, ()),
        ("Energy tr(A P(A)), whose gradient is P", {"precision": "double", "loss": "energy_by_projector"}, ()),
        ("Bond orders of symmetric molecules", {**every, "part": graphs.PART, "loss": "projector"}, ()),
        ("V exp(λ) Vᵀ written by hand, where expm belongs", {**every, "loss": "matrix_function"}, ("Split",)),
    ]
    return [
        f"{name}: {text}."
        for name, wanted, also in cases
        if (text := _frameworks(comparison, comparison.select(**wanted), also))
    ]


def _svd_findings(comparison: Comparison) -> list[str]:
    """Returns the worst errors of the frameworks for svd and for alignments, with one line for each loss."""
    every = {"part": singular_values.PART, "precision": "double"}
    ours = tuple(label for peer, label, _ in comparison.variants(ALIGNMENT) if peer == _OURS)
    cases: list[tuple[str, dict[str, object], tuple[str, ...], str]] = [
        ("Singular vectors, tr(M U Uᴴ)", {**every, "loss": "singular_projector"}, (), SVD),
        ("The same at σ ≈ 0", {**every, "loss": "null_projector"}, (), SVD),
        ("Polar factors U Vᴴ", {**every, "loss": "polar_factor"}, (), SVD),
        ("Octahedron and cube", {"part": alignment.PART, "precision": "double"}, ours, ALIGNMENT),
    ]
    return [
        f"{name}: {text}."
        for name, wanted, also, task in cases
        if (text := _frameworks(comparison, comparison.select(**wanted), also, task))
    ]


def _eig_findings(comparison: Comparison) -> list[str]:
    """Returns the worst errors of the frameworks for eig near a Jordan block, and how many of them were reported."""
    every = {"part": jordan.PART, "precision": "double"}
    cases: list[tuple[str, dict[str, object]]] = [
        ("Pair near a Jordan block, one eigenvalue at the gap 1e-4", {"loss": "pair_eigenvalue", "label": "1e-4"}),
        ("The sum of its eigenvalues, at every gap", {"loss": "pair_sum"}),
        ("Its Riesz projector", {"loss": "riesz_projector"}),
    ]
    lines = [
        f"{name}: {text}."
        for name, wanted in cases
        if (text := _frameworks(comparison, comparison.select(**every, **wanted), task=EIG))
    ]
    texts = []
    for peer, label, _ in comparison.variants(EIG):
        records = comparison.select(**every, loss="pair_eigenvalue", peer=peer, variant=label)
        lost = [r for r in records if lost_half_its_digits(r)]
        if lost:
            texts.append(f"{TITLES[peer].removesuffix(' + formula')} {counted(lost)}")
    if texts:
        lines.append(f"Warnings with gradients of that eigenvalue that lost half of their digits: {', '.join(texts)}.")
    return lines


def _generalized_findings(comparison: Comparison) -> list[str]:
    """Returns the worst errors of the frameworks for A v = λ B v, with one line for each case."""
    projector, energy = generalized.LOSS_NAMES
    cases: list[tuple[str, dict[str, object]]] = [
        ("A v = λ B v, tr(M V_c V_cᴴ) by A and B, at the gap 1e-8", {"loss": projector, "label": "1e-8"}),
        ("The same at every gap", {"loss": projector}),
        ("Its energy tr(A V_c V_cᴴ)", {"loss": energy}),
    ]
    return [
        f"{name}: {text}."
        for name, wanted in cases
        if (text := _frameworks(comparison, comparison.select(part=generalized.PART, **wanted), task=GENERALIZED))
    ]


def lorentzian_against_mask(comparison: Comparison) -> list[str]:
    """Answers whether Lorentzian broadening is better than a mask: in one line, and then for each group of losses."""

    def key(record: Record) -> tuple[str, str, int, str]:
        return record.loss, record.family, record.n, record.label

    chosen = comparison.select(part=sweep.PART, precision="double", peer=_OURS, status=OK)
    lines = []
    counts = []
    for case, losses in (
        ("losses that do not depend on vectors inside the cluster", _WELL_POSED),
        ("the matrix function", ("matrix_function",)),
    ):
        lorentzian, mask = (
            {key(r): r.error or 0.0 for r in chosen if r.variant == variant and r.loss in losses}
            for variant in (_LORENTZIAN, _MASK)
        )
        pairs = [(lorentzian[k], mask[k]) for k in lorentzian.keys() & mask.keys()]
        if not pairs:
            continue
        better = sum(a < b / 2 for a, b in pairs)
        worse = sum(b < a / 2 for a, b in pairs)
        counts.append((better, worse, len(pairs)))
        lines.append(
            f"For {case}, there are {len(pairs)} gradients. The Lorentzian is at least twice as accurate in {better} "
            f"of them, and the mask in {worse}. The median error is {amount(median(a for a, _ in pairs))} against "
            f"{amount(median(b for _, b in pairs))}, and the worst is {amount(max(a for a, _ in pairs))} against "
            f"{amount(max(b for _, b in pairs))}."
        )
    if not lines:
        return []
    verdicts = [better > worse for better, worse, _ in counts]
    verdict = "No" if not any(verdicts) else "Yes" if all(verdicts) else "It depends on the loss"
    better, worse, count = (sum(column) for column in zip(*counts, strict=True))
    return [
        f"Is Lorentzian broadening any better than a mask? {verdict}. It is at least twice as accurate in {better} of "
        f"{count} gradients, and the mask in {worse}.",
        *lines,
    ]


def _dimension_finding(comparison: Comparison) -> list[str]:
    chosen = comparison.select(part=dimension.PART, family=dimension.RANDOM)
    largest = max((r.n for r in chosen), default=0)
    text = _frameworks(comparison, [r for r in chosen if r.n == largest], ("Lorentzian ε=1e-6",))
    return [f"A random matrix, n = {largest}, needs no remedy: {text}."] if text else []


def _second_order_text(records: list[Record]) -> str:
    return "raises" if records and all(r.status == RAISED for r in records) else _worst_text(records)


def _libraries_findings(comparison: Comparison) -> list[str]:
    """Returns the worst errors and the times of all contenders with functions of a matrix."""
    errors: dict[str, list[str]] = {functions.FIRST: [], functions.SECOND: []}
    times = []
    for i, name in enumerate(comparison.functions.get("contenders", {})):
        for order, text in ((functions.FIRST, _worst_text), (functions.SECOND, _second_order_text)):
            records = comparison.select(part=order, precision="double", peer=name)
            if records:
                errors[order].append(f"{name} {text(records)}")
        ratios = [
            timing["median_ratio"]
            for timing in comparison.functions["timings"]
            if timing["contender"] == name and timing["precision"] == "double"
        ]
        if i and ratios:
            times.append(f"{name} {min(ratios):.2g} to {max(ratios):.2g}")
    return [
        f"{name}: {', '.join(texts)}."
        for name, texts in (
            ("Functions of a matrix, worst error of the gradient", errors[functions.FIRST]),
            ("Their second derivatives, worst error", errors[functions.SECOND]),
            ("Their time as a multiple of ours", times),
        )
        if texts
    ]


def _difference_findings(comparison: Comparison) -> list[str]:
    step, error = min(program_runs.finite_differences(), key=lambda pair: pair[1])
    outcomes = (
        (program, comparison.answers.get(program.peer, {}).get("programs", {}).get(program.key))
        for program in programs.PROGRAMS
        if program.wanted == programs.VECTOR
    )
    largest = max(
        (
            program_runs.error(program, np.array(outcome["gradient"]))
            for program, outcome in outcomes
            if outcome and not outcome["raised"]
        ),
        default=None,
    )
    if largest is None:
        return []
    return [
        f"The corrected programs of part 1 give v vᵀ {f'to {number(largest)}' if largest else 'to the last bit'}, in "
        "every framework.",
        f"No framework uses finite differences: their best error is {number(error)} (step {step:.0e}).",
    ]


def _ill_posed_finding(comparison: Comparison) -> list[str]:
    chosen = [
        r
        for r in comparison.select(part=sweep.PART, precision="double", loss="near_vector", status=OK)
        if r.label in ("0", "1e-16")
    ]
    by_variant: dict[str, list[float]] = {}
    for record in chosen:
        by_variant.setdefault(f"{record.peer}/{record.variant}", []).append(record.error or 0.0)
    if not by_variant:
        return []
    best = min(max(errors) for errors in by_variant.values())
    return [
        f"One eigenvector of a pair whose gap is round-off has no gradient: the best of {len(by_variant)} variants has "
        f"an error of {amount(best)}."
    ]


def findings(comparison: Comparison) -> list[str]:
    """Returns the findings of this run, one line each."""
    return [
        *_difference_findings(comparison),
        *_framework_findings(comparison),
        *_ill_posed_finding(comparison),
        *lorentzian_against_mask(comparison)[:1],
        *_dimension_finding(comparison),
        *_libraries_findings(comparison),
        *_svd_findings(comparison),
        *_eig_findings(comparison),
        *_generalized_findings(comparison),
        *[
            f"{title}: {status}; it has no numbers in this report."
            for title, status in (*comparison.absent(), *comparison.absent_libraries())
        ],
    ]
