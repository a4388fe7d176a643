"""Density matrices: occupations, the chemical potential and every derivative, against a reference of 60 digits.

The reference decomposes with mpmath, solves for μ with mpmath's bracketing root finder, and differentiates by central
differences of the whole, so it shares no formula with what it checks.
"""

from __future__ import annotations

import functools
import itertools
import re
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
    DOUBLE,
    benzene,
    buckminsterfullerene,
    by_precision,
    eps,
    expectation,
    hermitian_part,
    huckel,
    random_hermitian,
    with_spectrum,
)
from reference import relative_error
from spectralgrad.compare import reference as exact

DIGITS = 60
FIELDS = ("density_matrix", "mu", "energy", "entropy", "free_energy", "energy_weighted_density_matrix")
MATRICES = ("density_matrix", "energy_weighted_density_matrix")


# --- the reference ---------------------------------------------------------------------------------------------------


def chemical_potential(levels: Any, filled: Any, kT: Any) -> Any:
    """Where Σ f = filled. Particles above the border and holes below it are balanced in logarithms: both may be e⁻¹⁰⁰⁰,
    and mpmath's exponents have no bounds."""
    k = min(max(int(mpmath.nint(filled)), 0), len(levels))
    excess = filled - k

    def imbalance(mu: Any) -> Any:
        holes = sum((1 / (1 + mpmath.exp((mu - e) / kT)) for e in levels[:k]), mpmath.mpf(0))
        particles = sum((1 / (1 + mpmath.exp((e - mu) / kT)) for e in levels[k:]), mpmath.mpf(0))
        return mpmath.log((particles + max(-excess, 0)) / (holes + max(excess, 0)))

    ends = (levels[0] - 200 * kT, levels[-1] + 200 * kT)
    # As many digits of μ - e over kT, however small kT is beside the levels.
    with mpmath.extraprec(max(0, int(mpmath.log(max(map(abs, ends)) / kT, 2)))):
        mu = mpmath.findroot(imbalance, ends, solver="illinois", maxsteps=1000, verify=False)
        assert abs(imbalance(mu)) <= mpmath.mpf(10) ** (10 - DIGITS)
    return mu


def occupations(levels: list[Any], filled: Any, mu: Any, kT: Any) -> tuple[Any, list[Any]]:
    if kT > 0:
        mu = chemical_potential(levels, filled, kT) if mu is None else mu
        return mu, [1 / (1 + mpmath.exp((e - mu) / kT)) for e in levels]
    if mu is not None:
        return mu, [mpmath.mpf(e < mu) for e in levels]
    whole = int(mpmath.floor(filled))
    border = levels[whole] if filled != whole else (levels[whole - 1] + levels[whole]) / 2
    return border, [min(max(filled - i, mpmath.mpf(0)), mpmath.mpf(1)) for i in range(len(levels))]


def _surprise(x: Any) -> Any:
    """-f ln f for f = 1/(1 + eˣ)."""
    return mpmath.log1p(mpmath.exp(x)) / (1 + mpmath.exp(x))


def solve(
    H: Any, S: Any = None, *, electrons: Any = None, mu: Any = None, kT: Any = 0, spin: int = 2
) -> dict[str, Any]:
    """All of `FIELDS`, of object arrays of mpmath numbers."""
    is_complex = any(isinstance(x, mpmath.mpc) for M in (H, S) if M is not None for x in M.flat)
    to_normal = np.array(mpmath.eye(len(H)).tolist(), dtype=object)
    if S is not None:
        factor = mpmath.cholesky(mpmath.matrix(S.tolist()))
        to_normal = np.array((factor**-1).tolist(), dtype=object)
    normal = to_normal @ H @ to_normal.conj().T
    levels, Q = (mpmath.eighe if is_complex else mpmath.eigsy)(mpmath.matrix(normal.tolist()))
    levels = list(levels)
    C = to_normal.conj().T @ np.array(Q.tolist(), dtype=object)
    mu, f = occupations(levels, None if electrons is None else electrons / spin, mu, kT)
    energy = spin * sum(x * e for x, e in zip(f, levels))
    disorder = [] if kT == 0 else [_surprise((e - mu) / kT) + _surprise((mu - e) / kT) for e in levels]
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


Inputs = dict[str, Any]  # by the names of `solve`: tensors, numbers or None


def _exactly(inputs: Inputs) -> Inputs:
    """Widened, not rounded."""

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
    """The directional derivative of every field: a central difference, good to more than 25 digits."""
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
# What fills the levels of both; electrons as a tensor would be, in its own unit of spin.
FILLINGS: dict[str, Inputs] = {
    "half": {"electrons": "n", "kT": 0.2},
    "a fraction": {"electrons": 3.7, "kT": 0.25},
    "cold": {"electrons": "n", "kT": 1e-3},
    "spin 1": {"electrons": 2.3, "kT": 0.5, "spin": 1},
    "mu": {"mu": 0.4, "kT": 0.3},
    "projector": {"electrons": "n"},
    "projector below mu": {"mu": 0.4},
    "partly filled": {"electrons": 0.6},
}
OVERLAPS = ["orthonormal", "overlap"]


def overlap_of(n: int, dtype: torch.dtype, condition: float = 10.0) -> Tensor:
    return with_spectrum(np.logspace(0, -np.log10(condition), n), dtype, seed=9)


def graph_hamiltonian(name: str, dtype: torch.dtype, S: Tensor | None = None) -> Tensor:
    """Exactly degenerate; complex by a diagonal of phases 1, i, -1, -i, as exact. With S: the same, up to rounding."""
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
    """One for each input that has a derivative."""
    H = inputs["H"]
    random = functools.partial(random_hermitian, *H.shape, dtype=H.dtype)
    along: dict[str, Inputs] = {"H": {"H": random(seed=21)}}
    if inputs["S"] is not None:
        along["S"] = {"S": 0.1 * random(seed=22)}
    along |= {name: {name: torch.ones_like(x)} for name, x in inputs.items() if isinstance(x, Tensor) and not x.dim()}
    if inputs["electrons"] is not None and inputs["electrons"] == H.shape[-1] and inputs["kT"] < 0.1:
        del along["electrons"]  # a kink, where the next level begins, or close to one
    return along


def differentiable(inputs: Inputs) -> tuple[str, ...]:
    """The fields that have derivatives: in a projector, μ is only a convention."""
    return FIELDS if isinstance(inputs["kT"], Tensor) else tuple(f for f in FIELDS if f not in ("mu", "entropy"))


def error(ours: Tensor, expected: Tensor, unit: float = 1.0) -> float:
    """Relative, of what is not small beside `unit`."""
    return float((ours.detach() - expected).abs().max() / max(float(expected.abs().max()), unit))


each_graph = pytest.mark.parametrize("graph", GRAPHS)
each_filling = pytest.mark.parametrize("filling", FILLINGS)
each_overlap = pytest.mark.parametrize("overlap", OVERLAPS)
each_dtype = pytest.mark.parametrize("dtype", DOUBLE, ids=["real", "complex"])
# Where a case is slow: each graph and each type, not each with each.
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
@each_dtype
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


@each_dtype
def test_larger_ones_against_scipy(dtype: torch.dtype) -> None:
    n = 60
    H, S = random_hermitian(n, n, dtype=dtype, seed=1), overlap_of(n, dtype, 50.0)
    levels, C = scipy.linalg.eigh(H.numpy(), S.numpy())
    for electrons, kT in ((51.5, 2.0), (20.5, 0.1), (100.25, 0.5)):
        f = lambda mu, kT=kT: scipy.special.expit((mu - levels) / kT)  # noqa: E731
        mu = scipy.optimize.brentq(lambda x: 2 * f(x).sum() - electrons, levels[0], levels[-1], xtol=1e-15)  # noqa: B023
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


# Levels of a diagonal matrix, which are its entries to the bit; electrons; kT; spin.
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
        # The plain equation, in as many digits as occupations and holes of e^(-Δ/kT) need.
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
    # The rounding of μ, over kT, is that of the occupations.
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
def test_none_or_all(electrons: int) -> None:
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


@each_dtype
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


# --- first derivatives -----------------------------------------------------------------------------------------------


def _forward(inputs: Inputs, direction: Inputs) -> dict[str, Tensor]:
    names = list(direction)

    def of(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(evaluate(inputs | dict(zip(names, values))))

    _, along = torch.func.jvp(of, tuple(inputs[name] for name in names), tuple(direction.values()))
    return dict(zip(FIELDS, along))


def _leaves(inputs: Inputs, names: Any) -> Inputs:
    return inputs | {name: inputs[name].clone().requires_grad_() for name in names}


def _probe(field: str, value: Tensor) -> Tensor:
    return random_hermitian(*value.shape, dtype=value.dtype, seed=len(field)) if field in MATRICES else torch.ones(())


def _tolerance(inputs: Inputs) -> float:
    # ε/kT has rounded by eps/kT; weights f(1 - f) by as much, and ∂μ/∂kT is their mean of (ε - μ)/kT.
    kT = float(inputs["kT"])
    return max(1e-13 if inputs["S"] is None else 5e-13, 1e-15 / kT**2 if kT else 0)


@each_molecule
@each_filling
@each_overlap
def test_first_derivatives(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Of every field along every input, forward; and backward, from each field into all inputs."""
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
            ours = expectation(G, direction[name]) if G.dim() else G
            assert error(ours, slope, max(1, float(G.abs().max()))) <= _tolerance(inputs), (name, field)


@each_molecule
@pytest.mark.parametrize("filling", ["half", "a fraction", "cold", "spin 1", "projector"])
@each_overlap
def test_gradient_of_the_free_energy(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """∂F/∂H = D, ∂F/∂S = -W, ∂F/∂N = μ, ∂F/∂kT = -entropy: to rounding, and W makes forces."""
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
@each_dtype
def test_gradient_at_a_chemical_potential(overlap: str, dtype: torch.dtype) -> None:
    """There it is Ω = F - μN that has D and -W as its gradients, and -N as its slope in μ."""
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
@each_dtype
def test_all_of_a_gradient(graph: str, filling: str, dtype: torch.dtype) -> None:
    """Every entry. D = ∂F/∂H and W = -∂F/∂S, so that by Schwarz the gradients of tr(M D) are derivatives along M."""
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
@each_dtype
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
    """All f(1 - f) underflow, and ∂μ is a quotient of their sums: the mean of the levels at the gap."""
    H = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 3.0], dtype=torch.float64)).requires_grad_()
    mu = sg.density_matrix(H, electrons=4, kT=1e-3, full_output=True).mu
    (G,) = torch.autograd.grad(mu, H)
    # μ/kT is 1000, of which the last digit counts.
    assert error(G, torch.diag(torch.tensor([0.25, 0.25, 0.5, 0.0], dtype=H.dtype))) <= 1e-13


def test_an_electron_added_to_a_gap_that_is_too_cold() -> None:
    """f(1 - f) underflows: 0/0, and said to be so."""
    electrons = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    D = sg.density_matrix(torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64)), electrons=electrons, kT=1e-3)
    assert bool(torch.autograd.grad(D[0, 0], electrons)[0].isnan())


@pytest.mark.parametrize("kT", [0.2, 0.05, 0.03])
@each_dtype
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
    """Of all fields: a different factor for each, so that none hides another."""

    def loss(*values: Tensor) -> Tensor:
        result = evaluate(inputs | dict(zip(names, values)))
        return sum(
            (k + 1) * (expectation(M, getattr(result, field)) if field in MATRICES else getattr(result, field))
            for k, field in enumerate(differentiable(inputs))
        )

    return loss


@each_molecule
@pytest.mark.parametrize("filling", ["half", "a fraction", "mu", "projector"])
@each_overlap
def test_second_derivatives(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Mixed ones of all inputs, three ways, against mixed differences."""
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
    expected = sum(
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
@each_dtype
def test_hessian_of_the_free_energy(graph: str, dtype: torch.dtype) -> None:
    """Row by row: the one along E is the difference of D, and symmetric."""
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
    """Levels -2, 1, 1 for n = 3 and -2, 0, 0, 2 for n = 4; complex: with a phase on each bond that gauges away."""
    H = huckel(networkx.cycle_graph(n)).to(dtype)
    phases = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128)[:n]
    return phases[:, None] * H * phases.conj() if dtype.is_complex else H


@pytest.mark.slow
@pytest.mark.parametrize("fixed", ["electrons", "mu"])
@each_overlap
@each_dtype
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
        result = sg.density_matrix(hermitian_part(H), kT=kT, overlap=overlap, full_output=True, **{fixed: given})
        return tuple(x for x in result if x is not result.mu or fixed == "electrons")

    real = not dtype.is_complex  # torch itself fails batched forward gradients through the .mH of a complex tensor
    # One in full, the others along random directions.
    fast = dtype.is_complex or overlap == "overlap" or fixed == "mu"
    assert gradcheck(
        fields, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=real, fast_mode=fast
    )
    assert gradgradcheck(fields, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True)


@pytest.mark.slow
@each_graph
@each_dtype
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
@each_dtype
def test_batch_with_a_filling_for_each(overlap: str, dtype: torch.dtype) -> None:
    """Different electrons, μ, kT in one batch, each as alone, and their derivatives kept apart."""
    S = overlap_of(6, dtype) if overlap == "overlap" else None
    Hs = torch.stack([(1 + k) * graph_hamiltonian("benzene", dtype, S) for k in range(3)]).reshape(3, 1, 6, 6)
    M = random_hermitian(3, 2, 6, 6, dtype=dtype, seed=3)
    kT = torch.tensor([0.2, 0.5], dtype=torch.float64)
    number = torch.tensor([[6.0], [2.5], [11.0]], dtype=torch.float64)
    for name in ("electrons", "mu"):
        given = number if name == "electrons" else number / 6 - 1
        leaves = [x.clone().requires_grad_() for x in (Hs.expand(3, 2, 6, 6), given, kT)]
        options = {"overlap": S, "full_output": True}
        result = sg.density_matrix(leaves[0], kT=leaves[2], **{name: leaves[1]}, **options)
        gradients = torch.autograd.grad(expectation(M, result.density_matrix) + result.entropy.sum(), leaves)
        sums = [torch.zeros_like(x) for x in leaves]
        for i, j in itertools.product(range(3), range(2)):
            alone = [x.clone().requires_grad_() for x in (Hs[i, 0], given[i, 0], kT[j])]
            one = sg.density_matrix(alone[0], kT=alone[2], **{name: alone[1]}, **options)
            for field in FIELDS:
                assert error(getattr(result, field)[i, j], getattr(one, field).detach()) <= 1e-14, field
            G = torch.autograd.grad(expectation(M[i, j], one.density_matrix) + one.entropy, alone)
            for total, index, g in zip(sums, ((i, j), (i, 0), (j,)), G):
                total[index] += g
        for ours, expected in zip(gradients, sums):
            assert error(ours, expected) <= 1e-13


@pytest.mark.parametrize("batch", [(), (0,), (2,), (2, 0, 3), (2, 3)])
@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("dtype", ALL)
def test_shapes_and_types(dtype: torch.dtype, n: int, batch: tuple[int, ...]) -> None:
    H = random_hermitian(*batch, n, n, dtype=dtype, seed=2)
    S = torch.eye(n, dtype=dtype)
    fillings = [{"electrons": n, "kT": 0.1}, {"mu": 0.1, "kT": 0.1}, {"electrons": n}, {"mu": 0.1}]
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
        # The trace has the gradient 0, or is stationary; the energy's is D where the electrons are fixed and kT is 0.
        (G,) = torch.autograd.grad(result.energy.sum(), X)
        assert G.shape == H.shape
        if filling == {"electrons": n}:
            torch.testing.assert_close(G, result.density_matrix.detach(), rtol=0, atol=50 * eps(dtype))


@pytest.mark.parametrize("dtype", ALL)
@each_graph
@pytest.mark.parametrize("filling", ["half", "a fraction", "projector", "mu"])
@each_overlap
def test_every_precision(graph: str, filling: str, overlap: str, dtype: torch.dtype) -> None:
    """Single precision is as good as it can be, degenerate or not."""
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
    # spin is a factor, and halves the electrons per level.
    one, two = sg.density_matrix(H, electrons=3.75, kT=0.2, spin=1), plain
    assert error(2 * one, two) <= 1e-15


# --- transforms ------------------------------------------------------------------------------------------------------


@each_dtype
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
                # Products round otherwise in a batch, and levels count in units of kT.
                assert error(ours[k], expected) <= 4e-13
    # One matrix under many fillings; many matrices under one.
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


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiles() -> None:
    H, S = graph_hamiltonian("benzene", torch.float64), overlap_of(6, torch.float64)
    M = random_hermitian(6, 6, dtype=H.dtype, seed=3)

    def loss(H: Tensor, S: Tensor, electrons: Tensor) -> Tensor:
        result = sg.density_matrix(H, electrons=electrons, kT=0.2, overlap=S, full_output=True)
        return expectation(M, result.density_matrix) + result.free_energy + sg.density_matrix(H, electrons=6)[0, 1]

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
    "kT is no number": (lambda: sg.density_matrix(RING, electrons=4, kT="hot"), TypeError, "kT"),
    "electrons are no number": (lambda: sg.density_matrix(RING, electrons="four"), TypeError, "electrons"),
    "spin": (lambda: sg.density_matrix(RING, electrons=4, kT=0.1, spin=0), (ValueError, RuntimeError), "spin.*0"),
    "H is no tensor": (lambda: sg.density_matrix([[1.0]], electrons=1), TypeError, "Tensor"),
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
        torch.linalg.LinAlgError,
        r"spectralgrad\.density_matrix: \(Batch element 1\): Expected the lower triangle of H to be finite, "
        r"but the entry \(2, 0\) is nan",
    ),
    "NaN overlap": (
        lambda: sg.density_matrix(RING, electrons=2, overlap=_with_nan(torch.eye(4, dtype=RING.dtype), 3, 1)),
        torch.linalg.LinAlgError,
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
        torch.linalg.LinAlgError,
        r"spectralgrad\.density_matrix: Expected overlap to be positive definite",
    ),
    "indefinite overlap in a batch": (
        lambda: sg.density_matrix(
            RING.expand(2, 4, 4), electrons=2, overlap=torch.stack([torch.eye(4, dtype=RING.dtype), -SINGULAR])
        ),
        torch.linalg.LinAlgError,
        r"\(Batch element 1\): Expected overlap to be positive definite",
    ),
    # -2, 0, 0, 2: the level at 0 would have to hold 2 of 4.
    "cut level": (
        lambda: sg.density_matrix(RING, electrons=4),
        torch.linalg.LinAlgError,
        r"spectralgrad\.density_matrix: Expected electrons to fill whole levels, but 4 electrons cut the level .*"
        "of multiplicity 2, which would hold 2 of 4",
    ),
    "cut level in a batch": (
        lambda: sg.density_matrix(
            torch.stack([torch.diag(torch.arange(4.0)).to(torch.complex128), _ring(4, torch.complex128)]),
            electrons=3.5,
        ),
        torch.linalg.LinAlgError,
        r"\(Batch element 1\): Expected electrons to fill whole levels, but 3\.5 electrons cut",
    ),
    "level cut by mu": (
        lambda: sg.density_matrix(torch.diag(torch.tensor([0.25, 0.25, 3.0])), mu=0.25),
        torch.linalg.LinAlgError,
        r"Expected mu to fill whole levels, but .* cut the level 0\.25 of multiplicity 2",
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

    # vmap runs the operator on the whole batch.
    with pytest.raises(ValueError, match="mu to be finite"):
        torch.func.vmap(lambda mu: sg.density_matrix(RING, mu=mu, kT=kT))(torch.tensor([0.3, value]))


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input(name: str) -> None:
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(("electrons", "held"), [(4, "2"), (2.5, r"0\.5"), (5, "3")])
@each_dtype
def test_a_cut_level_is_named(electrons: float, held: str, dtype: torch.dtype) -> None:
    """The level, its multiplicity, and the electrons it would have to hold; finite kT and whole shells are fine."""
    H = _ring(4, dtype) + 0.75 * torch.eye(4, dtype=dtype)
    with pytest.raises(torch.linalg.LinAlgError) as raised:
        sg.density_matrix(H, electrons=electrons)
    message = str(raised.value)
    for part in ("spectralgrad.density_matrix", r"0\.75", r"\b2\b", rf"\b{held}\b"):
        assert re.search(part, message), (part, message)
    for whole, kT in ((0, 0), (2, 0), (6, 0), (8, 0), (electrons, 1e-3)):
        trace = sg.density_matrix(H, electrons=whole, kT=kT).diagonal().sum().real
        assert abs(float(trace) - whole) <= 1e-12


@pytest.mark.parametrize("condition", [10.0, 1e4])
@each_dtype
def test_a_level_that_an_overlap_splits_by_rounding_is_one(condition: float, dtype: torch.dtype) -> None:
    for seed in range(5):
        S = with_spectrum(np.logspace(0, -np.log10(condition), 6), dtype, seed)
        H = graph_hamiltonian("benzene", dtype, S)
        with pytest.raises(torch.linalg.LinAlgError, match=r"multiplicity 2, which would hold 2 of 4"):
            sg.density_matrix(H, electrons=4, overlap=S)


def test_a_single_level_may_be_partly_filled() -> None:
    """Then the electrons have a derivative: that level's projector. One at μ is half filled."""
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


def test_one_bad_matrix_leaves_its_batch_alone() -> None:
    """Under checks("ignore") it is NaN for itself: not finite, overlap not positive definite, a cut level."""
    good = torch.diag(torch.tensor([-1.0, 0.5, 2.0, 3.0], dtype=torch.float64)) + 0.1
    eye = torch.eye(4, dtype=good.dtype)
    for H, S, filling in (
        (_with_nan(good, 2, 1), None, {"electrons": 4, "kT": 0.1}),
        (_with_nan(good, 2, 1), None, {"electrons": 4}),
        (_with_nan(good, 0, 0), eye, {"mu": 0.4, "kT": 0.1}),
        (good, -eye, {"electrons": 4, "kT": 0.1}),
        (good, _with_nan(eye, 1, 0), {"electrons": 4}),
        (RING, None, {"electrons": 4}),
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


# --- buckminsterfullerene --------------------------------------------------------------------------------------------


class Fullerene(NamedTuple):
    bonds: Tensor  # (2, 90)
    representatives: tuple[int, int]  # of the two kinds: between two hexagons, and around a pentagon
    kinds: Tensor  # (90), 0 or 1
    spectra: list[tuple[exact.Spectrum, exact.Spectrum]]  # with the representative made stronger and weaker by STEP


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


def _of_spectrum(spectrum: exact.Spectrum, electrons: float, kT: float) -> tuple[Any, Any]:
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
    """∂F and one bond order's derivatives in all 90 bond strengths, from two differences of 30 digits.

    Each bond of a kind has the same ∂F. The derivative of the bond order ij along the bond kl is that of kl along ij
    (Schwarz), so that one difference of all of D has all 90; one of them is taken both ways.
    """
    C60 = fullerene()
    assert C60.kinds.bincount().tolist() == [30, 60]
    i, j = C60.bonds
    slopes, responses = [], []
    with mpmath.workdps(55):
        for spectra in C60.spectra:
            (F_ahead, D_ahead), (F_behind, D_behind) = (_of_spectrum(x, electrons, kT) for x in spectra)
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
