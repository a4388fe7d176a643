"""The presentation of a benchmark: its targets and whether they were reached, tables of the records, and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# One measurement: the case (operation, dtype, n, …), the contender, and what `harness.Session.compare` adds.
Record = dict[str, Any]

CASE_FIELDS = ("part", "function", "operation", "dtype", "n", "batch", "spectrum", "threads")


# --- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """The speed, relative to the reference, that `contender` should reach in the case with these fields.

    `first` is the target. `second` is the speed of a prototype, which is only shown. Both are for AVX-512 unless
    `any_capability` is true. `contender` must also be faster than each contender in `ahead_of`. Where the contender
    `bound` is no faster than the target, nothing can be, and the target counts as out of reach.
    """

    case: Mapping[str, Any]
    contender: str
    first: float
    second: float | None = None
    ahead_of: tuple[str, ...] = ()
    any_capability: bool = False
    bound: str | None = None


def select(records: Iterable[Record], **fields: Any) -> list[Record]:
    return [r for r in records if all(r.get(name) == value for name, value in fields.items())]


def words(record: Mapping[str, Any]) -> str:
    """Describes a case in words."""
    said = [str(record[name]) for name in ("function", "operation", "dtype") if name in record]
    shape = f"{record['batch']} × " if "batch" in record else ""
    return " ".join(said) + f" {shape}{record['n']}×{record['n']}"


def judge(targets: Sequence[Target], content: Mapping[str, Any], console: Console) -> bool:
    """Prints the targets and the speeds that were measured. Returns whether all targets within reach were reached."""
    table = Table("case", "median", "of minima", "first", "second", "bound", "ahead of", "reached", title="targets")
    everything = True
    for target in targets:
        divisor = 1.3 if content["machine"]["capability"] != "AVX512" and not target.any_capability else 1.0
        first = target.first / divisor
        second = "" if target.second is None else f"{target.second / divisor:.3g}"
        found = select(content["measurements"], **target.case, contender=target.contender)
        if not found:
            everything = False
            table.add_row(words(target.case), "", "", f"{first:.3g}", second, "", "", "not measured")
            continue
        ours = found[0]
        leads = [
            (theirs["median"] / ours["median"], peer)
            for peer in target.ahead_of
            for theirs in select(content["measurements"], **target.case, contender=peer)
        ]
        reached = ours["speedup"] >= first and all(lead > 1 for lead, _ in leads)
        bounds = select(content["measurements"], **target.case, contender=target.bound) if target.bound else []
        out_of_reach = any(b["speedup"] <= first for b in bounds)
        everything &= reached or out_of_reach
        table.add_row(
            words(ours),
            f"{ours['speedup']:.2f}",
            f"{ours['speedup_of_minima']:.2f}",
            f"{first:.3g}",
            second,
            ", ".join(f"{b['speedup']:.2f}" for b in bounds),
            ", ".join(f"{peer.split('.')[0]} {lead:.2g}" for lead, peer in leads),
            "yes" if reached else "out of reach" if out_of_reach else "[red]no",
        )
    console.print(table)
    return everything


# --- tables and plots -------------------------------------------------------------------------------------------------


def print_records(title: str, records: Sequence[Record], console: Console) -> None:
    """Prints a row for each case, with a column for each contender."""
    shown = [name for name in CASE_FIELDS if any(name in r for r in records)]
    contenders = list(dict.fromkeys(r["contender"] for r in records))
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for r in records:
        cell = f"{r['median'] * 1e6:.1f} | {r['minimum'] * 1e6:.1f} | {r['speedup']:.2f}"
        rows.setdefault(tuple(str(r.get(name, "")) for name in shown), {})[r["contender"]] = cell
    caption = "median µs | minimum µs | times as fast as the first"
    table = Table(*shown, title=title, caption=caption)
    for contender in contenders:
        table.add_column(contender, justify="right", no_wrap=True)
    for case, cells in rows.items():
        table.add_row(*case, *(cells.get(contender, "") for contender in contenders))
    console.print(table)


@dataclass(frozen=True)
class Plot:
    """A figure with a panel for each combination of values of the fields `panels`. `y` computes a record's height."""

    name: str
    x: str
    y: Callable[[Record], float]
    label: str
    panels: tuple[str, ...]
    # Only the records with these values of fields are drawn.
    fields: Mapping[str, Any] = field(default_factory=dict)
    level: float | None = None


def per_matrix(record: Record) -> float:
    return record["median"] / record["batch"] * 1e6


def per_call(record: Record) -> float:
    return record["median"] * 1e6


def speedup(record: Record) -> float:
    return record["speedup"]


# The keys are beginnings of contenders' names.
_COLOURS = {
    "spectralgrad": "#1f77b4",
    "torch.linalg.eig": "#d62728",
    "torch": "#9467bd",
    "tf": "#8c564b",
    "jax": "#ff7f0e",
    "numpy": "#7f7f7f",
}


def _label(record: Record) -> str:
    return f"{record['contender']}, threads: {record['threads']}"


def draw(plot: Plot, records: Sequence[Record], folder: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    chosen = select(records, **plot.fields)
    panels = list(dict.fromkeys(tuple(r[name] for name in plot.panels) for r in chosen))
    if not panels:
        return
    # Text as text, not as paths, makes the file ten times smaller. The salt makes it reproducible to the byte.
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": plot.name, "font.size": 9}):
        columns = min(len(panels), 4)
        rows = -(-len(panels) // columns)
        figure, grid = plt.subplots(
            rows,
            columns,
            figsize=(3.4 * columns, 3 * rows + 0.6),
            squeeze=False,
            layout="constrained",
            sharex=True,
            sharey=True,
        )
        handles = {}
        for axes, panel in zip(grid.flat, panels):
            inside = select(chosen, **dict(zip(plot.panels, panel)))
            for label in dict.fromkeys(_label(r) for r in inside):
                line = sorted((r for r in inside if _label(r) == label), key=lambda r: r[plot.x])
                handles[label] = axes.plot(
                    [r[plot.x] for r in line],
                    [plot.y(r) for r in line],
                    color=next(colour for beginning, colour in _COLOURS.items() if label.startswith(beginning)),
                    linestyle="--" if line[0]["threads"] == 1 else "-",
                    marker="o",
                    markersize=3,
                    linewidth=1.2,
                )[0]
            if plot.level is not None:
                axes.axhline(plot.level, color="#b0b0b0", linewidth=0.8)
            axes.set_xscale("log", base=2)
            ticks = sorted({r[plot.x] for r in chosen})
            axes.set_xticks(ticks, [str(tick) for tick in ticks], rotation=90 if len(ticks) > 5 else 0)
            axes.minorticks_off()
            axes.set_yscale("log")
            axes.set_title(
                " ".join(f"{k} {v}" if isinstance(v, int) else v for k, v in zip(plot.panels, panel)), fontsize=8
            )
            axes.set_xlabel(plot.x)
            axes.set_ylabel(plot.label)
            axes.grid(True, which="major", color="#e4e4e4", linewidth=0.6)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(folder / f"{plot.name}.svg", metadata={"Date": None})
        plt.close(figure)
