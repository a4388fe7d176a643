"""Warnings and errors: losses without a gradient, gradients that are lost, matrices that are not finite."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import spectralgrad as sg
from problems import (
    ALL,
    COMPLEX,
    DTYPES_AND_GAPS,
    LinAlgError,
    Loss,
    apply_function,
    checks_in_all_threads,
    clustered,
    distinct,
    expectation,
    gradient,
    invariant_loss,
    projector,
    projector_loss,
    random_hermitian,
    with_spectrum,
)

PHASES = (
    r"linalg_eigh_backward: The eigenvectors in the complex case are specified up to multiplication by e\^\{i phi\}. "
    r"The specified loss function depends on this quantity, so it is ill-defined\."
)
BASIS = (
    r"spectralgrad\.eigh: The loss depends on the choice of eigenvectors inside an eigenspace, so it has no gradient"
)
LOST = r"spectralgrad\.eigh: The loss looks like tr\(M f\(A\)\) .* rule=spectralgrad\.Split\(\) recovers most of it"
DIRECTIONAL = r"spectralgrad\.eigh: The loss treats equal eigenvalues differently .* only directional derivatives exist"

# A cotangent below 8 eps max|λ| may be round-off of A, so it is not reported.
SCALES = [1e-12, 1e-8, 1.0, 1e10, 1e20]


def M_of(n: int, dtype: torch.dtype) -> Tensor:
    return random_hermitian(n, n, dtype=dtype, seed=1)


# --- phases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("level", ["warn", "raise"])
def test_dependence_on_phases_raises(level: Any, dtype: torch.dtype, scale: float, device: str) -> None:
    A = distinct(4, dtype, 0).to(device)
    with checks_in_all_threads(level), pytest.raises(sg.GaugeError, match=PHASES):
        gradient(lambda L, V: scale * V.real.sum(), A)
    with checks_in_all_threads("ignore"):
        assert bool(gradient(lambda L, V: scale * V.real.sum(), A).isfinite().all())


def test_phases_raise_in_torchs_words() -> None:
    A = distinct(4, torch.complex128, 0)
    messages = []
    for eigh in (torch.linalg.eigh, sg.eigh):
        with pytest.raises(RuntimeError) as raised:
            gradient(lambda L, V: V.real.sum(), A, eigh)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert issubclass(sg.GaugeError, RuntimeError)
    assert issubclass(sg.GaugeWarning, UserWarning)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", ALL)
def test_invariant_losses_raise_at_no_scale(dtype: torch.dtype, scale: float, device: str) -> None:
    """torch's own check has an absolute threshold, so it rejects these losses from scale 1e14 on."""
    loss = invariant_loss(M_of(5, dtype).to(device))
    gradient(lambda L, V: scale * loss(L, V), distinct(5, dtype, 0).to(device))
    for gap in (1e-2, 1e-6, 1e-12, 0):
        projected = projector_loss(M_of(8, dtype).to(device))
        gradient(lambda L, V, f=projected: scale * f(L, V), clustered(gap, dtype, 0).to(device))


def test_torchs_check_is_absolute() -> None:
    """Why ours is relative: torch accepts an ill-posed loss if it is small, and rejects a well-posed large one."""
    A = distinct(5, torch.complex128, 0)
    gradient(lambda L, V: 1e-10 * V.real.sum(), A, torch.linalg.eigh)
    loss = invariant_loss(M_of(5, torch.complex128))
    with pytest.raises(RuntimeError, match="ill-defined"):
        gradient(lambda L, V: 1e20 * loss(L, V), A, torch.linalg.eigh)


# --- degenerate eigenvalues ------------------------------------------------------------------------------------------

FINDINGS: dict[str, tuple[Callable[[Tensor], Loss], str]] = {
    "basis": (lambda M: lambda L, V: expectation(M, projector(V, slice(0, 1))), BASIS),
    "lost limit": (lambda M: lambda L, V: expectation(M, apply_function(torch.exp, L, V)), LOST),
    "one eigenvalue": (lambda M: lambda L, V: L[..., 0].sum(), DIRECTIONAL),
    "unequal weights": (lambda M: lambda L, V: (L * torch.arange(L.shape[-1], device=L.device)).sum(), DIRECTIONAL),
}
findings = pytest.mark.parametrize(("make", "sentence"), FINDINGS.values(), ids=FINDINGS)
SPECTRA = {"identity": [1.0] * 3, "pair": [-1.0, -1.0, 2.0], "triple": [2.0, 2.0, 2.0, 5.0]}


@pytest.mark.parametrize("exactly", [True, False], ids=["exact", "rounding-level"])
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e20])
@findings
def test_findings(
    make: Callable[[Tensor], Loss],
    sentence: str,
    scale: float,
    dtype: torch.dtype,
    spectrum: list[float],
    exactly: bool,
    device: str,
) -> None:
    A = torch.diag(torch.tensor(spectrum, dtype=dtype)) if exactly else with_spectrum(spectrum, dtype, 0)
    A, M = A.to(device), M_of(len(spectrum), dtype).to(device)

    def loss(L: Tensor, V: Tensor) -> Tensor:
        return scale * make(M)(L, V)

    with pytest.warns(sg.GaugeWarning, match=sentence):
        gradient(loss, A)
    with checks_in_all_threads("raise"), pytest.raises(sg.GaugeError, match=sentence):
        gradient(loss, A)
    with checks_in_all_threads("ignore"):
        gradient(loss, A)
    with pytest.raises(sg.GaugeWarning, match=sentence):  # conftest.py makes the warning an error
        gradient(loss, A)


@findings
def test_no_finding_where_eigenvalues_differ(make: Callable[[Tensor], Loss], sentence: str, device: str) -> None:
    for dtype in ALL:
        for gap in (1, 1e-3, 100 * torch.finfo(dtype).eps):
            gradient(make(M_of(3, dtype).to(device)), torch.diag(torch.tensor([1, 1 + gap, 3], dtype=dtype)).to(device))


def test_finding_names_the_pair_and_the_matrix() -> None:
    A = torch.stack([distinct(4, torch.float64, 0), with_spectrum([-3, 1, 1, 4], torch.float64, 0)])
    with pytest.warns(sg.GaugeWarning, match=r"eigenvalues 1 and 2 of matrix 1 of the batch are equal") as caught:
        gradient(lambda L, V: L[..., 1].sum(), A)
    assert len(caught) == 1


@pytest.mark.parametrize(("dtype", "gap"), DTYPES_AND_GAPS)
def test_silent_about_well_posed_losses(dtype: torch.dtype, gap: float, device: str) -> None:
    """conftest.py makes a GaugeWarning an error."""
    A = clustered(gap, dtype, 0, positive=True).to(device)
    M = M_of(8, dtype).to(device)
    losses: list[Loss] = [
        projector_loss(M),
        lambda L, V: (projector(V) * projector(V).conj()).sum().real,
        lambda L, V: expectation(M, projector(V, slice(0, 1))),
        lambda L, V: L.exp().sum() + L.log().sum() + (L - 0.3).square().sum(),
        lambda L, V: L[..., 2:6].mean() * expectation(M, projector(V)),
        lambda L, V: V.abs().square().sum(),
        lambda L, V: L.prod() + L[..., -1],
    ]
    for loss in losses:
        gradient(loss, A)
    for order in (1, 2):
        gradient(lambda L, V: expectation(M, apply_function(torch.sqrt, L, V)), A, rule=sg.Split(order=order))


@pytest.mark.parametrize("dtype", ALL)
def test_silent_where_a_symmetric_function_is_stationary(dtype: torch.dtype) -> None:
    """At a cluster at 1, the cotangents gλ of Σ (λ - 1)² are round-off, and differ within the cluster."""
    for seed in range(5):
        A = with_spectrum([-2.0, 1, 1, 1, 3.0], dtype, seed)
        gradient(lambda L, V: (L - 1).square().sum(), A)
        gradient(lambda L, V: (V.abs().square() * 2).sum() + (L - 1).pow(4).sum(), A)


@given(
    st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), min_size=2, max_size=6),
    st.integers(0, 10**6),
    st.floats(-20, 20),
    st.floats(-15, 15),
    st.sampled_from(ALL),
)
def test_never_a_false_alarm(
    values: list[float], seed: int, loss_exponent: float, matrix_exponent: float, dtype: torch.dtype
) -> None:
    """The loss has a projector onto a whole eigenspace and a symmetric function, at any scale of loss and matrix."""
    A = with_spectrum(sorted(values), dtype, seed) * 10**matrix_exponent
    M = random_hermitian(len(values), len(values), dtype=dtype, seed=seed + 1)
    first = sum(x == min(values) for x in values)

    def loss(L: Tensor, V: Tensor) -> Tensor:
        functions = (L / 10**matrix_exponent).exp().sum()
        return 10**loss_exponent * (expectation(M, projector(V, slice(0, first))) + functions)

    G = gradient(loss, A)
    assert bool(G.isfinite().all())


# --- levels ----------------------------------------------------------------------------------------------------------


def test_checks_nest() -> None:
    A = torch.eye(3, dtype=torch.float64)
    loss = FINDINGS["one eigenvalue"][0](A)
    with sg.checks("raise"):
        with sg.checks("ignore"):
            gradient(loss, A)
        with pytest.raises(sg.GaugeError):
            gradient(loss, A)
        with pytest.raises(ZeroDivisionError), sg.checks("ignore"):
            raise ZeroDivisionError
        with pytest.raises(sg.GaugeError):
            gradient(loss, A)
    with pytest.warns(sg.GaugeWarning):
        gradient(loss, A)


def test_checks_holds_in_one_thread_and_set_checks_in_all() -> None:
    seen: list[sg._C.Checks] = []

    def look() -> None:
        thread = threading.Thread(target=lambda: seen.append(sg._C.checks()))
        thread.start()
        thread.join()

    with sg.checks("ignore"):
        look()
    sg.set_checks("raise")
    try:
        look()
        with pytest.raises(sg.GaugeError):
            gradient(FINDINGS["one eigenvalue"][0](torch.eye(2)), torch.eye(2, dtype=torch.float64))
    finally:
        sg.set_checks("warn")
    assert [level.name for level in seen] == ["warn", "raise"]


@pytest.mark.parametrize("level", ["Warn", "", None, 1, []], ids=repr)
def test_bad_level(level: Any) -> None:
    for f in (sg.checks, sg.set_checks):
        sentence = rf'spectralgrad\.{f.__name__}: Expected level to be "ignore", "warn" or "raise", but got'
        with pytest.raises(ValueError, match=sentence):
            f(level)


# --- matrices that are not finite ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", ALL)
def test_without_checks_only_the_nonfinite_matrix_gives_nan(dtype: torch.dtype, bad: float, device: str) -> None:
    A = torch.stack([distinct(4, dtype, seed) for seed in range(3)]).to(device)
    dirty = A.clone()
    dirty[1, 3, 1] = bad
    for level in ("warn", "raise"):
        for f in (sg.eigh, sg.eigvalsh):
            with checks_in_all_threads(level), pytest.raises(LinAlgError, match=r"\(Batch element 1\).*\(3, 1\)"):
                f(dirty)
    loss = invariant_loss(M_of(4, dtype).to(device))
    with checks_in_all_threads("ignore"):
        results = [*sg.eigh(dirty), sg.eigvalsh(dirty), gradient(loss, dirty)]
        clean = [*sg.eigh(A), sg.eigvalsh(A), gradient(loss, A)]
    for x, y in zip(results, clean, strict=True):
        assert bool(x[1].isnan().all())
        assert torch.equal(x[[0, 2]], y[[0, 2]])


def test_nan_in_the_other_triangle_is_not_read() -> None:
    A = distinct(3, torch.float64, 0)
    A[0, 2] = torch.nan
    assert bool(sg.eigvalsh(A).isfinite().all())
    with sg.checks("ignore"):
        assert bool(sg.eigvalsh(A).isfinite().all())
    with pytest.raises(LinAlgError, match=r"upper triangle of A to be finite, but the entry \(0, 2\) is nan"):
        sg.eigvalsh(A, "U")


def test_a_warning_points_at_the_line_that_asked() -> None:
    A = torch.eye(2, requires_grad=True)
    with pytest.warns(sg.GaugeWarning) as caught:
        sg.eigvalsh(A)[0].backward()
    assert [warning.filename for warning in caught] == [__file__]
