"""Times of calls in one process, in turn.

A time depends on the machine and on its other work; a ratio of interleaved repeats hardly does: that is quoted.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from timeit import Timer
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the repeats, and the same as multiples of the first call's."""

    median: float
    minimum: float
    median_ratio: float
    minimum_ratio: float
    repeats: int


@dataclass(frozen=True)
class _Turn:
    timer: Timer
    calls: int
    untimed: int
    repeats: int


def _turn(call: Callable[[], Any], repeats: int, seconds: float, longest: float) -> _Turn:
    # Not torch.utils.benchmark.Timer: two untimed calls before each measurement triple the cost of a call of seconds.
    timer = Timer(call)
    timer.timeit(1)  # what compiles or allocates
    once = timer.timeit(1)
    if once < seconds:
        once = timer.timeit(3) / 3
    calls = max(1, round(seconds / once))
    # Wakes the threads that fell asleep in the others' turns. Nothing to a call that takes longer than a turn.
    untimed = max(1, calls // 10) if once < seconds else 0
    affordable = longest / ((calls + untimed) * once)
    return _Turn(timer, calls, untimed, max(1, int(min(repeats, affordable))))


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    repeats: int,
    seconds: float,
    settle: float = 0.0,
    longest: float = math.inf,
) -> dict[str, Timing]:
    """Times the calls in turn, ``repeats`` times, each turn for about ``seconds``; the first is what ratios are of.

    The median ratio is that of the repeats' ratios, the minimum one that of the fastest repeats. Before each turn the
    process sleeps for ``settle`` seconds, in which the idle threads of another runtime stop spinning on their cores. A
    call whose turns would take more than ``longest`` seconds together takes part in the first few repeats only.
    """
    turns = {name: _turn(call, repeats, seconds, longest) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats):
        for name, turn in turns.items():
            if repeat < turn.repeats:
                time.sleep(settle)
                turn.timer.timeit(turn.untimed)
                taken[name].append(turn.timer.timeit(turn.calls) / turn.calls)
    first = taken[next(iter(taken))]
    return {
        name: Timing(
            statistics.median(times),
            min(times),
            statistics.median(a / b for a, b in zip(times, first, strict=False)),
            min(times) / min(first),
            len(times),
        )
        for name, times in taken.items()
    }
