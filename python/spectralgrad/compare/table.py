"""A table of the comparison, which is the same in the terminal and in the report, and the text of its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rich.table import Table as RichTable

from . import results
from .losses import LOSSES
from .results import Comparison, Record


@dataclass(frozen=True)
class Table:
    """A table: rows of text below a title, and notes below the rows."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def number(error: float | None) -> str:
    """Returns an error with two digits, or "> 100" for an error of 100 or more."""
    if error is None:
        return "–"
    return f"{error:.1e}" if error < 100 else "> 100"


def worst(records: Iterable[Record], where: bool = False) -> str:
    """Returns the largest error, its label if ``where``, and the counts of NaN gradients and raised errors."""
    records = list(records)
    counts = {
        name: sum(record.status == status for record in records)
        for name, status in (("NaN", results.NOT_FINITE), ("raised", results.RAISED))
    }
    finite = [record for record in records if record.error is not None]
    parts = []
    if finite:
        largest = max(finite, key=lambda record: record.error or 0.0)
        parts.append(number(largest.error) + (f" at {largest.label}" if where else ""))
    parts += [f"{name} ×{count}" if len(records) > 1 else name for name, count in counts.items() if count]
    return ", ".join(parts) or "–"


def absent_rows(comparison: Comparison, width: int) -> list[list[str]]:
    return [[title, status, *[""] * (width - 2)] for title, status in comparison.absent()]


def worst_table(
    comparison: Comparison, title: str, task: str, columns: dict[str, Callable[[Record], bool]], notes: list[str]
) -> Table:
    """Returns a table of the worst errors of each variant with a task. ``columns`` says which records they hold."""
    rows = [
        [
            results.title(peer, label),
            *(
                worst((r for r in comparison.select(peer=peer, variant=label) if holds(r)), where=True)
                for holds in columns.values()
            ),
        ]
        for peer, label, _ in comparison.variants(task)
    ]
    return Table(title, ["", *columns], [*rows, *absent_rows(comparison, 1 + len(columns))], notes)


def by_loss(part: str, names: tuple[str, ...], precision: str) -> dict[str, Callable[[Record], bool]]:
    def is_of(name: str) -> Callable[[Record], bool]:
        return lambda r: (r.part, r.loss, r.precision) == (part, name, precision)

    return {LOSSES[name].column: is_of(name) for name in names}


NUMPY_ROUNDS = "NumPy decomposes every matrix in double precision and rounds the result."
WHERE = "“at” names the gap of the worst finite error. NaN counts gradients that are not finite."
ILL_POSED = (
    "at a gap of the size of round-off no program can be right, and at the exact degeneracy no derivative exists, so "
    "no error is given."
)


def to_rich(table: Table) -> RichTable:
    rich = RichTable(title=table.title, title_justify="left", caption="\n".join(table.notes), caption_justify="left")
    for i, column in enumerate(table.columns):
        rich.add_column(column, no_wrap=i == 0, overflow="fold")
    for row in table.rows:
        rich.add_row(*row)
    return rich


def to_markdown(table: Table) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    text = [line(table.columns), "|" + " --- |" * len(table.columns), *map(line, table.rows)]
    return "\n".join([*text, "", *table.notes]).rstrip() + "\n"
