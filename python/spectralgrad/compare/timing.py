"""Times of calls in one process, in turn.

A time depends on the machine and on its other work; a ratio of interleaved repeats hardly does: that is quoted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.benchmark import Timer


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the repeats, and the same as multiples of the first call's."""

    median: float
    minimum: float
    median_ratio: float
    minimum_ratio: float


def interleaved(calls: Mapping[str, Callable[[], Any]], *, repeats: int, seconds: float) -> dict[str, Timing]:
    """Times the calls in turn, ``repeats`` times, each turn for about ``seconds``; the first is what ratios are of.

    The median ratio is that of the repeats' ratios, the minimum one that of the fastest repeats.
    """
    timers = {
        name: Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
        for name, call in calls.items()
    }
    loops = {name: max(1, round(seconds / timer.timeit(3).mean)) for name, timer in timers.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, timer in timers.items():
            taken[name].append(timer.timeit(loops[name]).mean)
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
