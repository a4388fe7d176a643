"""Density matrices and all their derivatives to 60 digits.

The reference decomposes with mpmath, solves for μ with mpmath's bracketing root finder, and differentiates by central
differences of the whole, so it shares no formula with the code that it checks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import torch
from torch import Tensor

DIGITS = 60
FIELDS = ("density_matrix", "mu", "energy", "entropy", "free_energy", "energy_weighted_density_matrix")
MATRICES = ("density_matrix", "energy_weighted_density_matrix")


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
    H: Any, S: Any = None, *, electrons: Any = None, mu: Any = None, kT: Any = 0, spin: int = 2, smearing: str = "fermi"
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
