"""Writes the README's speed figures from the files in benchmarks/results; --check only compares them.

All speed figures in the README are between two marks, and only this script rounds them. It imports nothing but the
standard library, because the test suite calls it.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- speed: written by benchmarks/update_readme.py from benchmarks/results -->\n"
END = "<!-- end of speed -->\n"

FORWARD, FORWARD_BACKWARD = "forward", "forward + backward"
NOT_MEASURED = "–"
Record = dict[str, Any]


def rounded(value: float) -> str:
    """Rounds to two digits: 0.87, 1.3, 42, 130. Ties go to even, as in Python's formats."""
    if value >= 9.95:
        return f"{float(f'{value:.1e}'):.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def load(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"measurements": []}


def ours(records: Iterable[Record], **fields: Any) -> list[float]:
    """This package's speeds relative to the reference, in the records with these fields.

    Each is the lower of two figures: from the median of the ratios, and from the ratio of the minima.
    """
    return [
        min(r["speedup"], r["speedup_of_minima"])
        for r in records
        if r["contender"].startswith("spectralgrad.") and all(r.get(name) == value for name, value in fields.items())
    ]


def cell(records: Iterable[Record], **fields: Any) -> str:
    found = ours(records, **fields)
    return rounded(found[0]) if found else NOT_MEASURED


def spread(values: list[float]) -> str:
    low, high = rounded(min(values)), rounded(max(values))
    return low if low == high else f"{low} to {high}"


def origin(content: dict[str, Any], threads: int) -> str:
    machine = content["machine"]
    versions = machine["versions"]
    return (
        f"{machine['processor']}, {machine['capability']}, threads: {threads}; torch {versions['torch']}, "
        f"spectralgrad {versions['spectralgrad'].split()[0]}; {content['date']}"
    )


def table_of_sizes(content: dict[str, Any]) -> list[str]:
    records = [r for r in content["measurements"] if r["part"] == "sizes" and r["threads"] == 2]
    columns = [(dtype, operation) for dtype in ("float32", "float64") for operation in (FORWARD, FORWARD_BACKWARD)]
    lines = [
        "| matrices | " + " | ".join(f"{dtype} {operation}" for dtype, operation in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for n, batch in dict.fromkeys((r["n"], r["batch"]) for r in records):
        cells = [cell(records, n=n, batch=batch, dtype=dtype, operation=operation) for dtype, operation in columns]
        lines.append(f"| {batch} × {n}×{n} | " + " | ".join(cells) + " |")
    return lines


def ahead_of_tensorflow(records: list[Record]) -> list[float]:
    """TensorFlow's median time over ours, for each case of `table_of_sizes`."""
    medians: dict[tuple[Any, ...], dict[str, float]] = {}
    for r in records:
        if (r["part"], r["threads"]) == ("sizes", 2):
            medians.setdefault((r["n"], r["dtype"], r["operation"]), {})[r["contender"]] = r["median"]
    return [case["tf.linalg.eigh"] / case["spectralgrad.eigh"] for case in medians.values() if "tf.linalg.eigh" in case]


def sentences() -> list[str]:
    eigh = load("eigh")["measurements"]
    lines = []
    if leads := ahead_of_tensorflow(eigh):
        lines.append(f"- The same cases against TensorFlow's `eigh`: {spread(leads)} times as fast.")
    lines += [
        f"- Batches of {dtype} matrices, forward, two threads: {spread(values)} times as fast."
        for dtype in ("complex64", "complex128")
        if (values := ours(eigh, part="complex", dtype=dtype, operation=FORWARD, threads=2))
    ]
    for name, words in (
        ("eigvalsh", "`sg.eigvalsh` on batches, forward, two threads: {} times as fast as torch's."),
        (
            "spectral_functions",
            "`sg.expm` and `sg.sqrtm` on batches of n = 3, 8, 16, two threads: {} times as fast as V f(λ) Vᵀ from "
            "`torch.linalg.eigh`.",
        ),
        (
            "rigid_alignment",
            "`sg.rigid_alignment` of 100,000 clouds of 16 points, two threads: {} times as fast as the same with "
            "`torch.linalg.svd`.",
        ),
        ("partial_cotangent", "The backward of a loss that uses n/8 eigenvectors, n = 256 … 1024: {} times as fast."),
    ):
        # Of point clouds, those of the sentence.
        clouds = {"batch": 100_000} if name == "rigid_alignment" else {}
        if values := ours(load(name)["measurements"], threads=2, **clouds):
            lines.append("- " + words.format(spread(values)))
    overhead = load("overhead")["measurements"]
    first, both = (
        rounded(1 / min(ours(overhead, operation=operation, threads=1))) for operation in (FORWARD, FORWARD_BACKWARD)
    )
    lines.append(
        f"- On one 4×4 matrix, where only the overhead counts, a call takes {first} times as long as torch's call. "
        f"With its backward it takes {both} times as long."
    )
    swept = [r["speedup"] for r in load("sweep")["measurements"] if r["contender"].startswith("spectralgrad.")]
    if swept:
        below = sum(value < 0.9 for value in swept)
        lines.append(
            f"- A sweep covers {len(swept)} cases (sizes, dtypes, batches, spectra, one thread and two). The slowest "
            f"case runs at {rounded(min(swept))} of torch's speed; {below} cases are below 0.9."
        )
    memory = [r for r in load("memory")["measurements"] if r["contender"] == "spectralgrad.eigh"]
    if memory:
        lines.append(
            f"- Peak memory of forward + backward: {spread([r['of_torch'] for r in memory])} times torch's, over "
            f"{len(memory)} cases."
        )
    return lines


def svd_lines(content: dict[str, Any]) -> list[str]:
    if not content["measurements"]:
        return []
    swept = ours(content["measurements"], part="sweep")
    return [
        "",
        *wrapped(f"In the same way, thin `sg.svd` against `torch.linalg.svd` ({origin(content, 2)}):"),
        "",
        *table_of_sizes(content),
        "",
        *wrapped(f"The slowest of {len(swept)} cases of a sweep runs at {rounded(min(swept))} of torch's speed."),
    ]


def wrapped(text: str) -> list[str]:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.wrap(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def block() -> str:
    eigh = load("eigh")
    lines = [
        *wrapped(
            "The table shows how many times as fast as `torch.linalg.eigh` this package is. Both run in the same "
            "process, taking turns, on random matrices. Each number is the median of the ratios of the repeats or the "
            f"ratio of the fastest repeats, whichever is lower ({origin(eigh, 2)})."
        ),
        "",
        *table_of_sizes(eigh),
        "",
        *(line for sentence in sentences() for line in wrapped(sentence)),
        *svd_lines(load("svd")),
    ]
    return "\n".join(lines) + "\n"


def split(text: str) -> tuple[str, str, str]:
    """The text up to and including the first mark, the block, and the text from the second mark on."""
    before, begin, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md must contain both marks, {BEGIN.strip()} and {END.strip()}")
    return before + begin, inside, end + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with status 1 if the figures differ")
    check = parser.parse_args().check
    before, inside, after = split(README.read_text(encoding="utf-8"))
    if check:
        if inside != block():
            sys.exit(
                "The speed figures in README.md differ from benchmarks/results; run python benchmarks/update_readme.py"
            )
    else:
        README.write_text(before + block() + after, encoding="utf-8")


if __name__ == "__main__":
    main()
