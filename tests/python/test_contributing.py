"""The commands in CONTRIBUTING.md name targets, files and presets that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL))


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {name for names in targets for name in names.split()}
    calls = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", COMMANDS)
    assert len(calls) >= 10
    assert {name for call in calls for name in call.split()} <= known


def test_files_exist() -> None:
    paths = re.findall(r"\b((?:scripts|tests|benchmarks|examples|docs)/[\w/.-]+\.\w+)", TEXT)
    assert len(paths) >= 10
    # A name in capitals stands for the operation that is added.
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


def test_presets_exist() -> None:
    presets = {preset["name"] for preset in json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]}
    assert set(re.findall(r"cmake --preset ([\w-]+)", COMMANDS)) <= presets
    table = re.findall(r"^\| (`[^|]*`) \| `build", TEXT, re.MULTILINE)
    assert {name for row in table for name in re.findall(r"`([\w-]+)`", row)} <= presets
