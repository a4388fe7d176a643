"""Partly filled degenerate levels at kT = 0: equal fractions, the derivatives that exist, and reports of the others."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from torch import Tensor

import spectralgrad as sg
from density_matrix_cases import RING, error, evaluate, forward_tangents, graph_hamiltonian, with_leaves
from density_matrix_reference import solved, tangents
from problems import ALL, each_double, eps, expectation, hermitian_part, random_hermitian, with_spectrum

# Levels; electrons; spin; occupations.
OPEN_SHELLS: dict[str, tuple[list[float], float, int, list[float]]] = {
    "two of spin 1 in three levels": ([1, 1, 1], 2, 1, [2 / 3, 2 / 3, 2 / 3]),
    "three in three levels": ([1, 1, 1], 3, 2, [1 / 2, 1 / 2, 1 / 2]),
    "two in three levels": ([1, 1, 1], 2, 2, [1 / 3, 1 / 3, 1 / 3]),
    "one more than a shell": ([-2, 0, 0, 2], 3, 2, [1, 1 / 4, 1 / 4, 0]),
    "a half-filled pair": ([-2, 0, 0, 2], 4, 2, [1, 1 / 2, 1 / 2, 0]),
    "one hole": ([-1, -1, 3, 3, 3], 9, 2, [1, 1, 5 / 6, 5 / 6, 5 / 6]),
    "a fraction of the lowest": ([-1, -1, 3], 0.5, 1, [1 / 4, 1 / 4, 0]),
    "all of one level, at 0": ([0, 0, 0, 0], 1, 1, [1 / 4] * 4),
}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("name", OPEN_SHELLS)
def test_an_open_shell_is_filled_in_equal_fractions(name: str, scale: float, dtype: torch.dtype) -> None:
    levels, electrons, spin, f = OPEN_SHELLS[name]
    Q = torch.linalg.qr(random_hermitian(len(levels), len(levels), dtype=dtype, seed=4)).Q
    for basis in (torch.eye(len(levels), dtype=dtype), Q):
        H = scale * hermitian_part((basis * torch.tensor(levels, dtype=dtype)) @ basis.mH)
        result = sg.density_matrix(H, electrons=electrons, spin=spin, full_output=True)
        expected = spin * (basis * torch.tensor(f, dtype=dtype)) @ basis.mH
        assert error(result.density_matrix, expected) <= 20 * eps(dtype)
        open_level = next(e for e, x in zip(levels, f) if 0 < x < 1)
        assert abs(float(result.mu) / scale - open_level) <= 20 * eps(dtype)
        energy = spin * sum(e * x for e, x in zip(levels, f))
        assert abs(float(result.energy) / scale - energy) <= 100 * eps(dtype)
        assert torch.equal(result.free_energy, result.energy)
        entropy = spin * sum(scipy.special.entr(x) + scipy.special.entr(1 - x) for x in f)
        assert abs(float(result.entropy) - entropy) <= 20 * eps(dtype) * len(levels)
        at_level = sg.density_matrix(H, mu=result.mu, spin=spin)
        half = torch.tensor([0.5 if e == open_level else float(e < open_level) for e in levels], dtype=dtype)
        assert error(at_level, spin * (basis * half) @ basis.mH) <= 20 * eps(dtype)


def _open_shell(dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """The cube with 5 electrons, 3 of them in its threefold level at -1; and the projector onto that level."""
    H = graph_hamiltonian("cube", dtype)
    L, V = torch.linalg.eigh(H)
    level = (L + 1).abs() < 0.1
    assert int(level.sum()) == 3
    return H, V[:, level] @ V[:, level].mH, 5.0


def _outside(M: Tensor, P: Tensor) -> Tensor:
    """M, with its block inside the level replaced by a multiple of the identity."""
    inside = P @ M @ P
    return hermitian_part(M - inside + P * inside.diagonal().sum() / 3)


@each_double
def test_an_open_shell_has_derivatives_if_its_level_stays_degenerate(dtype: torch.dtype) -> None:
    """First and second derivatives of every field, without a warning."""
    H, P, electrons = _open_shell(dtype)
    E, M = (_outside(random_hermitian(8, 8, dtype=dtype, seed=seed), P) for seed in (1, 2))
    inputs = {
        "H": H,
        "S": None,
        "electrons": torch.tensor(electrons, dtype=torch.float64),
        "mu": None,
        "kT": 0,
        "spin": 2,
    }
    with sg.checks("raise"):
        forward = forward_tangents(inputs, {"H": E})
        expected = tangents(inputs, {"H": E})
        for field in ("density_matrix", "energy", "energy_weighted_density_matrix"):
            assert error(forward[field], expected[field]) <= 1e-13, field
        # Added electrons go into the level, in equal fractions.
        along = forward_tangents(inputs, {"electrons": torch.ones((), dtype=torch.float64)})
        assert error(along["density_matrix"], P / 3) <= 1e-14
        assert error(along["energy"], torch.tensor(-1.0, dtype=torch.float64)) <= 1e-14

        leaves = with_leaves(inputs, ["H", "electrons"])
        result = evaluate(leaves)
        loss = expectation(M, result.density_matrix)
        G, slope = torch.autograd.grad(loss, [leaves["H"], leaves["electrons"]], retain_graph=True)
        assert error(expectation(G, E), expectation(M, expected["density_matrix"])) <= 1e-13
        assert error(P @ G @ P, torch.zeros_like(G)) <= 1e-13  # the part of E that splits the level is left out
        assert error(slope, expectation(M, P / 3)) <= 1e-13
        # The energy's gradient is D, equal fractions included.
        (G,) = torch.autograd.grad(result.energy, leaves["H"])
        assert error(G, result.density_matrix.detach()) <= 1e-13


@each_double
def test_mixed_derivatives_in_electrons_of_an_open_shell(dtype: torch.dtype) -> None:
    """d²tr(M D)/dN dH, in either order: the derivative of the level's projector over its multiplicity."""
    H, P, electrons = _open_shell(dtype)
    E, M = (_outside(random_hermitian(8, 8, dtype=dtype, seed=seed), P) for seed in (1, 2))
    X, N = H.clone().requires_grad_(), torch.tensor(electrons, dtype=torch.float64, requires_grad=True)
    with sg.checks("raise"):
        G, slope = torch.autograd.grad(expectation(M, sg.density_matrix(X, electrons=N)), [X, N], create_graph=True)
        (one,) = torch.autograd.grad(expectation(G, E), N, retain_graph=True)
        (other,) = torch.autograd.grad(slope, X)
        Y = H.clone().requires_grad_()
        (expected,) = torch.autograd.grad(expectation(M, sg.spectral_projector(Y, 1, 4)) / 3, Y)
    assert error(other, expected) <= 1e-13
    assert error(one, expectation(expected, E)) <= 1e-13


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_a_dependence_on_single_states_of_an_open_shell_is_reported(scale: float, dtype: torch.dtype) -> None:
    """A loss and a perturbation that split the level are reported. The result is the derivative at equal fractions."""
    H, P, electrons = _open_shell(dtype)
    M = scale * random_hermitian(8, 8, dtype=dtype, seed=1)
    message = (
        r"spectralgrad\.density_matrix: .* inside the level -(1|0\.99\d*|1\.00\d*) of multiplicity 3 of matrix 0 of"
    )

    def D(X: Tensor) -> Tensor:
        return sg.density_matrix(X, electrons=electrons)

    def energy(X: Tensor) -> Tensor:
        return (D(X) @ X).diagonal().sum().real

    def gradient(M: Tensor) -> Tensor:
        X = H.clone().requires_grad_()
        return torch.autograd.grad(expectation(M, D(X)), X)[0]

    with pytest.warns(sg.GaugeWarning, match=message):
        G = gradient(M)
    with sg.checks("ignore"):
        assert torch.equal(gradient(M), G)
    with sg.checks("raise"):
        assert error(G, gradient(_outside(M, P)), scale) <= 50 * eps(dtype)
        for call in (
            lambda: gradient(M),
            lambda: torch.func.jvp(D, (H,), (M,)),
            lambda: torch.func.vmap(lambda x: torch.func.jvp(D, (H,), (x,))[1])(torch.stack([M, M])),
            lambda: torch.func.jvp(torch.func.grad(energy), (H,), (M,)),
        ):
            with pytest.raises(sg.GaugeError, match="looks inside the level"):
                call()
        # Filled shells have no partly filled level, so there is no warning.
        X = H.clone().requires_grad_()
        torch.autograd.grad(expectation(M, sg.density_matrix(X, electrons=8)), X)


@pytest.mark.parametrize("dtype", ALL)
def test_a_well_posed_loss_of_an_open_shell_is_silent(dtype: torch.dtype) -> None:
    """Round-off does not count as a dependence on single states: in random bases, and for stationary losses."""
    count = 0
    with sg.checks("raise"):
        for seed in range(30):
            n = 3 + seed % 8
            levels = np.array([-2.0, *[0.5] * (2 + seed % 3), *np.linspace(1, 3, n)])
            H = with_spectrum(levels, dtype, seed)
            fixed = sg.density_matrix(H, electrons=3.0)
            for loss in (
                lambda X: sg.density_matrix(X, electrons=3.0, full_output=True).energy,
                lambda X: sg.density_matrix(X, electrons=3.0).diagonal().sum().real,
                lambda X: (sg.density_matrix(X, electrons=3.0) - fixed).abs().square().sum(),  # noqa: B023
                lambda X: expectation(X @ X, sg.density_matrix(X, electrons=3.0)),
            ):
                X = H.clone().requires_grad_()
                (G,) = torch.autograd.grad(loss(X), X)
                assert bool(G.isfinite().all())
                count += 1
    assert count == 120


@pytest.mark.parametrize("condition", [10.0, 1e4])
@each_double
def test_a_level_that_an_overlap_splits_by_rounding_is_one(condition: float, dtype: torch.dtype) -> None:
    """Benzene with 4 electrons: 2 of the 4 places at -1."""
    for seed in range(5):
        S = with_spectrum(np.logspace(0, -np.log10(condition), 6), dtype, seed)
        H = graph_hamiltonian("benzene", dtype, S)
        inputs = {"H": H, "S": S, "electrons": torch.tensor(4.0, dtype=torch.float64), "mu": None, "kT": 0, "spin": 2}
        expected = solved(inputs)
        result = evaluate(inputs)
        assert error(result.density_matrix, expected["density_matrix"]) <= 1e-14 * condition
        assert abs(float(result.energy) + 6) <= 1e-13 * condition


def test_open_shells_in_a_batch() -> None:
    """Matrices of a batch are independent, and the warning names the affected one."""
    whole = torch.diag(torch.tensor([-1.0, 0.5, 2.0, 3.0], dtype=torch.float64))
    X = torch.stack([whole, whole, RING]).requires_grad_()
    D = sg.density_matrix(X, electrons=4)
    assert error(D[0], torch.diag(torch.tensor([2.0, 2.0, 0.0, 0.0])).double()) <= 1e-15
    assert error(D[2], torch.diag(torch.ones(4)).double() + 0.5 * (RING != 0)) <= 1e-14
    M = random_hermitian(4, 4, dtype=RING.dtype, seed=1)
    with pytest.warns(sg.GaugeWarning, match="of multiplicity 2 of matrix 2 of the batch"):
        torch.autograd.grad(expectation(M.expand(3, 4, 4), D), X)
