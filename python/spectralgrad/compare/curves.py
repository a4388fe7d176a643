"""Draws one panel of a plot: curves of errors on logarithmic axes, and the legend.

Values that are not finite are drawn in a band at the top.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import sweep
from .peers import TITLES
from .results import NOT_FINITE, Comparison, Record, title

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
    ("spectralgrad", "stand_in()"): {"color": "#1f77b4", "marker": "o"},
    ("spectralgrad", "orthogonal_procrustes"): {"color": "#2ca02c", "marker": "D"},
    ("spectralgrad", "rigid_alignment"): {"color": "#9467bd", "marker": "h"},
}
_VARIANTS = list(_STYLES)

Variant = tuple[str, str]  # (peer, label)


def _style(variant: Variant) -> dict[str, Any]:
    return _STYLES.get(variant, {"color": "black", "marker": "."})


@dataclass(frozen=True)
class Layer:
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


def layers_of(variants: Iterable[Variant]) -> list[Layer]:
    """Returns the layers of one panel, the lowest one first."""
    ordered = sorted(variants, key=lambda variant: _VARIANTS.index(variant) if variant in _STYLES else -1)
    highest = len(ordered) - 1
    return [Layer(variant, highest - i, 2 * i / max(highest, 1) - 1) for i, variant in enumerate(ordered)]


def height(records: list[Record], place: float) -> float | None:
    """Returns the height of the worst record, in the band if it is not finite, or None if no derivative exists."""
    if any(record.status == NOT_FINITE for record in records):
        low, high = _NAN
        return float(low * (high / low) ** (0.5 + 0.4 * place))
    errors = [record.error for record in records if record.error is not None]
    return min(max(max(errors), _BOTTOM), _TOP) if errors else None


def error_axis(axes: Axes) -> None:
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


def draw_curve(
    axes: Axes, points: list[tuple[float, float | None, float]], layer: Layer, ringed: Sequence[bool] = ()
) -> None:
    """Draws one variant through its points (x, y, room), with y from ``height``.

    No line goes through a point whose ``room`` differs from 1, and its marker is moved sideways by a factor of at most
    ``room``. The same holds for a point that is not finite, with a factor of its own. ``ringed`` says which points have
    a black ring; by default none.
    """
    line_y = [np.nan if y is None or y >= _NAN[0] or room != 1 else y for _, y, room in points]
    axes.plot([x for x, _, _ in points], line_y, **layer.line)
    moved = [
        (x * (room if room != 1 else 1.8 if y >= _NAN[0] else 1) ** layer.place, y, ring)
        for (x, y, room), ring in zip(points, ringed or [False] * len(points), strict=True)
        if y is not None
    ]
    axes.plot([x for x, _, _ in moved], [y for _, y, _ in moved], **layer.markers)
    rings = [(x, y) for x, y, ring in moved if ring]
    if rings:
        black = {"markerfacecolor": "none", "markeredgecolor": "black", "markeredgewidth": 1}
        axes.plot([x for x, _ in rings], [y for _, y in rings], **{**layer.markers, **black})


def legend(figure: Figure, variants: Iterable[Variant], note: str, rows: int, names: dict[Variant, str]) -> None:
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


def gap_panel(
    axes: Axes,
    comparison: Comparison,
    loss: str,
    precision: str,
    variants: list[Variant],
    part: str = sweep.PART,
    **wanted: str,
) -> None:
    """Draws the worst errors of a part against the gap, or against the distance that the labels of the records name."""
    chosen = comparison.select(part=part, loss=loss, precision=precision, **wanted)
    present = {record.label for record in chosen}
    gaps = [gap for gap in sweep.GAPS if gap in present]
    place = {gap: float(gap) for gap in gaps if gap not in _APART}
    last = min(place.values())
    place |= {gap: last * factor for gap, factor in _APART.items()}
    for layer in layers_of(variants):
        groups = {gap: [r for r in chosen if (r.peer, r.variant) == layer.variant and r.label == gap] for gap in gaps}
        draw_curve(
            axes,
            [(place[gap], height(groups[gap], layer.place), _ROOM if gap in _APART else 1) for gap in gaps],
            layer,
            [any(record.reported for record in groups[gap]) for gap in gaps],
        )
    axes.set_xscale("log")
    axes.set_xlim(10 * max(place.values()), place[sweep.EXACT] / _ROOM / 4)
    ticks = [gap for gap in gaps if gap in ("1", *_APART) or (gap[2:] and int(gap[3:]) % 4 == 0)]
    names = {gap: f"$10^{{{gap[2:]}}}$" for gap in ticks} | {"1": "1", "0": "0", sweep.EXACT: "exact"}
    axes.set_xticks([place[gap] for gap in ticks], [names[gap] for gap in ticks])
    error_axis(axes)
    for factor in (10**-1.1, 10**-4.1):
        axes.axvline(last * factor, color="#b0b0b0", linewidth=0.8)
    axes.axhline({"double": 2.2e-16, "single": 1.2e-7}[precision], color="#b0b0b0", linewidth=0.8, linestyle=":")
