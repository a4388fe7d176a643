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


def wrapped(text: str) -> list[str]:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.wrap(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def table(records: list[Record], first_column: str, columns: dict[str, dict[str, Any]]) -> list[str]:
    """A row for each size, and a column for each set of fields."""
    lines = ["| " + " | ".join([first_column, *columns]) + " |", "|---" * (1 + len(columns)) + "|"]
    for n, batch in dict.fromkeys((r["n"], r["batch"]) for r in records):
        cells = [cell(records, n=n, batch=batch, **fields) for fields in columns.values()]
        lines.append(f"| {batch} × {n}×{n} | " + " | ".join(cells) + " |")
    return lines


class Results:
    """The results of one kind of processor."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}

    def processor(self) -> str:
        machine = next(iter(self.files.values()))["machine"]
        return f"{machine['processor']}, {machine['capability']}"

    def records(self, name: str) -> list[Record]:
        return list(self.files[name]["measurements"]) if name in self.files else []

    def origin(self, name: str) -> str:
        versions = self.files[name]["machine"]["versions"]
        return (
            f"torch {versions['torch']}, spectralgrad {versions['spectralgrad'].split()[0]}; {self.files[name]['date']}"
        )

    def sizes(self, name: str) -> list[Record]:
        return [r for r in self.records(name) if (r["part"], r["threads"]) == ("sizes", 2)]

    def table_of_sizes(self, name: str) -> list[str]:
        """A paragraph and a table of a function on random matrices; nothing if it was not measured."""
        if not (records := self.sizes(name)):
            return []
        words = {"svd": "Thin `sg.svd`"}.get(name, f"`sg.{name}`")
        columns = {
            f"{dtype} {operation}": {"dtype": dtype, "operation": operation}
            for dtype in ("float32", "float64")
            for operation in (FORWARD, FORWARD_BACKWARD)
        }
        lines = [
            *wrapped(f"{words} against `torch.linalg.{name}` ({self.origin(name)}):"),
            "",
            *table(records, "matrices", columns),
            "",
        ]
        if swept := ours(self.records(name), part="sweep"):
            lines += [
                f"The slowest of {len(swept)} cases of a sweep runs at {rounded(min(swept))} of torch's speed.",
                "",
            ]
        return lines

    def ahead_of_tensorflow(self) -> list[float]:
        """TensorFlow's median time over ours, for each case of the table of `eigh`."""
        medians: dict[tuple[Any, ...], dict[str, float]] = {}
        for r in self.sizes("eigh"):
            medians.setdefault((r["n"], r["dtype"], r["operation"]), {})[r["contender"]] = r["median"]
        return [
            case["tf.linalg.eigh"] / case["spectralgrad.eigh"] for case in medians.values() if "tf.linalg.eigh" in case
        ]

    def spreads(self) -> Iterable[tuple[str, list[float]]]:
        """Sentences with a gap for the lowest and the highest of these speeds."""
        eigh, generalized = self.records("eigh"), self.records("generalized_eigh")
        yield "`sg.eigh` against TensorFlow's, in the cases of the table: {} times as fast.", self.ahead_of_tensorflow()
        for dtype in ("complex64", "complex128"):
            yield (
                f"`sg.eigh` on batches of {dtype} matrices, forward: {{}} times as fast.",
                ours(eigh, part="complex", dtype=dtype, operation=FORWARD, threads=2),
            )
        yield (
            "`sg.eigvalsh` on batches, forward: {} times as fast as torch's.",
            ours(self.records("eigvalsh"), threads=2),
        )
        for sizes in ((3, 8, 16), (64, 128, 256)):
            yield (
                f"`sg.generalized_eigh` on batches of n = {', '.join(map(str, sizes))}, forward + backward: {{}} times "
                "as fast as `cholesky`, `solve_triangular` and `eigh` of `torch.linalg`.",
                [
                    speed
                    for n in sizes
                    for speed in ours(generalized, part="sizes", n=n, operation=FORWARD_BACKWARD, threads=2)
                ],
            )
        yield (
            "`sg.expm` and `sg.sqrtm` on batches of n = 3, 8, 16: {} times as fast as V f(λ) Vᵀ from "
            "`torch.linalg.eigh`.",
            ours(self.records("spectral_functions"), threads=2),
        )
        yield (
            "`sg.rigid_alignment` of 100,000 clouds of 16 points: {} times as fast as the same with "
            "`torch.linalg.svd`.",
            ours(self.records("rigid_alignment"), threads=2, batch=100_000),
        )
        yield (
            "The backward of a loss that uses n/8 eigenvectors, n = 256 … 1024: {} times as fast.",
            ours(self.records("partial_cotangent"), threads=2),
        )
        for operations, words in (
            (("func.grad", "vmap(grad)", "create_graph"), "`torch.func.grad`, `vmap(grad)` and `create_graph=True`"),
            (("hvp", "jvp(grad)"), "Products of a Hessian with a vector"),
            (("jvp",), "`torch.func.jvp`"),
        ):
            yield (
                f"{words} of a loss of `sg.eigh`, n = 3 … 512: {{}} times as fast.",
                [
                    speed
                    for operation in operations
                    for speed in ours(self.records("transforms"), function="eigh", operation=operation, threads=2)
                ],
            )
        for function, most in (("svd", 128), ("eig", 64)):
            yield (
                "`torch.func.grad`, `vmap(grad)` and `create_graph=True` of a loss of "
                f"`sg.{function}`, n = 3 … {most}: {{}} times as fast.",
                [
                    speed
                    for operation in ("func.grad", "vmap(grad)", "create_graph")
                    for speed in ours(self.records("transforms"), function=function, operation=operation, threads=2)
                ],
            )
        yield (
            "A loop over `sg.eigh`, `sg.svd` or `sg.expm` under `torch.compile`, n = 3 … 64: {} times as fast as "
            "without it.",
            [
                min(r["speedup"], r["speedup_of_minima"])
                for r in self.records("compile")
                if r["contender"] == "torch.compile"
            ],
        )

    def sentences(self) -> list[str]:
        lines = ["- " + words.format(spread(speeds)) for words, speeds in self.spreads() if speeds]
        if overhead := self.records("overhead"):
            first, both = (
                rounded(1 / min(ours(overhead, operation=operation, threads=1)))
                for operation in (FORWARD, FORWARD_BACKWARD)
            )
            lines.append(
                f"- On one 4×4 matrix, where only the overhead counts, a call takes {first} times as long as torch's "
                f"call. With its backward it takes {both} times as long."
            )
        if swept := ours(self.records("sweep")):
            below = sum(value < 0.9 for value in swept)
            lines.append(
                f"- A sweep of `sg.eigh` and `sg.eigvalsh` covers {len(swept)} cases (sizes, dtypes, batches, spectra, "
                f"one thread and two). The slowest case runs at {rounded(min(swept))} of torch's speed; {below} cases "
                "are below 0.9."
            )
        if memory := [r["of_torch"] for r in self.records("memory") if r["contender"] == "spectralgrad.eigh"]:
            lines.append(
                f"- Peak memory of forward + backward: {spread(memory)} times torch's, over {len(memory)} cases."
            )
        return lines

    def block(self) -> list[str]:
        lines = [f"**{self.processor()}**", ""]
        for name in ("eigh", "svd", "eig"):
            lines += self.table_of_sizes(name)
        return [*lines, *(line for sentence in self.sentences() for line in wrapped(sentence)), ""]


def block() -> str:
    lines = wrapped(
        "The tables show how many times as fast as torch this package is. Both run in the same process, taking turns, "
        "on random matrices, with two threads. Each number is the median of the ratios of the repeats or the ratio of "
        "the fastest repeats, whichever is lower."
    )
    lines.append("")
    for folder in sorted(RESULTS.iterdir(), reverse=True):
        lines += Results(folder).block()
    return "\n".join(lines)


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
