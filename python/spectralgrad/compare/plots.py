"""Draws the plots of the report and of ``docs/why.md``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import alignment, dimension, graphs, jordan, singular_values, sweep
from .curves import Variant, draw_curve, error_axis, gap_panel, height, layers_of, legend
from .loss import ALIGNMENT, EIG, EIGH
from .losses import LOSSES
from .peers import TITLES
from .results import NOT_FINITE, OK, Comparison, title
from .stopping import replace

# The name of the PNG text field in which why.png carries its figures.
FIGURES = "Figures"

_OURS, _DEFAULT = "spectralgrad", "Gated"
_FAMILIES = {dimension.NEAR: dimension.NEAR, dimension.RANDOM: "random matrices"}


def _shown(comparison: Comparison, task: str = EIGH) -> list[Variant]:
    return [(peer, label) for peer, label, _ in comparison.variants(task)]


def _panels(comparison: Comparison, task: str = EIGH) -> dict[str, list[Variant]]:
    """Returns the variants of each panel, by title. In a single panel they would hide each other."""
    every = _shown(comparison, task)

    def ours(*beginnings: str) -> list[Variant]:
        return [(peer, label) for peer, label in every if peer == _OURS and label.startswith((_DEFAULT, *beginnings))]

    return {
        "the frameworks": [variant for variant in every if variant[0] != _OURS] + ours(),
        "Lorentzian broadening and Split": ours("Lorentzian", "Split"),
        "masks and the bare 1/Δ": ours("Cutoff", "Bare"),
    }


_ZERO = "Error 0: right to the last bit, or below 1e-17."
_GAP = "gap between the eigenvalues"
_GAPS = (
    "Gap 0: equal eigenvalues, but rounding the matrix leaves a gap of about eps, the precision of the numbers "
    "(dotted).\n"
    "Gap exact: the computed eigenvalues are equal, too. The matrix is diag(1, …, 1) beside another block.\n"
)
_SINGULAR_GAPS = (
    "Gap 0: equal singular values, but rounding the matrix leaves a gap of about eps, the precision of the numbers "
    "(dotted).\n"
    "Gap exact: the computed singular values are equal, too. The matrix is a permutation, or 0, beside another block.\n"
)
_DISTANCES = (
    "Distance 0: a symmetric cloud, but rounding its copy leaves gaps of about eps (dotted) between the singular "
    "values of the covariance.\n"
    "Distance exact: the copy has no round-off, so the computed singular values are equal, too.\n"
)
_PAIRS = (
    "Gap 0: rounding a matrix with a Jordan block leaves a gap of about √eps.\n"
    "Gap exact: the Jordan block [[1, 1], [0, 1]] beside another block, without round-off.\n"
    "Black ring: a warning or an error came with gradients. "
)
_BAND = "Not finite: NaN or infinity."
_EQUAL = "Where curves are equal, the thinner one lies on the wider one."
_HIDDEN = f"{_EQUAL} Markers at gap 0 and exact stand side by side."


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
    gap_panel(axes, comparison, "projector", "double", variants)
    axes.set_title("How wrong the gradient of tr(M P) gets as eigenvalues come together, double precision")
    axes.text(0.02, 0.22, "far apart:\nall agree", transform=axes.transAxes, va="bottom")
    axes.text(0.35, 0.54, "near: round-off divided by the gap", transform=axes.transAxes, rotation=34)
    _name_axes(grid, _GAP)
    legend(figure, variants, f"{_GAPS}{_ZERO} {_BAND}\n{_HIDDEN}", rows=1, names={(_OURS, _DEFAULT): TITLES[_OURS]})
    return figure


Figures = dict[str, dict[str, float | str | None]]


def _figures(comparison: Comparison, variants: list[Variant], **wanted: str) -> Figures:
    """Returns the worst error, or NOT_FINITE, by curve and gap of a picture. The picture carries them as JSON."""
    chosen = comparison.select(precision="double", **wanted)
    curves: Figures = {}
    for variant in variants:
        curve = curves.setdefault(title(*variant), {})
        for record in (r for r in chosen if (r.peer, r.variant) == variant and r.status in (OK, NOT_FINITE)):
            worst = curve.get(record.label, 0.0)
            if record.status == NOT_FINITE or worst == NOT_FINITE:
                curve[record.label] = NOT_FINITE
            else:
                curve[record.label] = max(record.error or 0.0, float(worst or 0.0))
    return curves


def question_figures(comparison: Comparison) -> Figures:
    """Returns the figures of ``why.png``."""
    return _figures(comparison, next(iter(_panels(comparison).values())), part=sweep.PART, loss="projector")


def alignment_figures(comparison: Comparison) -> Figures:
    """Returns the figures of ``alignment.png``: the worst of both clouds."""
    return _figures(comparison, _shown(comparison, ALIGNMENT), part=alignment.PART)


def jordan_figures(comparison: Comparison) -> dict[str, Figures]:
    """Returns the figures of ``jordan.png`` by loss."""
    variants = _shown(comparison, EIG)
    return {loss: _figures(comparison, variants, part=jordan.PART, loss=loss) for loss in jordan.LOSS_NAMES}


def _sweep(comparison: Comparison, precision: str, part: str, losses: tuple[str, ...], values: str) -> Figure:
    """Draws a part with one row of panels for each loss. ``values`` names what comes together."""
    task = LOSSES[losses[0]].task
    panels = _panels(comparison, task)
    figure, grid = plt.subplots(
        len(losses), len(panels), figsize=(19, 3.6 * len(losses)), sharey=True, layout="constrained"
    )
    for row, loss in zip(grid, losses, strict=True):
        for axes, (who, variants) in zip(row, panels.items(), strict=True):
            gap_panel(axes, comparison, loss, precision, variants, part)
            axes.set_title(f"{LOSSES[loss].title}: {LOSSES[loss].formula}\n{who}", fontsize=10)
    figure.suptitle(
        f"How wrong gradients get as {values} come together, {precision} precision: the worst over all sizes, "
        "real and complex"
    )
    _name_axes(grid, _GAP.replace("eigenvalues", values))
    gaps = _GAPS.replace("eigenvalues", values) if task == EIGH else _SINGULAR_GAPS
    note = f"{gaps}{_ZERO} {_BAND} No marker: no derivative exists.\n{_HIDDEN}"
    legend(figure, _shown(comparison, task), note, rows=3, names={})
    return figure


def _alignment(comparison: Comparison) -> Figure:
    """Draws part 7: one panel for each cloud, with the frameworks and our ways to align."""
    figure, grid = plt.subplots(
        1, len(alignment.CLOUDS), figsize=(12, 5.6), sharey=True, layout="constrained", squeeze=False
    )
    variants = _shown(comparison, ALIGNMENT)
    for axes, cloud in zip(grid[0], alignment.CLOUDS, strict=True):
        gap_panel(axes, comparison, alignment.LOSS, "double", variants, alignment.PART, family=cloud)
        axes.set_title(cloud, fontsize=10)
    figure.suptitle(
        "How wrong the gradient of the rotation gets that aligns a cloud with a turned copy, double precision"
    )
    _name_axes(grid, "distance by which the points were moved")
    legend(figure, variants, f"{_DISTANCES}{_ZERO} {_BAND}\n{_HIDDEN}", rows=2, names={})
    return figure


def _jordan(comparison: Comparison) -> Figure:
    """Draws part 8: one panel for each loss, with the frameworks and our default rule."""
    figure, grid = plt.subplots(2, 2, figsize=(13, 10), sharey=True, layout="constrained", squeeze=False)
    variants = _shown(comparison, EIG)
    for axes, loss in zip(grid.flat, jordan.LOSS_NAMES, strict=True):
        gap_panel(axes, comparison, loss, "double", variants, jordan.PART)
        axes.set_title(f"{LOSSES[loss].title}: {LOSSES[loss].formula}", fontsize=10)
    figure.suptitle("How wrong the gradient gets as a pair of eigenvalues approaches a Jordan block, double precision")
    _name_axes(grid, _GAP)
    note = f"{_PAIRS}{_ZERO} {_BAND} No marker: no derivative exists.\n{_HIDDEN}"
    legend(figure, variants, note, rows=1, names={(_OURS, _DEFAULT): TITLES[_OURS]})
    return figure


_COMPARED_RULES = ("Lorentzian ε=1e-12", "Cutoff 1e-6", "Gated", "Split")


def _lorentzian_or_mask(comparison: Comparison) -> Figure:
    figure, grid = plt.subplots(1, 2, figsize=(13, 5.2), sharey=True, layout="constrained", squeeze=False)
    variants = [(_OURS, label) for label in _COMPARED_RULES]
    for axes, loss in zip(grid[0], ("projector", "matrix_function"), strict=True):
        gap_panel(axes, comparison, loss, "double", variants)
        axes.set_title(f"{LOSSES[loss].title}: {LOSSES[loss].formula}", fontsize=10)
    figure.suptitle("Lorentzian broadening against a mask of the same width, 1e-6, double precision")
    _name_axes(grid, _GAP)
    legend(figure, variants, f"{_GAPS}{_ZERO} {_BAND}\n{_HIDDEN}", rows=1, names={})
    return figure


def _graphs(comparison: Comparison) -> Figure:
    chosen = comparison.select(part=graphs.PART, precision="double")
    families = list(dict.fromkeys(record.family for record in chosen))
    rows = -(-len(families) // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(13, 1 + 4 * rows), sharey=True, layout="constrained", squeeze=False)
    layers = layers_of(_shown(comparison))
    for axes, family in zip(grid.flat, families, strict=False):
        for i, layer in enumerate(layers):
            selected = [r for r in chosen if (r.peer, r.variant) == layer.variant and r.family == family]
            heights = [height([r for r in selected if r.loss == loss], 0.0) for loss in graphs.LOSS_NAMES]
            # Markers stand side by side, because equal errors would hide each other.
            shift = (i - (len(layers) - 1) / 2) * 0.075
            points = [(x + shift, y) for x, y in enumerate(heights) if y is not None]
            axes.plot([x for x, _ in points], [y for _, y in points], **{**layer.markers, "markersize": 6})
        for x in range(1, len(graphs.LOSS_NAMES)):
            axes.axvline(x - 0.5, color="#dddddd", linewidth=0.8)
        axes.set_xticks(range(len(graphs.LOSS_NAMES)), [graphs.TITLES[loss] for loss in graphs.LOSS_NAMES])
        error_axis(axes)
        axes.grid(False, axis="x")
        axes.set_title(family, fontsize=10)
    for axes in list(grid.flat)[len(families) :]:
        axes.set_axis_off()
    _name_axes(grid, "")
    figure.suptitle("Molecules and graphs with symmetry: gradients against their closed forms, double precision")
    legend(figure, _shown(comparison), f"{_ZERO} {_BAND}", rows=3, names={})
    return figure


def _dimension(comparison: Comparison) -> Figure:
    panels = _panels(comparison)
    figure, grid = plt.subplots(2, len(panels), figsize=(19, 8.5), sharey=True, layout="constrained")
    for row, family in zip(grid, (dimension.NEAR, dimension.RANDOM), strict=True):
        chosen = comparison.select(part=dimension.PART, family=family)
        sizes = sorted({record.n for record in chosen})
        for axes, (who, variants) in zip(row, panels.items(), strict=True):
            for layer in layers_of(variants):
                selected = [r for r in chosen if (r.peer, r.variant) == layer.variant]
                heights = [height([r for r in selected if r.n == n], layer.place) for n in sizes]
                draw_curve(axes, [(float(n), y, 1) for n, y in zip(sizes, heights, strict=True)], layer)
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(n) for n in sizes])
            error_axis(axes)
            axes.set_title(f"{_FAMILIES[family]}\n{who}", fontsize=10)
    _name_axes(grid, "n")
    figure.suptitle("The effect of the dimension on the gradient of tr(M P), double precision")
    legend(figure, _shown(comparison), f"{_ZERO} {_BAND} {_EQUAL}", rows=3, names={})
    return figure


def draw(comparison: Comparison, out: Path) -> dict[str, str]:
    """Writes every plot as PNG and returns the file names by subject."""
    figures = {
        "why": _question(comparison),
        **{
            f"sweep {precision}": _sweep(comparison, precision, sweep.PART, sweep.LOSS_NAMES, "eigenvalues")
            for precision in sweep.PRECISIONS
        },
        "lorentzian or mask": _lorentzian_or_mask(comparison),
        "graphs": _graphs(comparison),
        "dimension": _dimension(comparison),
        "singular values": _sweep(
            comparison, "double", singular_values.PART, singular_values.LOSS_NAMES, "singular values"
        ),
        "alignment": _alignment(comparison),
        "jordan": _jordan(comparison),
    }
    carried = {
        "why": {FIGURES: json.dumps(question_figures(comparison))},
        "alignment": {FIGURES: json.dumps(alignment_figures(comparison))},
        "jordan": {FIGURES: json.dumps(jordan_figures(comparison))},
    }
    names = {}
    for subject, figure in figures.items():
        names[subject] = subject.replace(" ", "_") + ".png"
        write = partial(figure.savefig, dpi=110, format="png", metadata=carried.get(subject))
        replace(out / names[subject], write)
        plt.close(figure)
    return names
