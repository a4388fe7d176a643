"""Looks for cases that are slower than torch.linalg, among many sizes, dtypes, batch sizes and spectra.

A case below the limit is measured again with more repeats, up to three times, so that a busy machine does not cause a
false report. The JSON file has every case with its number of repeats; the table shows the slowest.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console

from contenders import FORWARD, FORWARD_BACKWARD, SPECTRA, contenders, matrices, torch_peers
from harness import Benchmark, Session, run
from presentation import Record, print_records

LIMIT = 0.9
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 32, 33, 48, 64, 65, 96, 128, 129, 200, 256, 384, 512, 768, 1024)
BATCHES = (1, 2, 3, 5, 8, 17, 32, 100, 256, 1000, 4096)
DTYPES = ("float32", "float64", "complex64", "complex128")
OPERATIONS = (("eigh", FORWARD), ("eigh", FORWARD_BACKWARD), ("eigvalsh", FORWARD))
# (Repeats, seconds per turn) of the first measurement, and of up to three more.
LONGER_AND_LONGER = ((5, 0.004), (9, 0.01), (15, 0.02), (25, 0.02))
# The table shows at least this number of cases.
SHOWN = 20


class Case(NamedTuple):
    n: int
    batch: int
    dtype: str
    spectrum: str
    function: str
    operation: str


def affordable(case: Case) -> bool:
    """Whether torch takes about 0.1 s at most. A single real matrix may have any size."""
    weight = 4 if case.dtype.startswith("complex") else 1
    alone = case.batch == 1 and weight == 1
    return alone or (weight * case.n**3 * case.batch <= 2**28 and weight * case.n**2 * case.batch <= 2**21)


def cases(session: Session) -> list[Case]:
    every = [
        Case(n, batch, dtype, spectrum, *operation)
        for n, batch, dtype, spectrum, operation in itertools.product(SIZES, BATCHES, DTYPES, SPECTRA, OPERATIONS)
    ]
    every = [case for case in every if affordable(case)]
    # Always included are single real matrices of all sizes. For small ones, the overhead of a call counts most; for the
    # largest ones, torch is hardest to beat.
    always = [c for c in every if c.batch == 1 and c.spectrum == "random" and c.dtype in DTYPES[:2]]
    count = session.options["cases"]
    if count == 0:
        return every
    if session.quick:
        always, count = always[::12], 20
    drawn = random.Random(session.options["seed"]).sample(every, len(every))
    return list(dict.fromkeys(always + drawn))[: max(count, len(always))]


def compare_until_fast(
    session: Session,
    calls: Mapping[str, Callable[[], Any]],
    turns: Sequence[tuple[int, float]] = LONGER_AND_LONGER,
    **options: Any,
) -> None:
    """Measures a case. Below the limit, it is measured again with the next turns: a busy machine is no finding."""
    kept = len(session.records)
    for repeats, seconds in turns:
        del session.records[kept:]
        found = session.compare(calls, repeats=repeats, seconds=seconds, **options)
        if found[f"spectralgrad.{options['function']}"]["speedup"] >= LIMIT or session.quick:
            break


def measure(session: Session) -> None:
    peers = torch_peers()
    for case in session.progress(cases(session)):
        A = matrices(case.n, case.batch, case.dtype, case.spectrum)
        calls = contenders(peers, case.function, A, (case.operation,), case.spectrum)[case.operation]
        compare_until_fast(session, calls, longest=2.0, **case._asdict())


def show(records: Sequence[Record], console: Console) -> bool:
    ours = sorted((r for r in records if r["contender"].startswith("spectralgrad")), key=lambda r: r["speedup"])
    below = sum(r["speedup"] < LIMIT for r in ours)
    title = f"{below} of {len(ours)} cases below {LIMIT} of torch's speed; the slowest:"
    print_records(title, ours[: max(SHOWN, below)], console)
    return below == 0


if __name__ == "__main__":
    run(
        Benchmark("sweep", "Never slower than torch", measure, show=show, options={"cases": 260, "seed": 0}),
        __doc__
        + f"\n--cases is the number of cases for each number of threads; 0 means all cases. The limit is {LIMIT}.",
    )
