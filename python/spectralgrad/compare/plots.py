"""Draws the plots. Both axes are logarithmic. Values that are not finite are drawn in a band at the top."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from . import dimension, graphs, sweep
from .losses import LOSSES
from .peers import TITLES
from .results import NOT_FINITE, Comparison, Record, title
from .stopping import replace

# The name of the PNG text field in which why.png carries its figures.
FIGURES = "Figures"

_OURS, _DEFAULT = "spectralgrad", "Gated"
_FAMILIES = {dimension.NEAR: dimension.NEAR, dimension.RANDOM: "random matrices"}

# Errors above 100 are drawn on the line below the band. An error of 0, or below 1e-17, is drawn on the lowest line.
_TOP, _NAN, _BOTTOM = 1e2, (1e3, 1e6), 1e-18

# The order is that of drawing, so the last styles lie on top.
_STYLES: dict[tuple[str, str], dict[str, Any]] = {
    ("numpy", TITLES["numpy"]): {"color": "#a0a0a0", "marker": "P"},
    ("torch", TITLES["torch"]): {"color": "#d62728", "marker": "s"},
    ("jax", TITLES["jax"]): {"color": "#ff9f2e", "marker": "^"},
    ("tensorflow", TITLES["tensorflow"]): {"color": "#5b3a30", "marker": "v"},
    ("spectralgrad", "Bare"): {"color": "#e377c2", "marker": "X"},
    ("spectralgrad", "Lorentzian ε=1e-6"): {"color": "#d9c8ee", "marker": "<"},
    ("spectralgrad", "Lorentzian ε=1e-9"): {"color": "#b08fdc", "marker": "<"},
    ("spectralgrad", "Lorentzian ε=1e-12"): {"color": "#7b3fb5", "marker": "<"},
    ("spectralgrad", "Cutoff √eps"): {"color": "#0b7a86", "marker": ">"},
    ("spectralgrad", "Cutoff 1e-6"): {"color": "#4fd6e4", "marker": ">"},
    ("spectralgrad", "Split"): {"color": "#2ca02c", "marker": "D"},
    ("spectralgrad", "Gated"): {"color": "#1f77b4", "marker": "o"},
}
_VARIANTS = list(_STYLES)

Variant = tuple[str, str]  # (peer, label)


def _style(variant: Variant) -> dict[str, Any]:
    return _STYLES.get(variant, {"color": "black", "marker": "."})


@dataclass(frozen=True)
class _Layer:
    """The style of a variant in a panel. ``place`` is -1 for the lowest layer and 1 for the highest.

    A layer has wider lines and larger markers than the ``above`` layers that lie on top of it. If curves are equal,
    each is visible as a rim around the next one.
    """

    variant: Variant
    above: int
    place: float

    @property
    def line(self) -> dict[str, Any]:
        return {"linewidth": 1.8 + 1.25 * self.above, "color": _style(self.variant)["color"]}

    @property
    def markers(self) -> dict[str, Any]:
        size = 5.5 + 1.5 * self.above
        return {"linestyle": "none", "markersize": size, "markeredgewidth": 0, **_style(self.variant)}


def _layers(variants: Iterable[Variant]) -> list[_Layer]:
    """Returns the layers of one panel, the lowest one first."""
    ordered = sorted(variants, key=lambda variant: _VARIANTS.index(variant) if variant in _STYLES else -1)
    highest = len(ordered) - 1
    return [_Layer(variant, highest - i, 2 * i / max(highest, 1) - 1) for i, variant in enumerate(ordered)]


def _shown(comparison: Comparison) -> list[Variant]:
    return [(peer, label) for peer, label, _ in comparison.variants()]


def _panels(comparison: Comparison) -> dict[str, list[Variant]]:
    """Returns the variants of each panel, by title. In a single panel they would hide each other."""
    every = _shown(comparison)

    def ours(*beginnings: str) -> list[Variant]:
        return [(peer, label) for peer, label in every if peer == _OURS and label.startswith((_DEFAULT, *beginnings))]

    return {
        "the frameworks": [variant for variant in every if variant[0] != _OURS] + ours(),
        "Lorentzian broadening and Split": ours("Lorentzian", "Split"),
        "masks and the bare 1/Δ": ours("Cutoff", "Bare"),
    }


def _height(records: list[Record], place: float) -> float | None:
    """Returns the height of the worst record, in the band if it is not finite, or None if no derivative exists."""
    if any(record.status == NOT_FINITE for record in records):
        low, high = _NAN
        return float(low * (high / low) ** (0.5 + 0.4 * place))
    errors = [record.error for record in records if record.error is not None]
    return min(max(max(errors), _BOTTOM), _TOP) if errors else None


def _error_axis(axes: Axes) -> None:
    low, high = _NAN
    axes.set_yscale("log")
    axes.set_ylim(_BOTTOM / 5, high)
    powers = range(-16, 3, 4)
    axes.set_yticks(
        [_BOTTOM, *(10.0**k for k in powers), (low * high) ** 0.5],
        ["0", *(f"$10^{{{k}}}$" for k in powers), "not\nfinite"],
    )
    axes.axhspan(low, high, color="#f3dcdc", zorder=0)
    axes.minorticks_off()
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _curve(axes: Axes, points: list[tuple[float, float | None, float]], layer: _Layer) -> None:
    """Draws one variant through its points (x, y, room), with y from ``_height``.

    No line goes through a point whose ``room`` differs from 1, and its marker is moved sideways by a factor of at most
    ``room``. The same holds for a point that is not finite, with a factor of its own.
    """
    line_y = [np.nan if y is None or y >= _NAN[0] or room != 1 else y for _, y, room in points]
    axes.plot([x for x, _, _ in points], line_y, **layer.line)
    moved = [
        (x * (room if room != 1 else 1.8 if y >= _NAN[0] else 1) ** layer.place, y)
        for x, y, room in points
        if y is not None
    ]
    axes.plot([x for x, _ in moved], [y for _, y in moved], **layer.markers)


_ZERO = "Error 0: right to the last bit, or below 1e-17."
_GAP = "gap between the eigenvalues"
_GAPS = (
    "Gap 0: equal eigenvalues, but rounding the matrix leaves a gap of about eps, the precision of the numbers "
    "(dotted).\n"
    "Gap exact: the computed eigenvalues are equal, too. The matrix is diag(1, …, 1) beside another block.\n"
)
_BAND = "Not finite: NaN or infinity."
_EQUAL = "Where curves are equal, the thinner one lies on the wider one."
_HIDDEN = f"{_EQUAL} Markers at gap 0 and exact stand side by side."


def _legend(figure: Figure, variants: Iterable[Variant], note: str, rows: int, names: dict[Variant, str]) -> None:
    """Draws the legend below the panels, with the note that explains them."""
    handles = [
        Line2D([], [], linewidth=2, markersize=7, markeredgewidth=0, label=names.get(v, title(*v)), **_style(v))
        for v in variants
    ]
    columns = max(1, -(-len(handles) // rows))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False, title=note)


# A gap of 0 has no place on a logarithmic axis. Its two kinds stand to the right, with room for every marker.
_APART = {"0": 10**-2.6, sweep.EXACT: 10**-5.6}
_ROOM = 10**1.2


def _gap_panel(axes: Axes, comparison: Comparison, loss: str, precision: str, variants: list[Variant]) -> None:
    chosen = comparison.select(part=sweep.PART, loss=loss, precision=precision)
    present = {record.label for record in chosen}
    gaps = [gap for gap in sweep.GAPS if gap in present]
    place = {gap: float(gap) for gap in gaps if gap not in _APART}
    last = min(place.values())
    place |= {gap: last * factor for gap, factor in _APART.items()}
    for layer in _layers(variants):
        groups = {gap: [r for r in chosen if (r.peer, r.variant) == layer.variant and r.label == gap] for gap in gaps}
        _curve(
            axes,
            [(place[gap], _height(groups[gap], layer.place), _ROOM if gap in _APART else 1) for gap in gaps],
            layer,
        )
    axes.set_xscale("log")
    axes.set_xlim(10, place[sweep.EXACT] / _ROOM / 4)
    ticks = [gap for gap in gaps if gap in ("1", *_APART) or (gap[2:] and int(gap[3:]) % 4 == 0)]
    names = {gap: f"$10^{{{gap[2:]}}}$" for gap in ticks} | {"1": "1", "0": "0", sweep.EXACT: "exact"}
    axes.set_xticks([place[gap] for gap in ticks], [names[gap] for gap in ticks])
    _error_axis(axes)
    for factor in (10**-1.1, 10**-4.1):
        axes.axvline(last * factor, color="#b0b0b0", linewidth=0.8)
    axes.axhline({"double": 2.2e-16, "single": 1.2e-7}[precision], color="#b0b0b0", linewidth=0.8, linestyle=":")


def _name_axes(grid: NDArray[np.object_], x: str) -> None:
    """Labels the axes of a grid of panels (rows, columns), below the last row and left of the first column."""
    for axes in grid[-1]:
        axes.set_xlabel(x)
    for axes in grid[:, 0]:
        axes.set_ylabel("relative error of the gradient")


def _question(comparison: Comparison) -> Figure:
    """Draws the picture of the first page: one loss, with the frameworks and our default rule."""
    figure, grid = plt.subplots(figsize=(9, 6), layout="constrained", squeeze=False)
    axes = grid[0, 0]
    variants = next(iter(_panels(comparison).values()))
    _gap_panel(axes, comparison, "projector", "double", variants)
    axes.set_title("How wrong the gradient of tr(M P) gets as eigenvalues come together, double precision")
    axes.text(0.02, 0.22, "far apart:\nall agree", transform=axes.transAxes, va="bottom")
    axes.text(0.35, 0.54, "near: round-off divided by the gap", transform=axes.transAxes, rotation=34)
    _name_axes(grid, _GAP)
    _legend(figure, variants, f"{_GAPS}{_ZERO} {_BAND}\n{_HIDDEN}", rows=1, names={(_OURS, _DEFAULT): TITLES[_OURS]})
    return figure


def question_figures(comparison: Comparison) -> dict[str, dict[str, float | str | None]]:
    """Returns the worst error, or NOT_FINITE, by curve and gap of ``why.png``. The picture carries them as JSON."""
    chosen = comparison.select(part=sweep.PART, loss="projector", precision="double")
    answering = next(iter(_panels(comparison).values()))
    curves: dict[str, dict[str, float | str | None]] = {}
    for peer, label, _ in comparison.variants():
        if (peer, label) in answering:
            curve = curves.setdefault(title(peer, label), {})
            for record in (r for r in chosen if (r.peer, r.variant) == (peer, label)):
                worst = curve.get(record.label, 0.0)
                if record.status == NOT_FINITE or worst == NOT_FINITE:
                    curve[record.label] = NOT_FINITE
                else:
                    curve[record.label] = max(record.error or 0.0, float(worst or 0.0))
    return curves


def _sweep(comparison: Comparison, precision: str) -> Figure:
    losses = sweep.LOSS_NAMES
    panels = _panels(comparison)
    figure, grid = plt.subplots(
        len(losses), len(panels), figsize=(19, 3.6 * len(losses)), sharey=True, layout="constrained"
    )
    for row, loss in zip(grid, losses, strict=True):
        for axes, (who, variants) in zip(row, panels.items(), strict=True):
            _gap_panel(axes, comparison, loss, precision, variants)
            axes.set_title(f"{LOSSES[loss].title}: {LOSSES[loss].formula}\n{who}", fontsize=10)
    figure.suptitle(
        f"How wrong gradients get as eigenvalues come together, {precision} precision: the worst over all sizes, "
        "real and complex"
    )
    _name_axes(grid, _GAP)
    note = f"{_GAPS}{_ZERO} {_BAND} No marker: no derivative exists.\n{_HIDDEN}"
    _legend(figure, _shown(comparison), note, rows=3, names={})
    return figure


_COMPARED_RULES = ("Lorentzian ε=1e-12", "Cutoff 1e-6", "Gated", "Split")


def _lorentzian_or_mask(comparison: Comparison) -> Figure:
    figure, grid = plt.subplots(1, 2, figsize=(13, 5.2), sharey=True, layout="constrained", squeeze=False)
    variants = [(_OURS, label) for label in _COMPARED_RULES]
    for axes, loss in zip(grid[0], ("projector", "matrix_function"), strict=True):
        _gap_panel(axes, comparison, loss, "double", variants)
        axes.set_title(f"{LOSSES[loss].title}: {LOSSES[loss].formula}", fontsize=10)
    figure.suptitle("Lorentzian broadening against a mask of the same width, 1e-6, double precision")
    _name_axes(grid, _GAP)
    _legend(figure, variants, f"{_GAPS}{_ZERO} {_BAND}\n{_HIDDEN}", rows=1, names={})
    return figure


def _graphs(comparison: Comparison) -> Figure:
    chosen = comparison.select(part=graphs.PART, precision="double")
    families = list(dict.fromkeys(record.family for record in chosen))
    rows = -(-len(families) // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(13, 1 + 4 * rows), sharey=True, layout="constrained", squeeze=False)
    layers = _layers(_shown(comparison))
    for axes, family in zip(grid.flat, families, strict=False):
        for i, layer in enumerate(layers):
            selected = [r for r in chosen if (r.peer, r.variant) == layer.variant and r.family == family]
            heights = [_height([r for r in selected if r.loss == loss], 0.0) for loss in graphs.LOSS_NAMES]
            # Markers stand side by side, because equal errors would hide each other.
            shift = (i - (len(layers) - 1) / 2) * 0.075
            points = [(x + shift, y) for x, y in enumerate(heights) if y is not None]
            axes.plot([x for x, _ in points], [y for _, y in points], **{**layer.markers, "markersize": 6})
        for x in range(1, len(graphs.LOSS_NAMES)):
            axes.axvline(x - 0.5, color="#dddddd", linewidth=0.8)
        axes.set_xticks(range(len(graphs.LOSS_NAMES)), [graphs.TITLES[loss] for loss in graphs.LOSS_NAMES])
        _error_axis(axes)
        axes.grid(False, axis="x")
        axes.set_title(family, fontsize=10)
    for axes in list(grid.flat)[len(families) :]:
        axes.set_axis_off()
    _name_axes(grid, "")
    figure.suptitle("Molecules and graphs with symmetry: gradients against their closed forms, double precision")
    _legend(figure, _shown(comparison), f"{_ZERO} {_BAND}", rows=3, names={})
    return figure


def _dimension(comparison: Comparison) -> Figure:
    panels = _panels(comparison)
    figure, grid = plt.subplots(2, len(panels), figsize=(19, 8.5), sharey=True, layout="constrained")
    for row, family in zip(grid, (dimension.NEAR, dimension.RANDOM), strict=True):
        chosen = comparison.select(part=dimension.PART, family=family)
        sizes = sorted({record.n for record in chosen})
        for axes, (who, variants) in zip(row, panels.items(), strict=True):
            for layer in _layers(variants):
                selected = [r for r in chosen if (r.peer, r.variant) == layer.variant]
                heights = [_height([r for r in selected if r.n == n], layer.place) for n in sizes]
                _curve(axes, [(float(n), y, 1) for n, y in zip(sizes, heights, strict=True)], layer)
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(n) for n in sizes])
            _error_axis(axes)
            axes.set_title(f"{_FAMILIES[family]}\n{who}", fontsize=10)
    _name_axes(grid, "n")
    figure.suptitle("The effect of the dimension on the gradient of tr(M P), double precision")
    _legend(figure, _shown(comparison), f"{_ZERO} {_BAND} {_EQUAL}", rows=3, names={})
    return figure


def draw(comparison: Comparison, out: Path) -> dict[str, str]:
    """Writes every plot as PNG and returns the file names by subject."""
    figures = {
        "why": _question(comparison),
        **{f"sweep {precision}": _sweep(comparison, precision) for precision in sweep.PRECISIONS},
        "lorentzian or mask": _lorentzian_or_mask(comparison),
        "graphs": _graphs(comparison),
        "dimension": _dimension(comparison),
    }
    carried = {"why": {FIGURES: json.dumps(question_figures(comparison))}}
    names = {}
    for subject, figure in figures.items():
        names[subject] = subject.replace(" ", "_") + ".png"
        write = partial(figure.savefig, dpi=110, format="png", metadata=carried.get(subject))
        replace(out / names[subject], write)
        plt.close(figure)
    return names
