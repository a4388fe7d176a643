"""A table of the comparison, which is the same in the terminal and in the report, and the text of its cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.table import Table as RichTable

from . import results
from .results import Record


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
