"""Part 2: the error of the gradient against the gap of a cluster of eigenvalues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .loss import Array, Parameters
from .losses import LOSSES
from .problems import Problem

PART = "sweep"
EXACT = "exact"
GAPS = ["1", *(f"1e-{k}" for k in range(1, 17)), "0", EXACT]
KINDS = ("symmetric", "hermitian")
LOSS_NAMES = (
    "projector",
    "energy_by_projector",
    "separated_vector",
    "symmetric_function",
    "matrix_function",
    "eigenvalue",
    "near_vector",
)
DTYPES: dict[tuple[str, str], Any] = {
    ("symmetric", "double"): np.float64,
    ("symmetric", "single"): np.float32,
    ("hermitian", "double"): np.complex128,
    ("hermitian", "single"): np.complex64,
}
PRECISIONS = ("double", "single")


def gaussian(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    """Draws standard normal entries, with an imaginary part for Hermitian problems."""
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if kind == "hermitian" else real


def hermitian_part(x: Array) -> Array:
    return (x + x.conj().T) / 2


def cluster_size(n: int) -> int:
    """Returns 2 for n = 2 and 3, and 4 for larger n."""
    return 2 if n < 8 else 4


def with_eigenvalues(basis: Array, eigenvalues: Array) -> Array:
    """Returns Q diag(eigenvalues) Q^H, Hermitian to the last bit. Its eigenvalues are correct up to rounding."""
    return hermitian_part((basis * eigenvalues) @ basis.conj().T)


def matrix_with_cluster(n: int, gap: str, kind: str, rng: np.random.Generator, size: int | None = None) -> Array:
    """Returns a matrix (n, n) with a cluster of eigenvalues at 1, 1 + gap, ..., in a random basis.

    The other n - size eigenvalues spread over -3 ... -0.5. Rounding moves the eigenvalues by about eps, so a gap below
    eps, 0 included, becomes a gap of about eps. ``EXACT`` gives diag(1, ..., 1) beside a dense block. Its eigenvalue 1
    stays degenerate in floating point, and LAPACK returns exactly equal eigenvalues.
    """
    m = cluster_size(n) if size is None else size
    others = np.linspace(-3, -0.5, n - m)
    if gap == EXACT:
        matrix = np.eye(n, dtype=gaussian(rng, (1,), kind).dtype)
        matrix[m:, m:] = with_eigenvalues(np.linalg.qr(gaussian(rng, (n - m, n - m), kind))[0], others)
        return matrix
    eigenvalues = np.concatenate([others, 1 + float(gap) * np.arange(m)])
    return with_eigenvalues(np.linalg.qr(gaussian(rng, (n, n), kind))[0], eigenvalues)


def _parameters(loss: str, n: int, kind: str, dtype: Any, rng: np.random.Generator) -> Parameters | None:
    m = cluster_size(n)
    vector = gaussian(rng, (n,), kind) / np.sqrt(n)
    matrix = hermitian_part(gaussian(rng, (n, n), kind))
    rank_one = hermitian_part(np.outer(vector, vector.conj()))
    y, full, outer = (hermitian.astype(dtype) for hermitian in (vector, matrix, rank_one))
    if n == m and loss in ("projector", "separated_vector"):
        # The cluster is the whole space, so its projector is constant, and there is no separated eigenvector.
        return None
    return {
        "eigenvalue": Parameters(n - m, n - m + 1),
        "symmetric_function": Parameters(n - m, n),
        "projector": Parameters(n - m, n, {"M": full}),
        "energy_by_projector": Parameters(n - m, n),
        "separated_vector": Parameters(n - m - 1, n - m, {"y": y}),
        "matrix_function": Parameters(0, n, {"M": outer}),
        "near_vector": Parameters(n - m, n - m + 1, {"y": y}),
    }[loss]


def problems(sizes: tuple[int, ...], gaps: list[str] | None = None) -> Iterator[Problem]:
    """Yields a problem for every loss, kind, size and precision. One problem holds all gaps."""
    gaps = GAPS if gaps is None else gaps
    for n in sizes:
        for kind in KINDS:
            exact = [
                matrix_with_cluster(n, gap, kind, np.random.default_rng([n, KINDS.index(kind), i]))
                for i, gap in enumerate(gaps)
            ]
            for precision in PRECISIONS:
                dtype = DTYPES[kind, precision]
                matrices = np.stack(exact).astype(dtype)
                for loss in LOSS_NAMES:
                    p = _parameters(loss, n, kind, dtype, np.random.default_rng([n, KINDS.index(kind)]))
                    if p is not None:
                        yield Problem(
                            key=f"{PART}/{kind}/{n}/{precision}/{loss}",
                            loss=LOSSES[loss].name,
                            matrices=matrices,
                            parameters=p,
                            labels=gaps,
                            meta={"part": PART, "kind": kind, "n": n, "precision": precision},
                        )
