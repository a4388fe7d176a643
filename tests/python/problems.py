"""Matrices and losses that the tests share."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg

# torch imports this public name in a way that type checkers take as private, so the tests take it from here.
LinAlgError: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]
# torch creates these types at import, so type checkers do not know them.
return_types: Any = torch.return_types

REAL = [torch.float64, torch.float32]
COMPLEX = [torch.complex128, torch.complex64]
DOUBLE = [torch.float64, torch.complex128]
ALL = REAL + COMPLEX

each_double = pytest.mark.parametrize("dtype", DOUBLE, ids=["real", "complex"])
each_dtype = pytest.mark.parametrize("dtype", ALL, ids=lambda dtype: str(dtype)[6:])

GAPS = [*(10.0**-k for k in range(2, 16)), 0.0]
# Single precision cannot resolve gaps below 1e-8, so only two of them are tried.
DTYPES_AND_GAPS = [(dtype, gap) for dtype in ALL for gap in GAPS if dtype in DOUBLE or gap >= 1e-8 or gap in (1e-15, 0)]
CLUSTER = slice(2, 6)  # where `clustered` has its four near eigenvalues


@contextlib.contextmanager
def checks_in_all_threads(level: Any) -> Iterator[None]:
    """Like `sg.checks`, but for all threads, because autograd runs a CUDA backward in a thread of its own."""
    sg.set_checks(level)
    try:
        yield
    finally:
        sg.set_checks("warn")


def eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def double_of(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64


def by_precision(dtype: torch.dtype, double: float, single: float) -> float:
    return double if dtype in DOUBLE else single


def normal(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return torch.tensor(x + 1j * rng.standard_normal(shape) if dtype.is_complex else x).to(dtype)


def randn(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of one or more tensors; the type of `sum` would include int."""
    return functools.reduce(operator.add, terms)


def hermitian_part(M: Tensor) -> Tensor:
    return (M + M.mH) / 2


def random_hermitian(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return hermitian_part(normal(*shape, dtype=dtype, seed=seed))


def directions(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A weight M for losses tr(M f(A)), and a direction E for derivatives."""
    M, E = (random_hermitian(n, n, dtype=dtype, seed=seed) for seed in (100, 101))
    return M, E


def with_spectrum(spectrum: Any, dtype: torch.dtype, seed: int) -> Tensor:
    """A Hermitian matrix with these eigenvalues (up to the rounding of `dtype`) and random eigenvectors."""
    Q = torch.linalg.qr(normal(len(spectrum), len(spectrum), dtype=double_of(dtype), seed=seed)).Q
    return hermitian_part(Q * torch.as_tensor(spectrum, dtype=torch.float64) @ Q.mH).to(dtype)


def with_singular_values(m: int, n: int, singular_values: Any, dtype: torch.dtype, seed: int) -> Tensor:
    """An m × n matrix with these singular values; its other singular values are zero."""
    wide = double_of(dtype)
    s = torch.as_tensor(singular_values, dtype=torch.float64)
    U = torch.linalg.qr(normal(m, m, dtype=wide, seed=seed)).Q
    V = torch.linalg.qr(normal(n, n, dtype=wide, seed=seed + 1)).Q
    return ((U[:, : len(s)] * s) @ V[: len(s)]).to(dtype)


def clustered(gap: float, dtype: torch.dtype, seed: int, *, positive: bool = False) -> Tensor:
    """An 8 × 8 matrix with four eigenvalues `gap` apart, at the indices `CLUSTER`."""
    lower = [0.2, 0.5] if positive else [-2.0, -1.0]
    return with_spectrum([*lower, *(1 + k * gap for k in range(4)), 2.5, 4.0], dtype, seed)


def with_cluster(n: int, m: int, gap: float, dtype: torch.dtype, seed: int, *, lowest: float = 0.2) -> Tensor:
    """A matrix with m eigenvalues `gap` apart, at the indices `cluster(n, m)`; the others are at least 0.4 away."""
    below = (n - m) // 2
    border = lowest + 0.8 + (m - 1) * gap
    spectrum = [
        *np.linspace(lowest, lowest + 0.4, below),
        *(lowest + 0.8 + k * gap for k in range(m)),
        *np.linspace(border + 0.4, border + 1.5, n - m - below),
    ]
    return with_spectrum(spectrum, dtype, seed)


def cluster(n: int, m: int) -> slice:
    return slice((n - m) // 2, (n - m) // 2 + m)


def distinct(n: int, dtype: torch.dtype, seed: int) -> Tensor:
    """A matrix with eigenvalues that are 1 ± 0.24 apart."""
    spread = np.random.default_rng(seed).uniform(-0.12, 0.12, n)
    return with_spectrum(np.arange(n) - n / 2 + 0.3 + spread, dtype, seed)


def huckel(graph: networkx.Graph) -> Tensor:
    """Hückel's Hamiltonian in units of the (negative) hopping: bonding orbitals come first."""
    return torch.tensor(-networkx.to_numpy_array(graph))


def benzene() -> networkx.Graph:
    return networkx.cycle_graph(6)


def buckminsterfullerene() -> networkx.Graph:
    """The truncated icosahedron: an atom at each end of each edge, bonded along the edge and around the vertex."""
    icosahedron = networkx.icosahedral_graph()
    atoms = [(u, v) for u in icosahedron for v in icosahedron[u]]
    bonds = [((u, v), (v, u)) for u, v in icosahedron.edges]
    bonds += [((u, v), (u, w)) for u, v in atoms for w in icosahedron[u] if icosahedron.has_edge(v, w)]
    graph = networkx.Graph()
    graph.add_nodes_from(atoms)
    graph.add_edges_from(bonds)
    return graph


def projector(V: Tensor, columns: slice = CLUSTER) -> Tensor:
    return V[..., columns] @ V[..., columns].mH


def expectation(M: Tensor, X: Tensor) -> Tensor:
    """Re tr(M X)."""
    return (M.mT * X).sum().real


def apply_function(f: Callable[[Tensor], Tensor], L: Tensor, V: Tensor) -> Tensor:
    """V f(λ) Vᴴ, as users write it by hand."""
    return (V * f(L).unsqueeze(-2)) @ V.mH


# The arguments are not in these types, because tests bind variables of a loop as defaults of a lambda.
Loss = Callable[..., Tensor]  # of eigenvalues and eigenvectors
MatrixFunction = Callable[..., Tensor]  # of one matrix


def gradient(loss: Loss, A: Tensor, eigh: Callable[..., Any] = sg.eigh, **options: Any) -> Tensor:
    """The gradient of loss(eigenvalues, eigenvectors) in A."""
    A = A.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(*eigh(A, **options)), A)[0]


def projector_loss(M: Tensor, columns: slice = CLUSTER) -> Loss:
    return lambda L, V: expectation(M, projector(V, columns))


def invariant_loss(M: Tensor) -> Loss:
    """Depends on every eigenvalue, and on every eigenvector up to its phase; for distinct eigenvalues."""

    def loss(L: Tensor, V: Tensor) -> Tensor:
        weights = torch.arange(1, L.shape[-1] + 1, dtype=L.dtype, device=L.device)
        return (L.sin() * weights).sum() + ((V.conj() * (M @ V)).sum(-2).real * weights.sqrt()).sum()

    return loss


def gap_factor(
    gap: float = 1.0, dtype: torch.dtype = torch.float64, eigh: Callable[..., Any] = sg.eigh, **options: Any
) -> float:
    """The factor of eigh for 1/gap: the gradient for S_12 = 1 at diag(0, gap), where V is the identity."""
    A = torch.diag(torch.tensor([0, gap], dtype=dtype)).requires_grad_()
    _, V = eigh(A, **options)
    assert torch.equal(V.detach(), torch.eye(2, dtype=dtype))
    (G,) = torch.autograd.grad(V, A, torch.tensor([[0, 2], [0, 0]], dtype=dtype))
    assert torch.equal(G, G.mT)
    return float(G[0, 1])


def gradient_of(f: MatrixFunction, A: Tensor) -> Tensor:
    """The gradient of f(A), a function of the matrix itself."""
    X = A.detach().clone().requires_grad_()
    return torch.autograd.grad(f(X), X)[0]


def hessian_times(f: MatrixFunction, A: Tensor, E: Tensor) -> Tensor:
    X = A.detach().clone().requires_grad_()
    (G,) = torch.autograd.grad(f(X), X, create_graph=True)
    return torch.autograd.grad(G, X, E)[0]
