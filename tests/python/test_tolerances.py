"""Tolerances of csrc are in core/tolerances.h, and scripts/check_tolerances.py finds those that are not."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from script_files import ROOT, load, write_tree


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load(ROOT / "scripts" / "check_tolerances.py")


def test_the_tree_has_no_bare_tolerances(script: ModuleType) -> None:
    assert script.findings(ROOT / "csrc") == []


def test_each_exception_has_a_reason(script: ModuleType) -> None:
    assert all(len(entry.reason.split()) >= 4 for entry in script.EXCEPTIONS)


GOOD = """
// if (x < 1e-12), as in LAPACK
/* 2 * eps,
   1e-12 */
const auto message = "up to 1e-12";
const auto half = 0.5 * x + 10 * y / 3.0;
const auto threshold = tolerances::close_gap * tolerances::eps(x.scalar_type());
const auto steps = 2 * steps_of(x);
const int a1e5 = 0x1f;
"""


def test_a_good_file_has_no_findings(script: ModuleType, tmp_path: Path) -> None:
    tree = {"math/eigh.cpp": GOOD, "core/tolerances.h": "inline constexpr double gauge = 1e-12;\n"}
    assert script.findings(write_tree(tmp_path, tree), ()) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("if (x < 1e-12) {", "1e-12"),
        ("if (x < 1.5E-7f) {", "1.5E-7f"),
        ("if (x < 0x1p-40) {", "0x1p-40"),
        ("if (x < 0.001) {", "0.001"),
        ("if (x < .01f) {", ".01f"),
        ("at::where(x > 1e30, x, y);", "1e30"),
        ("if (x < 2 * tolerances::eps(x.scalar_type())) {", "2 * tolerances::eps(x.scalar_type())"),
        ("if (x < 8.0 * eps) {", "8.0 * eps"),
        ("if (x < T(8) * eps) {", "8) * eps"),
        ("if (x < Tolerance<T>::eps / 2) {", "eps / 2"),
        ("if (x < n * std::numeric_limits<double>::epsilon()) {", "epsilon()"),
    ],
)
def test_a_bare_tolerance_is_found(script: ModuleType, tmp_path: Path, line: str, found: str) -> None:
    tree = write_tree(tmp_path, {"math/eigh.cpp": GOOD + line + "\n"})
    number = GOOD.count("\n") + 1
    assert script.findings(tree, ()) == [
        f"math/eigh.cpp:{number}: `{found}` belongs in core/tolerances.h, with its reason"
    ]
    exception = script.Exemption("math/eigh.cpp", line, "only for this test")
    assert script.findings(tree, (exception,)) == []


def test_an_exception_that_is_not_needed_is_found(script: ModuleType, tmp_path: Path) -> None:
    exception = script.Exemption("math/eigh.cpp", "x < 1e-12", "only for this test")
    (finding,) = script.findings(write_tree(tmp_path, {"math/eigh.cpp": GOOD}), (exception,))
    assert finding == "math/eigh.cpp: the exception for `x < 1e-12` matches no line"
