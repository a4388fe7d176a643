"""Times calls in one process, in turn.

A time depends on the machine and on its other work. A ratio of interleaved repeats depends on them much less, so ratios
are quoted.
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
    """Seconds for one call over the repeats, and the same as multiples of the first contender's time."""

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
    # torch.utils.benchmark.Timer makes two untimed calls before each measurement, which triples the cost of slow calls.
    timer = Timer(call)
    timer.timeit(1)  # the first call may compile or allocate
    once = timer.timeit(1)
    if once < seconds:
        once = timer.timeit(3) / 3
    calls = max(1, round(seconds / once))
    # Untimed calls wake the threads that fell asleep in other turns. A call longer than a turn does not need them.
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
    """Times the calls in turn, ``repeats`` times, each turn for about ``seconds``. Ratios refer to the first call.

    ``median_ratio`` is the median of the ratios of the repeats. ``minimum_ratio`` is the ratio of the fastest repeats.
    Before each turn the process sleeps for ``settle`` seconds, so that idle threads of other runtimes stop spinning on
    their cores. If the turns of a call would take more than ``longest`` seconds together, the call takes part in the
    first few repeats only.
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
