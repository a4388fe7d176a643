"""Density matrices: occupations, the chemical potential and every derivative, against a reference of 60 digits.

The reference decomposes with mpmath, solves for μ with mpmath's bracketing root finder, and differentiates by central
differences of the whole, so it shares no formula with what it checks.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import networkx
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from problems import (
    ALL,
    LinAlgError,
    benzene,
    buckminsterfullerene,
    by_precision,
    each_double,
    eps,
    expectation,
    hermitian_part,
    huckel,
    random_hermitian,
    total,
    with_spectrum,
)
from reference import relative_error
from spectralgrad import _high_precision as exact
from spectralgrad._ops.density_matrix import Smearing as SmearingName

DIGITS = 60
FIELDS = ("density_matrix", "mu", "energy", "entropy", "free_energy", "energy_weighted_density_matrix")
MATRICES = ("density_matrix", "energy_weighted_density_matrix")


# --- the reference ---------------------------------------------------------------------------------------------------


def _gauss(z: Any) -> Any:
    return mpmath.exp(-z * z)


class Smearing(NamedTuple):
    occupation: Callable[[Any], Any]
    """f(x), x = (ε - μ)/kT."""
    hole: Callable[[Any], Any]
    """1 - f(x), accurate to all digits if it is small."""
    entropy: Callable[[Any], Any]


def _shifted(x: Any) -> Any:
    return x + mpmath.sqrt(mpmath.mpf(1) / 2)


SMEARINGS = {
    "fermi": Smearing(
        lambda x: 1 / (1 + mpmath.exp(x)),
        lambda x: 1 / (1 + mpmath.exp(-x)),
        lambda x: _entropy_term(x) + _entropy_term(-x),
    ),
    "gaussian": Smearing(
        lambda x: mpmath.erfc(x) / 2, lambda x: mpmath.erfc(-x) / 2, lambda x: _gauss(x) / (2 * mpmath.sqrt(mpmath.pi))
    ),
    "methfessel-paxton": Smearing(
        lambda x: mpmath.erfc(x) / 2 - x * _gauss(x) / (2 * mpmath.sqrt(mpmath.pi)),
        lambda x: mpmath.erfc(-x) / 2 + x * _gauss(x) / (2 * mpmath.sqrt(mpmath.pi)),
        lambda x: (1 - 2 * x * x) * _gauss(x) / (4 * mpmath.sqrt(mpmath.pi)),
    ),
    "cold": Smearing(
        lambda x: mpmath.erfc(_shifted(x)) / 2 + _gauss(_shifted(x)) / mpmath.sqrt(2 * mpmath.pi),
        lambda x: mpmath.erfc(-_shifted(x)) / 2 - _gauss(_shifted(x)) / mpmath.sqrt(2 * mpmath.pi),
        lambda x: _shifted(x) * _gauss(_shifted(x)) / mpmath.sqrt(2 * mpmath.pi),
    ),
}


def chemical_potential(levels: Any, filled: Any, kT: Any, smearing: str = "fermi") -> Any:
    """The μ at which Σ f = filled.

    It balances the logarithms of the particles above the border and of the holes below it. Both may be as small as
    e⁻¹⁰⁰⁰, which mpmath can represent because it does not limit exponents.
    """
    if smearing in ("methfessel-paxton", "cold"):
        return nearest_root(levels, filled, kT, smearing)
    k = min(max(int(mpmath.nint(filled)), 0), len(levels))
    excess = filled - k
    f = SMEARINGS[smearing]

    def imbalance(mu: Any) -> Any:
        holes = sum((f.hole((e - mu) / kT) for e in levels[:k]), mpmath.mpf(0))
        particles = sum((f.occupation((e - mu) / kT) for e in levels[k:]), mpmath.mpf(0))
        return mpmath.log((particles + max(-excess, 0)) / (holes + max(excess, 0)))

    ends = (levels[0] - 200 * kT, levels[-1] + 200 * kT)
    # Extra digits make (μ - e)/kT accurate, however small kT is compared with the levels.
    with mpmath.extraprec(max(0, int(mpmath.log(max(map(abs, ends)) / kT, 2)))):
        mu = mpmath.findroot(imbalance, ends, solver="illinois", maxsteps=1000, verify=False)
        assert abs(imbalance(mu)) <= mpmath.mpf(10) ** (10 - DIGITS)
    return mu


def nearest_root(levels: Any, filled: Any, kT: Any, smearing: str) -> Any:
    """The sign change nearest to the Gaussian μ on a grid of kT/40, refined."""
    near = chemical_potential(levels, filled, kT, "gaussian")
    f = SMEARINGS[smearing]

    def excess_electrons(mu: Any) -> Any:
        return sum((f.occupation((e - mu) / kT) for e in levels), mpmath.mpf(0)) - filled

    with mpmath.workdps(30):
        step = kT / 40
        for k in range(1, 2000):
            for here in (near + (k - 1) * step, near - k * step):
                if excess_electrons(here) * excess_electrons(here + step) <= 0:
                    with mpmath.workdps(DIGITS):
                        return mpmath.findroot(excess_electrons, (here, here + step), solver="anderson", verify=False)
    raise AssertionError("no root")


def occupations(levels: list[Any], filled: Any, mu: Any, kT: Any, smearing: str) -> tuple[Any, list[Any]]:
    if kT > 0:
        mu = chemical_potential(levels, filled, kT, smearing) if mu is None else mu
        return mu, [SMEARINGS[smearing].occupation((e - mu) / kT) for e in levels]
    if mu is not None:
        return mu, [mpmath.mpf(e < mu) for e in levels]
    whole = int(mpmath.floor(filled))
    border = levels[whole] if filled != whole else (levels[whole - 1] + levels[whole]) / 2
    # Equal fractions of equal levels.
    f = [min(max(filled - i, mpmath.mpf(0)), mpmath.mpf(1)) for i in range(len(levels))]
    same = [i for i, e in enumerate(levels) if abs(e - border) < 1e-10]
    return border, [sum(f[j] for j in same) / len(same) if i in same else x for i, x in enumerate(f)]


def _entropy_term(x: Any) -> Any:
    """-f ln f for f = 1/(1 + eˣ)."""
    return mpmath.log1p(mpmath.exp(x)) / (1 + mpmath.exp(x))


def solve(
    H: Any,
    S: Any = None,
    *,
    electrons: Any = None,
    mu: Any = None,
    kT: Any = 0,
    spin: int = 2,
    smearing: str = "fermi",
) -> dict[str, Any]:
    """Computes all of `FIELDS` from object arrays of mpmath numbers."""
    is_complex = any(isinstance(x, mpmath.mpc) for M in (H, S) if M is not None for x in M.flat)
    to_normal = np.array(mpmath.eye(len(H)).tolist(), dtype=object)
    if S is not None:
        factor = mpmath.cholesky(mpmath.matrix(S.tolist()))
        to_normal = np.array((factor**-1).tolist(), dtype=object)
    normal = to_normal @ H @ to_normal.conj().T
    levels, Q = (mpmath.eighe if is_complex else mpmath.eigsy)(mpmath.matrix(normal.tolist()))
    levels = list(levels)
    C = to_normal.conj().T @ np.array(Q.tolist(), dtype=object)
    mu, f = occupations(levels, None if electrons is None else electrons / spin, mu, kT, smearing)
    energy = spin * sum(x * e for x, e in zip(f, levels))
    disorder = [] if kT == 0 else [SMEARINGS[smearing].entropy((e - mu) / kT) for e in levels]
    if kT == 0:
        disorder = [-x * mpmath.log(x) - (1 - x) * mpmath.log(1 - x) for x in f if 0 < x < 1]
    entropy = spin * sum(disorder, mpmath.mpf(0))
    return {
        "density_matrix": spin * (C * np.array(f, dtype=object)) @ C.conj().T,
        "mu": mu,
        "energy": energy,
        "entropy": entropy,
        "free_energy": energy - kT * entropy,
        "energy_weighted_density_matrix": spin
        * (C * np.array([x * e for x, e in zip(f, levels)], dtype=object))
        @ C.conj().T,
    }


Inputs = dict[str, Any]  # argument of `solve` -> tensor, number or None


def _exactly(inputs: Inputs) -> Inputs:
    """Converts to mpmath numbers without rounding."""

    def widen(x: Any) -> Any:
        if isinstance(x, Tensor) and x.dim() == 2:
            return np.array([[mpmath.mpmathify(y) for y in row] for row in x.tolist()], dtype=object)
        if isinstance(x, Tensor):
            x = x.item()
        return mpmath.mpf(x) if isinstance(x, float) else x

    return {name: widen(x) for name, x in inputs.items()}


def _to_tensors(result: dict[str, Any]) -> dict[str, Tensor]:
    def narrow(x: Any) -> Tensor:
        if not isinstance(x, np.ndarray):
            return torch.tensor(float(mpmath.re(x)), dtype=torch.float64)
        is_complex = any(isinstance(y, mpmath.mpc) for y in x.flat)
        return torch.from_numpy(x.astype(complex if is_complex else float))

    return {name: narrow(x) for name, x in result.items()}


def solved(inputs: Inputs) -> dict[str, Tensor]:
    with mpmath.workdps(DIGITS):
        return _to_tensors(solve(**_exactly(inputs)))


def _moved(inputs: Inputs, direction: Inputs, step: Any) -> Inputs:
    return {name: x + step * direction[name] if name in direction else x for name, x in inputs.items()}


def tangents(inputs: Inputs, direction: Inputs) -> dict[str, Tensor]:
    """The directional derivative of every field: a central difference, accurate to more than 25 digits."""
    with mpmath.workdps(DIGITS):
        at, along, h = _exactly(inputs), _exactly(direction), mpmath.mpf(10) ** -18
        ahead, behind = (solve(**_moved(at, along, step)) for step in (h, -h))
        return _to_tensors({name: (ahead[name] - behind[name]) / (2 * h) for name in ahead})


def second_tangents(inputs: Inputs, first: Inputs, second: Inputs) -> dict[str, Tensor]:
    with mpmath.workdps(DIGITS):
        at, along, across, h = _exactly(inputs), _exactly(first), _exactly(second), mpmath.mpf(10) ** -14
        corners = [
            (a * b, solve(**_moved(_moved(at, along, a * h), across, b * h)))
            for a, b in itertools.product((1, -1), repeat=2)
        ]
        return _to_tensors({name: sum(sign * x[name] for sign, x in corners) / (4 * h * h) for name in FIELDS})


# --- the problems ----------------------------------------------------------------------------------------------------

GRAPHS = {
    "benzene": benzene,  # -2, -1, -1, 1, 1, 2
    "cube": networkx.cubical_graph,  # -3, -1 (3), 1 (3), 3
}
# The fillings, for both graphs. "n" is as many electrons as there are levels.
FILLINGS: dict[str, Inputs] = {
    "half": {"electrons": "n", "kT": 0.2},
    "a fraction": {"electrons": 3.7, "kT": 0.25},
    "low": {"electrons": "n", "kT": 1e-3},
    "spin 1": {"electrons": 2.3, "kT": 0.5, "spin": 1},
    "mu": {"mu": 0.4, "kT": 0.3},
    "projector": {"electrons": "n"},
    "projector below mu": {"mu": 0.4},
    "partly filled": {"electrons": 0.6},
    "gaussian": {"electrons": 3.7, "kT": 0.4, "smearing": "gaussian"},
    "gaussian at mu": {"mu": 0.4, "kT": 0.3, "smearing": "gaussian"},
    "Methfessel-Paxton": {"electrons": 3.7, "kT": 0.5, "smearing": "methfessel-paxton"},
    "Methfessel-Paxton, half": {"electrons": "n", "kT": 0.3, "smearing": "methfessel-paxton"},
    "cold": {"electrons": 3.7, "kT": 0.5, "smearing": "cold"},
    "cold at mu": {"mu": -0.3, "kT": 0.3, "smearing": "cold"},
}
OVERLAPS = ["orthonormal", "overlap"]


def overlap_of(n: int, dtype: torch.dtype, condition: float = 10.0) -> Tensor:
    return with_spectrum(np.logspace(0, -np.log10(condition), n), dtype, seed=9)


def graph_hamiltonian(name: str, dtype: torch.dtype, S: Tensor | None = None) -> Tensor:
    """The Hamiltonian of a graph, with exactly degenerate levels.

    Phases 1, i, -1, -i make it complex without round-off. With an overlap S, levels are degenerate up to round-off.
    """
    H = huckel(GRAPHS[name]()).to(dtype)
    if dtype.is_complex:
        phases = torch.tensor([1, 1j, -1, -1j], dtype=dtype).repeat(2)[: len(H)]
        H = phases[:, None] * H * phases.conj()
    if S is not None:
        L = torch.linalg.cholesky(S)
        H = hermitian_part(L @ H @ L.mH)
    return H


def case(graph: str, filling: str, overlap: str, dtype: torch.dtype, condition: float = 10.0) -> Inputs:
    n = len(GRAPHS[graph]())
    S = overlap_of(n, dtype, condition) if overlap == "overlap" else None
    inputs: Inputs = {
        "H": graph_hamiltonian(graph, dtype, S),
        "S": S,
        "electrons": None,
        "mu": None,
        "kT": 0,
        "spin": 2,
    }
    inputs |= FILLINGS[filling]
    if inputs["electrons"] == "n":
        inputs["electrons"] = n
    return {
        name: torch.tensor(float(x), dtype=torch.float64) if name in ("electrons", "mu", "kT") and x else x
        for name, x in inputs.items()
    }


def evaluate(inputs: Inputs) -> Any:
    options = {name: x for name, x in inputs.items() if name not in ("H", "S")}
    return sg.density_matrix(inputs["H"], overlap=inputs["S"], full_output=True, **options)


def directions(inputs: Inputs) -> dict[str, Inputs]:
    """A direction for each input that has a derivative."""
    H = inputs["H"]
    random = functools.partial(random_hermitian, *H.shape, dtype=H.dtype)
    along: dict[str, Inputs] = {"H": {"H": random(seed=21)}}
    if inputs["S"] is not None:
        along["S"] = {"S": 0.1 * random(seed=22)}
    along |= {name: {name: torch.ones_like(x)} for name, x in inputs.items() if isinstance(x, Tensor) and not x.dim()}
    if inputs["electrons"] is not None and inputs["electrons"] == H.shape[-1] and inputs["kT"] < 0.1:
        del along["electrons"]  # at or near a kink, where the next level begins to fill
    return along


def differentiable(inputs: Inputs) -> tuple[str, ...]:
    """The fields that have derivatives: in a projector, μ is only a convention."""
    return FIELDS if isinstance(inputs["kT"], Tensor) else tuple(f for f in FIELDS if f not in ("mu", "entropy"))


def error(ours: Tensor, expected: Tensor, unit: float = 1.0) -> float:
    """The largest error, relative to the largest entry or to `unit`, whichever is larger."""
    return float((ours.detach() - expected).abs().max() / max(float(expected.abs().max()), unit))


each_graph = pytest.mark.parametrize("graph", GRAPHS)
each_filling = pytest.mark.parametrize("filling", FILLINGS)
each_overlap = pytest.mark.parametrize("overlap", OVERLAPS)
# For slow tests: each graph and each dtype, but not all combinations.
each_molecule = pytest.mark.parametrize(
    ("graph", "dtype"), [("cube", torch.float64), ("benzene", torch.complex128)], ids=["cube", "complex benzene"]
)


@each_graph
def test_the_reference_obeys_hellmann_and_feynman(graph: str) -> None:
    inputs = case(graph, "a fraction", "overlap", torch.complex128)
    values, along = solved(inputs), directions(inputs)
    expected = {
        "H": expectation(values["density_matrix"], along["H"]["H"]),
        "S": -expectation(values["energy_weighted_density_matrix"], along["S"]["S"]),
        "electrons": values["mu"],
        "kT": -values["entropy"],
    }
    for name, slope in expected.items():
        assert error(tangents(inputs, along[name])["free_energy"], slope) <= 1e-15


# --- values ----------------------------------------------------------------------------------------------------------


@each_graph
@each_filling
@each_overlap
@each_double
def test_values(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    inputs = case(graph, filling, overlap, dtype)
    result = evaluate(inputs)
    assert type(result).__name__ == "DensityMatrixResult"
    assert result._fields == FIELDS
    for name, expected in solved(inputs).items():
        ours = getattr(result, name)
        assert ours.dtype == (dtype if name in MATRICES else torch.float64)
        assert error(ours, expected) <= 1e-13, name
    options = {name: x for name, x in inputs.items() if name not in ("H", "S")}
    assert torch.equal(sg.density_matrix(inputs["H"], overlap=inputs["S"], **options), result.density_matrix)


@pytest.mark.parametrize("t", [0.1, 1.0, -2.5])
@pytest.mark.parametrize("kT", [0.05, 0.3, 4.0])
def test_two_levels_in_closed_form(t: float, kT: float) -> None:
    H = torch.tensor([[0, t], [t, 0]], dtype=torch.float64)
    result = sg.density_matrix(H, electrons=2, kT=kT, full_output=True)
    order, free_energy = -np.tanh(t / (2 * kT)), -4 * kT * np.logaddexp(t / (2 * kT), -t / (2 * kT))
    expected = {
        "density_matrix": [[1, order], [order, 1]],
        "mu": 0,
        "energy": 2 * t * order,
        "entropy": (2 * t * order - free_energy) / kT,
        "free_energy": free_energy,
        "energy_weighted_density_matrix": [[t * order, t], [t, t * order]],
    }
    for field, value in expected.items():
        assert error(getattr(result, field), torch.tensor(value, dtype=torch.float64)) <= 1e-14, field


TEXTBOOK = {
    "ethylene": (networkx.path_graph(2), {(0, 1): 1.0}, 2.0),
    "butadiene": (networkx.path_graph(4), {(0, 1): 2 / 5**0.5, (1, 2): 1 / 5**0.5}, 2 * 5**0.5),
    "benzene": (benzene(), {(0, 1): 2 / 3, (2, 3): 2 / 3}, 8.0),
    "cyclopropenyl cation": (networkx.cycle_graph(3), {(0, 1): 2 / 3}, 4.0),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_bond_orders_of_the_textbook(name: str) -> None:
    """Coulson and Longuet-Higgins (1947): bond orders, and the π-energy of which they are the derivatives."""
    graph, orders, energy = TEXTBOOK[name]
    H = huckel(graph).requires_grad_()
    result = sg.density_matrix(H, electrons=2 if len(graph) == 3 else len(graph), full_output=True)
    (G,) = torch.autograd.grad(result.energy, H)
    assert abs(result.energy.item() + energy) <= 1e-14
    for (i, j), order in orders.items():
        assert abs(result.density_matrix[i, j].item() - order) <= 1e-15 * len(graph)
        assert abs(float(G[i, j]) - order) <= 1e-15 * len(graph)


@each_double
def test_larger_ones_against_scipy(dtype: torch.dtype) -> None:
    n = 60
    H, S = random_hermitian(n, n, dtype=dtype, seed=1), overlap_of(n, dtype, 50.0)
    levels, C = scipy.linalg.eigh(H.numpy(), S.numpy())
    for electrons, kT in ((51.5, 2.0), (20.5, 0.1), (100.25, 0.5)):
        f = lambda mu, kT=kT: scipy.special.expit((mu - levels) / kT)  # noqa: E731
        excess_electrons = lambda mu, f=f, n=electrons: 2 * f(mu).sum() - n  # noqa: E731
        mu = scipy.optimize.brentq(excess_electrons, levels[0], levels[-1], xtol=1e-15)
        ours = sg.density_matrix(H, electrons=electrons, kT=kT, overlap=S, full_output=True)
        expected = {
            "density_matrix": 2 * (C * f(mu)) @ C.conj().T,
            "mu": mu,
            "energy": 2 * (f(mu) * levels).sum(),
            "entropy": 2 * (scipy.special.entr(f(mu)) + scipy.special.entr(1 - f(mu))).sum(),
            "energy_weighted_density_matrix": 2 * (C * (f(mu) * levels)) @ C.conj().T,
        }
        for field, value in expected.items():
            assert error(getattr(ours, field), torch.as_tensor(value, dtype=getattr(ours, field).dtype)) <= 1e-11, field


# Name -> levels, electrons, kT, spin. The levels are the entries of a diagonal matrix, so they are exact.
FERMI_LEVELS: dict[str, tuple[list[float], float, float, int]] = {
    "half filling": ([-2, -1, -1, 1, 1, 2], 6, 0.3, 2),
    "lopsided": ([-3, -0.5, 0.25, 0.25, 0.25, 4], 4, 0.3, 2),
    "all occupations underflow": ([-1, -1, 1], 4, 1e-3, 2),
    "all occupations underflow, spin 1": ([-1, 1, 1, 1], 1, 1e-3, 1),
    "kT = 1e-6": ([-1, 0.5], 2, 1e-6, 2),
    "kT = 1e-100": ([-1, 0.5, 0.5], 2, 1e-100, 2),
    "partly filled and cold": ([-1, 0.5, 0.5, 2], 3.25, 1e-6, 2),
    "one level": ([0.75], 0.3, 0.1, 2),
    "few electrons": ([-1, 0, 2], 1e-12, 0.1, 2),
    "few holes": ([-1, 0, 2], 6 - 2.0**-40, 0.1, 2),
    "a little more than a shell": ([-1, -1, 1, 1], 4 + 2.0**-40, 0.02, 2),
    "a little less than a shell": ([-1, -1, 1, 1], 4 - 2.0**-40, 0.02, 2),
    "hot": ([-1, 0, 0, 1], 2.5, 1e6, 2),
    "large levels": ([-2e12, 1e12, 3e12], 2.5, 1e11, 2),
    "equal levels": ([0.25] * 5, 3, 0.01, 2),
    "levels at 1000": ([999, 999.5, 1000, 1001], 3.5, 0.01, 2),
}


@pytest.mark.parametrize("name", FERMI_LEVELS)
def test_fermi_level_to_the_last_digit(name: str) -> None:
    levels, electrons, kT, spin = FERMI_LEVELS[name]
    result = sg.density_matrix(
        torch.diag(torch.tensor(levels, dtype=torch.float64)), electrons=electrons, kT=kT, spin=spin, full_output=True
    )
    with mpmath.workdps(DIGITS):
        mu = chemical_potential([mpmath.mpf(x) for x in levels], mpmath.mpf(electrons) / spin, mpmath.mpf(kT))
        # Solves the original equation, with enough digits for occupations and holes as small as e^(-Δ/kT).
        if kT > 1e-4:
            with mpmath.workdps(2000):
                refined = mpmath.findroot(
                    lambda x: (
                        sum(1 / (1 + mpmath.exp((mpmath.mpf(e) - x) / kT)) for e in levels)
                        - mpmath.mpf(electrons) / spin
                    ),
                    (mu, mu + mpmath.mpf(10) ** (5 - DIGITS)),
                    verify=False,
                )
                assert abs(refined - mu) <= mpmath.mpf(10) ** (15 - DIGITS) * max(map(abs, levels))
        miss = abs(mpmath.mpf(result.mu.item()) - mu)
        assert miss <= 2 * eps(torch.float64) * max(abs(mu), max(abs(mpmath.mpf(x)) for x in levels))
        expected = [spin / (1 + mpmath.exp((e - mu) / kT)) for e in levels]
    occupied = result.density_matrix.diagonal().tolist()
    # The round-off of μ, divided by kT, is the error of the occupations.
    tolerance = 8 * eps(torch.float64) * max(1, max(map(abs, levels)) / kT)
    if tolerance < 1e-3:
        assert max(abs(float(a - b)) for a, b in zip(occupied, expected)) <= tolerance
        assert abs(sum(occupied) - electrons) <= tolerance * electrons


@pytest.mark.parametrize("seed", range(20))
def test_fermi_level_of_random_levels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    levels = np.sort(rng.uniform(-3, 3, n)).tolist()
    electrons, kT = float(rng.uniform(0.01, 2 * n - 0.01)), float(10 ** rng.uniform(-4, 1))
    H = torch.diag(torch.tensor(levels, dtype=torch.float64))
    mu = sg.density_matrix(H, electrons=electrons, kT=kT, full_output=True).mu
    with mpmath.workdps(DIGITS):
        expected = chemical_potential([mpmath.mpf(x) for x in levels], mpmath.mpf(electrons) / 2, mpmath.mpf(kT))
        assert abs(mpmath.mpf(mu.item()) - expected) <= 2 * eps(torch.float64) * max(3, abs(expected))


@pytest.mark.parametrize("electrons", [0, 8])
def test_no_electrons_and_full_levels(electrons: int) -> None:
    H = graph_hamiltonian("cube", torch.float64)[:4, :4]
    X = H.clone().requires_grad_()
    result = sg.density_matrix(X, electrons=electrons, full_output=True)
    assert error(result.density_matrix, torch.eye(4, dtype=H.dtype) * electrons / 4) <= 1e-15
    assert error(result.energy, H.trace() * electrons / 4) <= 1e-14
    assert result.entropy.item() == 0
    (G,) = torch.autograd.grad(expectation(random_hermitian(4, 4, dtype=H.dtype, seed=1), result.density_matrix), X)
    assert error(G, torch.zeros_like(G)) <= 1e-15
    with pytest.raises(ValueError, match="electrons"):  # μ would be infinite
        sg.density_matrix(H, electrons=electrons, kT=0.1)


@each_double
def test_projector_is_idempotent(dtype: torch.dtype) -> None:
    S = overlap_of(6, dtype)
    for overlap in (None, S):
        H = graph_hamiltonian("benzene", dtype, overlap)
        result = sg.density_matrix(H, electrons=6, overlap=overlap, full_output=True)
        P = result.density_matrix / 2
        assert error(P @ (P if overlap is None else S @ P), P) <= 1e-14
        assert abs(float(result.mu)) <= 1e-14  # the middle of -1 and 1
        assert abs(float(result.energy) + 8) <= 1e-13
        assert float(result.entropy) == 0


# --- smearings -------------------------------------------------------------------------------------------------------

WIDTHS = ["gaussian", "methfessel-paxton", "cold"]
each_width = pytest.mark.parametrize("smearing", WIDTHS)


@pytest.mark.parametrize("smearing", SMEARINGS)
def test_the_entropy_of_the_reference_belongs_to_its_occupations(smearing: str) -> None:
    """s' = x f', 1 - f is the hole, and f falls from 1 to 0."""
    f = SMEARINGS[smearing]
    with mpmath.workdps(40):
        for x in (-3, -0.7, 0, 0.4, 2):
            slope = x * mpmath.diff(f.occupation, x)
            assert abs(mpmath.diff(f.entropy, x) - slope) <= 1e-15
            assert abs(f.occupation(x) + f.hole(x) - 1) <= 1e-35
        assert f.occupation(200) < 1e-80
        assert f.hole(-200) < 1e-80
        assert f.entropy(-200) < 1e-80


@pytest.mark.parametrize("dtype", ALL)
@each_width
def test_occupations_of_single_levels(smearing: SmearingName, dtype: torch.dtype) -> None:
    """Entry by entry: special values at x = 0, tails, and beyond, where f is 1 or 0."""
    x = [-1e30, -20, -3, -1.5, -1, -1e-3, 0, 1e-9, 0.5, 1, 2, 4, 5, 8, 1e30]
    kT = 0.5
    H = torch.diag(torch.tensor(x, dtype=torch.float64) * kT).to(dtype)
    D = sg.density_matrix(H, mu=0.0, kT=kT, spin=1, smearing=smearing).diagonal().real.double()
    for ours, level in zip(D.tolist(), x):
        expected = float(SMEARINGS[smearing].occupation(mpmath.mpf(level))) if abs(level) < 1e10 else float(level < 0)
        assert abs(ours - expected) <= 4 * eps(dtype), level
        if 1 < level < 10:  # tails to relative precision: the condition of e^(-z²) is 2z²
            assert abs(ours / expected - 1) <= 200 * eps(dtype), level


@pytest.mark.parametrize("gap", [0, 1e-300, 1e-16, 1e-9, 1e-5, 1e-3, 0.1, 0.5, 1, 3, 30])
@pytest.mark.parametrize("centre", [-8.0, -2.5, -0.7, 0.0, 1e-3, 0.6, 1.3, 4.0, 12.0])
@each_width
def test_first_differences(smearing: SmearingName, centre: float, gap: float) -> None:
    """f[a, b], read from the derivative of D along the entry (0, 1) of a diagonal H."""
    a, b = centre, centre + gap
    H = torch.diag(torch.tensor([a, b], dtype=torch.float64)).requires_grad_()
    D = sg.density_matrix(H, mu=0.0, kT=1.0, spin=1, smearing=smearing)
    (G,) = torch.autograd.grad(D[1, 0], H)
    f = SMEARINGS[smearing].occupation
    with mpmath.workdps(400):
        a, b = mpmath.mpf(a), mpmath.mpf(b)
        step = (b - a) or mpmath.mpf(10) ** -100
        expected = float((f(a + step) - f(a)) / step)
        size = float(max(_gauss(_shifted(y) if smearing == "cold" else y) * (1 + y * y) for y in (a, b)))
        size = max(size / (1 + gap), abs(expected))
    # The condition of e^(-z²), with z that are rounded to eps.
    assert abs(2 * float(G[1, 0]) - expected) <= 8 * eps(torch.float64) * size * (1 + 2 * centre**2)


GAUSSIAN_LEVELS = {name: x for name, x in FERMI_LEVELS.items() if name not in ("kT = 1e-100", "hot")}


@pytest.mark.parametrize("name", GAUSSIAN_LEVELS)
def test_gaussian_level_to_the_last_digit(name: str) -> None:
    levels, electrons, kT, spin = GAUSSIAN_LEVELS[name]
    H = torch.diag(torch.tensor(levels, dtype=torch.float64))
    result = sg.density_matrix(H, electrons=electrons, kT=kT, spin=spin, smearing="gaussian", full_output=True)
    with mpmath.workdps(DIGITS):
        exact_levels = [mpmath.mpf(x) for x in levels]
        mu = chemical_potential(exact_levels, mpmath.mpf(electrons) / spin, mpmath.mpf(kT), "gaussian")
        miss = abs(mpmath.mpf(result.mu.item()) - mu)
        assert miss <= 2 * eps(torch.float64) * max(abs(mu), max(abs(x) for x in exact_levels))


@each_width
@pytest.mark.parametrize("kT", [1e-300, 1e-100, 1e-6, 1e-3])
def test_a_closed_shell_below_a_wide_gap_is_its_projector(smearing: SmearingName, kT: float) -> None:
    """Also with cold occupations, which have no root inside the gap: μ is near the middle of the gap, and finite."""
    H = graph_hamiltonian("benzene", torch.float64).requires_grad_()
    result = sg.density_matrix(H, electrons=6, kT=kT, smearing=smearing, full_output=True)
    assert abs(result.mu.item()) <= 0.01
    # Its derivative is that of the Gaussian μ: the mean of the projectors onto the frontier levels.
    (G,) = torch.autograd.grad(result.mu, H, retain_graph=True)
    assert bool(G.isfinite().all())
    assert abs(float(G.trace()) - 1) <= 1e-12
    projector = sg.density_matrix(H, electrons=6)
    assert error(result.density_matrix, projector.detach()) <= 1e-14
    assert abs(result.free_energy.item() + 8) <= 1e-13
    M = random_hermitian(6, 6, dtype=H.dtype, seed=3)
    ours, expected = (torch.autograd.grad(expectation(M, D), H)[0] for D in (result.density_matrix, projector))
    assert error(ours, expected) <= 1e-12


@pytest.mark.parametrize("smearing", ["methfessel-paxton", "cold"])
@pytest.mark.parametrize("seed", range(15))
def test_the_root_nearest_to_the_gaussian_one(smearing: SmearingName, seed: int) -> None:
    """Against a search over a fine grid, in another arithmetic."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 10))
    levels = np.sort(rng.uniform(-2, 2, n))
    if seed % 3 == 0:
        levels = np.sort(np.round(levels))
    electrons, kT = float(rng.uniform(0.02, n - 0.02)), float(10 ** rng.uniform(-1.5, 0))
    result = sg.density_matrix(
        torch.diag(torch.from_numpy(levels)), electrons=electrons, kT=kT, spin=1, smearing=smearing, full_output=True
    )
    with mpmath.workdps(DIGITS):
        exact_levels, filled, width = [mpmath.mpf(x) for x in levels], mpmath.mpf(electrons), mpmath.mpf(kT)
        near = chemical_potential(exact_levels, filled, width, "gaussian")
        expected = nearest_root(exact_levels, filled, width, smearing)
        ours = mpmath.mpf(result.mu.item())
        f = SMEARINGS[smearing].occupation
        # A root, to the rounding of μ; and no further from the Gaussian one than the nearest, to a step of the search.
        assert abs(sum(f((e - ours) / width) for e in exact_levels) - filled) <= 4e-15 * (1 + 2 / kT)
        assert abs(abs(ours - near) - abs(expected - near)) <= kT / 16
    assert abs(float(result.density_matrix.trace()) - electrons) <= 1e-13 * (1 + 1 / kT)


def test_a_metallic_level_in_closed_form() -> None:
    """One level of multiplicity m with m/2 electrons: f = 1/2 fixes x, which is 0 but for the cold smearing."""
    H = 0.3 * torch.eye(4, dtype=torch.float64)
    arguments: list[tuple[SmearingName, float | None]] = [("gaussian", 0.0), ("methfessel-paxton", 0.0), ("cold", None)]
    for smearing, x in arguments:
        result = sg.density_matrix(H, electrons=4, kT=0.2, smearing=smearing, full_output=True)
        if x is None:
            x = scipy.optimize.brentq(
                lambda x: (
                    scipy.special.erfc(x + 0.5**0.5) / 2 + np.exp(-((x + 0.5**0.5) ** 2)) / (2 * np.pi) ** 0.5 - 0.5
                ),
                -1,
                1,
                xtol=1e-15,
            )
        assert abs(float(result.mu) - (0.3 - 0.2 * x)) <= 1e-15
        assert error(result.density_matrix, torch.eye(4, dtype=H.dtype)) <= 1e-14
        assert abs(float(result.entropy) - 8 * float(SMEARINGS[smearing].entropy(mpmath.mpf(x)))) <= 1e-14


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
@each_width
def test_smearings_commute_with_scaling(smearing: SmearingName, scale: float, dtype: torch.dtype) -> None:
    H = graph_hamiltonian("cube", dtype)
    M = random_hermitian(8, 8, dtype=dtype, seed=3)

    def both(factor: float) -> tuple[Any, Tensor]:
        X = (factor * H).requires_grad_()
        result = sg.density_matrix(X, electrons=7.3, kT=0.4 * factor, smearing=smearing, full_output=True)
        (G,) = torch.autograd.grad(expectation(M, result.density_matrix), X)
        return result, factor * G

    (one, G), (other, scaled) = both(1), both(scale)
    tolerance = by_precision(dtype, 1e-13, 2e-5)
    assert error(other.density_matrix, one.density_matrix.detach()) <= tolerance
    assert error(other.free_energy / scale, one.free_energy.detach()) <= tolerance
    assert error(other.mu / scale, one.mu.detach()) <= tolerance
    assert error(scaled, G) <= tolerance


@each_width
def test_smearings_take_empty_matrices_batches_and_transforms(smearing: SmearingName) -> None:
    for shape in ((0, 0), (0, 3, 3), (2, 0, 0)):
        X = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        filling: dict[str, Any] = {"electrons": 2.0} if shape[-1] else {"mu": 0.5}
        result = sg.density_matrix(X, kT=0.1, smearing=smearing, full_output=True, **filling)
        assert result.density_matrix.shape == shape
        assert result.entropy.shape == shape[:-2]
        assert torch.autograd.grad(result.free_energy.sum(), X)[0].shape == shape
    Hs = torch.stack([(1 + k) * graph_hamiltonian("benzene", torch.float64) for k in range(3)])
    numbers = torch.tensor([6.0, 2.5, 11.0], dtype=torch.float64)

    def free_energy(H: Tensor, electrons: Tensor) -> Tensor:
        return sg.density_matrix(H, electrons=electrons, kT=0.3, smearing=smearing, full_output=True).free_energy

    result = sg.density_matrix(Hs, electrons=numbers, kT=0.3, smearing=smearing, full_output=True)
    mapped = torch.func.vmap(torch.func.grad(free_energy, argnums=(0, 1)))(Hs, numbers)
    assert error(mapped[0], result.density_matrix) <= 1e-13
    assert error(mapped[1], result.mu) <= 1e-13
    for k in range(3):
        alone = sg.density_matrix(Hs[k], electrons=numbers[k], kT=0.3, smearing=smearing)
        assert error(result.density_matrix[k], alone) <= 1e-14


@pytest.mark.slow
@each_width
@pytest.mark.parametrize("fixed", ["electrons", "mu"])
@each_double
def test_gradcheck_of_smearings(smearing: SmearingName, fixed: str, dtype: torch.dtype) -> None:
    inputs = [
        _ring(3, dtype),
        *(torch.tensor(x, dtype=torch.float64) for x in (2.5 if fixed == "electrons" else 0.3, 0.6)),
    ]

    def fields(H: Tensor, given: Tensor, kT: Tensor) -> tuple[Tensor, ...]:
        filling: dict[str, Any] = {fixed: given}
        result = sg.density_matrix(hermitian_part(H), kT=kT, smearing=smearing, full_output=True, **filling)
        return tuple(x for x in result if x is not result.mu or fixed == "electrons")

    leaves = [x.requires_grad_() for x in inputs]
    assert gradcheck(fields, leaves, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
    assert gradgradcheck(fields, leaves, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("smearing", ["Fermi", "mp", None, 1, ["cold"]])
@pytest.mark.parametrize("kT", [0, 0.1])
def test_unknown_smearings_get_a_sentence(smearing: Any, kT: float) -> None:
    with pytest.raises(
        ValueError, match=r"spectralgrad\.density_matrix: Expected smearing to be one of 'fermi', .*but got"
    ):
        sg.density_matrix(torch.eye(2), electrons=2, kT=kT, smearing=smearing)


# --- first derivatives -----------------------------------------------------------------------------------------------


def _forward(inputs: Inputs, direction: Inputs) -> dict[str, Tensor]:
    names = list(direction)

    def of(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(evaluate(inputs | dict(zip(names, values))))

    along = torch.func.jvp(of, tuple(inputs[name] for name in names), tuple(direction.values()))[1]
    return dict(zip(FIELDS, along))


def _leaves(inputs: Inputs, names: Any) -> Inputs:
    return inputs | {name: inputs[name].clone().requires_grad_() for name in names}


def _probe(field: str, value: Tensor) -> Tensor:
    return random_hermitian(*value.shape, dtype=value.dtype, seed=len(field)) if field in MATRICES else torch.ones(())


def _tolerance(inputs: Inputs) -> float:
    # ε/kT has an error of eps/kT, as have the weights f(1 - f). ∂μ/∂kT is the mean of (ε - μ)/kT with these weights.
    kT = float(inputs["kT"])
    return max(1e-13 if inputs["S"] is None else 5e-13, 1e-15 / kT**2 if kT else 0)


@each_molecule
@each_filling
@each_overlap
def test_first_derivatives(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Forward mode gives every field along every input, and backward every field's gradient in all inputs."""
    inputs = case(graph, filling, overlap, dtype)
    along = directions(inputs)
    expected = {name: tangents(inputs, direction) for name, direction in along.items()}
    for name, direction in along.items():
        ours = _forward(inputs, direction)
        for field in differentiable(inputs):
            assert error(ours[field], expected[name][field]) <= _tolerance(inputs), (name, field)
    leaves = _leaves(inputs, along)
    result = evaluate(leaves)
    for field in differentiable(inputs):
        value = getattr(result, field)
        M = _probe(field, value)
        loss = expectation(M, value) if field in MATRICES else value
        gradients = torch.autograd.grad(loss, [leaves[name] for name in along], retain_graph=True, allow_unused=True)
        for (name, direction), G in zip(along.items(), gradients):
            slope = expected[name][field]
            slope = expectation(M, slope) if field in MATRICES else slope
            if G is None:
                assert float(slope.abs()) <= 1e-20, (name, field)
                continue
            if name in ("H", "S"):
                assert torch.equal(G, G.mH.resolve_conj())
            change = expectation(G, direction[name]) if G.dim() else G
            assert error(change, slope, max(1, float(G.abs().max()))) <= _tolerance(inputs), (name, field)


@each_molecule
@pytest.mark.parametrize(
    "filling", ["half", "a fraction", "low", "spin 1", "projector", "gaussian", "Methfessel-Paxton", "cold"]
)
@each_overlap
def test_gradient_of_the_free_energy(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """∂F/∂H = D, ∂F/∂S = -W, ∂F/∂N = μ and ∂F/∂kT = -entropy, to round-off. Forces need W."""
    inputs = case(graph, filling, overlap, dtype)
    along = directions(inputs)
    leaves = _leaves(inputs, along)
    result = evaluate(leaves)
    gradients = dict(zip(along, torch.autograd.grad(result.free_energy, [leaves[name] for name in along])))
    expected = {
        "H": result.density_matrix,
        "S": -result.energy_weighted_density_matrix,
        "electrons": result.mu,
        "kT": -result.entropy,
    }
    for name, G in gradients.items():
        assert error(G, expected[name].detach()) <= (1e-14 if overlap == "orthonormal" else 1e-13), name


@each_overlap
@each_double
def test_gradient_at_a_chemical_potential(overlap: str, dtype: torch.dtype) -> None:
    """At fixed μ, the gradients of Ω = F - μN are D in H and -W in S, and its slope in μ is -N."""
    inputs = case("cube", "mu", overlap, dtype)
    along = directions(inputs)
    leaves = _leaves(inputs, along)
    result = evaluate(leaves)
    S = torch.eye(8, dtype=dtype) if leaves["S"] is None else leaves["S"]
    electrons = expectation(S, result.density_matrix)
    omega = result.free_energy - leaves["mu"] * electrons
    gradients = dict(zip(along, torch.autograd.grad(omega, [leaves[name] for name in along])))
    expected = {
        "H": result.density_matrix,
        "S": -result.energy_weighted_density_matrix,
        "mu": -electrons,
        "kT": -result.entropy,
    }
    for name, G in gradients.items():
        assert error(G, expected[name].detach()) <= 1e-13, name


@pytest.mark.parametrize("filling", ["half", "projector"])
@each_graph
@each_double
def test_every_entry_of_the_gradients(graph: str, filling: str, dtype: torch.dtype) -> None:
    """Every entry. D = ∂F/∂H and W = -∂F/∂S, so by Schwarz the gradients of tr(M D) are derivatives along M."""
    inputs = case(graph, filling, "overlap", dtype)
    M = random_hermitian(*inputs["H"].shape, dtype=dtype, seed=3)
    leaves = _leaves(inputs, ["H", "S"])
    result = evaluate(leaves)
    along_H, along_S = tangents(inputs, {"H": M}), tangents(inputs, {"S": M})
    D, W = MATRICES
    for field, expected in {
        D: (along_H[D], -along_H[W]),
        W: (-along_S[D], along_S[W]),
    }.items():
        ours = torch.autograd.grad(
            expectation(M, getattr(result, field)), [leaves["H"], leaves["S"]], retain_graph=True
        )
        for G, reference in zip(ours, expected):
            assert relative_error(G, reference) <= 1e-12, field


@pytest.mark.parametrize("condition", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("filling", ["half", "projector"])
@each_double
def test_ill_conditioned_overlap(filling: str, condition: float, dtype: torch.dtype) -> None:
    inputs = case("benzene", filling, "overlap", dtype, condition)
    for name, expected in solved(inputs).items():
        assert error(getattr(evaluate(inputs), name), expected) <= 1e-14 * condition, name
    M = random_hermitian(6, 6, dtype=dtype, seed=3)
    leaves = _leaves(inputs, ["H", "S"])
    gradients = torch.autograd.grad(expectation(M, evaluate(leaves).density_matrix), [leaves["H"], leaves["S"]])
    along = tangents(inputs, {"H": M})
    for G, expected in zip(gradients, (along["density_matrix"], -along["energy_weighted_density_matrix"])):
        assert relative_error(G, expected) <= 1e-14 * condition


def test_derivatives_of_a_fermi_level_between_empty_and_full() -> None:
    """All f(1 - f) underflow, but ∂μ is a quotient of their sums: the mean over the levels at the gap."""
    H = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 3.0], dtype=torch.float64)).requires_grad_()
    mu = sg.density_matrix(H, electrons=4, kT=1e-3, full_output=True).mu
    (G,) = torch.autograd.grad(mu, H)
    # (ε - μ)/kT is 1000, and its round-off is the relative error of f(1 - f).
    assert error(G, torch.diag(torch.tensor([0.25, 0.25, 0.5, 0.0], dtype=H.dtype))) <= 1e-13


def test_an_electron_added_to_a_gap_that_is_too_cold() -> None:
    """f(1 - f) underflows, so the derivative is 0/0 and the result NaN."""
    electrons = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    D = sg.density_matrix(torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64)), electrons=electrons, kT=1e-3)
    assert bool(torch.autograd.grad(D[0, 0], electrons)[0].isnan())


@pytest.mark.parametrize("kT", [0.2, 0.05, 0.03])
@each_double
def test_an_electron_added_to_a_gap(kT: float, dtype: torch.dtype) -> None:
    """∂D/∂N = f(1 - f)/Σ f(1 - f), half of it below the gap and half above, however small they are; and ∂F/∂N = μ."""
    v = torch.tensor([1, 1j, -1, 1j] if dtype.is_complex else [1.0, 1.0, -1.0, 1.0], dtype=dtype) / 2
    P = torch.outer(v, v.conj())
    eye = torch.eye(4, dtype=dtype)
    electrons = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    result = sg.density_matrix(eye - 2 * P, electrons=electrons, kT=kT, full_output=True)  # -1, 1, 1, 1
    with mpmath.workdps(DIGITS):
        mu = chemical_potential([-1, 1, 1, 1], mpmath.mpf(1), mpmath.mpf(kT))
        below, above = (1 / (mpmath.cosh((e - mu) / (2 * kT))) ** 2 for e in (-1, 1))
        share = float(below / (below + 3 * above))
    M = random_hermitian(4, 4, dtype=dtype, seed=3)
    (slope,) = torch.autograd.grad(expectation(M, result.density_matrix), electrons, retain_graph=True)
    assert error(slope, expectation(M, share * P + (1 - share) / 3 * (eye - P))) <= 1e-12
    (slope,) = torch.autograd.grad(result.free_energy, electrons)
    assert error(slope, result.mu.detach()) <= 1e-12


# --- second derivatives ----------------------------------------------------------------------------------------------


def _smooth_loss(inputs: Inputs, names: tuple[str, ...], M: Tensor) -> Callable[..., Tensor]:
    """A loss of all fields, with a different factor for each so that errors do not cancel."""

    def loss(*values: Tensor) -> Tensor:
        result = evaluate(inputs | dict(zip(names, values)))
        return total(
            (k + 1) * (expectation(M, getattr(result, field)) if field in MATRICES else getattr(result, field))
            for k, field in enumerate(differentiable(inputs))
        )

    return loss


@each_molecule
@pytest.mark.parametrize(
    "filling", ["half", "a fraction", "mu", "projector", "gaussian", "Methfessel-Paxton", "cold", "cold at mu"]
)
@each_overlap
def test_second_derivatives(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Mixed second derivatives in all inputs, by each mode over each mode, against mixed differences."""
    inputs = case(graph, filling, overlap, dtype)
    along = directions(inputs)
    names = tuple(along)
    first = {name: direction[name] for name, direction in along.items()}
    second = {
        name: random_hermitian(*x.shape, dtype=dtype, seed=33) * (0.1 if name == "S" else 1) if x.dim() else 0.5 * x
        for name, x in first.items()
    }
    M = random_hermitian(*inputs["H"].shape, dtype=dtype, seed=3)
    fields = second_tangents(inputs, first, second)
    expected = total(
        (k + 1) * (expectation(M, fields[field]) if field in MATRICES else fields[field])
        for k, field in enumerate(differentiable(inputs))
    )
    loss = _smooth_loss(inputs, names, M)
    at, one, other = (tuple(x[name] for name in names) for x in (inputs, first, second))

    def slope(*values: Tensor) -> Tensor:
        return torch.func.jvp(loss, values, one)[1]

    def through_gradient(*values: Tensor) -> Tensor:
        gradients = torch.func.grad(loss, argnums=tuple(range(len(names))))(*values)
        return sum((G.conj() * E).sum().real for G, E in zip(gradients, one))

    for way in (slope, through_gradient):
        forward = torch.func.jvp(way, at, other)[1]
        backward = sum(
            (G.conj() * E).sum().real
            for G, E in zip(torch.func.grad(way, argnums=tuple(range(len(names))))(*at), other)
        )
        for ours in (forward, backward):
            assert error(ours, expected) <= 20 * _tolerance(inputs)


@each_graph
@each_double
def test_hessian_of_the_free_energy(graph: str, dtype: torch.dtype) -> None:
    """The Hessian of F times E is the derivative of D along E."""
    inputs = case(graph, "a fraction", "orthonormal", dtype)
    leaves = _leaves(inputs, ["H"])
    (G,) = torch.autograd.grad(evaluate(leaves).free_energy, leaves["H"], create_graph=True)
    for seed in (5, 6):
        E = random_hermitian(*G.shape, dtype=dtype, seed=seed)
        (product,) = torch.autograd.grad(G, leaves["H"], E, retain_graph=True)
        assert relative_error(product, tangents(inputs, {"H": E})["density_matrix"]) <= 1e-13


def test_third_derivatives() -> None:
    """Against a difference of second ones, at levels that meet; a fourth is refused."""
    H, E = graph_hamiltonian("benzene", torch.float64), random_hermitian(6, 6, dtype=torch.float64, seed=3)
    jvp, h = torch.func.jvp, 1e-3

    def order(t: Tensor) -> Tensor:
        return sg.density_matrix(H + t * E, electrons=6, kT=0.3)[0, 1]

    def along(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda t: jvp(f, (t,), (torch.ones_like(t),))[1]

    zero = torch.zeros((), dtype=torch.float64)
    second, third = along(along(order)), along(along(along(order)))
    expected = (8 * (second(zero + h) - second(zero - h)) - (second(zero + 2 * h) - second(zero - 2 * h))) / (12 * h)
    torch.testing.assert_close(third(zero), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(torch.func.grad(second)(zero), expected, rtol=1e-8, atol=1e-8)
    with pytest.raises(RuntimeError, match="a fourth derivative was asked for"):
        torch.func.grad(third)(zero)


def _ring(n: int, dtype: torch.dtype) -> Tensor:
    """A ring with the levels -2, 1, 1 for n = 3 and -2, 0, 0, 2 for n = 4.

    A complex ring has a phase on each bond, which a gauge transformation removes.
    """
    H = huckel(networkx.cycle_graph(n)).to(dtype)
    phases = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128)[:n]
    return phases[:, None] * H * phases.conj() if dtype.is_complex else H


@pytest.mark.slow
@pytest.mark.parametrize("fixed", ["electrons", "mu"])
@each_overlap
@each_double
def test_gradcheck(fixed: str, overlap: str, dtype: torch.dtype) -> None:
    n = 3
    S = overlap_of(n, dtype) if overlap == "overlap" else None
    inputs = [
        _ring(n, dtype).requires_grad_(),
        *(
            torch.tensor(x, dtype=torch.float64, requires_grad=True)
            for x in (2.5 if fixed == "electrons" else 0.3, 0.4)
        ),
        *([] if S is None else [S.requires_grad_()]),
    ]

    def fields(H: Tensor, given: Tensor, kT: Tensor, S: Tensor | None = None) -> tuple[Tensor, ...]:
        overlap = None if S is None else hermitian_part(S)
        filling: dict[str, Any] = {fixed: given}
        result = sg.density_matrix(hermitian_part(H), kT=kT, overlap=overlap, full_output=True, **filling)
        return tuple(x for x in result if x is not result.mu or fixed == "electrons")

    real = not dtype.is_complex  # torch itself fails batched forward gradients through the .mH of a complex tensor
    # One case is checked in full, the others along random directions.
    fast = dtype.is_complex or overlap == "overlap" or fixed == "mu"
    assert gradcheck(
        fields, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=real, fast_mode=fast
    )
    assert gradgradcheck(fields, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True)


@pytest.mark.slow
@each_graph
@each_double
def test_gradcheck_of_molecules(graph: str, dtype: torch.dtype) -> None:
    H = graph_hamiltonian(graph, dtype).requires_grad_()
    for options in ({"electrons": len(H), "kT": 0.3}, {"electrons": len(H)}):

        def fields(X: Tensor, options: Any = options) -> tuple[Tensor, ...]:
            result = sg.density_matrix(hermitian_part(X), full_output=True, **options)
            return result.density_matrix, result.energy, result.energy_weighted_density_matrix

        assert gradcheck(fields, H, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
        assert gradgradcheck(fields, H, check_fwd_over_rev=True, fast_mode=True)


# --- batches, shapes, types ------------------------------------------------------------------------------------------


@each_overlap
@each_double
def test_batch_with_a_filling_for_each(overlap: str, dtype: torch.dtype) -> None:
    """Electrons or μ, and kT, differ within a batch. Each matrix has the values and derivatives it has alone."""
    S = overlap_of(6, dtype) if overlap == "overlap" else None
    Hs = torch.stack([(1 + k) * graph_hamiltonian("benzene", dtype, S) for k in range(3)]).reshape(3, 1, 6, 6)
    M = random_hermitian(3, 2, 6, 6, dtype=dtype, seed=3)
    kT = torch.tensor([0.2, 0.5], dtype=torch.float64)
    number = torch.tensor([[6.0], [2.5], [11.0]], dtype=torch.float64)
    for name in ("electrons", "mu"):
        given = number if name == "electrons" else number / 6 - 1
        leaves = [x.clone().requires_grad_() for x in (Hs.expand(3, 2, 6, 6), given, kT)]
        options: dict[str, Any] = {name: leaves[1], "overlap": S}
        result = sg.density_matrix(leaves[0], kT=leaves[2], full_output=True, **options)
        gradients = torch.autograd.grad(expectation(M, result.density_matrix) + result.entropy.sum(), leaves)
        sums = [torch.zeros_like(x) for x in leaves]
        for i, j in itertools.product(range(3), range(2)):
            alone = [x.clone().requires_grad_() for x in (Hs[i, 0], given[i, 0], kT[j])]
            one = sg.density_matrix(alone[0], kT=alone[2], full_output=True, **(options | {name: alone[1]}))
            for field in FIELDS:
                assert error(getattr(result, field)[i, j], getattr(one, field).detach()) <= 1e-14, field
            G = torch.autograd.grad(expectation(M[i, j], one.density_matrix) + one.entropy, alone)
            for target, index, g in zip(sums, ((i, j), (i, 0), (j,)), G):
                target[index] += g
        for ours, expected in zip(gradients, sums):
            assert error(ours, expected) <= 1e-13


@pytest.mark.parametrize("batch", [(), (0,), (2,), (2, 0, 3), (2, 3)])
@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("dtype", ALL)
def test_shapes_and_types(dtype: torch.dtype, n: int, batch: tuple[int, ...]) -> None:
    H = random_hermitian(*batch, n, n, dtype=dtype, seed=2)
    S = torch.eye(n, dtype=dtype)
    fillings: list[dict[str, Any]] = [
        {"electrons": n, "kT": 0.1},
        {"mu": 0.1, "kT": 0.1},
        {"electrons": n},
        {"mu": 0.1},
    ]
    for filling, overlap in itertools.product(fillings, (None, S, S.expand(H.shape))):
        X = H.clone().requires_grad_()
        result = sg.density_matrix(X, overlap=overlap, full_output=True, **filling)
        for field in FIELDS:
            value = getattr(result, field)
            assert value.shape == (H.shape if field in MATRICES else batch), field
            assert value.dtype == (dtype if field in MATRICES else dtype.to_real()), field
        traces = result.density_matrix.diagonal(dim1=-2, dim2=-1).real.sum(-1)
        if "electrons" in filling:
            torch.testing.assert_close(traces, torch.full_like(traces, n), rtol=20 * eps(dtype), atol=20 * eps(dtype))
        # With fixed electrons and kT = 0, the gradient of the energy is D.
        (G,) = torch.autograd.grad(result.energy.sum(), X)
        assert G.shape == H.shape
        if filling == {"electrons": n}:
            torch.testing.assert_close(G, result.density_matrix.detach(), rtol=0, atol=50 * eps(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ALL)
@each_graph
@pytest.mark.parametrize("filling", ["half", "a fraction", "projector", "mu", "gaussian", "Methfessel-Paxton", "cold"])
@each_overlap
def test_every_precision(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Single precision is accurate to about its round-off, degenerate or not."""
    inputs = case(graph, filling, overlap, dtype)
    M = random_hermitian(*inputs["H"].shape, dtype=dtype, seed=3)
    leaves = _leaves(inputs, ["H"])
    result = evaluate(leaves)
    for field, expected in solved(inputs).items():
        assert error(getattr(result, field), expected) <= by_precision(dtype, 1e-13, 5e-6), field
    (G,) = torch.autograd.grad(expectation(M, result.density_matrix), leaves["H"])
    assert relative_error(G, tangents(inputs, {"H": M})["density_matrix"]) <= by_precision(dtype, 1e-12, 2e-5)


@pytest.mark.parametrize("dtype", ALL)
def test_only_the_lower_triangles_are_read(dtype: torch.dtype) -> None:
    S = overlap_of(6, dtype)
    H = graph_hamiltonian("benzene", dtype, S)
    M = random_hermitian(6, 6, dtype=dtype, seed=3)

    def dirty(A: Tensor, garbage: float) -> Tensor:
        A = torch.where(torch.ones_like(A, dtype=torch.bool).triu(1), torch.full_like(A, garbage), A)
        if dtype.is_complex:
            A.imag.diagonal().fill_(garbage)
        return A

    def outputs(H: Tensor, S: Tensor, filling: dict[str, Any]) -> list[Tensor]:
        leaves = [x.clone().requires_grad_() for x in (H, S)]
        result = sg.density_matrix(leaves[0], overlap=leaves[1], full_output=True, **filling)
        loss = expectation(M, result.density_matrix) + expectation(M, result.energy_weighted_density_matrix)
        return [*result, *torch.autograd.grad(loss, leaves)]

    for filling in ({"electrons": 5.5, "kT": 0.2}, {"electrons": 6}):
        clean = outputs(H, S, filling)
        for garbage in (1e3, torch.nan, torch.inf):
            for ours, expected in zip(outputs(dirty(H, garbage), dirty(S, garbage), filling), clean):
                assert torch.equal(ours, expected)


def test_numbers_and_tensors_are_the_same() -> None:
    H = graph_hamiltonian("cube", torch.float64)
    plain = sg.density_matrix(H, electrons=7.5, kT=0.2)
    for kind in (torch.float64, torch.float32):
        D = sg.density_matrix(H, electrons=torch.tensor(7.5, dtype=kind), kT=torch.tensor(0.25, dtype=kind))
        assert error(D, sg.density_matrix(H, electrons=7.5, kT=0.25)) <= 1e-15
    assert torch.equal(plain, sg.density_matrix(H, electrons=torch.tensor(7.5, dtype=H.dtype), kT=0.2))
    assert torch.equal(sg.density_matrix(H, mu=0), sg.density_matrix(H, mu=torch.tensor(0)))
    assert torch.equal(sg.density_matrix(H, electrons=8), sg.density_matrix(H, electrons=torch.tensor(8)))
    # `spin` is the number of electrons that fill a level, and a factor of the result.
    one, two = sg.density_matrix(H, electrons=3.75, kT=0.2, spin=1), plain
    assert error(2 * one, two) <= 1e-15


# --- transforms ------------------------------------------------------------------------------------------------------


@each_double
def test_vmap(dtype: torch.dtype) -> None:
    H = torch.stack([(1 + k) * graph_hamiltonian("benzene", dtype) for k in range(3)])
    electrons, kT = torch.tensor([6.0, 2.5, 11.0], dtype=torch.float64), torch.tensor([0.2, 0.3, 0.4]).double()
    S = torch.stack([overlap_of(6, dtype, condition) for condition in (2.0, 5.0, 10.0)])
    M = random_hermitian(6, 6, dtype=dtype, seed=3)

    def loss(H: Tensor, electrons: Tensor, kT: Tensor, S: Tensor) -> Tensor:
        return expectation(M, sg.density_matrix(H, electrons=electrons, kT=kT, overlap=S))

    gradient = torch.func.grad(loss, argnums=(0, 1, 2, 3))
    for mapped in (
        torch.func.vmap(gradient)(H, electrons, kT, S),
        torch.func.vmap(gradient, in_dims=(-1, 0, 0, 1))(H.movedim(0, -1), electrons, kT, S.movedim(0, 1)),
    ):
        for k in range(3):
            for ours, expected in zip(mapped, gradient(H[k], electrons[k], kT[k], S[k])):
                # Products round differently in a batch, and errors of levels are divided by kT.
                assert error(ours[k], expected) <= 4e-13
    # One matrix with many fillings; many matrices with one filling.
    several = torch.func.vmap(lambda N: sg.density_matrix(H[0], electrons=N, kT=0.2))(electrons)
    assert error(several[1], sg.density_matrix(H[0], electrons=2.5, kT=0.2)) <= 1e-14
    projectors = torch.func.vmap(lambda X: sg.density_matrix(X, electrons=6))(H)
    assert error(projectors[2], sg.density_matrix(H[2], electrons=6)) <= 1e-14


def test_jacobians() -> None:
    H = graph_hamiltonian("benzene", torch.float64)
    along = tangents(
        case("benzene", "a fraction", "orthonormal", torch.float64), {"H": hermitian_part(torch.ones(6, 6)).double()}
    )

    def D(X: Tensor) -> Tensor:
        return sg.density_matrix(hermitian_part(X), electrons=3.7, kT=0.25)

    for jacobian in (torch.func.jacrev(D)(H), torch.func.jacfwd(D)(H), torch.autograd.functional.jacobian(D, H)):
        assert error(jacobian.sum((-2, -1)), along["density_matrix"]) <= 1e-13


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiles() -> None:
    H, S = graph_hamiltonian("benzene", torch.float64), overlap_of(6, torch.float64)
    M = random_hermitian(6, 6, dtype=H.dtype, seed=3)

    def loss(H: Tensor, S: Tensor, electrons: Tensor) -> Tensor:
        result = sg.density_matrix(H, electrons=electrons, kT=0.2, overlap=S, full_output=True)
        cold = sg.density_matrix(H, electrons=electrons, kT=0.5, smearing="cold")[0, 1]
        projector = sg.density_matrix(H, electrons=6)[0, 1]
        return expectation(M, result.density_matrix) + result.free_energy + cold + projector

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    values = []
    for f in (loss, compiled):
        leaves = [x.clone().requires_grad_() for x in (H, S, torch.tensor(5.5, dtype=H.dtype))]
        y = f(*leaves)
        values.append([y, *torch.autograd.grad(y, leaves)])
    for ours, expected in zip(*values):
        assert error(ours, expected.detach()) <= 1e-14


# --- errors ----------------------------------------------------------------------------------------------------------

RING = _ring(4, torch.float64)  # -2, 0, 0, 2
SINGULAR = torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64))


def _with_nan(A: Tensor, *index: int) -> Tensor:
    A = A.clone()
    A[index] = torch.nan
    return A


# For calls that a type checker rejects.
untyped_density_matrix: Any = sg.density_matrix

ERRORS: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "neither": (
        lambda: sg.density_matrix(RING),
        ValueError,
        r"spectralgrad\.density_matrix: Expected one of electrons and mu, but got neither",
    ),
    "both": (
        lambda: sg.density_matrix(RING, electrons=4, mu=0.0),
        ValueError,
        r"spectralgrad\.density_matrix: Expected one of electrons and mu, but got both",
    ),
    "too many": (
        lambda: sg.density_matrix(RING, electrons=8.5, kT=0.1),
        (ValueError, RuntimeError),
        r"electrons.*8.*8\.5",
    ),
    "too many of spin 1": (
        lambda: sg.density_matrix(RING, electrons=5, kT=0.1, spin=1),
        (ValueError, RuntimeError),
        r"electrons.*4.*5",
    ),
    "negative": (lambda: sg.density_matrix(RING, electrons=-1), (ValueError, RuntimeError), r"electrons.*-1"),
    "too many for one of a batch": (
        lambda: sg.density_matrix(RING.expand(2, 4, 4), electrons=torch.tensor([2.0, 9.0]), kT=0.1),
        (ValueError, RuntimeError),
        r"electrons.*8.*9",
    ),
    "NaN electrons": (
        lambda: sg.density_matrix(RING, electrons=float("nan"), kT=0.1),
        (ValueError, RuntimeError),
        "electrons.*nan",
    ),
    "NaN electrons at zero temperature": (
        lambda: sg.density_matrix(RING, electrons=float("nan")),
        ValueError,
        "electrons to be finite",
    ),
    "infinitely many electrons": (
        lambda: sg.density_matrix(RING, electrons=float("inf")),
        ValueError,
        "electrons.*8.*inf",
    ),
    "negative kT": (lambda: sg.density_matrix(RING, electrons=4, kT=-0.1), (ValueError, RuntimeError), r"kT.*-0\.1"),
    "a tensor of temperatures with a zero": (
        lambda: sg.density_matrix(RING, electrons=4, kT=torch.tensor([0.1, 0.0])),
        ValueError,
        r"kT.*positive.*0",
    ),
    "complex mu": (lambda: sg.density_matrix(RING, mu=torch.tensor(1j), kT=0.1), TypeError, "mu to be real"),
    "kT is no number": (lambda: untyped_density_matrix(RING, electrons=4, kT="hot"), TypeError, "kT"),
    "electrons are no number": (lambda: untyped_density_matrix(RING, electrons="four"), TypeError, "electrons"),
    "spin": (lambda: sg.density_matrix(RING, electrons=4, kT=0.1, spin=0), (ValueError, RuntimeError), "spin.*0"),
    "H is no tensor": (lambda: untyped_density_matrix([[1.0]], electrons=1), TypeError, "Tensor"),
    "1-D": (
        lambda: sg.density_matrix(torch.ones(3), electrons=1),
        RuntimeError,
        r"spectralgrad\.density_matrix: The input tensor H must have at least 2 dimensions, but it has 1",
    ),
    "not square": (
        lambda: sg.density_matrix(torch.ones(2, 3), electrons=1),
        RuntimeError,
        r"spectralgrad\.density_matrix: H must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    "float16": (lambda: sg.density_matrix(RING.half(), electrons=1), NotImplementedError, "density_matrix.*Half"),
    "NaN": (
        lambda: sg.density_matrix(_with_nan(RING.expand(3, 4, 4), 1, 2, 0), electrons=2, kT=0.1),
        LinAlgError,
        r"spectralgrad\.density_matrix: \(Batch element 1\): Expected the lower triangle of H to be finite, "
        r"but the entry \(2, 0\) is nan",
    ),
    "NaN overlap": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=_with_nan(torch.eye(4, dtype=RING.dtype), 3, 1)),
        LinAlgError,
        r"overlap.* the entry \(3, 1\) is nan",
    ),
    "overlap's shape": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=torch.eye(3, dtype=RING.dtype)),
        (ValueError, RuntimeError),
        "overlap",
    ),
    "overlap's type": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=torch.eye(4, dtype=torch.float32)),
        (ValueError, RuntimeError, TypeError),
        "overlap",
    ),
    "singular overlap": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=SINGULAR),
        LinAlgError,
        r"spectralgrad\.density_matrix: Expected overlap to be positive definite",
    ),
    "indefinite overlap in a batch": (
        lambda: sg.density_matrix(
            RING.expand(2, 4, 4), electrons=2, overlap=torch.stack([torch.eye(4, dtype=RING.dtype), -SINGULAR])
        ),
        LinAlgError,
        r"\(Batch element 1\): Expected overlap to be positive definite",
    ),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kT", [0, 0.1])
def test_a_fermi_level_that_is_not_finite(value: float, kT: float) -> None:
    message = rf"spectralgrad\.density_matrix: Expected mu to be finite, but got {value}"
    for mu in (value, torch.tensor([0.3, value])):
        for full in (False, True):
            with pytest.raises(ValueError, match=message):
                sg.density_matrix(RING, mu=mu, kT=kT, full_output=full)
    with pytest.raises(ValueError, match=r"kT .*to be (finite|positive), but got"):
        sg.density_matrix(RING, mu=0.3, kT=torch.tensor(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_numbers_are_checked_under_every_transform(value: float) -> None:
    """The sentence is the one that eager code gets."""

    def by_mu(mu: Tensor, kT: Any = 0.1) -> Tensor:
        return sg.density_matrix(RING, mu=mu, kT=kT)[0, 1]

    def by_kT(kT: Tensor) -> Tensor:
        return sg.density_matrix(RING, electrons=3.0, kT=kT)[0, 1]

    def ways(f: Callable[..., Tensor], x: Tensor) -> list[Callable[[], Any]]:
        return [
            lambda: torch.func.grad(f)(x),
            lambda: torch.func.jvp(f, (x,), (torch.ones_like(x),)),
            lambda: torch.func.grad(torch.func.grad(f))(x),
            lambda: torch.func.vmap(f)(torch.stack([torch.full_like(x, 0.3), x])),
            lambda: torch.func.vmap(torch.func.grad(f))(torch.stack([torch.full_like(x, 0.3), x])),
            lambda: torch.compile(f, backend="eager", fullgraph=True)(x),
        ]

    x = torch.tensor(value, dtype=torch.float64)
    if value not in (0.0, -1.0):
        for kT in (0.1, 0.0):
            for call in ways(functools.partial(by_mu, kT=kT), x):
                with pytest.raises(
                    ValueError, match=f"spectralgrad.density_matrix: Expected mu to be finite, but got {value}"
                ):
                    call()
    expected = "finite" if value == float("inf") else "positive"
    for call in ways(by_kT, x):
        with pytest.raises(
            ValueError, match=f"spectralgrad.density_matrix: Expected kT to be {expected}, but got {value:g}"
        ):
            call()


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input(name: str) -> None:
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


def test_a_single_level_may_be_partly_filled() -> None:
    """The derivative in the electrons is then that level's projector. A level at μ is half filled."""
    H = with_spectrum([-1, 0.5, 2], torch.float64, seed=1)
    v = torch.linalg.eigh(H).eigenvectors[:, 1]
    electrons = torch.tensor(2.5, dtype=H.dtype)
    result = sg.density_matrix(H, electrons=electrons, full_output=True)
    assert abs(float(result.mu) - 0.5) <= 1e-15
    assert abs(float(result.energy) + 2 - 0.25) <= 1e-15
    along = torch.func.jvp(lambda N: sg.density_matrix(H, electrons=N), (electrons,), (torch.ones_like(electrons),))[1]
    assert error(along, torch.outer(v, v)) <= 1e-15
    levels = torch.tensor([-1.0, 0.5, 2.0], dtype=H.dtype)
    assert error(sg.density_matrix(levels.diag(), mu=0.5), torch.diag(torch.tensor([2.0, 1.0, 0.0])).double()) <= 1e-15


def test_one_bad_matrix_does_not_change_the_others() -> None:
    """Under checks("ignore"), only the bad matrix gives NaN: not finite, or its overlap not positive definite."""
    good = torch.diag(torch.tensor([-1.0, 0.5, 2.0, 3.0], dtype=torch.float64)) + 0.1
    eye = torch.eye(4, dtype=good.dtype)
    for H, S, filling in (
        (_with_nan(good, 2, 1), None, {"electrons": 4, "kT": 0.1}),
        (_with_nan(good, 2, 1), None, {"electrons": 4}),
        (_with_nan(good, 0, 0), eye, {"mu": 0.4, "kT": 0.1}),
        (good, -eye, {"electrons": 4, "kT": 0.1}),
        (good, _with_nan(eye, 1, 0), {"electrons": 4}),
    ):
        X = torch.stack([good, H, good]).requires_grad_()
        overlap = None if S is None else torch.stack([eye, S, eye])
        with sg.checks("ignore"):
            result = sg.density_matrix(X, overlap=overlap, full_output=True, **filling)
            (G,) = torch.autograd.grad(result.energy.sum(), X)
        Y = good.clone().requires_grad_()
        alone = sg.density_matrix(Y, overlap=None if S is None else eye, full_output=True, **filling)
        (expected,) = torch.autograd.grad(alone.energy, Y)
        for k in (0, 2):
            for ours, clean in zip(result, alone):
                assert error(ours[k], clean.detach()) <= 1e-15
            assert error(G[k], expected) <= 1e-14
        assert bool(result.density_matrix[1].isnan().all())
        assert bool(result.energy[1].isnan())


# --- open shells at kT = 0 -------------------------------------------------------------------------------------------

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
    """The cube with 5 electrons: 3 in its threefold level at -1. Its projector, too."""
    H = graph_hamiltonian("cube", dtype)
    L, V = torch.linalg.eigh(H)
    level = (L + 1).abs() < 0.1
    assert int(level.sum()) == 3
    return H, V[:, level] @ V[:, level].mH, 5.0


def _outside(M: Tensor, P: Tensor) -> Tensor:
    """M with a multiple of the identity for its block inside the level."""
    inside = P @ M @ P
    return hermitian_part(M - inside + P * inside.diagonal().sum() / 3)


@each_double
def test_an_open_shell_has_derivatives_where_its_level_stays_whole(dtype: torch.dtype) -> None:
    """First and second ones of every field, without a report."""
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
        forward = _forward(inputs, {"H": E})
        expected = tangents(inputs, {"H": E})
        for field in ("density_matrix", "energy", "energy_weighted_density_matrix"):
            assert error(forward[field], expected[field]) <= 1e-13, field
        # More electrons go into the level, in equal parts.
        along = _forward(inputs, {"electrons": torch.ones((), dtype=torch.float64)})
        assert error(along["density_matrix"], P / 3) <= 1e-14
        assert error(along["energy"], torch.tensor(-1.0, dtype=torch.float64)) <= 1e-14

        leaves = _leaves(inputs, ["H", "electrons"])
        result = evaluate(leaves)
        loss = expectation(M, result.density_matrix)
        G, slope = torch.autograd.grad(loss, [leaves["H"], leaves["electrons"]], retain_graph=True)
        assert error(expectation(G, E), expectation(M, expected["density_matrix"])) <= 1e-13
        assert error(P @ G @ P, torch.zeros_like(G)) <= 1e-13  # what splits the level is left out
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
def test_a_look_inside_an_open_shell_is_reported(scale: float, dtype: torch.dtype) -> None:
    """For a loss and for a perturbation. The result is the derivative at equal fractions."""
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
    """Round-off is no look inside, in random bases and for losses that are stationary."""
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
    """Each matrix by itself, and the report names the one that it is about."""
    whole = torch.diag(torch.tensor([-1.0, 0.5, 2.0, 3.0], dtype=torch.float64))
    X = torch.stack([whole, whole, RING]).requires_grad_()
    D = sg.density_matrix(X, electrons=4)
    assert error(D[0], torch.diag(torch.tensor([2.0, 2.0, 0.0, 0.0])).double()) <= 1e-15
    assert error(D[2], torch.diag(torch.ones(4)).double() + 0.5 * (RING != 0)) <= 1e-14
    M = random_hermitian(4, 4, dtype=RING.dtype, seed=1)
    with pytest.warns(sg.GaugeWarning, match="of multiplicity 2 of matrix 2 of the batch"):
        torch.autograd.grad(expectation(M.expand(3, 4, 4), D), X)


# --- buckminsterfullerene --------------------------------------------------------------------------------------------


class Fullerene(NamedTuple):
    bonds: Tensor  # (2, 90)
    representatives: tuple[int, int]  # one bond of each kind: between two hexagons, around a pentagon
    kinds: Tensor  # (90), 0 or 1
    spectra: list[tuple[exact.Spectrum, exact.Spectrum]]  # with that bond made stronger and weaker by STEP


STEP = 10.0**-10


@functools.lru_cache(maxsize=1)
def fullerene() -> Fullerene:
    graph = networkx.convert_node_labels_to_integers(buckminsterfullerene(), label_attribute="atom")
    bonds = list(graph.edges)
    kinds = [int(graph.nodes[i]["atom"][0] == graph.nodes[j]["atom"][0]) for i, j in bonds]
    representatives = (kinds.index(0), kinds.index(1))
    spectra = []
    for bond in representatives:
        i, j = bonds[bond]
        ahead_and_behind = []
        for step in (STEP, -STEP):
            H = huckel(graph).numpy().astype(object)
            with mpmath.workdps(DIGITS):
                H[i, j] = H[j, i] = mpmath.mpf(H[i, j]) - mpmath.mpf(step)
                ahead_and_behind.append(exact.eigh_mp(H, 30))
        spectra.append((ahead_and_behind[0], ahead_and_behind[1]))
    return Fullerene(torch.tensor(bonds).mT, representatives, torch.tensor(kinds), spectra)


def _free_energy_and_density(spectrum: exact.Spectrum, electrons: float, kT: float) -> tuple[Any, Any]:
    """Free energy and density matrix."""
    levels = spectrum.values
    mu = chemical_potential(levels, mpmath.mpf(electrons) / 2, mpmath.mpf(kT))
    f = [1 / (1 + mpmath.exp((e - mu) / kT)) for e in levels]
    # Ω + μN
    free_energy = mu * electrons - 2 * kT * sum(mpmath.log1p(mpmath.exp((mu - e) / kT)) for e in levels)
    V = spectrum.vectors.to_mpmath()
    return free_energy, 2 * (V * np.array(f, dtype=object)) @ V.T


@pytest.mark.slow
@pytest.mark.parametrize(("electrons", "kT"), [(60, 0.3), (63, 0.05)], ids=["C60", "K3C60"])
def test_bonds_of_buckminsterfullerene(electrons: int, kT: float) -> None:
    """The gradients of F and of bond orders in all 90 bond strengths, from two differences in 30 digits.

    All bonds of a kind have the same ∂F. The derivative of the bond order ij along the bond kl equals that of kl along
    ij (Schwarz), so one difference of all of D gives all 90 derivatives of a bond order. One is checked both ways.
    """
    C60 = fullerene()
    assert C60.kinds.bincount().tolist() == [30, 60]
    i, j = C60.bonds
    slopes, responses = [], []
    with mpmath.workdps(55):
        for spectra in C60.spectra:
            (F_ahead, D_ahead), (F_behind, D_behind) = (_free_energy_and_density(x, electrons, kT) for x in spectra)
            slopes.append(float((F_ahead - F_behind) / (2 * mpmath.mpf(STEP))))
            responses.append(torch.from_numpy(((D_ahead - D_behind) / (2 * mpmath.mpf(STEP))).astype(float)))
    first, second = C60.representatives
    assert abs(responses[0][i[second], j[second]] - responses[1][i[first], j[first]]) <= 1e-15  # Schwarz

    strengths = torch.ones(90, dtype=torch.float64, requires_grad=True)
    H = torch.zeros(60, 60, dtype=torch.float64).index_put((j, i), -strengths)
    result = sg.density_matrix(H + H.mT, electrons=electrons, kT=kT, full_output=True)
    (dF,) = torch.autograd.grad(result.free_energy, strengths, retain_graph=True)
    assert error(dF, torch.tensor(slopes, dtype=torch.float64)[C60.kinds]) <= 1e-13
    for bond, response in zip(C60.representatives, responses):
        order = result.density_matrix[i[bond], j[bond]]
        (G,) = torch.autograd.grad(order, strengths, retain_graph=True)
        assert relative_error(G, response[i, j]) <= 1e-12
