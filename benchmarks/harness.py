"""What the benchmarks share: interleaved repeats in one process, medians and minima, ratios, a table and a JSON.

Absolute times depend on the machine and on what else it does; a ratio of interleaved repeats does not: that is quoted.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import spectralgrad as sg
from spectralgrad.compare.timing import interleaved


@dataclass(frozen=True)
class Measurement:
    """Seconds per call of one contender, and the median over the repeats of its ratio to the reference."""

    case: str
    contender: str
    median: float
    minimum: float
    ratio: float


def interleave(
    case: str, contenders: dict[str, Callable[[], Any]], *, repeats: int = 21, seconds: float = 0.02
) -> list[Measurement]:
    """Times the contenders in turn; the first is the reference. Each turn takes about `seconds`."""
    taken = interleaved(contenders, repeats=repeats, seconds=seconds)
    return [Measurement(case, name, t.median, t.minimum, t.median_ratio) for name, t in taken.items()]


def machine() -> dict[str, str]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "spectralgrad": sg.__version__,
    }


def report(title: str, measurements: list[Measurement], out: Path | None) -> None:
    table = Table(title=title)
    for heading in ("case", "contender", "median µs", "minimum µs", "times the reference"):
        table.add_column(heading, justify="left" if heading in ("case", "contender") else "right")
    for m in measurements:
        table.add_row(m.case, m.contender, f"{m.median * 1e6:.1f}", f"{m.minimum * 1e6:.1f}", f"{m.ratio:.2f}")
    Console().print(table)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "title": title,
            "date": date.today().isoformat(),
            "machine": machine(),
            "measurements": [asdict(m) for m in measurements],
        }
        out.write_text(json.dumps(content, indent=1) + "\n")


def arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers, the machine and the versions")
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    return parsed
