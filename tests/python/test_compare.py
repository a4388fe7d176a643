"""The comparison: its references against closed forms, its graphs, and a small run of the command."""

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

import mpmath
import numpy as np
import pytest

import spectralgrad as sg
from spectralgrad import _high_precision as reference
from spectralgrad._high_precision import fixed_point
from spectralgrad.compare import (
    add_arguments,
    command,
    functions,
    functions_worker,
    graphs,
    peers,
    program_runs,
    programs,
    progress,
    question,
    results,
    run,
    stopping,
    sweep,
    tables,
    timing,
    worker,
    workers,
)
from spectralgrad.compare.losses import LOSSES, Parameters
from spectralgrad.compare.peers import functions as contenders
from spectralgrad.compare.peers import numpy_peer, spectralgrad_peer, torch_peer
from spectralgrad.compare.problems import Problem, References, load, save

KINDS = ("symmetric", "hermitian")
# Losses of one eigenvalue or eigenvector.
_SINGLE = ("eigenvalue", "separated_vector", "near_vector")


def _residual(matrix: np.ndarray, spectrum: reference.Spectrum) -> float:
    """The largest entries of A V - V diag(values) and V^H V - I."""
    with mpmath.workdps(100):
        vectors = spectrum.vectors.to_mpmath()
        exact = np.vectorize(mpmath.mpmathify, otypes=[object])(matrix.tolist())
        residual = exact.dot(vectors) - vectors * np.array(spectrum.values, dtype=object)
        defect = vectors.T.conj().dot(vectors) - np.eye(len(matrix))
        return float(max(abs(x) for x in (*residual.ravel(), *defect.ravel())))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", ["1", "1e-5", "1e-12", "0", sweep.EXACT])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_reference_decomposes_to_its_digits(n: int, gap: str, kind: str) -> None:
    matrix = sweep.matrix_with_cluster(n, gap, kind, np.random.default_rng(n))
    assert _residual(matrix, reference.eigh_mp(matrix)) < 1e-75


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_reference_follows_the_scale(scale: float) -> None:
    matrix = sweep.matrix_with_cluster(3, "1e-3", "symmetric", np.random.default_rng(0)) * scale
    m = np.diag([1.0, 2.0, 3.0])
    exact = reference.projector_gradient(matrix, m, 1, 3).to_numpy()
    np.testing.assert_allclose(exact * scale, reference.projector_gradient(matrix / scale, m, 1, 3).to_numpy(), 1e-10)


def test_reference_agrees_with_mpmath() -> None:
    matrix = sweep.matrix_with_cluster(8, "1e-6", "symmetric", np.random.default_rng(1))
    with mpmath.workdps(70):
        values = mpmath.eigsy(mpmath.matrix(matrix.tolist()), eigvals_only=True)
        assert max(abs(a - b) for a, b in zip(reference.eigh_mp(matrix).values, values, strict=True)) < 1e-65


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_exact_gradients_belong_to_the_losses(name: str, kind: str) -> None:
    """Against central differences of the loss itself, in 60 digits: their error is the step squared."""
    n, loss = 4, LOSSES[name]
    rng = np.random.default_rng(5)
    matrix = sweep.hermitian_part(sweep.gaussian(rng, (n, n), kind))
    arrays = {
        "M": sweep.hermitian_part(sweep.gaussian(rng, (n, n), kind)),
        "y": sweep.gaussian(rng, (n,), kind),
    }
    p = Parameters(1, 2 if name in _SINGLE else 3, arrays)
    direction = sweep.hermitian_part(sweep.gaussian(rng, (n, n), kind))
    spectrum = reference.eigh_mp(matrix)
    with reference.working_precision():
        exact = reference.gradient(spectrum, loss.weights(spectrum.values, p), loss.matrix(p)).to_mpmath()
        derivative = mpmath.re(np.sum(np.conj(exact) * direction))
        step = mpmath.mpf(2) ** -60
        high, low = (_loss_in_mpmath(name, matrix + sign * step * direction, p) for sign in (1, -1))
        assert abs((high - low) / (2 * step) - derivative) < 1e-30 * (1 + abs(derivative))


class _MpmathOperations:
    adjoint = staticmethod(lambda x: np.conj(x.T))
    conj = staticmethod(np.conj)
    exp = staticmethod(lambda x: np.array([mpmath.exp(y) for y in x], dtype=object))
    real = staticmethod(mpmath.re)
    sum = staticmethod(np.sum)
    scale_columns = staticmethod(lambda x, weights: x * weights)


def _loss_in_mpmath(name: str, matrix: np.ndarray, p: Parameters) -> mpmath.mpf:
    solve = mpmath.eighe if any(isinstance(x, mpmath.mpc) for x in matrix.ravel()) else mpmath.eigsy
    values, vectors = solve(mpmath.matrix(matrix.tolist()))
    return LOSSES[name].value(
        _MpmathOperations(), matrix, np.array(list(values), dtype=object), np.array(vectors.tolist(), dtype=object), p
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_numpys_cotangents_belong_to_the_losses(name: str, kind: str) -> None:
    """At distinct eigenvalues the textbook formula is right to round-off, so a wrong cotangent would show."""
    n, rng = 5, np.random.default_rng(6)
    matrix = sweep.matrix_with_cluster(n, "1", kind, rng)
    arrays = {
        "M": sweep.hermitian_part(sweep.gaussian(rng, (n, n), kind)),
        "y": sweep.gaussian(rng, (n,), kind),
    }
    p = Parameters(3, 4 if name in _SINGLE else 5, arrays)
    problem = Problem("p", name, matrix[None], p, ["1"])
    (computed,) = numpy_peer.create().gradients("", LOSSES[name], problem.matrices, p)
    exact = References().of(problem)[0].gradient
    assert exact is not None
    assert reference.relative_error(computed, exact) < 1e-13


def test_relative_error_unfolds_and_does_not_hide_nan() -> None:
    exact = reference.HighPrecisionMatrix.from_array(np.array([[1.0, 0.25], [0.25, 2.0]]), 200)
    assert reference.relative_error(np.array([[1.0, 0.0], [0.5, 2.0]]), exact) == 0
    assert np.isnan(reference.relative_error(np.full((2, 2), np.nan), exact))
    assert reference.relative_error(np.zeros((2, 2)), exact) == 1


def test_an_exactly_repeated_eigenvalue_has_no_reference_derivative() -> None:
    matrix = np.diag([1.0, 1.0, 3.0])
    (exact,) = References().of(Problem("p", "eigenvalue", matrix[None], Parameters(0, 1), ["exact"]))
    assert exact.gradient is None
    assert exact.why_not == "no derivative: the eigenvalue is repeated exactly"


def test_fullerene_is_a_truncated_icosahedron() -> None:
    graph = graphs.truncated_icosahedron()
    assert graph.number_of_nodes() == 60
    assert graph.number_of_edges() == 90
    assert {degree for _, degree in graph.degree} == {3}
    assert sum(kind == "6-6" for *_, kind in graph.edges(data="kind")) == 30


@pytest.mark.parametrize("graph", graphs.all_graphs(), ids=lambda graph: graph.name.split(",")[0])
def test_levels_belong_to_the_matrix(graph: graphs.Graph) -> None:
    levels = [float(level) for level, multiplicity in graph.levels() for _ in range(multiplicity)]
    np.testing.assert_allclose(levels, np.linalg.eigvalsh(graph.matrix), atol=1e-13)
    # The occupied states are whole levels.
    assert graph.occupied in np.cumsum([multiplicity for _, multiplicity in graph.levels()])


def test_fullerenes_highest_occupied_level_is_fivefold() -> None:
    fullerene = next(graph for graph in graphs.all_graphs() if graph.name.startswith("C60"))
    filled = np.cumsum([multiplicity for _, multiplicity in fullerene.levels()]).tolist()
    highest = filled.index(fullerene.occupied)
    level, multiplicity = fullerene.levels()[highest]
    assert multiplicity == 5  # h_u
    assert float(level) == pytest.approx(-(5**0.5 - 1) / 2)
    assert fullerene.levels()[highest + 1][1] == 3  # t1u


def test_bond_orders_agree_with_textbooks() -> None:
    closed = graphs.ClosedForms()
    orders = {
        graph.name.split(",")[0]: 2 * closed.occupied_projector(graph).to_numpy()[graph.bond]
        for graph in graphs.all_graphs()[:2]
    }
    assert orders["benzene"] == pytest.approx(2 / 3, abs=1e-15)
    assert orders["C60"] == pytest.approx(0.601, abs=5e-4)


@pytest.mark.parametrize("name", ["benzene, Hückel", "Petersen, Laplacian"])
def test_two_references_agree(name: str) -> None:
    """Polynomials in the matrix, and eigenvectors, are two ways to 60 digits without a common step."""
    graph = next(graph for graph in graphs.all_graphs() if graph.name == name)
    closed = graphs.ClosedForms()
    spectrum = reference.eigh_mp(graph.matrix)
    for problem in graphs.problems((name,)):
        loss, p = LOSSES[problem.loss], problem.parameters
        with reference.working_precision():
            by_vectors = reference.gradient(spectrum, loss.weights(spectrum.values, p), loss.matrix(p))
            by_levels = closed.gradient(graph, problem.loss, p)
        assert (by_vectors - by_levels).magnitude() < -200  # 2^-200 = 1e-60


def test_problems_survive_the_way_to_a_worker(tmp_path: Path) -> None:
    problems = list(sweep.problems((3,), ["1", sweep.EXACT]))
    save(problems, tmp_path)
    for ours, theirs in zip(problems, load(tmp_path), strict=True):
        assert (ours.key, ours.loss, ours.labels) == (theirs.key, theirs.loss, theirs.labels)
        assert np.array_equal(ours.matrices, theirs.matrices)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("program", [p for p in programs.PROGRAMS if p.peer in ("numpy", "torch")], ids=lambda p: p.key)
def test_programs(program: programs.Program) -> None:
    outcome = program_runs.execute(program)
    if program.key == "torch as it stands":
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


def test_peers_that_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--peers", "numpy,matlab"])
    assert "expected a comma-separated list of numpy, torch, jax, tensorflow" in capsys.readouterr().err


_SPECTRA = [(functions.SEPARATED, ""), (functions.NEAR, "1e-8"), (functions.CLUSTER, functions.EXACT)]


@pytest.mark.parametrize("name", functions.FUNCTIONS)
@pytest.mark.parametrize("family", _SPECTRA, ids=lambda family: family[0])
def test_second_derivatives_belong_to_the_loss(name: str, family: tuple[str, str]) -> None:
    """Against central differences of the exact gradient D f(A)[f(A) - M], in 60 digits."""
    n, function = 3, functions.FUNCTIONS[name]
    rng = np.random.default_rng(7)
    matrix = functions.matrix(*family, n, rng)
    m, e = (sweep.hermitian_part(sweep.gaussian(rng, (n, n), "symmetric")) for _ in range(2))

    def gradient(a: np.ndarray) -> np.ndarray:
        values, vectors = mpmath.eigsy(mpmath.matrix(a.tolist()))
        v = np.array(vectors.tolist(), dtype=object)
        x = np.diag([function.f(value) for value in values]) - v.T @ m @ v
        return v @ (reference.function_weights(list(values), function.f, function.df) * x) @ v.T

    exact = functions.hessian_product(reference.eigh_mp(matrix), function, m, e).to_numpy()
    with reference.working_precision():
        step = mpmath.mpf(10) ** -15
        high, low = (gradient(matrix + sign * step * e) for sign in (1, -1))
        differences = ((high - low) / (2 * step)).astype(float)
    np.testing.assert_allclose(exact, differences, rtol=0, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize("name", functions.FUNCTIONS)
@pytest.mark.parametrize("label", ["1e-4", "1e-12"])
def test_second_derivatives_have_their_digits(name: str, label: str) -> None:
    """Against the plain quotients in 150 digits, where division by a small gap loses only digits that do not matter."""
    n, function = 4, functions.FUNCTIONS[name]
    rng = np.random.default_rng(8)
    matrix = functions.matrix(functions.CLUSTER, label, n, rng)
    m, e = (sweep.hermitian_part(sweep.gaussian(rng, (n, n), "symmetric")) for _ in range(2))
    computed = functions.hessian_product(reference.eigh_mp(matrix), function, m, e)
    with mpmath.workdps(150):
        values, vectors = mpmath.eigsy(mpmath.matrix(matrix.tolist()))
        v = np.array(vectors.tolist(), dtype=object)
        m, e = (v.T @ array @ v for array in (m, e))
        x = np.diag([function.f(value) for value in values]) - m

        def once(a: int, b: int) -> mpmath.mpf:
            if a == b:
                return function.df(values[a])
            return (function.f(values[a]) - function.f(values[b])) / (values[a] - values[b])

        def twice(a: int, b: int, c: int) -> mpmath.mpf:
            if a == b == c:
                return function.d2f(values[a]) / 2
            if a == c:
                b, c = c, b
            return (once(a, b) - once(b, c)) / (values[a] - values[c])

        product = np.array([[once(i, j) ** 2 * e[i, j] for j in range(n)] for i in range(n)])
        for i, k, j in np.ndindex(n, n, n):
            product[i, j] += twice(i, k, j) * (x[i, k] * e[k, j] + e[i, k] * x[k, j])
        expected = v @ product @ v.T
        errors = abs(computed.to_mpmath() - expected)
        assert errors.max() < 1e-70 * abs(expected).max()


@pytest.mark.parametrize("bits", [1, 15, 16, 17, 31, 32, 300])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4), (3, 0, 2), (0, 2, 3), (33, 40, 5)])
def test_products_of_integers_are_exact(shape: tuple[int, int, int], bits: int) -> None:
    generator = random.Random(bits)
    p, n, q = shape

    def integers(rows: int, columns: int, bits: int) -> np.ndarray:
        extremes = [0, 1, -1, 2**bits - 1, 1 - 2**bits, -(2**bits)]
        entries = [generator.choice([*extremes, generator.getrandbits(bits)]) for _ in range(rows * columns)]
        return np.array(entries, dtype=object).reshape(rows, columns)

    a, b = integers(p, n, bits), integers(n, q, bits // 2 + 1)
    assert np.array_equal(fixed_point.integer_matmul(a, b), a.dot(b))
    assert np.array_equal(fixed_point.integer_matmul(b.T, a.T), b.T.dot(a.T))


@pytest.mark.parametrize("family", functions.FAMILIES)
def test_spectra_have_the_properties_of_their_family(family: str) -> None:
    label = "1e-4" if family in functions.WITH_GAPS else ""
    values = np.linalg.eigvalsh(functions.matrix(family, label, 8, np.random.default_rng(0)))
    gaps = np.diff(values) / values[-1]
    near = {functions.SEPARATED: 0, functions.UNITS: 3, functions.CLUSTER: 3, functions.NEAR: 7, functions.IDENTITY: 7}
    assert np.count_nonzero(gaps < 2e-4) == near[family]
    assert values[0] > 0


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
    # It waits once, between the derivatives and the times: other processes would slow these down.
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


@pytest.mark.slow
def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("rich", "matplotlib", "threadpoolctl"):
        pytest.importorskip(name)
    problems = [
        *sweep.problems((3,), ["1", "1e-8", "0", sweep.EXACT]),
        *graphs.problems(("benzene, Hückel",)),
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
    assert "| exp: spectralgrad |" in report


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
        "spectralgrad": list(spectralgrad_peer.SpectralgradPeer().variants),
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
    answers = {peer: {"variants": dict.fromkeys(labels, "")} for peer, labels in variants.items()}
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


def _refused(out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The single line on standard error of a run that is refused before the work starts."""
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
    """The block starts threads. One whose start is interrupted would run on and write into a folder being removed."""
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
    assert [p.meta["kind"] for p in chosen] == list(KINDS)
    shared = References()
    exact = {p.key: shared.of(p) for p in chosen}
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
