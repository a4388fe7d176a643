"""Part 8 of the comparison, eig near a Jordan block: the packages at hand, warnings, the picture."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import spectralgrad as sg
from jordan_problems import KINDS, find
from spectralgrad import _high_precision as reference
from spectralgrad.compare import jordan, jordan_tables, results, sweep, worker, workers
from spectralgrad.compare.loss import EIG
from spectralgrad.compare.losses import LOSSES
from spectralgrad.compare.peers import Peer, numpy_peer, spectralgrad_peer, torch_peer
from spectralgrad.compare.problems import Problem, save

EPS = float(np.finfo(np.float64).eps)


def outcome(peer: Peer, problem: Problem) -> tuple[dict[str, float], dict[str, str]]:
    """The errors, infinite for a raised error, and the warnings, by gap."""
    (variant,) = peer.variants[EIG]
    loss = LOSSES[problem.loss]
    computed, texts = peer.gradients_and_warnings(variant, loss, problem.matrices, problem.parameters)
    errors = {}
    for label, gradient, exact in zip(problem.labels, computed, jordan.JordanReferences().exact(problem), strict=True):
        if exact.gradient is not None:
            failed = isinstance(gradient, Exception)
            errors[label] = np.inf if failed else reference.relative_error(gradient, exact.gradient, hermitian=False)
    return errors, dict(zip(problem.labels, texts, strict=True))


GAPS = ["1", "1e-2", "1e-4", "1e-6", "1e-8", "0", sweep.EXACT]
PEERS: dict[str, Callable[[], Peer]] = {
    "numpy": numpy_peer.NumPyPeer,
    "torch": torch_peer.TorchPeer,
    "ours": spectralgrad_peer.SpectralgradPeer,
}


@KINDS
@pytest.mark.parametrize("peer", PEERS)
def test_an_eigenvalue_loses_all_digits_and_only_ours_says_so(peer: str, kind: str) -> None:
    """The error is about eps/gap², of which rounding decides two digits: 2e-8 at 1e-4, half of the digits."""
    errors, texts = outcome(PEERS[peer](), find(kind, "pair_eigenvalue", GAPS))
    assert errors["1"] < 1e-13
    assert errors["1e-2"] < 1e3 * EPS / 1e-4
    assert 1e-2 * EPS / 1e-8 < errors["1e-4"] < 1e3 * EPS / 1e-8
    assert 1e-2 * EPS / 1e-12 < errors["1e-6"] < 1e3 * EPS / 1e-12
    assert errors["0"] > 1e-2
    reported = [gap for gap, text in texts.items() if text]
    assert reported == (["1e-4", "1e-6", "1e-8", "0", sweep.EXACT] if peer == "ours" else [])
    assert all(texts[gap].startswith("GaugeWarning: ") for gap in reported)


@KINDS
@pytest.mark.parametrize("name", ["pair_sum", "trace"])
def test_sums_over_the_pair_stay_right_in_ours_alone(name: str, kind: str) -> None:
    problem = find(kind, name, jordan.GAPS)
    errors, texts = outcome(spectralgrad_peer.SpectralgradPeer(), problem)
    assert max(errors.values()) < 50 * EPS
    # The sums are well-conditioned, so a report would be a false alarm.
    assert not any(texts.values())


def test_sums_over_the_pair_lose_digits_in_the_frameworks() -> None:
    """The inverse of V, whose condition number is about 1/gap, has an error of eps/gap. At zero the gap is √eps."""
    for peer in ("numpy", "torch"):
        errors = [outcome(PEERS[peer](), find(kind, "pair_sum", jordan.GAPS))[0] for kind in jordan.KINDS]
        worst = {gap: max(found[gap] for found in errors) for gap in jordan.GAPS}
        assert worst["1"] < 1e-14
        assert 1e-13 < worst["1e-4"] < 1e-10
        assert 1e-11 < max(worst["1e-7"], worst["1e-8"], worst["1e-9"], worst["0"]) < 1e-6
        # LAPACK finds the structure of the exact block, and nothing rounds.
        assert worst[sweep.EXACT] < 1e-14


@KINDS
def test_ours_reports_riesz_projectors_near_a_jordan_block(kind: str) -> None:
    _, texts = outcome(PEERS["ours"](), find(kind, "riesz_projector", ["1", "1e-6", "1e-8"]))
    assert [gap for gap, text in texts.items() if text] == ["1e-6", "1e-8"]


@pytest.mark.parametrize("peer", PEERS)
def test_riesz_projectors_by_eigenvectors_lose_half_of_their_digits(peer: str) -> None:
    errors = [outcome(PEERS[peer](), find(kind, "riesz_projector", ["1", "1e-6", "1e-8"]))[0] for kind in jordan.KINDS]
    assert max(found["1"] for found in errors) < 1e-13
    # A raised error counts as infinite.
    for gap in ("1e-6", "1e-8"):
        assert max(found[gap] for found in errors) > EPS**0.5


# --- the way of a warning ---------------------------------------------------------------------------------------------


def test_warnings_reach_the_records(tmp_path: Path) -> None:
    problems = [find(jordan.REAL, "pair_eigenvalue", ["1", "1e-8", sweep.EXACT])]
    save(problems, tmp_path)
    worker.work("spectralgrad", tmp_path)
    sg.set_checks("warn")
    answer = workers.read("spectralgrad", tmp_path)
    exact = {problem.key: jordan.JordanReferences().exact(problem) for problem in problems}
    records = results.measure(problems, exact, {"spectralgrad": answer})
    assert [(r.label, r.status, r.reported) for r in records] == [
        ("1", results.OK, False),
        ("1e-8", results.OK, True),
        (sweep.EXACT, results.UNDEFINED, True),
    ]
    comparison = results.Comparison(records, {"spectralgrad": answer.summary}, {}, {}, True, 0.0)
    written = results.to_json(comparison)["records"]
    assert [record["warning"].startswith("GaugeWarning: ") for record in written] == [False, True, True]
    table = jordan_tables.all_tables(comparison)["eig reports double"]
    assert table.rows == [["spectralgrad Gated", "1 of 1", "–", "–", "–", "1 of 1", "0 of 1"]]


def record(status: str, error: float | None, precision: str = "double", warning: str = "") -> results.Record:
    return results.Record(
        jordan.PART, "trace", "torch", "PyTorch", "1", 2, precision, jordan.REAL, status, error, "", 1.0, warning
    )


def test_lost_and_right_gradients() -> None:
    lost = [
        record(results.OK, 1e-7),
        record(results.OK, 1e-3, "single"),
        record(results.NOT_FINITE, None),
        record(results.RAISED, None),
    ]
    right = [record(results.OK, 1e-15, warning="GaugeWarning: x"), record(results.OK, 1e-6, "single")]
    others = [record(results.OK, 1e-10), record(results.UNDEFINED, None)]
    everything = [*lost, *right, *others]
    assert [r for r in everything if jordan_tables.lost_half_its_digits(r)] == lost
    assert [r for r in everything if jordan_tables.is_right(r)] == right
    assert jordan_tables.counted(everything) == "2 of 8"
    assert jordan_tables.counted([]) == "–"


# --- the picture of docs/why.md ---------------------------------------------------------------------------------------


def test_the_picture_shows_the_measured_errors() -> None:
    """docs/jordan.png carries its figures, the worst of all kinds and sizes. Those of packages at hand are measured."""
    plots = pytest.importorskip("spectralgrad.compare.plots")
    image = pytest.importorskip("PIL.Image")
    with image.open(Path(__file__).parents[2] / "docs" / "jordan.png") as picture:
        shown = json.loads(picture.text[plots.FIGURES])
    ours, frameworks = "spectralgrad Gated", ["NumPy + formula", "PyTorch", "JAX", "TensorFlow"]
    assert list(shown) == list(jordan.LOSS_NAMES)
    assert all(list(curves) == [*frameworks, ours] for curves in shown.values())
    # The sentences of docs/why.md. Half of the digits are lost at the gap 1e-4, and all at 1e-8.
    for curve in shown["pair_eigenvalue"].values():
        assert curve["1"] < 1e-14
        assert 1e-9 < curve["1e-4"] < 1e-5
        assert curve["1e-8"] > 0.01
        assert sweep.EXACT not in curve
    for name in ("pair_sum", "trace"):
        assert max(shown[name][ours].values()) < 50 * EPS
        assert all(1e-11 < max(shown[name][framework].values()) < 1e-6 for framework in frameworks)
    for name, curve in shown["riesz_projector"].items():
        assert curve["1"] < 1e-13
        finite = {gap: error for gap, error in curve.items() if error != results.NOT_FINITE}
        if name == ours:
            assert finite["1e-4"] < 5e-8
            assert finite["0"] < 0.1
        else:
            assert max(finite.values()) > 1

    names = dict(zip(("numpy", "torch", "ours"), ("NumPy + formula", "PyTorch", ours), strict=True))
    for loss, peer in itertools.product(("pair_eigenvalue", "pair_sum"), PEERS):
        problems = [p for n in jordan.SIZES["full"] for p in jordan.problems((n,)) if p.meta["precision"] == "double"]
        found = [outcome(PEERS[peer](), p)[0] for p in problems if p.loss == loss]
        for gap in ("1", "1e-2", "1e-4", "1e-6"):
            worst = max(errors[gap] for errors in found)
            assert 1e-2 < (worst + 1e-14) / (shown[loss][names[peer]][gap] + 1e-14) < 1e2
