"""Times of calls in one process, in turn.

A time depends on the machine and on its other work; a ratio of interleaved repeats hardly does: that is quoted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the repeats, and the same as multiples of the first call's."""

    median: float
    minimum: float
    median_ratio: float
    minimum_ratio: float


def _time(call: Callable[[], Any], loops: int) -> float:
    started = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - started) / loops


def interleaved(calls: Mapping[str, Callable[[], Any]], *, repeats: int, seconds: float) -> dict[str, Timing]:
    """Times the calls in turn, ``repeats`` times, each turn for about ``seconds``; the first is what ratios are of.

    The median ratio is that of the repeats' ratios, the minimum one that of the fastest repeats.
    """
    loops = {}
    for name, call in calls.items():
        call()
        loops[name] = max(1, round(seconds / _time(call, 2)))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            taken[name].append(_time(call, loops[name]))
    ours = taken[next(iter(taken))]
    return {
        name: Timing(
            statistics.median(times),
            min(times),
            statistics.median(a / b for a, b in zip(times, ours, strict=True)),
            min(times) / min(ours),
        )
        for name, times in taken.items()
    }
