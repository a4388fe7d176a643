"""Families of Hermitian matrices that are hard to decompose."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import networkx
import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


class Draw:
    """Builds the matrices of a family, in float64 or complex128. They are rounded to `dtype` at the end."""

    def __init__(self, n: int, dtype: torch.dtype, seed: int) -> None:
        self.n = n
        self.is_complex = dtype.is_complex
        self.rng = np.random.default_rng([seed, n])
        limits = torch.finfo(dtype)
        self.eps, self.tiny, self.huge = limits.eps, limits.tiny, limits.max
        self.steps = np.arange(n) / max(n - 1, 1)  # from 0 to 1

    def normal(self, *shape: int) -> Array:
        x = self.rng.standard_normal(shape)
        return x + 1j * self.rng.standard_normal(shape) if self.is_complex else x

    def uniform(self) -> Array:
        """Uniform entries: in (-1, 1), or with real and imaginary parts in (-1, 1)."""
        x = self.rng.uniform(-1, 1, (self.n, self.n))
        return hermitian(x + 1j * self.rng.uniform(-1, 1, x.shape) if self.is_complex else x)

    def signs(self) -> Array:
        return self.rng.choice([-1.0, 1.0], self.n)

    def with_spectrum(self, spectrum: Any) -> Array:
        Q = np.linalg.qr(self.normal(self.n, self.n))[0]
        return hermitian(Q * np.asarray(spectrum, dtype=float) @ Q.conj().T)

    def with_random_phases(self, A: Any) -> Array:
        """D A Dᴴ with a random diagonal D of 1, i, -1, -i: complex, same eigenvalues, no round-off. If real, A."""
        A = np.asarray(A, dtype=float)
        if not self.is_complex:
            return A
        phases = self.rng.choice(np.array([1, 1j, -1, -1j]), len(A))
        return phases[:, None] * A * phases.conj()

    def tridiagonal(self, diagonal: Any, off_diagonal: Any) -> Array:
        off_diagonal = np.broadcast_to(off_diagonal, max(self.n - 1, 0))
        off = np.diag(off_diagonal, 1) if self.n > 1 else np.zeros((1, 1))
        return self.with_random_phases(np.diag(np.broadcast_to(diagonal, self.n)) + off + off.T)

    def blocks(self, blocks: Iterable[Any]) -> Array:
        """A block-diagonal matrix of as many blocks as fit; the last one is cut off."""
        A = np.zeros((self.n, self.n), dtype=complex if self.is_complex else float)
        row = 0
        for block in blocks:
            m = min(len(block), self.n - row)
            A[row : row + m, row : row + m] = np.asarray(block)[:m, :m]
            row += m
            if row == self.n:
                break
        return A


def hermitian(A: Array) -> Array:
    """The Hermitian matrix with the lower triangle of A. (A + Aᴴ)/2 could overflow, or round subnormal entries."""
    lower = np.tril(A, -1)
    return lower + lower.conj().T + np.diag(np.diag(A).real)


Family = Callable[[Draw], Iterable[Array]]
FAMILIES: dict[str, Family] = {}


def _family(name: str) -> Callable[[Family], Family]:
    def register(make: Family) -> Family:
        FAMILIES[name] = make
        return make

    return register


# --- LAPACK's test matrices, with their numbers in dchkst.f ----------------------------------------------------------


def _lapack_spectra(d: Draw) -> dict[str, Array]:
    return {
        "even": 1 - d.steps * (1 - d.eps),
        "geometric": d.eps**d.steps,
        "clustered": np.where(np.arange(d.n) == 0, 1, d.eps),
    }


def _lapack() -> None:
    over, under = (lambda d: d.huge**0.5), (lambda d: d.tiny**0.5)

    def add(number: int, make: Callable[[Draw], Array]) -> None:
        FAMILIES[f"LAPACK {number}"] = lambda d: [make(d)]

    def spectrum(number: int, name: str, form: str, scale: Callable[[Draw], float] = lambda d: 1.0) -> None:
        def make(d: Draw) -> Array:
            values = _lapack_spectra(d)[name] * scale(d)
            if form == "diagonal":
                return np.diag(values * d.signs())
            return d.with_spectrum(values if form == "positive" else values * d.signs())

        add(number, make)

    add(1, lambda d: np.zeros((d.n, d.n)))
    add(2, lambda d: np.eye(d.n))
    for first, form in [(3, "diagonal"), (8, "full"), (16, "positive")]:
        for k, name in enumerate(["even", "geometric", "clustered"]):
            spectrum(first + k, name, form)
    spectrum(6, "geometric", "diagonal", over)
    spectrum(7, "geometric", "diagonal", under)
    spectrum(11, "even", "full", over)
    spectrum(12, "even", "full", under)
    add(13, lambda d: d.uniform())
    add(14, lambda d: d.uniform() * over(d))
    add(15, lambda d: d.uniform() * under(d))
    spectrum(19, "even", "positive", over)
    spectrum(20, "even", "positive", under)

    def dominant(d: Draw) -> Array:
        diagonal = d.eps**d.steps
        return d.tridiagonal(diagonal, d.rng.uniform(-0.5, 0.5, d.n - 1) * np.sqrt(diagonal[1:] * diagonal[:-1]))

    add(21, dominant)


_lapack()


# --- degenerate and close eigenvalues --------------------------------------------------------------------------------


@_family("repeated")
def _repeated(d: Draw) -> Iterable[Array]:
    """Every multiplicity for n <= 8; three of them for larger n."""
    multiplicities = range(1, d.n) if d.n <= 8 else (1, d.n // 2, d.n - 1)
    for m in multiplicities:
        yield d.with_spectrum([1.0] * m + [3.0] * (d.n - m))
    yield d.with_spectrum(np.arange(d.n) // 2 - 1.0)
    yield d.with_spectrum(np.arange(d.n) % 3 - 1.0)
    yield d.with_spectrum(np.full(d.n, -3.0))


@_family("rank one + identity")
def _rank_one(d: Draw) -> Iterable[Array]:
    u = d.normal(d.n, 1) / d.n**0.5
    for size in (1.0, d.eps**0.5, 4 * d.eps):
        yield np.eye(d.n) + size * hermitian(u @ u.conj().T)
    yield d.with_random_phases(np.ones((d.n, d.n)) + np.eye(d.n))


@_family("projector")
def _projector(d: Draw) -> Iterable[Array]:
    for rank in sorted({1, d.n // 2, d.n - 1} & set(range(1, d.n))):
        yield d.with_spectrum(np.arange(d.n) < rank)


@_family("clustered")
def _clustered(d: Draw) -> Iterable[Array]:
    """Half of the eigenvalues are 1e-1 to 1e-15 (in single precision 1e-8) apart."""
    m = (d.n + 1) // 2
    for k in range(1, 16 if d.eps < 1e-10 else 9):
        yield d.with_spectrum([*(1 + 10.0**-k * np.arange(m)), *(-np.arange(1, d.n - m + 1) / d.n)])


@_family("nearly diagonal")
def _nearly_diagonal(d: Draw) -> Iterable[Array]:
    """Off-diagonal entries near the size that Jacobi rotations may skip; equal and distinct diagonal entries."""
    for size in (1e-4, d.eps**0.5, d.eps, d.eps**1.5):
        yield np.eye(d.n) + size * d.uniform()
        yield np.diag(np.arange(1.0, d.n + 1)) + size * d.uniform()
        yield size * d.uniform() * (1 - np.eye(d.n)) + np.diag(d.signs())


@_family("Wilkinson")
def _wilkinson(d: Draw) -> Iterable[Array]:
    yield d.tridiagonal(abs(np.arange(d.n) - (d.n - 1) / 2), 1.0)


@_family("glued Wilkinson")
def _glued_wilkinson(d: Draw) -> Iterable[Array]:
    for m in {max(d.n // 2, 1), max(d.n // 3, 1), min(21, d.n)}:
        inside = np.arange(1, d.n) % m != 0
        for glue in (d.eps, d.eps**0.5, 1e-2):
            yield d.tridiagonal(abs(np.arange(d.n) % m - (m - 1) / 2), np.where(inside, 1.0, glue))


@_family("Laplacian")
def _laplacian(d: Draw) -> Iterable[Array]:
    n = d.n
    side = int(n**0.5)
    for graph in [
        networkx.path_graph(n),
        networkx.cycle_graph(n),
        networkx.complete_graph(n),
        networkx.star_graph(n - 1),
        networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(side, side)),
        networkx.gnp_random_graph(n, 0.3, seed=int(d.rng.integers(2**31))),
    ]:
        graph.remove_edges_from(list(networkx.selfloop_edges(graph)))
        graph.add_nodes_from(range(n))  # the grid may have fewer nodes
        A = networkx.to_numpy_array(graph, nodelist=range(n))
        yield d.with_random_phases(np.diag(A.sum(1)) - A)


@_family("small integers")
def _integers(d: Draw) -> Iterable[Array]:
    for _ in range(3):
        A = d.rng.integers(-1, 2, (d.n, d.n)).astype(float)
        yield hermitian(A + 1j * d.rng.integers(-1, 2, A.shape) if d.is_complex else A)


@_family("all ones")
def _all_ones(d: Draw) -> Iterable[Array]:
    yield np.ones((d.n, d.n))
    yield d.with_random_phases(-np.ones((d.n, d.n)))


# --- rank, grading, scales within a matrix ---------------------------------------------------------------------------


@_family("rank deficient")
def _rank_deficient(d: Draw) -> Iterable[Array]:
    for rank in sorted({1, d.n // 2, d.n - 1} & set(range(1, d.n))):
        B = d.normal(d.n, rank)
        yield hermitian(B @ B.conj().T)
    A = d.uniform()
    A[d.n // 2, :] = A[:, d.n // 2] = 0
    yield A


@_family("graded")
def _graded(d: Draw) -> Iterable[Array]:
    """Diagonal entries from 1 to 1e-30: descending, ascending and in random order."""
    up = 10.0 ** (-15 * d.steps)
    for grade in (up, up[::-1], d.rng.permutation(up)):
        yield grade[:, None] * d.uniform() * grade
        yield d.tridiagonal(grade**2, grade[1:] * grade[:-1])
    yield np.diag(up**2) + up.min() ** 2 * d.uniform()


@_family("arrow")
def _arrow(d: Draw) -> Iterable[Array]:
    for diagonal in (np.arange(d.n, dtype=float), np.ones(d.n), np.zeros(d.n)):
        for at in (0, d.n - 1):
            A = np.diag(diagonal).astype(complex if d.is_complex else float)
            row = d.normal(d.n)
            A[at, :], A[:, at] = row, row.conj()
            A[at, at] = 1
            yield hermitian(A)


@_family("blocks of other scales")
def _blocks(d: Draw) -> Iterable[Array]:
    def block(scale: float, m: int) -> Array:
        return scale * hermitian(d.normal(m, m))

    for scales in ([1e-12, 1e12], [1.0, 1e-14, 1e-18], [1e10, 1e-10, 1e10]):
        yield d.blocks(block(scales[k % len(scales)], max(1, d.n // 3)) for k in range(d.n))
    scattered = d.rng.permutation(d.n)
    yield d.blocks(block(10.0 ** -(3 * k % 30), 2) for k in range(d.n))[scattered][:, scattered]


@_family("holes")
def _holes(d: Draw) -> Iterable[Array]:
    """Exact zeros of both signs."""
    for density in (0.2, 0.6):
        A = hermitian(np.where(d.rng.random((d.n, d.n)) < density, d.uniform(), 0))
        yield A
        yield A * np.where(np.add.outer(np.arange(d.n), np.arange(d.n)) % 2 == 0, 1, -1)
    A = d.uniform()
    np.fill_diagonal(A, 0)
    yield A
    A = d.uniform()
    A[1:, 0] = A[0, 1:] = 0
    yield A
    checkerboard = np.add.outer(np.arange(d.n), np.arange(d.n)) % 2 == 0
    yield np.where(checkerboard, d.uniform(), 0)
    yield np.where(checkerboard, 0, d.uniform())


@_family("some subnormal entries")
def _some_subnormal(d: Draw) -> Iterable[Array]:
    scales = np.array([1.0, d.tiny, d.tiny * d.eps, d.tiny**0.5, 4 * d.tiny])
    for _ in range(2):
        yield hermitian(d.uniform() * d.rng.choice(scales, (d.n, d.n)))
    yield np.diag(d.signs()) + hermitian(np.tril(d.uniform() * d.tiny * 0.25, -1))
    # Some columns are entirely subnormal, and a Householder reflection has to normalize them.
    yield d.blocks(hermitian(d.normal(2, 2)) * max(10.0 ** (-3 * k), d.tiny * d.eps) for k in range(d.n))
    grade = np.maximum(d.tiny**0.6, d.tiny ** (0.6 * d.steps))
    yield grade[:, None] * d.uniform() * grade


@_family("all subnormal")
def _all_subnormal(d: Draw) -> Iterable[Array]:
    yield d.uniform() * d.tiny * 0.5
    yield d.with_spectrum([1.0] * (d.n // 2) + [3.0] * (d.n - d.n // 2)) * d.tiny * 0.125


@_family("nearly overflowing")
def _nearly_overflowing(d: Draw) -> Iterable[Array]:
    for A in (d.uniform(), d.with_spectrum(np.arange(d.n) + 1.0), np.diag(d.signs())):
        yield A / np.linalg.norm(A) * (d.huge / 4)


# --- forms -----------------------------------------------------------------------------------------------------------


@_family("diagonal")
def _diagonal(d: Draw) -> Iterable[Array]:
    values = d.rng.standard_normal(d.n)
    for diagonal in (np.sort(values), np.sort(values)[::-1], values, np.round(values), -np.ones(d.n)):
        yield np.diag(diagonal)
    A = np.diag(values)
    A[-1, -1] = 0
    yield A


@_family("tridiagonal")
def _tridiagonal(d: Draw) -> Iterable[Array]:
    yield d.tridiagonal(d.rng.standard_normal(d.n), d.rng.standard_normal(max(d.n - 1, 0)))
    yield d.tridiagonal(0.0, d.rng.standard_normal(max(d.n - 1, 0)))
    yield d.tridiagonal(0.0, 1.0)
    yield d.tridiagonal(np.arange(d.n), 1e3)


@_family("antidiagonal")
def _antidiagonal(d: Draw) -> Iterable[Array]:
    yield np.eye(d.n)[::-1]
    yield hermitian(d.normal(d.n, d.n) * np.eye(d.n)[::-1])
    permutation = np.eye(d.n)[d.rng.permutation(d.n)]
    yield d.with_random_phases(permutation + permutation.T)


@_family("Clement")
def _clement(d: Draw) -> Iterable[Array]:
    k = np.arange(1, d.n)
    yield d.tridiagonal(0.0, np.sqrt(k * (d.n - k)))


@_family("Hilbert")
def _hilbert(d: Draw) -> Iterable[Array]:
    yield d.with_random_phases(1 / (np.add.outer(np.arange(d.n), np.arange(d.n)) + 1.0))


_ROSSER = [
    [611, 196, -192, 407, -8, -52, -49, 29],
    [196, 899, 113, -192, -71, -43, -8, -44],
    [-192, 113, 899, 196, 61, 49, 8, 52],
    [407, -192, 196, 611, 8, 44, 59, -23],
    [-8, -71, 61, 8, 411, -599, 208, 208],
    [-52, -43, 49, 44, -599, 411, 208, 208],
    [-49, -8, 8, 59, 208, 208, 99, -911],
    [29, -44, 52, -23, 208, 208, -911, 99],
]


@_family("Rosser")
def _rosser(d: Draw) -> Iterable[Array]:
    yield d.with_random_phases(d.blocks([_ROSSER] * d.n).real)
    if d.n > 8:  # as a block of a larger matrix
        A = np.diag(np.linspace(-1000, 1000, d.n))
        A[1:9, 1:9] = _ROSSER
        yield d.with_random_phases(A)


@_family("Toeplitz")
def _toeplitz(d: Draw) -> Iterable[Array]:
    yield d.tridiagonal(2.0, -1.0)
    distance = abs(np.subtract.outer(np.arange(d.n), np.arange(d.n)))
    for base in (0.5, 0.999):
        yield d.with_random_phases(base**distance)
    row = d.normal(d.n)
    yield hermitian(row[distance])


@_family("normal")
def _normal(d: Draw) -> Iterable[Array]:
    for _ in range(4):
        yield hermitian(d.normal(d.n, d.n))


def family(name: str, n: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """The matrices of a family (k, n, n), Hermitian to the bit; k depends on n and dtype."""
    wide = np.complex128 if dtype.is_complex else np.float64
    # The name is part of the seed, so that a new family leaves the others as they are.
    draw = Draw(n, dtype, seed + sum(ord(letter) * 31**k for k, letter in enumerate(name)))
    matrices = [hermitian(A.astype(wide)) for A in FAMILIES[name](draw)]
    return torch.tensor(np.stack(matrices) if matrices else np.empty((0, n, n), dtype=wide)).to(dtype)


class Batch(NamedTuple):
    names: list[str]  # of each matrix, with its scale
    A: Tensor

    def family(self, k: int) -> str:
        return self.names[k].partition(" ×")[0]


# Powers of two just beyond 1e±30 and 1e±150. Scaling by them is exact, so a matrix has one reference for all scales.
_EXPONENTS = {torch.float32: 100, torch.float64: 499}


def _scales(A: Tensor) -> list[int]:
    """The exponents that keep A and its eigenvalues in range, and for which an ulp of the largest entry is not zero."""
    largest, limits = float(A.abs().max()), torch.finfo(A.dtype)
    if largest == 0:
        return [0]
    far = _EXPONENTS[A.dtype.to_real()]
    room = limits.tiny * 2**10, limits.max / (4 * A.shape[-1])
    return [0, *(e for e in (far, -far) if room[0] <= largest * 2.0**e <= room[1])]


@functools.lru_cache(maxsize=16)
def mixed_batch(
    n: int, dtype: torch.dtype, seed: int = 0, *, every_scale: bool = True, without: tuple[str, ...] = ()
) -> Batch:
    """A shuffled batch of all families, with each matrix at all its scales or at one of them."""
    names: list[str] = []
    matrices: list[Tensor] = []
    for name in [name for name in FAMILIES if name not in without]:
        for A in family(name, n, dtype, seed):
            scales = _scales(A)
            for e in scales if every_scale else [scales[len(matrices) % len(scales)]]:
                names.append(name if e == 0 else f"{name} × 2^{e}")
                matrices.append(A * 2.0**e)
    order = np.random.default_rng(seed).permutation(len(names))
    return Batch([names[k] for k in order], torch.stack([matrices[k] for k in order]))
