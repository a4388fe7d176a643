"""The plots. Both axes are logarithmic; what is not finite is drawn in a band of its own at the top."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import dimension, graphs, sweep
from .losses import LOSSES
from .peers import TITLES
from .results import NOT_FINITE, Comparison, Record, title
from .stopping import replace

# The name of the text in why.png that has its figures.
FIGURES = "Figures"

# Errors above 100 share the line below the band; an error of 0, or below 1e-17, is drawn on the lowest one.
_TOP, _NAN, _BOTTOM = 1e2, (1e3, 1e6), 1e-18

# Blue and green for ours, dark and reddish for the other frameworks; the rules on trial are dashed. Where curves are
# equal, the upper one is thinner, so that both are seen.
_STYLES: dict[tuple[str, str], dict[str, Any]] = {
    ("numpy", TITLES["numpy"]): {"color": "#7f7f7f", "marker": "P", "linewidth": 4.5, "alpha": 0.6},
    ("torch", TITLES["torch"]): {"color": "#d62728", "marker": "s", "linewidth": 3.4, "alpha": 0.8},
    ("jax", TITLES["jax"]): {"color": "#ff7f0e", "marker": "^", "linewidth": 2.2},
    ("tensorflow", TITLES["tensorflow"]): {"color": "#8c564b", "marker": "v", "linestyle": "-."},
    ("spectralgrad", "Lorentzian ε=1e-12"): {"color": "#9467bd", "marker": "<", "linestyle": "--"},
    ("spectralgrad", "Lorentzian ε=1e-9"): {"color": "#b59ad6", "marker": "<", "linestyle": "--"},
    ("spectralgrad", "Lorentzian ε=1e-6"): {"color": "#d9c8ee", "marker": "<", "linestyle": "--"},
    ("spectralgrad", "Cutoff 1e-6"): {"color": "#17becf", "marker": ">", "linestyle": ":"},
    ("spectralgrad", "Cutoff √eps"): {"color": "#0b7a86", "marker": ">", "linestyle": ":"},
    ("spectralgrad", "Bare"): {"color": "#e377c2", "marker": "x", "linestyle": ":"},
    ("spectralgrad", "Split"): {"color": "#2ca02c", "marker": "D", "linewidth": 1.8, "zorder": 5},
    ("spectralgrad", "Gated"): {"color": "#1f77b4", "marker": "o", "linewidth": 1.8, "zorder": 6},
}
_VARIANTS = list(_STYLES)


def _style(peer: str, label: str) -> dict[str, Any]:
    return {"linewidth": 1.2, "markersize": 4.5, **_STYLES.get((peer, label), {"color": "black", "marker": "."})}


def _places(variants: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Where each (peer, label) of a panel stands, from -1 to 1: its markers are moved by it."""
    ordered = sorted(variants, key=lambda variant: _VARIANTS.index(variant) if variant in _STYLES else -1)
    return {variant: 2 * i / max(len(ordered) - 1, 1) - 1 for i, variant in enumerate(ordered)}


def _height(records: list[Record], place: float) -> float | None:
    """Where the worst of the records is drawn, in the band if it is not finite; None where no derivative exists."""
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


def _curve(
    axes: Axes, xs: list[float], groups: list[list[Record]], peer: str, label: str, place: float, spread: float
) -> None:
    """One variant: a line through its finite errors, markers alone where it is not finite or stands apart (x < 0).

    Its markers are moved by the factor ``spread`` to the power of ``place``, so that equal ones are all seen.
    """
    points = [
        (abs(x) * spread**place, y, x < 0 or y >= _NAN[0])
        for x, group in zip(xs, groups, strict=True)
        if (y := _height(group, place)) is not None
    ]
    style = _style(peer, label)
    axes.plot([x for x, _, _ in points], [np.nan if alone else y for _, y, alone in points], **style)
    axes.plot(
        [x for x, _, alone in points if alone],
        [y for _, y, alone in points if alone],
        **{key: value for key, value in style.items() if not key.startswith("line")},
        linestyle="none",
    )
    axes.plot([], [], label=title(peer, label), **style)


_ZERO = "Error 0: to the last bit, or below 1e-17."
_GAPS = (
    "Gap 0: the eigenvalues were equal before rounding; a gap of about eps is left.\n"
    "Gap exact: they are equal in floating point, too: diag(1, …, 1) beside a block.\n"
)
_BAND = "Not finite: NaN or infinity. Markers are moved apart sideways so that none hides another."


def _legend(figure: Figure, axes: Axes, note: str, rows: int = 2) -> None:
    """The legend below the panels, with what is to be known about them."""
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, -(-len(labels) // rows))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False, title=note)


def _gap_panel(axes: Axes, comparison: Comparison, loss: str, precision: str, only: tuple[str, ...] | None) -> None:
    chosen = comparison.select(part=sweep.PART, loss=loss, precision=precision)
    present = {record.label for record in chosen}
    gaps = [gap for gap in sweep.GAPS if gap in present]
    # On a logarithmic axis 0 and the exact degeneracy have no place: they stand apart, right of the line.
    place = {gap: float(gap) for gap in gaps if gap not in ("0", sweep.EXACT)}
    last = min(place.values())
    apart = {"0": last / 10**2.2, sweep.EXACT: last / 10**4}
    place |= apart
    shown = _places([(peer, label) for peer, label, _ in comparison.variants() if only is None or label in only])
    for (peer, label), position in shown.items():
        groups = [[r for r in chosen if r.peer == peer and r.variant == label and r.label == gap] for gap in gaps]
        xs = [-place[gap] if gap in apart else place[gap] for gap in gaps]
        _curve(axes, xs, groups, peer, label, position, spread=2.0)
    axes.set_xscale("log")
    axes.invert_xaxis()
    ticks = [gap for gap in gaps if gap in ("1", "0", sweep.EXACT) or (gap[2:] and int(gap[3:]) % 4 == 0)]
    names = {gap: f"$10^{{{gap[2:]}}}$" for gap in ticks} | {"1": "1", "0": "0", sweep.EXACT: "exact"}
    axes.set_xticks([place[gap] for gap in ticks], [names[gap] for gap in ticks])
    _error_axis(axes)
    axes.axvline(last / 10**1.1, color="#b0b0b0", linewidth=0.8)
    axes.axhline({"double": 2.2e-16, "single": 1.2e-7}[precision], color="#b0b0b0", linewidth=0.8, linestyle=":")
    axes.set_title(f"{LOSSES[loss].title}\n{LOSSES[loss].formula}", fontsize=10)
    axes.set_xlabel("gap")
    axes.set_ylabel("relative error")


_IN_THE_ANSWER = (*(TITLES[name] for name in ("numpy", "torch", "jax", "tensorflow")), "Gated")


def _question(comparison: Comparison) -> Figure:
    """The picture of the first page: one loss, the frameworks and our default."""
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    _gap_panel(axes, comparison, "projector", "double", _IN_THE_ANSWER)
    axes.set_title("How wrong the gradient of tr(M P) gets as eigenvalues come together, double precision")
    axes.set_xlabel("gap between the eigenvalues")
    axes.set_ylabel("relative error of the gradient")
    axes.text(0.02, 0.22, "far apart:\nall agree", transform=axes.transAxes, va="bottom")
    axes.text(0.40, 0.54, "near: round-off divided by the gap", transform=axes.transAxes, rotation=32)
    _legend(figure, axes, f"{_GAPS}{_ZERO} {_BAND}", rows=1)
    return figure


def question_figures(comparison: Comparison) -> dict[str, dict[str, float | str | None]]:
    """What ``why.png`` shows: by curve and gap the worst error, or NOT_FINITE. The picture carries them as JSON."""
    chosen = comparison.select(part=sweep.PART, loss="projector", precision="double")
    curves: dict[str, dict[str, float | str | None]] = {}
    for peer, label, _ in comparison.variants():
        if label in _IN_THE_ANSWER:
            curve = curves.setdefault(title(peer, label), {})
            for record in (r for r in chosen if (r.peer, r.variant) == (peer, label)):
                worst = curve.get(record.label, 0.0)
                if record.status == NOT_FINITE or worst == NOT_FINITE:
                    curve[record.label] = NOT_FINITE
                else:
                    curve[record.label] = max(record.error or 0.0, float(worst or 0.0))
    return curves


def _sweep(comparison: Comparison, precision: str) -> Figure:
    figure, grid = plt.subplots(2, 4, figsize=(19, 9.5), layout="constrained")
    panels = list(grid.flat)
    for axes, loss in zip(panels, sweep.LOSS_NAMES, strict=False):
        _gap_panel(axes, comparison, loss, precision, None)
    for axes in panels[len(sweep.LOSS_NAMES) :]:
        axes.set_axis_off()
    figure.suptitle(
        f"How wrong gradients get as eigenvalues meet, {precision} precision: the worst over all sizes, "
        "real and complex (dotted: eps)"
    )
    _legend(figure, panels[0], f"{_GAPS}{_ZERO} {_BAND}")
    return figure


_ON_TRIAL = ("Lorentzian ε=1e-12", "Cutoff 1e-6", "Gated", "Split")


def _lorentzian_or_mask(comparison: Comparison) -> Figure:
    figure, grid = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    for axes, loss in zip(grid, ("projector", "matrix_function"), strict=True):
        _gap_panel(axes, comparison, loss, "double", _ON_TRIAL)
    figure.suptitle("Lorentzian broadening against a mask of the same width, 1e-6, double precision")
    _legend(figure, grid[0], f"{_GAPS}{_ZERO} {_BAND}", rows=1)
    return figure


def _graphs(comparison: Comparison) -> Figure:
    chosen = comparison.select(part=graphs.PART, precision="double")
    cases = list(dict.fromkeys((record.family, record.loss) for record in chosen))
    figure, axes = plt.subplots(figsize=(13, 6.5), layout="constrained")
    variants = comparison.variants()
    for i, (peer, label, _) in enumerate(variants):
        xs, ys = [], []
        for x, (family, loss) in enumerate(cases):
            height = _height(
                [r for r in chosen if (r.peer, r.variant, r.family, r.loss) == (peer, label, family, loss)], 0.0
            )
            if height is not None:
                # Side by side, or equal errors would hide each other.
                xs.append(x + (i - (len(variants) - 1) / 2) * 0.065)
                ys.append(height)
        style = {key: value for key, value in _style(peer, label).items() if not key.startswith("line")}
        axes.plot(xs, ys, label=title(peer, label), linestyle="none", **style)
    for x in range(1, len(cases)):
        strong = cases[x][0] != cases[x - 1][0]
        axes.axvline(x - 0.5, color="#909090" if strong else "#dddddd", linewidth=0.8)
    names = [f"{family.split(',')[0]}\n{graphs.TITLES[loss]}" for family, loss in cases]
    axes.set_xticks(range(len(cases)), names, fontsize=8)
    _error_axis(axes)
    axes.grid(False, axis="x")
    axes.set_ylabel("relative error")
    figure.suptitle("Molecules and graphs with symmetry: gradients against their closed forms, double precision")
    _legend(figure, axes, f"{_ZERO} Not finite: NaN or infinity.")
    return figure


def _dimension(comparison: Comparison) -> Figure:
    figure, grid = plt.subplots(1, 2, figsize=(13, 5.8), layout="constrained")
    for axes, family in zip(grid, (dimension.NEAR, dimension.RANDOM), strict=True):
        chosen = comparison.select(part=dimension.PART, family=family)
        sizes = sorted({record.n for record in chosen})
        for (peer, label), place in _places([(peer, label) for peer, label, _ in comparison.variants()]).items():
            groups = [[r for r in chosen if (r.peer, r.variant, r.n) == (peer, label, n)] for n in sizes]
            _curve(axes, [float(n) for n in sizes], groups, peer, label, place, spread=1.15)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        _error_axis(axes)
        axes.set_title({dimension.NEAR: dimension.NEAR, dimension.RANDOM: "random matrices"}[family], fontsize=10)
        axes.set_xlabel("n")
        axes.set_ylabel("relative error")
    figure.suptitle("The effect of the dimension on the gradient of tr(M P), double precision")
    _legend(figure, grid[0], f"{_ZERO} {_BAND}")
    return figure


def draw(comparison: Comparison, out: Path) -> dict[str, str]:
    """Writes every plot as PNG; returns the file names by subject."""
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
