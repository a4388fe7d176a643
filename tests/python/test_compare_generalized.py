"""Part 9 of the comparison, A v = λ B v: the references, and the packages at hand."""

from __future__ import annotations

import re
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

import generalized_reference
from spectralgrad import _high_precision as reference
from spectralgrad.compare import findings, generalized, results, sweep, tables
from spectralgrad.compare.loss import GENERALIZED
from spectralgrad.compare.losses import LOSSES
from spectralgrad.compare.peers import Peer, numpy_peer, spectralgrad_peer, torch_peer
from spectralgrad.compare.problems import Problem
from spectralgrad.compare.workers import Answer

GAPS = generalized.GAPS["full"]
PROBLEMS = {problem.key: problem for n in (3, 4, 8) for problem in generalized.problems((n,), GAPS)}
QUICK = {key: problem for key, problem in PROBLEMS.items() if problem.meta["n"] in generalized.SIZES["quick"]}
PEERS: dict[str, Callable[[], Peer]] = {
    "numpy": numpy_peer.NumPyPeer,
    "torch": torch_peer.TorchPeer,
    "spectralgrad": spectralgrad_peer.SpectralgradPeer,
}


@pytest.fixture(scope="module")
def records() -> list[results.Record]:
    """The records of the packages at hand, for the problems of both runs."""
    references = generalized.GeneralizedReferences()
    problems = list(PROBLEMS.values())
    exact = {problem.key: references.exact(problem) for problem in problems}
    found = []
    for name, create in PEERS.items():
        peer = create()
        (variant,) = peer.variants[GENERALIZED]
        gradients: dict[str, np.ndarray] = {}
        for problem in problems:
            computed = peer.gradients(variant, LOSSES[problem.loss], problem.matrices, problem.parameters)
            for i, gradient in enumerate(computed):
                assert isinstance(gradient, np.ndarray)
                gradients[f"{problem.key}/{variant}/{i}"] = gradient
        answer = Answer({"status": "installed", "variants": peer.variants}, gradients, {})
        found += results.measure(problems, exact, {name: answer})
    return found


def _pair(problem: Problem, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = LOSSES[problem.loss].decomposed(None, matrix, problem.parameters)
    return a, b


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", QUICK)
def test_references_agree_with_contour_integrals(key: str) -> None:
    problem = QUICK[key]
    for matrix, exact in zip(problem.matrices, generalized.GeneralizedReferences().exact(problem), strict=True):
        a, b = _pair(problem, matrix)
        energy = problem.loss == "generalized_energy"
        # The energy depends on A directly, too.
        m = a if energy else problem.parameters.arrays["M"]
        # The pair is within 0.01 of the center, and the others at a distance of 1.5, so 60 points give 60 digits.
        density, by_a, by_b = generalized_reference.projector_loss_mp(a, b, m, 1, 1.0, 0.12, points=60)
        with mpmath.workdps(generalized_reference.DIGITS):
            expected = by_b if problem.meta["family"] == "B" else by_a + density * int(energy)
            assert exact.gradient is not None
            difference = exact.gradient.to_mpmath() - np.array(expected.tolist(), dtype=object)
            assert max(abs(x) for x in difference.ravel()) < 1e-38 * mpmath.mnorm(expected, "f")


@pytest.mark.parametrize("n", [3, 4, 8])
@pytest.mark.parametrize("kind", sweep.KINDS)
@pytest.mark.parametrize("variable", generalized.VARIABLES)
def test_matrices_have_the_gaps_and_the_condition_number(n: int, kind: str, variable: str) -> None:
    for gap in GAPS:
        a, b = generalized.pair_of_matrices(n, gap, kind, variable, np.random.default_rng(5))
        values = np.linalg.eigvalsh(b)
        if gap != sweep.EXACT:
            assert values[-1] / values[0] == pytest.approx(100, rel=0.02)
        exact = generalized.DefinitePencil.create(a, b).riesz
        wanted = 0.0 if gap == sweep.EXACT else float(gap)
        # Rounding moves an eigenvalue by about eps times cond(B).
        assert float(exact.gap) == pytest.approx(wanted, abs=1e-40 if gap == sweep.EXACT else 1e-13)
        first, second = (float(mpmath.re(x)) for x in exact.pair())
        assert (first, second) == pytest.approx((1 + wanted, 1), abs=1e-13)
        assert np.iscomplexobj(a) == np.iscomplexobj(b) == (kind == "hermitian")


def test_objects_of_mpmath_keep_their_digits() -> None:
    with reference.working_precision():
        third = mpmath.mpf(1) / 3
        matrix = np.array([[1, third], [0, -1]], dtype=object) * mpmath.mpf(1)
        # For eigenvalues 1 and -1 the sign is the matrix itself.
        (_, corner), _ = reference.riesz_projector_mp(matrix).p
        assert abs(corner - third / 2) < 1e-80


# --- the packages -----------------------------------------------------------------------------------------------------


def _errors(records: list[results.Record], peer: str, loss: str, gap: str) -> list[float]:
    """The errors, infinite for gradients that are not finite."""
    chosen = [r for r in records if (r.peer, r.loss, r.label) == (peer, loss, gap)]
    assert {r.family for r in chosen} == {"A", "B"}
    assert all(r.status in (results.OK, results.NOT_FINITE) for r in chosen)
    return [np.inf if r.error is None else r.error for r in chosen]


@pytest.mark.parametrize("loss", generalized.LOSS_NAMES)
def test_ours_is_right_at_every_gap(records: list[results.Record], loss: str) -> None:
    for gap in GAPS:
        assert max(_errors(records, "spectralgrad", loss, gap)) < 1e-12


@pytest.mark.parametrize("loss", generalized.LOSS_NAMES)
@pytest.mark.parametrize("peer", ["numpy", "torch"])
def test_the_usual_code_divides_round_off_by_the_gap(records: list[results.Record], peer: str, loss: str) -> None:
    worst = {gap: max(_errors(records, peer, loss, gap)) for gap in GAPS}
    eps = float(np.finfo(np.float64).eps)
    for gap in ("1e-4", "1e-6", "1e-8", "1e-10", "1e-12"):
        assert 0.1 * eps / float(gap) < worst[gap] < 1e4 * eps / float(gap)
    # NaN counts as infinite. Rounding decides which of the two gaps of zero gives NaN.
    assert min(worst["0"], worst[sweep.EXACT]) > 1e-3
    assert max(worst["0"], worst[sweep.EXACT]) == np.inf


def test_far_from_degeneracy_all_agree(records: list[results.Record]) -> None:
    """The gradients by hand and by autograd are those of the losses."""
    for peer in PEERS:
        for loss in generalized.LOSS_NAMES:
            assert max(_errors(records, peer, loss, "1e-2")) < 1e-11


def test_the_report_tells_ours_from_the_others(records: list[results.Record]) -> None:
    summaries = {name: {"status": "installed", "variants": create().variants} for name, create in PEERS.items()}
    comparison = results.Comparison(records, summaries, {"status": "installed", "peers": {}}, {}, True, 0.0)
    table = tables.generalized_table(comparison)
    assert table.columns == ["", *GAPS]
    rows = {row[0]: row[1:] for row in table.rows}
    assert len(rows) == 4 * len(PEERS)
    for loss in ("tr(M V_c V_cᴴ)", "tr(A V_c V_cᴴ)"):
        for variable in generalized.VARIABLES:
            assert re.search(r"NaN ×\d", " ".join(rows[f"{loss} by {variable}: PyTorch"][-2:]))
            assert all(float(cell) < 1e-12 for cell in rows[f"{loss} by {variable}: spectralgrad"])
    at_one_gap, everywhere, energy = findings._generalized_findings(comparison)
    assert at_one_gap.startswith("A v = λ B v, tr(M V_c V_cᴴ) by A and B, at the gap 1e-8: NumPy ")
    assert "NaN" not in at_one_gap
    for line, loss in ((everywhere, "generalized_projector"), (energy, "generalized_energy")):
        errors = [r.error for r in records if (r.peer, r.loss) == ("torch", loss) and r.error is not None]
        assert f"PyTorch {findings.amount(max(errors))} and NaN" in line
        ours = line.split("spectralgrad ")[1].removesuffix(".")
        assert float(ours) < 1e-12
