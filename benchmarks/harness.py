"""Common code of the benchmarks: a process for each number of threads, interleaved repeats, JSON, the command line.

A benchmark consists of a function that passes cases and contenders to a `Session`, and a `Benchmark` that says how to
show the results. `docs/benchmarks.md` explains the method.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import track

import spectralgrad as sg
from presentation import Plot, Record, Target, draw, judge, print_records
from spectralgrad.compare import machine, timing

HERE = Path(__file__).parent
# A folder for each kind of processor.
RESULTS = HERE / "results"
# The numbers of a quick run are not kept with the results.
QUICK_RESULTS = HERE.parent / "build" / "bench"

# Seconds to wait before a turn, until the idle threads of other runtimes have stopped spinning.
SETTLE = 0.01

Item = TypeVar("Item")


# --- measuring, in a process with a fixed number of threads -----------------------------------------------------------


class Session:
    """Measures in this process, and keeps the records."""

    def __init__(self, threads: int, quick: bool, options: Mapping[str, int]) -> None:
        self.threads = threads
        self.quick = quick
        self.options = options
        self.records: list[Record] = []

    def progress(self, cases: Sequence[Item]) -> Iterator[Item]:
        return iter(track(cases, f"{Path(sys.argv[0]).stem}, threads: {self.threads}"))

    def compare(
        self,
        contenders: Mapping[str, Callable[[], Any]],
        *,
        repeats: int = 7,
        seconds: float = 0.015,
        settle: float = 0.0,
        longest: float = 4.0,
        **case: Any,
    ) -> dict[str, Record]:
        """Times the contenders in turn; the first is the reference. For the arguments see `timing.interleaved`."""
        if self.quick:
            repeats, seconds, settle, longest = min(repeats, 3), 0.002, min(settle, 0.002), 0.5
        taken = timing.interleaved(contenders, repeats=repeats, seconds=seconds, settle=settle, longest=longest)
        found = {
            name: {
                **case,
                "threads": self.threads,
                "contender": name,
                "median": t.median,
                "minimum": t.minimum,
                "speedup": 1 / t.median_ratio,
                "speedup_of_minima": 1 / t.minimum_ratio,
                "repeats": t.repeats,
            }
            for name, t in taken.items()
        }
        self.records += found.values()
        return found


def folder_of(described: Mapping[str, Any]) -> str:
    """Returns the name of the folder with the results of this kind of processor, such as amd-epyc-avx512."""
    words = re.sub(r"\(.*?\)|@.*|\b(cpu|processor|[0-9]+-core)\b", "", described["processor"].lower())
    return "-".join([*re.findall("[a-z0-9]+", words), described["capability"].lower()])


def describe_machine() -> dict[str, Any]:
    """Returns the machine, and the versions of all possible contenders, used by this benchmark or not."""
    described = machine.describe()
    for name in ("torch", "tensorflow", "jax", "jaxlib", "scipy"):
        try:
            described["versions"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            described["versions"][name] = "not installed"
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    described["versions"]["spectralgrad"] = " ".join([sg.__version__, *git.stdout.split()])
    return described | {"capability": torch.backends.cpu.get_cpu_capability()}


# --- a process for each number of threads -----------------------------------------------------------------------------


def _environment(threads: int) -> dict[str, str]:
    """Returns the environment that limits every runtime to this number of threads.

    It must be set for a new process, because TensorFlow and XLA create their threads when they start, and OpenBLAS when
    it is loaded.
    """
    count = str(threads)
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
    limits |= {"NPROC": count, "TF_NUM_INTRAOP_THREADS": count, "TF_NUM_INTEROP_THREADS": "1"}  # NPROC is XLA's
    # By default, idle threads of OpenBLAS (in NumPy and JAX) spin for 2^26 cycles and more, into the next contender's
    # turn. "22" means 2^22 cycles, less than the 3 to 7 ms of libgomp's idle threads, for which `settle` waits.
    limits["OPENBLAS_THREAD_TIMEOUT"] = "22"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    return {**os.environ, **limits, **quiet}


def _cores(count: int) -> set[int]:
    """Chooses `count` of the CPUs that this process may use, on different cores if possible."""
    first_of_core: dict[str, int] = {}
    allowed = sorted(os.sched_getaffinity(0))
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        first_of_core.setdefault(siblings.read_text() if siblings.exists() else str(cpu), cpu)
    firsts = list(first_of_core.values())
    return set((firsts + [cpu for cpu in allowed if cpu not in firsts])[:count])


def fresh_process(arguments: Iterable[str], threads: int) -> Any:
    """Runs this program in a new process with `threads` threads and cores. Returns the JSON that it has written."""
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder) / "answer.json", Path(folder) / "log"
        with log.open("w") as stderr:
            ended = subprocess.run(
                [sys.executable, sys.argv[0], *arguments, "--answer", str(answer)],
                env=_environment(threads),
                stderr=stderr,  # TensorFlow logs to stderr, whatever TF_CPP_MIN_LOG_LEVEL is
                # The affinity must be set before any framework counts the CPUs.
                preexec_fn=functools.partial(os.sched_setaffinity, 0, _cores(threads)),
                check=False,
            )
        if ended.returncode:
            sys.exit(log.read_text() + f"\nthe process that measures ended with {ended.returncode}")
        return json.loads(answer.read_text())


# --- a program --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Benchmark:
    """`name` is the name of the files. `measure` runs in a process of its own for each number of threads."""

    name: str
    title: str
    measure: Callable[[Session], None]
    threads: tuple[int, ...] = (1, 2)
    # If the targets depend on the speeds of other cases, a function of the records.
    targets: Sequence[Target] | Callable[[Sequence[Record]], Sequence[Target]] = ()
    plots: Sequence[Plot] = ()
    # Replaces the table of all records and the check of `targets`. Returns whether the benchmark's aim was reached.
    show: Callable[[Sequence[Record], Console], bool] | None = None
    # Additional command-line options, passed on to the processes: option -> default.
    options: Mapping[str, int] = field(default_factory=dict)


def _present(benchmark: Benchmark, content: Mapping[str, Any], folder: Path) -> bool:
    console = Console(width=None if sys.stdout.isatty() else 220)
    records = content["measurements"]
    for plot in benchmark.plots:
        draw(plot, records, folder)
    if benchmark.show is not None:
        return benchmark.show(records, console)
    print_records(benchmark.title, records, console)
    targets = benchmark.targets(records) if callable(benchmark.targets) else benchmark.targets
    return judge(targets, content, console)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the JSON file with one measurement per line, so that diffs are readable."""
    rounded = [
        {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in record.items()}
        for record in content["measurements"]
    ]
    head = json.dumps({k: v for k, v in content.items() if k != "measurements"}, indent=1, ensure_ascii=False)
    lines = ",\n  ".join(json.dumps(record) for record in rounded)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head[:-2]},\n "measurements": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def run(benchmark: Benchmark, description: str | None) -> None:
    """Runs a benchmark from the command line: measures, writes the JSON file, shows tables and targets, draws plots."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", help=f"default: {benchmark.threads}; --quick: the last")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, for trying; into build/bench")
    parser.add_argument(
        "--out", type=Path, help="the folder for the numbers and plots (default: benchmarks/results/PROCESSOR)"
    )
    parser.add_argument(
        "--show", action="store_true", help="show tables and plots of the results in the folder, without measuring"
    )
    parser.add_argument("--require-targets", action="store_true", help="exit status 1 if a target is not reached")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)  # only for the processes that measure
    for name, default in benchmark.options.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parsed = parser.parse_args()

    if parsed.answer is not None:
        torch.set_num_threads(parsed.threads[0])
        torch.manual_seed(0)
        # A loss without a gradient takes another path, so its time would mean nothing.
        warnings.simplefilter("error", sg.GaugeWarning)
        session = Session(parsed.threads[0], parsed.quick, {name: getattr(parsed, name) for name in benchmark.options})
        benchmark.measure(session)
        parsed.answer.write_text(json.dumps(session.records))
        return

    described = describe_machine()
    folder = parsed.out or (QUICK_RESULTS if parsed.quick else RESULTS / folder_of(described))
    path = folder / f"{benchmark.name}.json"
    if parsed.show:
        content = json.loads(path.read_text(encoding="utf-8"))
    else:
        thread_counts = parsed.threads or (benchmark.threads[-1:] if parsed.quick else benchmark.threads)
        available = len(os.sched_getaffinity(0))
        if not all(1 <= threads <= available for threads in thread_counts):
            parser.error(
                f"--threads: expected numbers from 1 to {available}, the CPUs of this process, but got {thread_counts}"
            )
        handed_on = ["--quick"] * parsed.quick
        for name in benchmark.options:
            handed_on += [f"--{name}", str(getattr(parsed, name))]
        load = os.getloadavg()[0]
        if load > 0.3:
            print(
                f"The machine is busy (load {load:.1f}): if all cores are in use, parallel regions take milliseconds."
            )
        content = {
            "title": benchmark.title,
            "script": f"benchmarks/{Path(sys.argv[0]).name}",
            "date": date.today().isoformat(),
            "machine": described,
            "load_before": load,
            "measurements": [
                record
                for threads in thread_counts
                for record in fresh_process(["--threads", str(threads), *handed_on], threads)
            ],
        }
        _write(path, content)
    reached = _present(benchmark, content, folder)
    if parsed.require_targets and not reached:
        sys.exit(1)
