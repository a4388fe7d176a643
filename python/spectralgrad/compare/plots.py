"""The plots. Both axes are logarithmic; what is not finite is drawn in a band of its own at the top."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import dimension, graphs, sweep
from .losses import LOSSES
from .peers import TITLES
from .results import NOT_FINITE, Comparison, Record, title
from .stopping import replace

# Errors above 100 share the line below the band; exact zeros the lowest one.
_TOP, _NAN, _BOTTOM = 1e2, 1e4, 1e-18

# Blue and green for ours, dark and reddish for the other frameworks; the rules on trial are dashed.
_STYLES: dict[tuple[str, str], dict[str, Any]] = {
    ("numpy", TITLES["numpy"]): {"color": "#7f7f7f", "marker": "P"},
    ("torch", TITLES["torch"]): {"color": "#d62728", "marker": "s"},
    ("jax", TITLES["jax"]): {"color": "#ff7f0e", "marker": "^"},
    ("tensorflow", TITLES["tensorflow"]): {"color": "#8c564b", "marker": "v"},
    ("spectralgrad", "Gated"): {"color": "#1f77b4", "marker": "o", "linewidth": 2.4, "zorder": 5},
    ("spectralgrad", "Split"): {"color": "#2ca02c", "marker": "D", "linewidth": 2.4, "zorder": 5},
    ("spectralgrad", "Lorentzian ε=1e-12"): {"color": "#9467bd", "marker": "<", "linestyle": "--"},
    ("spectralgrad", "Lorentzian ε=1e-9"): {"color": "#b59ad6", "marker": "<", "linestyle": "--"},
    ("spectralgrad", "Lorentzian ε=1e-6"): {"color": "#d9c8ee", "marker": "<", "linestyle": "--"},
    ("spectralgrad", "Cutoff 1e-6"): {"color": "#17becf", "marker": ">", "linestyle": ":"},
    ("spectralgrad", "Cutoff √eps"): {"color": "#0b7a86", "marker": ">", "linestyle": ":"},
    ("spectralgrad", "Bare"): {"color": "#e377c2", "marker": "x", "linestyle": ":"},
}


def _style(peer: str, label: str) -> dict[str, Any]:
    return {"linewidth": 1.2, "markersize": 4.5, **_STYLES.get((peer, label), {"color": "black", "marker": "."})}


def _height(records: list[Record]) -> float | None:
    """Where the worst of the records is drawn; None where no derivative exists."""
    if any(record.status == NOT_FINITE for record in records):
        return _NAN
    errors = [record.error for record in records if record.error is not None]
    return min(max(max(errors), _BOTTOM), _TOP) if errors else None


def _error_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_ylim(_BOTTOM / 3, _NAN * 5)
    powers = range(-16, 3, 4)
    axes.set_yticks([10.0**k for k in powers] + [_NAN], [f"$10^{{{k}}}$" for k in powers] + ["not finite"])
    axes.axhspan(_TOP * 10, _NAN * 5, color="#f3dcdc", zorder=0)
    axes.minorticks_off()
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _curve(axes: Axes, xs: list[float], groups: list[list[Record]], peer: str, label: str) -> None:
    points = [(x, y) for x, group in zip(xs, groups, strict=True) if (y := _height(group)) is not None]
    axes.plot([x for x, _ in points], [y for _, y in points], label=title(peer, label), **_style(peer, label))


def _legend(figure: Figure, axes: Axes, rows: int = 2) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, -(-len(labels) // rows))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def _gap_panel(axes: Axes, comparison: Comparison, loss: str, precision: str, only: tuple[str, ...] | None) -> None:
    chosen = comparison.select(part=sweep.PART, loss=loss, precision=precision)
    present = {record.label for record in chosen}
    gaps = [gap for gap in sweep.GAPS if gap in present]
    # On a logarithmic axis 0 and the exact degeneracy have no place: they stand apart, right of the line.
    place = {gap: float(gap) for gap in gaps if gap not in ("0", sweep.EXACT)}
    last = min(place.values())
    place |= {"0": last / 1e2, sweep.EXACT: last / 10**3.5}
    for peer, label, _ in comparison.variants():
        if only is None or label in only:
            groups = [[r for r in chosen if r.peer == peer and r.variant == label and r.label == gap] for gap in gaps]
            _curve(axes, [place[gap] for gap in gaps], groups, peer, label)
    axes.set_xscale("log")
    axes.invert_xaxis()
    ticks = [gap for gap in gaps if gap in ("1", "0", sweep.EXACT) or (gap[2:] and int(gap[3:]) % 4 == 0)]
    names = {gap: f"$10^{{{gap[2:]}}}$" for gap in ticks} | {"1": "1", "0": "0", sweep.EXACT: "exact"}
    axes.set_xticks([place[gap] for gap in ticks], [names[gap] for gap in ticks])
    _error_axis(axes)
    axes.axvline(last / 10**1.2, color="#b0b0b0", linewidth=0.8)
    axes.axhline({"double": 2.2e-16, "single": 1.2e-7}[precision], color="#b0b0b0", linewidth=0.8, linestyle=":")
    axes.set_title(f"{LOSSES[loss].title}\n{LOSSES[loss].formula}", fontsize=10)
    axes.set_xlabel("gap")
    axes.set_ylabel("relative error")


def _sweep(comparison: Comparison, precision: str) -> Figure:
    figure, grid = plt.subplots(2, 3, figsize=(15, 9.5), layout="constrained")
    for axes, loss in zip(grid.flat, sweep.LOSS_NAMES, strict=True):
        _gap_panel(axes, comparison, loss, precision, None)
    figure.suptitle(
        f"How wrong gradients get as eigenvalues meet, {precision} precision: the worst over all sizes, "
        "real and complex (dotted: eps)"
    )
    _legend(figure, grid.flat[0])
    return figure


_ON_TRIAL = ("Lorentzian ε=1e-12", "Cutoff 1e-6", "Gated", "Split")


def _lorentzian_or_mask(comparison: Comparison) -> Figure:
    figure, grid = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    for axes, loss in zip(grid, ("projector", "matrix_function"), strict=True):
        _gap_panel(axes, comparison, loss, "double", _ON_TRIAL)
    figure.suptitle("Lorentzian broadening against a mask of the same width, 1e-6, double precision")
    _legend(figure, grid[0], rows=1)
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
                [r for r in chosen if (r.peer, r.variant, r.family, r.loss) == (peer, label, family, loss)]
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
    _legend(figure, axes)
    return figure


def _dimension(comparison: Comparison) -> Figure:
    figure, grid = plt.subplots(1, 2, figsize=(13, 5.8), layout="constrained")
    for axes, family in zip(grid, (dimension.NEAR, dimension.RANDOM), strict=True):
        chosen = comparison.select(part=dimension.PART, family=family)
        sizes = sorted({record.n for record in chosen})
        for peer, label, _ in comparison.variants():
            groups = [[r for r in chosen if (r.peer, r.variant, r.n) == (peer, label, n)] for n in sizes]
            _curve(axes, [float(n) for n in sizes], groups, peer, label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        _error_axis(axes)
        axes.set_title({dimension.NEAR: dimension.NEAR, dimension.RANDOM: "random matrices"}[family], fontsize=10)
        axes.set_xlabel("n")
        axes.set_ylabel("relative error")
    figure.suptitle("The effect of the dimension on the gradient of tr(M P), double precision")
    _legend(figure, grid[0])
    return figure


def draw(comparison: Comparison, out: Path) -> dict[str, str]:
    """Writes every plot as PNG; returns the file names by subject."""
    figures = {
        **{f"sweep {precision}": _sweep(comparison, precision) for precision in sweep.PRECISIONS},
        "lorentzian or mask": _lorentzian_or_mask(comparison),
        "graphs": _graphs(comparison),
        "dimension": _dimension(comparison),
    }
    names = {}
    for subject, figure in figures.items():
        names[subject] = subject.replace(" ", "_") + ".png"
        replace(out / names[subject], partial(figure.savefig, dpi=110, format="png"))
        plt.close(figure)
    return names
