"""The arguments of the command, and the order of its steps."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import peers
from .stopping import Stopped, WriteError, prepare_folder, replace, signals_as_exceptions, writing

if TYPE_CHECKING:
    from .results import Comparison

_NUMBERS = "results.json"
_REPORT = "report.md"
_OUR_PEER = "spectralgrad"
_WIDTH_OF_FILES = 170
# The command cannot run without these packages. It can run without a framework, which then has no numbers.
_NEEDED = ("matplotlib", "mpmath", "networkx", "numpy", "rich", "threadpoolctl")
# The number of turns in which contenders are timed, and the seconds of each turn.
_TIMING = {"repeats": 21, "seconds": 0.02}
_QUICK_TIMING = {"repeats": 7, "seconds": 0.005}


def _peer_list(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = (*peers.MODULES, *peers.LIBRARIES)
    if not names or not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"expected a comma-separated list of {', '.join(known)}, but got {text!r}")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``compare``."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("comparison"),
        help="folder for report.md, the plots and results.json (default: comparison)",
    )
    parser.add_argument(
        "--peers",
        type=_peer_list,
        metavar="NAMES",
        default=[name for name in (*peers.MODULES, *peers.LIBRARIES) if name != _OUR_PEER],
        help="comma-separated frameworks and libraries to compare spectralgrad with (default: numpy, torch, jax and "
        "tensorflow, and for functions of a matrix torchspd, spd-learn and pot)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer sizes: half a minute instead of three minutes")


def run(arguments: argparse.Namespace) -> int:
    """Runs the comparison and returns the exit status.

    The status is 0 after success, and 1 if an installed framework did not finish. It is 2 if a file cannot be written
    or a needed package is not installed. After Ctrl-C or SIGTERM it is 128 plus the signal's number: 130 or 143.
    """
    out: Path = arguments.out
    absent = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        print(
            f"python -m spectralgrad compare: not installed: {', '.join(absent)}. `make compare` installs everything "
            f"that the comparison needs; `pip install {' '.join(absent)}` installs only these.",
            file=sys.stderr,
        )
        return 2
    try:
        with signals_as_exceptions():
            prepare_folder(out, (_NUMBERS, _REPORT))
            return _compare(arguments)
    except WriteError as error:
        print(f"python -m spectralgrad compare: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"python -m spectralgrad compare: stopped by {stopped}", file=sys.stderr)
        return stopped.exit_status


def _write_numbers(comparison: Comparison, out: Path) -> None:
    from . import results

    text = json.dumps(results.to_json(comparison), indent=1, ensure_ascii=False) + "\n"
    replace(out / _NUMBERS, lambda path: path.write_text(text, encoding="utf-8"))


def _compare(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from . import findings, plots, report, tables
    from .table import to_rich

    started = time.perf_counter()
    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no width, and these tables are wide.
        console = Console(width=_WIDTH_OF_FILES)
    out: Path = arguments.out
    comparison, finished = _measure(arguments, started)
    shown = tables.all_tables(comparison)
    pictures = plots.draw(comparison, out)
    text = report.write(comparison, shown, pictures)
    replace(out / _REPORT, lambda path: path.write_text(text, encoding="utf-8"))
    # The output comes after the files, so that a reader who closes the pipe does not prevent the files.
    with writing("standard output"):
        for shown_table in shown.values():
            console.print(to_rich(shown_table))
            console.print()
        for line in findings.findings(comparison):
            console.print(f"• {line}", markup=False, highlight=False)
        seconds = round(time.perf_counter() - started)
        written = f"{out / _REPORT}, {len(pictures)} plots and {_NUMBERS}"
        console.print(f"\n{written} written after {seconds} s", markup=False)
        sys.stdout.flush()
    return 0 if finished else 1


def _measure(arguments: argparse.Namespace, started: float) -> tuple[Comparison, bool]:
    """Runs all parts and writes the numbers as they become available.

    Returns the comparison, and whether every installed framework finished.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-not-found,import-untyped,unused-ignore]

    from . import functions, machine, progress, results, workers
    from .problems import save

    names = [name for name in peers.MODULES if name in (*arguments.peers, _OUR_PEER)]
    problems = results.all_problems(quick=arguments.quick)
    function_problems = list(functions.problems(quick=arguments.quick))
    function_options: dict[str, Any] = {
        "peers": [_OUR_PEER, *(name for name in arguments.peers if name != _OUR_PEER)],
        "timed": functions.timed(quick=arguments.quick),
        **(_QUICK_TIMING if arguments.quick else _TIMING),
    }
    system = machine.describe()
    answers: dict[str, workers.Answer] = {}
    records: list[results.Record] = []

    def write(functions_answer: workers.Answer | None) -> Comparison:
        comparison = results.Comparison(
            records=records,
            functions={"status": "not finished"} if functions_answer is None else functions_answer.summary,
            answers={name: answer.summary for name, answer in answers.items()},
            machine=system,
            quick=arguments.quick,
            seconds=time.perf_counter() - started,
            complete=functions_answer is not None,
        )
        _write_numbers(comparison, arguments.out)
        return comparison

    def write_first_parts() -> None:
        """Writes the first four parts once, when the frameworks have ended.

        The references of matrix functions take longer.
        """
        if not answers:
            answers.update({name: workers.read(name, folder) for name in names})
            records.extend(results.measure(problems, exact, answers))
            write(None)

    # The references' matrix products are too small to gain from threads, and threads would take cores from the workers.
    with threadpool_limits(limits=1), ExitStack() as stack:
        with writing("the folder for temporary files"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spectralgrad-compare-")))
            save(problems, folder)
            functions_folder = folder / functions.PROCESS
            functions_folder.mkdir()
            save(function_problems, functions_folder)
            (functions_folder / functions.OPTIONS).write_text(json.dumps(function_options))
        with progress.show() as shown:
            totals = len(problems), len(function_problems) + len(function_options["timed"])
            with workers.running(names, folder, totals, shown) as running:
                exact = results.references(problems, shown)
                exact_functions = results.function_references(
                    function_problems,
                    shown,
                    after_each=lambda: write_first_parts() if running.frameworks_ended() else None,
                )
                running.wait_for_frameworks()
                write_first_parts()
                running.start_timing()
            functions_answer = workers.read(functions.PROCESS, functions_folder)
        records += results.measure_functions(function_problems, exact_functions, functions_answer)
    return write(functions_answer), all(answer.finished for answer in (*answers.values(), functions_answer))
