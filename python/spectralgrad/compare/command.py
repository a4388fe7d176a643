"""The command: its arguments, and the order in which things happen."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from . import peers

_OUR_PEER = "spectralgrad"
_WIDTH_OF_FILES = 170
# Of the turns in which contenders are timed.
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
        help="folder for report.md, the plots and results.json",
    )
    parser.add_argument(
        "--peers",
        type=_peer_list,
        metavar="NAMES",
        default=[name for name in (*peers.MODULES, *peers.LIBRARIES) if name != _OUR_PEER],
        help="what to compare spectralgrad with, comma-separated (default: numpy, torch, jax and tensorflow, and for "
        "matrix functions torchspd, spd-learn and pot)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer sizes: within a minute instead of ten")


def run(arguments: argparse.Namespace) -> int:
    """Runs the comparison. 0, or 1 where a framework that is installed did not finish."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from . import functions, machine, plots, report, results, tables, workers
    from .problems import save

    started = time.perf_counter()
    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no width of its own; these tables are wide.
        console = Console(width=_WIDTH_OF_FILES)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in peers.MODULES if name in (*arguments.peers, _OUR_PEER)]
    problems = results.all_problems(quick=arguments.quick)
    function_problems = list(functions.problems(quick=arguments.quick))
    function_options = {
        "peers": [_OUR_PEER, *(name for name in arguments.peers if name != _OUR_PEER)],
        "timed": functions.timed(quick=arguments.quick),
        **(_QUICK_TIMING if arguments.quick else _TIMING),
    }

    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="spectralgrad-compare-") as temporary:
        folder = Path(temporary)
        save(problems, folder)
        functions_folder = folder / functions.PROCESS
        functions_folder.mkdir()
        save(function_problems, functions_folder)
        with (
            Progress(*columns, console=console) as progress,
            workers.running(names, folder, len(problems), progress),
        ):
            exact = results.references(problems, progress)
            exact_functions = results.function_references(function_problems, progress)
        answers = {name: workers.read(name, folder) for name in names}
        with Progress(*columns, console=console) as progress:
            beside = workers.run_functions(functions_folder, function_options, len(function_problems), progress)
        records = [
            *results.measure(problems, exact, answers),
            *results.measure_functions(function_problems, exact_functions, beside),
        ]

    comparison = results.Comparison(
        records=records,
        functions=beside.summary,
        answers={name: answer.summary for name, answer in answers.items()},
        machine=machine.describe(),
        quick=arguments.quick,
        seconds=time.perf_counter() - started,
    )
    shown = tables.all_tables(comparison)
    for table in shown.values():
        console.print(tables.to_rich(table))
        console.print()
    pictures = plots.draw(comparison, out)
    (out / "results.json").write_text(json.dumps(results.to_json(comparison), indent=1, ensure_ascii=False) + "\n")
    (out / "report.md").write_text(report.write(comparison, shown, pictures))
    for line in report.findings(comparison):
        console.print(f"• {line}", markup=False, highlight=False)
    seconds = round(time.perf_counter() - started)
    written = f"{out / 'report.md'}, {len(pictures)} plots and results.json"
    console.print(f"\n{written} written after {seconds} s", markup=False)
    return 0 if all(answer.finished for answer in (*answers.values(), beside)) else 1
