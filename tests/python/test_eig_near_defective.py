"""Reports of gradients that lost half of their digits to round-off of V⁻¹, near Jordan blocks, and no false ones."""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import double_of, each_dtype, eps, normal
from spectralgrad import _high_precision as reference
from spectralgrad.compare import jordan, sweep

Loss = Callable[[Tensor, Tensor], Tensor]

GAPS = ("1", "0.3", "1e-1", "3e-2", "1e-2", "3e-3", "1e-3", "3e-4", "1e-4", "1e-5", "1e-6", "1e-8", "0", sweep.EXACT)


class Outcome(NamedTuple):
    gap: str
    error: float
    messages: list[str]


def gradient_and_messages(loss: Loss, A: Tensor) -> tuple[Tensor, list[str]]:
    X = A.clone().requires_grad_()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (G,) = torch.autograd.grad(loss(*sg.eig(X)), X)
    return G, [str(warning.message) for warning in caught if issubclass(warning.category, sg.GaugeWarning)]


def riesz(L: Tensor, V: Tensor, inside: Tensor) -> Tensor:
    return V[:, inside] @ torch.linalg.inv(V)[inside, :]


def projector(M: Tensor) -> Loss:
    """Re Σ Mᵢⱼ Pᵢⱼ, of the projector onto the eigenvalues with positive real parts."""
    return lambda L, V: (M * riesz(L, V, L.real > 0)).sum().real


def constant(M: Tensor) -> Loss:
    """The same, of the projector onto all eigenvalues."""
    return lambda L, V: (M * riesz(L, V, L.abs() >= 0)).sum().real


def outcomes(kind: str, precision: str, n: int, seeds: int) -> list[Outcome]:
    """The error of the Riesz projector of the pair, against its gradient in 60 digits."""
    result = []
    for gap, seed in itertools.product(GAPS, range(seeds)):
        rng = np.random.default_rng([n, seed, 53])
        dtype = sweep.DTYPES[jordan._kind_of_sweep(kind), precision]
        matrix = jordan.matrix_with_pair(n, gap, kind, rng).astype(dtype)
        m = sweep.gaussian(rng, (n, n), jordan._kind_of_sweep(kind)).astype(dtype)
        exact = reference.riesz_projector_mp(matrix).projector_gradient(m.astype(np.result_type(m, np.complex64)))
        G, messages = gradient_and_messages(projector(torch.from_numpy(m).conj()), torch.from_numpy(matrix))
        error = reference.relative_error(G.numpy(), exact, hermitian=False) if bool(G.isfinite().all()) else math.inf
        result.append(Outcome(gap, error, messages))
    return result


@pytest.mark.slow
@pytest.mark.parametrize("precision", sweep.PRECISIONS)
@pytest.mark.parametrize("n", [4, 5, 8])
@pytest.mark.parametrize("kind", jordan.KINDS)
def test_every_gradient_that_lost_half_of_its_digits_is_reported(kind: str, n: int, precision: str) -> None:
    """And none that is right to round-off. From gaps of 1e-4 on, a projector by eigenvectors loses digits."""
    found = outcomes(kind, precision, n, seeds=2)
    single = precision == "single"
    limit = float(np.finfo(np.float32 if single else np.float64).eps)
    lost = [outcome for outcome in found if not outcome.error <= limit**0.5]
    assert {outcome.gap for outcome in lost} >= {"1e-6", "1e-8", "0", sweep.EXACT}
    assert all(outcome.messages for outcome in lost)
    assert all("nearly defective" in m or "defective to working precision" in m for o in lost for m in o.messages)
    first_reported = 3e-2 if single else 3e-4
    for outcome in found:
        if outcome.gap != sweep.EXACT and float(outcome.gap) >= first_reported:
            assert not outcome.messages
            assert outcome.error <= limit**0.5 / 5
        # The noise gate knows the round-off of V⁻¹. Without it, the error at 1e-6 is up to 5e7.
        assert outcome.error <= 1.5


def test_the_report_of_a_projector() -> None:
    """Its error is stated, too: an upper bound, which is up to a few hundred times the error."""
    rng = np.random.default_rng(4)
    matrix = jordan.matrix_with_pair(5, "1e-5", jordan.REAL, rng)
    M = rng.standard_normal((5, 5))
    expected = reference.riesz_projector_mp(matrix).projector_gradient(M.astype(np.complex128))
    A = torch.from_numpy(matrix)
    loss = projector(torch.from_numpy(M))
    G, (message,) = gradient_and_messages(loss, A)
    for words in (
        "spectralgrad.eig: The matrix is nearly defective (eigenvalues ",
        "of matrix 0 of the batch have the condition numbers 1/|y^H x| = ",
        ", and cond(V) = ",
        "the loss depends on these eigenvectors",
        "Riesz projector V[:, c] @ inv(V)[c, :]",
        "the trace have a derivative",
        "spectralgrad.funm, trace_funm and eigh",
    ):
        assert words in message
    stated = float(re.search(r"relative error of about ([0-9.e-]+)\.", message)[1])  # type: ignore[index]
    error = reference.relative_error(G.numpy(), expected, hermitian=False)
    assert 1e-9 < error < stated < 1000 * error
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match="the loss depends on these eigenvectors"):
        gradient_and_messages(loss, A)
    with sg.checks("ignore"):
        assert not gradient_and_messages(loss, A)[1]
    batch = torch.stack([torch.diag(torch.tensor([1.0, -1, 2, -2, 3], dtype=torch.float64)), A])
    (message,) = gradient_and_messages(lambda L, V: loss(L[1], V[1]), batch)[1]
    assert "of matrix 1 of the batch" in message


@each_dtype
@pytest.mark.parametrize("scale", [1.0, 1e10, 1e-10])
def test_reports_do_not_depend_on_units(dtype: torch.dtype, scale: float) -> None:
    rng = np.random.default_rng(5)
    gap = "1e-2" if eps(dtype) > 1e-10 else "1e-5"
    kind = jordan.COMPLEX if dtype.is_complex else jordan.REAL
    A = torch.from_numpy(jordan.matrix_with_pair(5, gap, kind, rng)).to(dtype)
    M = normal(5, 5, dtype=dtype, seed=2)
    for factor in (1.0, scale):
        _, messages = gradient_and_messages(projector(factor * M), A * scale)
        assert len(messages) == 1


# --- no false reports -------------------------------------------------------------------------------------------------


def weights(dtype: torch.dtype) -> Tensor:
    """Weights that make a loss real and not symmetric."""
    return normal(64, 64, dtype=torch.complex128 if eps(dtype) < 1e-10 else torch.complex64, seed=3)


LOSSES: dict[str, Callable[[Tensor], Loss]] = {
    "projector": projector,
    "one projector": lambda M: lambda L, V: (M * riesz(L, V, L.abs() == L.abs().max())).sum().real,
    "cubes": lambda M: lambda L, V: V.abs().pow(3).sum(),
    "V V^H": lambda M: lambda L, V: (M * (V @ V.mH)).sum().real,
    "eigenvalues": lambda M: lambda L, V: L.abs().square().sum(),
}


@each_dtype
def test_random_matrices_are_not_reported(dtype: torch.dtype) -> None:
    """Except those that are nearly defective by chance: with κ > 100, float32 loses half of its digits at κ = 300."""
    checked = 0
    for n, seed in itertools.product((2, 3, 4, 8, 16, 32, 64), range(8)):
        A = normal(n, n, dtype=dtype, seed=1000 * n + seed)
        if eps(dtype) > 1e-10:
            V = torch.linalg.eig(A.to(double_of(dtype))).eigenvectors
            if float(torch.linalg.inv(V).norm(dim=-1).max()) > 100:
                continue
        checked += 1
        M = weights(dtype)[:n, :n]
        for name, make in LOSSES.items():
            assert not gradient_and_messages(make(M), A)[1], (n, seed, name)
    assert checked >= 50


@each_dtype
def test_normal_matrices_and_separated_eigenvalues_are_not_reported(dtype: torch.dtype) -> None:
    single = eps(dtype) > 1e-10
    for n in (2, 5, 12):
        Q = torch.linalg.qr(normal(n, n, dtype=double_of(dtype), seed=n)).Q.to(dtype)
        M = weights(dtype)[:n, :n]
        for A in (Q, Q + Q.mH, torch.eye(n, dtype=dtype).roll(1, 0)):
            for name in ("projector", "eigenvalues"):
                assert not gradient_and_messages(LOSSES[name](M), A)[1]
    # Beside a pair near a Jordan block: the other eigenvalues, and the sum of the pair.
    for gap in ("1e-2",) if single else ("1e-3", "1e-6", "0"):
        kind = jordan.COMPLEX if dtype.is_complex else jordan.REAL
        A = torch.from_numpy(jordan.matrix_with_pair(5, gap, kind, np.random.default_rng(1))).to(dtype)
        for loss in (
            lambda L, V: torch.where(L.real < 0, L.exp(), 0).sum().real,
            lambda L, V: torch.where(L.real > 0, L, 0).sum().real,
            lambda L, V: L.sum().real,
        ):
            assert not gradient_and_messages(loss, A)[1]


@each_dtype
def test_a_projector_onto_all_eigenvectors_is_constant(dtype: torch.dtype) -> None:
    """Its cotangents are round-off of V⁻¹, and no dependence on phases."""
    for n, seed in itertools.product((2, 3, 4), range(40)):
        A = normal(n, n, dtype=dtype, seed=1000 * n + seed)
        M = weights(dtype)[:n, :n]
        G, messages = gradient_and_messages(constant(M), A)
        assert not messages
        assert bool(G.isfinite().all())
