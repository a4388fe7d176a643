"""The comparison: its programs, workers, plots and documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import spectralgrad as sg
from spectralgrad import _high_precision as reference
from spectralgrad.compare import (
    functions,
    functions_worker,
    peers,
    program_runs,
    programs,
    question,
    results,
    sweep,
    tables,
    timing,
    worker,
    workers,
)
from spectralgrad.compare.loss import EIGH
from spectralgrad.compare.losses import LOSSES
from spectralgrad.compare.peers import functions as contenders
from spectralgrad.compare.peers import numpy_peer, spectralgrad_peer, torch_peer
from spectralgrad.compare.problems import References, load, save


def test_problems_survive_the_way_to_a_worker(tmp_path: Path) -> None:
    problems = list(sweep.problems((3,), ["1", sweep.EXACT]))
    save(problems, tmp_path)
    for ours, theirs in zip(problems, load(tmp_path), strict=True):
        assert (ours.key, ours.loss, ours.labels) == (theirs.key, theirs.loss, theirs.labels)
        assert np.array_equal(ours.matrices, theirs.matrices)
        assert ours.dtype == theirs.dtype


_AT_HAND = ("numpy", "torch", "spectralgrad")


@pytest.mark.parametrize("program", [p for p in programs.PROGRAMS if p.peer in _AT_HAND], ids=lambda p: p.key)
def test_programs(program: programs.Program) -> None:
    outcome = program_runs.execute(program)
    if program.key in ("torch as it stands", "spectralgrad as it stands"):
        assert outcome["raised"].startswith("RuntimeError: grad can be implicitly created only for real scalar outputs")
        return
    assert outcome["raised"] is None
    wrong = program.key == "numpy not symmetric, v vT"
    assert (program_runs.error(program, np.array(outcome["gradient"])) > 0.1) == wrong


def test_finite_differences_are_worse_than_the_frameworks() -> None:
    assert min(error for _, error in program_runs.finite_differences()) > 1e-13


def test_folded() -> None:
    assert program_runs.is_folded(np.array([[1.0, 0.0], [2.0, 1.0]]))
    assert not program_runs.is_folded(np.array([[1.0, 1.0], [1.0, 1.0]]))


def test_a_framework_that_is_not_installed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str) -> None:
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    monkeypatch.setattr(peers, "create", create)
    worker.work("jax", tmp_path)
    answer = workers.read("jax", tmp_path)
    assert answer.summary == {"status": "not installed"}
    assert answer.finished


def _by_functions(tmp_path: Path, names: list[str], wait: Callable[[], object] = lambda: None) -> workers.Answer:
    problems = [p for p in functions.problems(quick=True) if p.meta["precision"] == "double"]
    save(problems, tmp_path)
    options = {"peers": names, "timed": [("double", "sqrt", 3, 2)], "repeats": 2, "seconds": 1e-4}
    (tmp_path / functions.OPTIONS).write_text(json.dumps(options))
    functions_worker.work(tmp_path, wait)
    return workers.read(functions.PROCESS, tmp_path)


def test_matrix_functions_of_a_library_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def create(name: str) -> list[contenders.Contender]:
        if name in peers.LIBRARIES:
            module = peers.LIBRARIES[name]
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        return present(name)

    present = contenders.create
    monkeypatch.setattr(contenders, "create", create)
    printed: list[str] = []
    names = ["spectralgrad", "numpy", "torch", "torchspd", "spd-learn", "pot"]
    answer = _by_functions(tmp_path, names, wait=lambda: printed.append(capsys.readouterr().out))
    assert answer.finished
    # It waits once, before it measures times, because other processes would slow the calls down.
    (before,) = printed
    assert [line.split("/")[0] for line in before.splitlines()] == [functions.FIRST] * len(functions.FUNCTIONS)
    assert capsys.readouterr().out == "sqrt 3 double\n"
    comparison = results.Comparison([], {}, answer.summary, {}, True, 0.0)
    assert comparison.absent_libraries() == [(name, "not installed") for name in ("torchspd", "spd-learn", "POT")]
    assert list(answer.summary["contenders"]) == ["spectralgrad", "eigh by hand", "matrix_exp"]
    assert {t["contender"]: t["batch"] for t in answer.summary["timings"]} == {"spectralgrad": 2, "eigh by hand": 2}


def test_matrix_functions_of_all_packages(tmp_path: Path) -> None:
    pytest.importorskip("torchspd", reason="torchspd is not installed: requirements/clients.txt")
    answer = _by_functions(tmp_path, ["torch", "torchspd", "spectralgrad"])
    problems = [p for p in functions.problems(quick=True) if p.meta["precision"] == "double"]
    shared = References()
    exact = {problem.key: functions.references(problem, shared) for problem in problems}
    records = results.measure_functions(problems, exact, answer)

    def worst(peer: str, order: str, **wanted: str) -> float:
        chosen = [
            record
            for record in results.Comparison(records, {}, answer.summary, {}, True, 0.0).select(part=order, **wanted)
            if record.peer == peer
        ]
        assert chosen
        assert all(record.status == results.OK for record in chosen)
        return max(record.error for record in chosen if record.error is not None)

    first, second = functions.FIRST, functions.SECOND
    assert worst("spectralgrad", first) < 1e-13
    assert worst("spectralgrad", second) < 2e-10
    assert worst("matrix_exp", first) < 1e-13
    assert worst("matrix_exp", second) < 1e-13
    assert worst("eigh by hand", first, family=functions.SEPARATED) < 1e-13
    assert worst("torchspd", first, loss="sqrt", family=functions.IDENTITY) < 1e-14
    by_hand = [r for r in records if r.peer == "eigh by hand" and r.family == functions.IDENTITY]
    assert {record.status for record in by_hand} == {results.NOT_FINITE}
    once = [r for r in records if r.peer == "torchspd" and r.part == second]
    assert {record.status for record in once} == {results.RAISED}


def test_the_table_shows_that_a_worker_process_stopped() -> None:
    stopped = results.Comparison([], {}, {"status": "stopped with exit code 1"}, {}, True, 0.0)
    assert tables.functions_table(stopped, functions.FIRST, "double").rows[0][:2] == [
        "Matrix functions",
        "stopped with exit code 1",
    ]
    assert tables.speed_table(stopped, "double").rows == []


def test_times_are_multiples_of_the_first() -> None:
    calls: dict[str, Callable[[], object]] = {"quick": lambda: None, "slow": lambda: sum(range(10_000))}
    taken = timing.interleaved(calls, repeats=5, seconds=1e-3)
    assert (taken["quick"].median_ratio, taken["quick"].minimum_ratio) == (1, 1)
    assert taken["slow"].minimum_ratio == taken["slow"].minimum / taken["quick"].minimum
    assert taken["slow"].median_ratio > 2


def test_a_quick_run_leaves_out_sizes_and_gaps_only() -> None:
    """Every part, loss, precision, kind of matrix and family of the full run is in the quick one."""

    def kinds(quick: bool) -> set[tuple[str, ...]]:
        return {
            (p.meta["part"], p.loss, p.meta["precision"], p.meta.get("family", p.meta.get("kind", "")))
            for p in results.all_problems(quick)
        }

    assert kinds(quick=True) == kinds(quick=False)
    assert {family for family, _ in functions.cases(quick=True)} == set(functions.FAMILIES)


def _record(peer: str, variant: str, gap: str, status: str, error: float | None) -> results.Record:
    return results.Record(sweep.PART, "projector", peer, variant, gap, 8, "double", "symmetric", status, error, "", 0.0)


def test_no_curve_of_a_plot_hides_another() -> None:
    plots = pytest.importorskip("spectralgrad.compare.plots")
    curves = pytest.importorskip("spectralgrad.compare.curves")
    variants = {
        "numpy": ["NumPy + formula"],
        "torch": ["PyTorch"],
        "jax": ["JAX"],
        "tensorflow": ["TensorFlow"],
        "spectralgrad": list(spectralgrad_peer.SpectralgradPeer().variants[EIGH]),
    }
    gaps = ["1", "1e-8", "1e-16", "0", sweep.EXACT]
    statuses = [results.OK, results.NOT_FINITE, results.OK, results.OK, results.OK]
    # All curves are equal.
    records = [
        _record(peer, label, gap, status, 0.0 if status == results.OK else None)
        for peer, labels in variants.items()
        for label in labels
        for gap, status in zip(gaps, statuses, strict=True)
    ]
    answers = {peer: {"variants": {EIGH: dict.fromkeys(labels, "")}} for peer, labels in variants.items()}
    comparison = results.Comparison(records, answers, {}, {}, True, 0.0)
    panels = plots._panels(comparison)
    assert {variant for panel in panels.values() for variant in panel} == {(r.peer, r.variant) for r in records}
    for panel in panels.values():
        figure, axes = plots.plt.subplots()
        curves.gap_panel(axes, comparison, "projector", "double", panel)
        drawn = [line for line in axes.lines if len(line.get_xdata()) == len(gaps)]
        lines, markers = drawn[::2], drawn[1::2]
        assert len(lines) == len(markers) == len(panel) <= 5
        # Each curve and marker is narrower than the one below it.
        assert max(np.diff([line.get_linewidth() for line in lines])) <= -1
        assert max(np.diff([line.get_markersize() for line in markers])) <= -1
        for line in lines:
            # No line goes through a value that is not finite, or through a gap of zero.
            assert np.isnan(line.get_ydata()).tolist() == [False, True, False, True, True]
        for i in (1, 3, 4):
            assert len({float(line.get_xdata()[i]) for line in markers}) == len(panel)
        # An error of zero has a place on the logarithmic axis.
        assert {float(line.get_ydata()[0]) for line in markers} == {curves._BOTTOM}
        plots.plt.close(figure)


_WHY = Path(__file__).parents[2] / "docs" / "why.md"


def test_the_documentation_gives_the_same_answer() -> None:
    text = re.sub(r"\s+", " ", _WHY.read_text(encoding="utf-8"))
    for sentence in (f"# {question.QUESTION}", *question.ANSWER, question.CAPTION):
        assert sentence in text
    # The picture comes before any table or program.
    assert text.index("](why.png)") < text.index("```")


def test_the_example_of_the_documentation_prints_its_comments(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", _WHY.read_text(encoding="utf-8"), re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", example)


def test_the_picture_of_the_documentation_shows_the_measured_errors() -> None:
    """The PNG carries its figures. The command's code measures torch, NumPy and this project again."""
    plots = pytest.importorskip("spectralgrad.compare.plots")
    image = pytest.importorskip("PIL.Image")
    with image.open(_WHY.with_name("why.png")) as picture:
        shown = json.loads(picture.text[plots.FIGURES])
    assert list(shown) == ["NumPy + formula", "PyTorch", "JAX", "TensorFlow", "spectralgrad Gated"]
    # The answer's sentences: equal far apart, round-off divided by the gap near, ours right at every gap.
    assert all(curve["1"] < 1e-14 for curve in shown.values())
    assert shown["PyTorch"][sweep.EXACT] == results.NOT_FINITE
    assert max(shown["spectralgrad Gated"].values()) < 1e-14

    chosen = [p for p in sweep.problems((8,), list(shown["PyTorch"])) if p.key.endswith("/double/projector")]
    assert [p.meta["kind"] for p in chosen] == list(sweep.KINDS)
    shared = References()
    exact = {p.key: shared.exact(p) for p in chosen}
    measured = (
        ("numpy", numpy_peer.NumPyPeer(), "NumPy + formula"),
        ("torch", torch_peer.TorchPeer(), "PyTorch"),
        ("spectralgrad", spectralgrad_peer.SpectralgradPeer(), "Gated"),
    )
    for name, peer, variant in measured:
        curve = shown[results.title(name, variant)]
        # The test computes ill-posed gradients on purpose.
        with sg.checks("ignore"):
            gradients = {p.key: peer.gradients(variant, LOSSES[p.loss], p.matrices, p.parameters) for p in chosen}
        for i, gap in enumerate(chosen[0].labels):
            if gap in ("1e-16", "0", sweep.EXACT) and name != "spectralgrad":
                continue  # rounding decides whether it is NaN: another processor's may differ
            errors = []
            for p in chosen:
                right = exact[p.key][i].gradient
                assert right is not None
                errors.append(reference.relative_error(gradients[p.key][i], right))
            assert 1e-2 < (max(errors) + 1e-14) / (curve[gap] + 1e-14) < 1e2
