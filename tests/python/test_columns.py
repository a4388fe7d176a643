"""Lines end at 120 columns, and scripts/check_columns.py finds those that do not."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from script_files import ROOT, load, write_tree


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load(ROOT / "scripts" / "check_columns.py")


def test_the_tree_has_no_long_lines(script: ModuleType) -> None:
    assert script.findings(ROOT) == []


WORDS = "word " * 24 + "x"  # 121 columns
URL = "https://example.org/" + "x" * 120


@pytest.mark.parametrize("file", ["csrc/a.h", "csrc/a.cpp", "a.py", "docs/a.md", "CMakeLists.txt", "Makefile"])
def test_a_long_line_is_found(script: ModuleType, tmp_path: Path, file: str) -> None:
    text = f"{WORDS[:-1]}\n{WORDS}\nλ{WORDS[2:]}\n"  # the last has 120 columns, and more bytes
    assert script.findings(write_tree(tmp_path, {file: text})) == [f"{file}:2: 121 columns"]


@pytest.mark.parametrize("line", [f"| {WORDS} |", f"  | {WORDS} |", URL, f"- <{URL}>"])
def test_tables_and_links_in_markdown_may_be_long(script: ModuleType, tmp_path: Path, line: str) -> None:
    assert script.findings(write_tree(tmp_path, {"a.md": line + "\n"})) == []
    assert script.findings(write_tree(tmp_path, {"a.md": "", "a.py": line + "\n"})) != []


@pytest.mark.parametrize(
    "file", ["build/a.cpp", "python/spectralgrad/include/a.h", "benchmarks/results/a.json", "a.egg-info/a.txt", "a.log"]
)
def test_entries_that_are_not_written_are_not_read(script: ModuleType, tmp_path: Path, file: str) -> None:
    assert script.findings(write_tree(tmp_path, {file: WORDS})) == []


def test_an_environment_is_not_read(script: ModuleType, tmp_path: Path) -> None:
    assert script.findings(write_tree(tmp_path, {"env/pyvenv.cfg": "", "env/lib/a.py": WORDS})) == []
