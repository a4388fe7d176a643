"""Finds lines of more than 120 columns. `make lint` and tests/python/test_columns.py run it.

In Markdown, tables may be wider, as may a line that has no space to break it at, such as a link.

    python scripts/check_columns.py [FOLDER]

FOLDER is the current one by default. The exit status is 1 if something is wrong; each finding is one line.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

LIMIT = 120
SUFFIXES = {".cmake", ".cpp", ".h", ".in", ".json", ".md", ".py", ".pyi", ".toml", ".txt", ".yaml"}
NAMES = {"Makefile", ".clang-format", ".clang-tidy", ".editorconfig", ".gitignore"}
# Not written by hand: builds, what a development build installs into the package, results.
SKIPPED = {".git", "build", "dist", "comparison", "benchmarks/results"}
SKIPPED |= {f"python/spectralgrad/{name}" for name in ("include", "lib", "share", "_build_info.py")}


def files_of(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(
            name
            for name in folders
            if str((place / name).relative_to(folder)) not in SKIPPED
            and not name.endswith(("_cache", "__pycache__", ".egg-info"))
            and not (place / name / "pyvenv.cfg").exists()
        )
        for path in sorted(place / name for name in names):
            is_written = str(path.relative_to(folder)) not in SKIPPED
            if is_written and (path.suffix in SUFFIXES or path.name in NAMES):
                yield path


def may_be_long(line: str, suffix: str) -> bool:
    if suffix != ".md":
        return False
    return line.lstrip().startswith("|") or " " not in line.strip().lstrip("-*> ")


def findings(folder: Path) -> list[str]:
    found = []
    for path in files_of(folder):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > LIMIT and not may_be_long(line, path.suffix):
                found.append(f"{path.relative_to(folder)}:{number}: {len(line)} columns")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Finds lines of more than 120 columns.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    found = findings(parser.parse_args().folder)
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
