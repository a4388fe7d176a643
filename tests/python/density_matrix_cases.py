"""Molecules, fillings and directions for the tests of density_matrix."""

from __future__ import annotations

import functools
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from density_matrix_reference import FIELDS, MATRICES, Inputs
from problems import benzene, hermitian_part, huckel, random_hermitian, with_spectrum

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


def forward_tangents(inputs: Inputs, direction: Inputs) -> dict[str, Tensor]:
    names = list(direction)

    def fields(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(evaluate(inputs | dict(zip(names, values))))

    along = torch.func.jvp(fields, tuple(inputs[name] for name in names), tuple(direction.values()))[1]
    return dict(zip(FIELDS, along))


def with_leaves(inputs: Inputs, names: Any) -> Inputs:
    return inputs | {name: inputs[name].clone().requires_grad_() for name in names}


def probe(field: str, value: Tensor) -> Tensor:
    return random_hermitian(*value.shape, dtype=value.dtype, seed=len(field)) if field in MATRICES else torch.ones(())


def tolerance(inputs: Inputs) -> float:
    # ε/kT has an error of eps/kT, as have the weights f(1 - f). ∂μ/∂kT is the mean of (ε - μ)/kT with these weights.
    kT = float(inputs["kT"])
    return max(1e-13 if inputs["S"] is None else 5e-13, 1e-15 / kT**2 if kT else 0)


def ring(n: int, dtype: torch.dtype) -> Tensor:
    """A ring with the levels -2, 1, 1 for n = 3 and -2, 0, 0, 2 for n = 4.

    A complex ring has a phase on each bond, which a gauge transformation removes.
    """
    H = huckel(networkx.cycle_graph(n)).to(dtype)
    phases = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128)[:n]
    return phases[:, None] * H * phases.conj() if dtype.is_complex else H


RING = ring(4, torch.float64)  # -2, 0, 0, 2


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
