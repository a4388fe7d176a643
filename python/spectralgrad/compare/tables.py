"""Builds the tables of all parts."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable

import numpy as np

from . import (
    alignment,
    dimension,
    functions,
    generalized,
    graphs,
    jordan_tables,
    program_runs,
    programs,
    results,
    singular_values,
    sweep,
)
from .loss import ALIGNMENT, EIG, EIGH, GENERALIZED, SVD
from .losses import LOSSES
from .peers import TITLES
from .results import Comparison, Record
from .table import ILL_POSED, NUMPY_ROUNDS, WHERE, Table, absent_rows, by_loss, number, worst, worst_table


def _matrix(values: list[list[float]]) -> str:
    def entry(x: float) -> str:
        return "0" if x == 0 else f"{x:.4f}"

    return "[" + "; ".join(" ".join(entry(x) for x in row) for row in values) + "]"


def programs_table(comparison: Comparison) -> Table:
    """Returns the table of part 1."""
    rows = []
    for program in programs.PROGRAMS:
        if program.peer not in comparison.answers:
            continue
        answer = comparison.answers[program.peer]
        if "programs" not in answer:
            continue
        outcome = answer["programs"][program.key]
        values = ", ".join(f"{x:.4f}" for x in outcome.get("eigenvalues", []))
        vector = ""
        if "eigenvectors" in outcome:
            k = int(np.argmax(outcome["eigenvalues"]))
            vector = ", ".join(f"{x:.4f}" for x in np.array(outcome["eigenvectors"])[:, k])
        if outcome["raised"]:
            cells = ["raises", textwrap.shorten(outcome["raised"], 70, placeholder=" …")]
        else:
            gradient = np.array(outcome["gradient"])
            distance = number(program_runs.error(program, gradient))
            folded = " folded" if program_runs.is_folded(gradient) else ""
            cells = [distance, _matrix(outcome["gradient"]) + folded]
        rows.append([TITLES[program.peer], program.title, values, vector, program.wanted, *cells])
    columns = ["framework", "program", "eigenvalues", "vector of the largest", "wanted", "error", "gradient"]
    return Table(
        "The three programs, as they stand and corrected, and the same in other frameworks",
        columns,
        [*rows, *absent_rows(comparison, len(columns))],
        ["error: the largest difference from the wanted gradient. For symmetric matrices its symmetric part counts."],
    )


def rules_table(comparison: Comparison, task: str) -> Table:
    """Returns the table of rules: the expression that each variant uses instead of 1/Δ."""
    headings = {
        EIGH: "instead of 1/Δ",
        SVD: "the division in svd",
        ALIGNMENT: "the rotation",
        EIG: "the division in eig",
    }
    columns = ["", headings[task]]
    rows = [[results.title(peer, label), rule] for peer, label, rule in comparison.variants(task)]
    return Table("The rules", columns, [*rows, *absent_rows(comparison, len(columns))])


def sweep_table(comparison: Comparison, precision: str) -> Table:
    """Returns the table of part 2 in one precision: the worst errors over sizes, kinds and gaps."""
    return worst_table(
        comparison,
        f"Worst relative error of the gradient over all gaps, {precision} precision",
        EIGH,
        by_loss(sweep.PART, sweep.LOSS_NAMES, precision),
        [
            *([NUMPY_ROUNDS] if precision == "single" else []),
            WHERE,
            f"The last two columns are ill-posed: {ILL_POSED}",
        ],
    )


def singular_values_table(comparison: Comparison, precision: str) -> Table:
    """Returns the table of part 6 in one precision: the worst errors over shapes, kinds and gaps."""
    return worst_table(
        comparison,
        f"Worst relative error of the gradient of svd over all gaps, {precision} precision",
        SVD,
        by_loss(singular_values.PART, singular_values.LOSS_NAMES, precision),
        [
            WHERE,
            f"The last column is ill-posed: {ILL_POSED}",
        ],
    )


def alignment_table(comparison: Comparison, precision: str) -> Table:
    """Returns the table of part 7 in one precision: the worst errors over distances, for each cloud."""

    def is_of(cloud: str, labels: tuple[str, ...]) -> Callable[[Record], bool]:
        return lambda r: (r.part, r.family, r.precision) == (alignment.PART, cloud, precision) and r.label in labels

    moved = tuple(label for label in alignment.GAPS if label not in ("0", sweep.EXACT))
    columns = {
        f"{cloud}, {name}": is_of(cloud, labels)
        for cloud in alignment.CLOUDS
        for name, labels in (("moved", moved), ("in place", ("0",)), ("exact", (sweep.EXACT,)))
    }
    return worst_table(
        comparison,
        f"Worst relative error of the gradient of an alignment, {precision} precision",
        ALIGNMENT,
        columns,
        ["“at” names the distance, by which the points were moved, of the worst finite error."],
    )


def gap_table(comparison: Comparison, loss: str) -> Table:
    """Returns the table of part 2 for one loss in double precision: the worst errors at each gap."""
    chosen = comparison.select(part=sweep.PART, precision="double", loss=loss)
    present = {record.label for record in chosen}
    gaps = [gap for gap in sweep.GAPS if gap in present and (gap in ("1", "0", sweep.EXACT) or int(gap[3:]) % 2 == 0)]
    rows = [
        [
            results.title(peer, label),
            *(worst(r for r in chosen if r.peer == peer and r.variant == label and r.label == gap) for gap in gaps),
        ]
        for peer, label, _ in comparison.variants()
    ]
    title = LOSSES[loss].title
    return Table(f"{title[0].upper()}{title[1:]}, gap by gap, double precision", ["", *gaps], rows)


def graphs_table(comparison: Comparison, precision: str) -> Table:
    """Returns the table of part 3 in one precision."""
    chosen = comparison.select(part=graphs.PART, precision=precision)
    cases = list(dict.fromkeys((record.family, record.loss) for record in chosen))
    columns = ["", *(f"{family.split(',')[0]}: {graphs.TITLES[loss]}" for family, loss in cases)]
    rows = [
        [
            results.title(peer, label),
            *(
                worst(r for r in chosen if (r.peer, r.variant, r.family, r.loss) == (peer, label, family, loss))
                for family, loss in cases
            ),
        ]
        for peer, label, _ in comparison.variants()
    ]
    return Table(
        f"Relative error for matrices with symmetry, {precision} precision",
        columns,
        [*rows, *absent_rows(comparison, len(columns))],
    )


def dimension_table(comparison: Comparison, family: str) -> Table:
    """Returns the table of part 4 for one family of matrices."""
    chosen = comparison.select(part=dimension.PART, family=family)
    sizes = sorted({record.n for record in chosen})
    columns = ["", *(f"n = {n}" for n in sizes)]
    rows = [
        [
            results.title(peer, label),
            *(worst(r for r in chosen if (r.peer, r.variant, r.n) == (peer, label, n)) for n in sizes),
        ]
        for peer, label, _ in comparison.variants()
    ]
    return Table(
        f"Relative error of the gradient of tr(M P) against the dimension, {family}, double precision", columns, rows
    )


def functions_table(comparison: Comparison, order: str, precision: str) -> Table:
    """Returns the table of part 5 for one order of derivative in one precision: the worst over sizes and gaps."""
    chosen = comparison.select(part=order, precision=precision)
    rows = []
    for name, function in functions.FUNCTIONS.items():
        for title in comparison.functions.get("contenders", {}):
            records = [r for r in chosen if (r.loss, r.peer) == (name, title)]
            if records:
                cells = [
                    worst((r for r in records if r.family == family), where=family in functions.WITH_GAPS)
                    for family in functions.FAMILIES
                ]
                rows.append([f"{function.title}: {title}", *cells])
    columns = ["", *functions.FAMILIES.values()]
    losses = {functions.FIRST: "gradient of tr(M f(A))", functions.SECOND: "Hessian of |f(A) − M|²/2 times a direction"}
    absent = [[title, status, *[""] * (len(columns) - 2)] for title, status in comparison.absent_libraries()]
    notes = {
        functions.FIRST: [],
        functions.SECOND: ["raised: the library cannot differentiate this function twice, so it raises an error."],
    }
    return Table(
        f"Relative error of the {losses[order]}, {precision} precision", columns, [*rows, *absent], notes[order]
    )


def speed_table(comparison: Comparison, precision: str) -> Table:
    """Returns the table of times in part 5: forward and backward, as multiples of this project's times."""
    timings = [timing for timing in comparison.functions.get("timings", []) if timing["precision"] == precision]
    titles = list(dict.fromkeys(timing["contender"] for timing in timings))
    rows = []
    for name, n, batch in dict.fromkeys((t["function"], t["n"], t["batch"]) for t in timings):
        taken = {t["contender"]: t for t in timings if (t["function"], t["n"]) == (name, n)}
        cells = [f"{taken[title]['median'] * 1e3:.2f} ms" for title in titles[:1]]
        for title in titles[1:]:
            t = taken.get(title)
            cells.append(f"{t['median_ratio']:.2f} ({t['minimum_ratio']:.2f})" if t else "–")
        rows.append([functions.FUNCTIONS[name].title, str(n), str(batch), *cells])
    return Table(
        f"Time of forward and backward of tr(M f(A)), {precision} precision",
        ["", "n", "matrices", *titles],
        rows,
        [
            "Times are multiples of the first contender's: the median over interleaved repeats in one process and one "
            "thread, and in parentheses the ratio of the fastest repeats."
        ],
    )


def generalized_table(comparison: Comparison) -> Table:
    """Returns the table of part 9: the worst errors at each gap."""
    chosen = comparison.select(part=generalized.PART)
    present = {record.label for record in chosen}
    gaps = [gap for gap in generalized.GAPS["full"] if gap in present]
    rows = [
        [
            f"{LOSSES[loss].column} by {variable}: {TITLES[peer]}",
            *(
                worst(r for r in chosen if (r.peer, r.loss, r.family, r.label) == (peer, loss, variable, gap))
                for gap in gaps
            ),
        ]
        for loss, variable in itertools.product(generalized.LOSS_NAMES, generalized.VARIABLES)
        for peer, _, _ in comparison.variants(GENERALIZED)
    ]
    columns = ["", *gaps]
    return Table(
        "Worst relative error of the gradient of A v = λ B v, gap by gap, double precision",
        columns,
        [*rows, *absent_rows(comparison, len(columns))],
    )


def all_tables(comparison: Comparison) -> dict[str, Table]:
    return {
        "programs": programs_table(comparison),
        "rules": rules_table(comparison, EIGH),
        **{f"sweep {precision}": sweep_table(comparison, precision) for precision in sweep.PRECISIONS},
        **{f"gaps {loss}": gap_table(comparison, loss) for loss in ("projector", "matrix_function")},
        **{f"graphs {precision}": graphs_table(comparison, precision) for precision in sweep.PRECISIONS},
        **{f"dimension {family}": dimension_table(comparison, family) for family in (dimension.NEAR, dimension.RANDOM)},
        **{
            f"{order}, {precision}": functions_table(comparison, order, precision)
            for order in (functions.FIRST, functions.SECOND)
            for precision in functions.DTYPES
        },
        **{
            f"speed {precision}": speed_table(comparison, precision)
            for precision in functions.precisions_timed(comparison.quick)
        },
        "rules of svd": rules_table(comparison, SVD),
        **{f"svd {precision}": singular_values_table(comparison, precision) for precision in sweep.PRECISIONS},
        "ways to align": rules_table(comparison, ALIGNMENT),
        **{f"alignment {precision}": alignment_table(comparison, precision) for precision in sweep.PRECISIONS},
        "rules of eig": rules_table(comparison, EIG),
        **jordan_tables.all_tables(comparison),
        generalized.PART: generalized_table(comparison),
    }
