"""The command `spectralgrad compare`: a small run, its files, bad arguments, full disks and signals."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spectralgrad.compare import (
    add_arguments,
    alignment,
    command,
    functions,
    generalized,
    graphs,
    jordan,
    progress,
    question,
    results,
    run,
    singular_values,
    stopping,
    sweep,
)


def test_peers_that_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--peers", "numpy,matlab"])
    assert "expected a comma-separated list of numpy, torch, jax, tensorflow" in capsys.readouterr().err


@pytest.mark.slow
def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("rich", "matplotlib", "threadpoolctl"):
        pytest.importorskip(name)
    gaps = ["1", "1e-8", "0", sweep.EXACT]
    problems = [
        *sweep.problems((3,), gaps),
        *graphs.problems(("benzene, Hückel",)),
        *singular_values.problems(((3, 4),), gaps),
        *alignment.problems(gaps),
        *jordan.problems((4,), gaps),
        *generalized.problems((4,), gaps),
    ]
    monkeypatch.setattr(results, "all_problems", lambda quick: problems)
    monkeypatch.setattr(functions, "cases", lambda quick: [(functions.SEPARATED, ""), (functions.IDENTITY, "")])
    monkeypatch.setattr(functions, "timed", lambda quick: [("double", "exp", 3, 4)])
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    # Drawing plots changes the state of Python's random generator, which conftest.py checks.
    state = random.getstate()
    arguments = ["--quick", "--out", str(tmp_path / "out"), "--peers", "numpy,torchspd"]
    # For every version of the file: whether the numbers are complete, and how many plots there are at that time.
    numbers = tmp_path / "out" / "results.json"
    versions: list[tuple[bool, int]] = []
    write = stopping.replace

    def watch(path: Path, content: Callable[[Path], object]) -> None:
        write(path, content)
        if path == numbers:
            versions.append((json.loads(path.read_text())["complete"], len(list(path.parent.glob("*.png")))))

    monkeypatch.setattr(command, "replace", watch)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.2)
    assert run(parser.parse_args(arguments)) == 0
    random.setstate(state)
    assert versions == [(False, 0), (True, 0)]

    captured = capsys.readouterr()
    shown = captured.out
    assert re.search(r"^NumPy.*: (\d+) of \1, ended after \d+ s$", captured.err, re.M)
    assert re.search(r"^\d+ s: .* \d+ of \d+", captured.err, re.M)
    assert "Worst relative error" in shown
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["machine"]["versions"]["numpy"] == np.__version__
    assert set(written["peers"]) == {"numpy", "spectralgrad"}
    # torchspd is differentiable only once.
    raised = {r["peer"] for r in written["records"] if r["status"] == results.RAISED}
    assert raised <= {"torchspd"}
    gated = [
        record["error"]
        for record in written["records"]
        if record["variant"] == "Gated" and record["loss"] == "projector" and record["precision"] == "double"
    ]
    assert max(gated) < 1e-13
    energy = [
        (record["status"], record["error"])
        for record in written["records"]
        if record["variant"] == "Gated" and record["loss"] == "energy_by_projector"
    ]
    # Double and single precision, at every gap and for benzene: the gradient is P, to the digits of the projector.
    assert {status for status, _ in energy} == {results.OK}
    assert max(error for _, error in energy) < 1e-5
    assert sorted(error for _, error in energy)[len(energy) // 2 - 1] < 1e-13
    pencils = [r for r in written["records"] if r["part"] == generalized.PART and r["peer"] == "spectralgrad"]
    assert len(pencils) == 2 * 2 * 2 * len(gaps)
    assert max(r["error"] for r in pencils) < 1e-12
    ours = [r["error"] for r in written["records"] if r["part"] == functions.FIRST and r["peer"] == "spectralgrad"]
    assert max(error for error in ours if error is not None) < 1e-4  # single precision
    assert written["functions"]["timings"][0]["contender"] == "spectralgrad"
    report = (tmp_path / "out" / "report.md").read_text()
    for picture in (tmp_path / "out").glob("*.png"):
        assert f"({picture.name})" in report
    assert "Is Lorentzian broadening any better than a mask?" in report
    assert "Functions of a matrix, worst error of the gradient" in report
    assert report.startswith(f"# {question.QUESTION}\n\n{question.answer()}\n![why](why.png)\n")
    findings = [line for line in report.split("## Findings")[1].split("## ")[0].splitlines()[4:] if line]
    assert [line for line in findings if not line.startswith("- ") or len(line) > 250] == []
    assert any(line.startswith("- Energy tr(A P(A)), whose gradient is P: NumPy") for line in findings)
    assert any(line.startswith("- Polar factors U Vᴴ: NumPy") for line in findings)
    assert any(line.startswith("- Octahedron and cube: NumPy") for line in findings)
    assert any(line.startswith("- The sum of its eigenvalues, at every gap: NumPy") for line in findings)
    assert any(line.startswith("- A v = λ B v, tr(M V_c V_cᴴ) by A and B, at the gap 1e-8: NumPy") for line in findings)
    assert any(line.startswith("- Its energy tr(A V_c V_cᴴ): NumPy") for line in findings)
    assert re.search(r"half of their digits: NumPy 0 of \d+, spectralgrad (\d+) of \1\.$", "\n".join(findings), re.M)
    for part in ("svd over all gaps", "an alignment", "eig over all gaps"):
        assert f"Worst relative error of the gradient of {part}, single precision" in report
    assert "| exp: spectralgrad |" in report
    assert "| tr(A V_c V_cᴴ) by B: spectralgrad |" in report


def test_packages_that_are_missing_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("rich", "networkx") else name)
    assert run(argparse.Namespace(out=tmp_path / "out")) == 2
    assert capsys.readouterr().err == (
        "python -m spectralgrad compare: not installed: networkx, rich. `make compare` installs everything that the "
        "comparison needs; `pip install networkx rich` installs only these.\n"
    )
    assert not (tmp_path / "out").exists()


def _refused(out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The single line on standard error of a run that fails before its work starts."""
    monkeypatch.setattr(command, "_compare", lambda arguments: pytest.fail("the work started"))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(["--out", str(out)])) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("below", ["", "folder"])
def test_out_that_is_a_file(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("kept")
    error = _refused(tmp_path / "file" / below, capsys, monkeypatch)
    assert "--out must be a folder that can be written, but got" in error
    assert (tmp_path / "file").read_text() == "kept"


def test_out_that_is_read_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        is_root = os.geteuid() == 0
        if is_root:
            # Permissions do not restrict root, so the test runs as another user.
            Path(folder).chmod(0o755)
            os.seteuid(65534)
        else:
            Path(folder).chmod(0o555)
        try:
            error = _refused(Path(folder), capsys, monkeypatch)
        finally:
            if is_root:
                os.seteuid(0)
            else:
                Path(folder).chmod(0o755)
    assert f"--out must be a folder that can be written, but got {folder!r}: Permission denied" in error


def test_out_with_a_folder_in_the_place_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.json").mkdir()
    assert "results.json is a folder there" in _refused(tmp_path, capsys, monkeypatch)


def test_out_that_can_be_written_is_left_empty(tmp_path: Path) -> None:
    stopping.prepare_folder(tmp_path / "new" / "folder", ("results.json",))
    assert list((tmp_path / "new" / "folder").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_is_full_while_the_numbers_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.json").write_text("earlier")
    (tmp_path / "results.json.part").symlink_to("/dev/full")
    empty = results.Comparison([], {}, {}, {}, True, 0.0)
    monkeypatch.setattr(command, "_compare", lambda arguments: command._write_numbers(empty, arguments.out))
    assert run(argparse.Namespace(out=tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.endswith("results.json' cannot be written: No space left on device\n")
    assert error.count("\n") == 1
    assert (tmp_path / "results.json").read_text() == "earlier"
    assert not (tmp_path / "results.json.part").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_processes_and_no_files(number: signal.Signals, status: int, tmp_path: Path) -> None:
    pytest.importorskip("rich")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "spectralgrad", "compare", "--out", str(tmp_path / "out"), "--peers", "numpy"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(temporary.glob("*/*.log")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status
    assert out == ""
    assert error.endswith(f"python -m spectralgrad compare: stopped by {number.name}\n")
    assert "Traceback" not in error
    assert list(temporary.iterdir()) == []
    assert _commands_with(str(temporary)) == []


def test_a_signal_waits_for_the_end_of_a_block() -> None:
    """The block starts threads. A signal during a start would leave a thread that writes into the removed folder."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread may set handlers of signals")
    done = []
    with stopping.signals_as_exceptions():
        with pytest.raises(stopping.Stopped) as raised, stopping.signals_delayed():
            signal.raise_signal(signal.SIGTERM)
            done.append("block")
        # A second signal does not interrupt the cleaning.
        signal.raise_signal(signal.SIGTERM)
    assert done == ["block"]
    assert raised.value.exit_status == 143
    with stopping.signals_as_exceptions():
        with stopping.signals_delayed():
            pass
        with pytest.raises(stopping.Stopped):
            signal.raise_signal(signal.SIGINT)


def _commands_with(text: str) -> list[str]:
    """The command lines of running processes that contain the text. A worker's command line contains its folder."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if text in line]
