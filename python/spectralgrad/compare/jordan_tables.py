"""The tables of part 8, and the counts of gradients that came with a warning or an error."""

from __future__ import annotations

import numpy as np

from . import jordan, results, sweep
from .loss import EIG
from .losses import LOSSES
from .results import NOT_FINITE, OK, RAISED, UNDEFINED, Comparison, Record
from .table import NUMPY_ROUNDS, WHERE, Table, absent_rows, by_loss, worst, worst_table

_EPS = {"double": float(np.finfo(np.float64).eps), "single": float(np.finfo(np.float32).eps)}
# A gradient with an error of at most this many eps is right.
_ROUND_OFF = 100


def lost_half_its_digits(record: Record) -> bool:
    """Whether the error is above √eps of the precision, or there is no finite gradient."""
    if record.status in (NOT_FINITE, RAISED):
        return True
    return record.error is not None and record.error > _EPS[record.precision] ** 0.5


def is_right(record: Record) -> bool:
    """Whether the error is round-off."""
    return record.status == OK and (record.error or 0.0) <= _ROUND_OFF * _EPS[record.precision]


def counted(records: list[Record]) -> str:
    """Returns how many of the records were reported, such as "3 of 12"."""
    return f"{sum(record.reported for record in records)} of {len(records)}" if records else "–"


def _worst_table(comparison: Comparison, precision: str) -> Table:
    return worst_table(
        comparison,
        f"Worst relative error of the gradient of eig over all gaps, {precision} precision",
        EIG,
        by_loss(jordan.PART, jordan.LOSS_NAMES, precision),
        [
            *([NUMPY_ROUNDS] if precision == "single" else []),
            WHERE,
            "The first column is ill-posed: rounding the matrix changes the gradient by about eps/gap² of itself. At "
            "the exact Jordan block no derivative exists, so no error is given.",
        ],
    )


def _gap_table(comparison: Comparison, loss: str) -> Table:
    chosen = comparison.select(part=jordan.PART, precision="double", loss=loss)
    present = {record.label for record in chosen}
    gaps = [gap for gap in jordan.GAPS if gap in present]
    rows = [
        [
            results.title(peer, label),
            *(worst(r for r in chosen if (r.peer, r.variant, r.label) == (peer, label, gap)) for gap in gaps),
        ]
        for peer, label, _ in comparison.variants(EIG)
    ]
    title = LOSSES[loss].title
    return Table(f"{title[0].upper()}{title[1:]}, gap by gap, double precision", ["", *gaps], rows)


def _report_table(comparison: Comparison, precision: str) -> Table:
    def cells(records: list[Record]) -> list[str]:
        lost = [
            counted([r for r in records if r.loss == name and lost_half_its_digits(r)]) for name in jordan.LOSS_NAMES
        ]
        return [
            *lost,
            counted([r for r in records if r.status == UNDEFINED]),
            counted([r for r in records if is_right(r)]),
        ]

    chosen = comparison.select(part=jordan.PART, precision=precision)
    rows = [
        [results.title(peer, label), *cells([r for r in chosen if (r.peer, r.variant) == (peer, label)])]
        for peer, label, _ in comparison.variants(EIG)
    ]
    columns = ["", *(LOSSES[name].column for name in jordan.LOSS_NAMES), "no derivative exists", "right to round-off"]
    return Table(
        f"How many gradients came with a warning or an error, {precision} precision",
        columns,
        [*rows, *absent_rows(comparison, len(columns))],
        [
            "The columns of the losses count the gradients that lost more than half of their digits, NaN included. In "
            f"the last column ({_ROUND_OFF} eps) a report is a false alarm about the gradient."
        ],
    )


def all_tables(comparison: Comparison) -> dict[str, Table]:
    return {
        **{f"eig {precision}": _worst_table(comparison, precision) for precision in sweep.PRECISIONS},
        **{f"gaps {loss}": _gap_table(comparison, loss) for loss in ("pair_eigenvalue", "pair_sum")},
        **{f"eig reports {precision}": _report_table(comparison, precision) for precision in sweep.PRECISIONS},
    }
