"""Part 3: real matrices with symmetry, and closed forms of their gradients that use no eigenvectors.

The matrix of such a graph has few distinct eigenvalues mu_a, which are known in closed form. They are called levels
here. The projector onto a level is a polynomial in the matrix (Lagrange), P_a = prod_{b != a} (A - mu_b) / (mu_a -
mu_b). Every gradient is a sum over levels, sum_ab K(mu_a, mu_b) P_a M P_b, with the weights K of ``_high_precision``.
All these steps are well-conditioned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mpmath
import networkx as nx
import numpy as np

from .. import _high_precision as reference
from .loss import Array, Parameters
from .losses import LOSSES
from .problems import Exact, Problem

PART = "graphs"
LOSS_NAMES = ("energy", "energy_by_projector", "projector", "matrix_function")
# These losses depend on one bond, the nonzero entry of M.
_WITH_BOND = ("projector", "matrix_function")
TITLES = {
    "energy": "energy 2 Σ λₖ",
    "energy_by_projector": "energy tr(A P)",
    "projector": "bond order 2 P_ij",
    "matrix_function": "2 exp(A)_ij",
}


@dataclass(frozen=True)
class Graph:
    """A graph: its matrix (n, n) of integers, its ascending levels, the number of occupied states, and one bond.

    Each level is a pair (closed form, multiplicity).
    """

    name: str
    matrix: Array
    levels: Callable[[], list[tuple[Any, int]]]
    occupied: int
    bond: tuple[int, int]


def truncated_icosahedron() -> nx.Graph:
    """Returns the graph of C60, with 60 vertices and 90 bonds.

    Each directed edge a -> b of the icosahedron gives one vertex (a, b). It is bonded to (b, a), along the edge; two
    hexagons share that bond. It is also bonded to (a, c) for every face a, b, c; that bond is an edge of the pentagon
    around a.
    """
    icosahedron = nx.icosahedral_graph()
    graph = nx.Graph()
    for a, b in icosahedron.edges:
        graph.add_edge((a, b), (b, a), kind="6-6")
    for a in icosahedron:
        for b, c in icosahedron.subgraph(icosahedron[a]).edges:
            graph.add_edge((a, b), (a, c), kind="6-5")
    return graph


def _fullerene_levels() -> list[tuple[Any, int]]:
    def roots(b: Any, c: Any) -> tuple[Any, Any]:
        """Returns the roots of x^2 - b x - c."""
        root = mpmath.sqrt(b * b + 4 * c)
        return (b + root) / 2, (b - root) / 2

    golden = (3 + mpmath.sqrt(5)) / 2
    t1u, t1g = roots(golden, 1 / golden)
    t2u, t2g = roots(1 / golden, golden)
    one = mpmath.mpf(1)
    levels = [(3 * one, 1), (one, 9), (-2 * one, 4), (t1u, 3), (t1g, 3), (t2u, 3), (t2g, 3)]
    for pair, multiplicities in (
        (roots(one, 3 * one), (5, 5)),
        (roots(-one, 4 * one), (4, 4)),
        (roots(-one, one), (5, 5)),
        (roots(-3 * one, -one), (3, 3)),
    ):
        levels += list(zip(pair, multiplicities, strict=True))
    # Hueckel's beta is negative, so the bonding levels are the lowest.
    return sorted((-x, m) for x, m in levels)


def _integer_levels(*levels: tuple[int, int]) -> Callable[[], list[tuple[Any, int]]]:
    return lambda: [(mpmath.mpf(x), m) for x, m in levels]


def _huckel(graph: nx.Graph) -> Array:
    """Returns the Hueckel matrix with alpha = 0 and beta = -1."""
    return -nx.to_numpy_array(graph, weight=None)


def _laplacian(graph: nx.Graph) -> Array:
    adjacency = nx.to_numpy_array(graph, weight=None)
    return np.diag(adjacency.sum(axis=0)) - adjacency


def all_graphs() -> list[Graph]:
    """Returns benzene, C60, the hypercube of dimension 4 and Petersen's graph."""
    fullerene = truncated_icosahedron()
    nodes = list(fullerene)
    bond = next((a, b) for a, b, kind in fullerene.edges(data="kind") if kind == "6-6")
    hypercube = nx.hypercube_graph(4)
    return [
        Graph(
            "benzene, Hückel", _huckel(nx.cycle_graph(6)), _integer_levels((-2, 1), (-1, 2), (1, 2), (2, 1)), 3, (0, 1)
        ),
        Graph("C60, Hückel", _huckel(fullerene), _fullerene_levels, 30, (nodes.index(bond[0]), nodes.index(bond[1]))),
        Graph(
            "hypercube Q4, Laplacian",
            _laplacian(hypercube),
            _integer_levels((0, 1), (2, 4), (4, 6), (6, 4), (8, 1)),
            5,
            (0, 1),
        ),
        Graph(
            "Petersen, Laplacian", _laplacian(nx.petersen_graph()), _integer_levels((0, 1), (2, 5), (5, 4)), 6, (0, 1)
        ),
    ]


def level_projectors(graph: Graph) -> list[reference.HighPrecisionMatrix]:
    """Returns the projector (n, n) onto each level, computed as a polynomial in the matrix."""
    bits = 300
    with mpmath.workprec(bits + 64):
        levels = [level for level, _ in graph.levels()]
        shifted = [
            reference.HighPrecisionMatrix.from_array(
                graph.matrix.astype(object) * mpmath.mpf(1) - level * np.eye(len(graph.matrix), dtype=object), bits
            )
            for level in levels
        ]
        identity = reference.HighPrecisionMatrix.identity(len(graph.matrix), -bits)
        before, after = [identity], [identity]
        for left, right in zip(shifted[:-1], shifted[:0:-1], strict=True):
            before.append((before[-1] @ left).at(-bits))
            after.append((after[-1] @ right).at(-bits))
        projectors = []
        for a, (left, right) in enumerate(zip(before, reversed(after), strict=True)):
            weight = mpmath.fprod(1 / (levels[a] - other) for b, other in enumerate(levels) if b != a)
            projectors.append((left @ right).weighted(reference.HighPrecisionMatrix.from_array([[weight]], bits)))
    return projectors


class ClosedForms:
    """Computes exact gradients of the graphs' losses from ``level_projectors``, which run once for each graph."""

    def __init__(self) -> None:
        self._projectors: dict[str, list[reference.HighPrecisionMatrix]] = {}
        self._exact: dict[tuple[str, str], Exact] = {}

    def projectors(self, graph: Graph) -> list[reference.HighPrecisionMatrix]:
        if graph.name not in self._projectors:
            self._projectors[graph.name] = level_projectors(graph)
        return self._projectors[graph.name]

    def occupied_projector(self, graph: Graph) -> reference.HighPrecisionMatrix:
        """Returns the projector onto the occupied states. It is half the density matrix."""
        projectors = self.projectors(graph)
        total, filled = projectors[0], graph.levels()[0][1]
        for (_, multiplicity), projector in zip(graph.levels()[1:], projectors[1:], strict=True):
            if filled == graph.occupied:
                break
            total, filled = total + projector, filled + multiplicity
        return total

    def gradient(self, graph: Graph, loss: str, p: Parameters) -> reference.HighPrecisionMatrix:
        """Returns sum_ab K(mu_a, mu_b) P_a M P_b, (n, n)."""
        bits = 300
        projectors = self.projectors(graph)
        with mpmath.workprec(bits + 64):
            levels = graph.levels()
            if loss == "energy":
                density = self.occupied_projector(graph)
                return density + density
            if loss == "energy_by_projector":
                return self.occupied_projector(graph)
            states = [level for level, multiplicity in levels for _ in range(multiplicity)]
            first = np.cumsum([0, *(multiplicity for _, multiplicity in levels[:-1])])
            # The first state of each level gives the weights of the level, because K depends on the level only.
            weights = LOSSES[loss].weights(states, p)[np.ix_(first, first)]
            k = reference.HighPrecisionMatrix.from_array(weights, bits)
            m = reference.HighPrecisionMatrix.from_array(p.arrays["M"], bits)
            # Two products compute sum_a P_a (M sum_b K_ab P_b). The first multiplies M by all inner sums, side by side.
            # The second multiplies all P_a, side by side, by the results, which are stacked one below the other.
            n, count = len(graph.matrix), len(levels)
            stack = np.stack([projector.at(-bits).re for projector in projectors])
            inner = np.tensordot(k.re, stack, axes=1).transpose(1, 0, 2).reshape(n, count * n)
            right = m @ reference.HighPrecisionMatrix(inner, None, k.exponent - bits).at(-bits)
            below = right.re.reshape(n, count, n).transpose(1, 0, 2).reshape(count * n, n)
            left = reference.HighPrecisionMatrix(stack.transpose(1, 0, 2).reshape(n, count * n), None, -bits)
            return left @ reference.HighPrecisionMatrix(below, None, right.exponent)

    def exact(self, problem: Problem, tick: Callable[[], None] = lambda: None) -> list[Exact]:
        graph = next(graph for graph in all_graphs() if graph.name == problem.meta["graph"])
        # Entries of 0 and 1 are the same in both precisions, so both share one result.
        key = (graph.name, problem.loss)
        if key not in self._exact:
            self._exact[key] = Exact(self.gradient(graph, problem.loss, problem.parameters), None, 0.0)
        for _ in problem.matrices:
            tick()
        return [self._exact[key]] * len(problem.matrices)


def problems(names: tuple[str, ...] | None = None) -> Iterator[Problem]:
    """Yields energies, bond order and matrix function of each graph in both precisions. Both represent it exactly."""
    for graph in all_graphs():
        if names is not None and graph.name not in names:
            continue
        bond = np.zeros_like(graph.matrix)
        bond[graph.bond] = bond[graph.bond[::-1]] = 1
        for precision, dtype in (("double", np.float64), ("single", np.float32)):
            for loss in LOSS_NAMES:
                stop = len(graph.matrix) if loss == "matrix_function" else graph.occupied
                yield Problem(
                    key=f"{PART}/{graph.name}/{precision}/{loss}",
                    loss=loss,
                    matrices=graph.matrix[None].astype(dtype),
                    parameters=Parameters(0, stop, {"M": bond.astype(dtype)} if loss in _WITH_BOND else {}),
                    labels=[graph.name],
                    meta={"part": PART, "graph": graph.name, "n": len(graph.matrix), "precision": precision},
                )
