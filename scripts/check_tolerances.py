"""Finds bare tolerances in csrc. `make lint` and tests/python/test_tolerances.py run it.

Every tolerance has a name, a value and a reason in core/tolerances.h. Elsewhere, this reports

- a floating-point literal with an exponent (1e-12, 0x1p-52), or one between 0 and 0.1;
- a number times or divided by eps (2 * eps, tolerances::eps(dtype) / 4);
- std::numeric_limits<...>::epsilon(); code uses tolerances::eps.

The table `EXCEPTIONS` lists numbers that are no tolerances. An exception that matches no line is reported, too.

    python scripts/check_tolerances.py [FOLDER]

FOLDER is csrc by default. The exit status is 1 if something is wrong; each finding is one line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HOME = "core/tolerances.h"


class Exemption(NamedTuple):
    file: str
    text: str  # part of the line
    reason: str


EXCEPTIONS = (
    Exemption(
        "kernels/eigh/method_choice.cpp",
        "size * size * ",
        "Times fitted to measurements. They choose the faster method, whose results are the same.",
    ),
    Exemption(
        "kernels/eigh/lapack_eigh.cpp",
        "largest * Limits::epsilon() >= least",
        "Not a tolerance of its own: it keeps `negligible` below eps where the largest entry is near underflow.",
    ),
    Exemption("kernels/simd/vector.h", "static constexpr T eps = ", "The eps of a lane's type, for the kernels."),
    Exemption("math/smearing.cpp", "0.06667134430868813759}", "A weight of Gauss-Legendre quadrature."),
    Exemption(
        "math/smearing.cpp",
        "const double bound = ",
        "Keeps powers from overflow. Numbers near this bound have the weight zero.",
    ),
)

COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
INTEGER = r"(?<![\w.])\d+(?:'\d+)*(?![\w.'])"
REAL = r"(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?[fFlL]?"
HEXADECIMAL = r"(?<![\w.])0[xX][\da-fA-F.]+[pP][-+]?\d+"
LITERAL = re.compile(rf"{HEXADECIMAL}|{REAL}")
NUMBER = rf"(?:{HEXADECIMAL}|{REAL}|{INTEGER})"
EPS = r"(?:\w+::)*eps\b(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?"
MULTIPLE = re.compile(rf"{NUMBER}\)?\s*[*/]\s*{EPS}|(?<![\w.]){EPS}\s*[*/]\s*(?:\w+\()?{NUMBER}")
EPSILON = re.compile(r"\bepsilon\(\)")


def code_lines(text: str) -> list[str]:
    """The lines without comments and strings."""
    return COMMENT_OR_STRING.sub(lambda match: "\n" * match[0].count("\n"), text).split("\n")


def is_small_or_has_exponent(literal: str) -> bool:
    if literal[:2] in {"0x", "0X"}:
        return True
    return "e" in literal.lower() or 0 < float(literal.rstrip("fFlL")) < 0.1


def bare_tolerances(line: str) -> Iterator[str]:
    for literal in LITERAL.findall(line):
        if is_small_or_has_exponent(literal):
            yield literal
    for pattern in (MULTIPLE, EPSILON):
        for match in pattern.finditer(line):
            yield match[0]


def findings(folder: Path, exceptions: Sequence[Exemption] = EXCEPTIONS) -> list[str]:
    found = []
    used = set()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".h", ".cpp"}):
        file = str(path.relative_to(folder))
        if file == HOME:
            continue
        for number, line in enumerate(code_lines(path.read_text(encoding="utf-8")), 1):
            bare = list(bare_tolerances(line))
            exempting = {entry for entry in exceptions if bare and entry.file == file and entry.text in line}
            used |= exempting
            if bare and not exempting:
                found.append(f"{file}:{number}: `{bare[0]}` belongs in {HOME}, with its reason")
    found += [
        f"{entry.file}: the exception for `{entry.text}` matches no line" for entry in exceptions if entry not in used
    ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Finds bare tolerances.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("csrc"))
    found = findings(parser.parse_args().folder)
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
