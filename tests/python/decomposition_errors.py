"""The errors of decompositions of the matrices in `spectra.py`, and their bounds.

    python tests/python/decomposition_errors.py [OPTIONS]

prints the worst error ratios of each family (--help lists the options).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import LinAlgError
from spectra import FAMILIES, Batch, mixed_batch

Array = np.ndarray[Any, Any]


def widened(x: Tensor) -> Array:
    """x in a precision with at least 11 more bits, and with an exponent range that makes overflow impossible."""
    wide = {
        torch.float32: np.float64,
        torch.float64: np.longdouble,
        torch.complex64: np.complex128,
        torch.complex128: np.clongdouble,
    }
    return x.detach().cpu().resolve_conj().resolve_neg().numpy().astype(wide[x.dtype])


def _adjoint(X: Array) -> Array:
    return np.ascontiguousarray(X.swapaxes(-1, -2).conj())


_CLUSTER_GAP = 1e-8


def _from_rayleigh_quotient(C: Array) -> Array:
    """The eigenvalues of a nearly diagonal matrix of norm 1, in extended precision.

    Off-diagonal entries of about 1e-15 move an eigenvalue by their square over the gap, which is negligible for gaps
    above 1e-8. Closer eigenvalues form a block. Its difference from a multiple of the identity is so small that float64
    gives the eigenvalues of the difference accurately enough.
    """
    order = np.argsort(np.diagonal(C).real)
    C = C[np.ix_(order, order)]
    centers = np.diagonal(C).real
    borders = [0, *(np.flatnonzero(np.diff(centers) > _CLUSTER_GAP) + 1), len(C)]
    values = []
    outside = C.copy()
    for start, stop in zip(borders, borders[1:]):
        block = C[start:stop, start:stop]
        outside[start:stop, start:stop] = 0
        center = centers[start]
        offset = block - center * np.eye(len(block))
        values += list(center + np.linalg.eigvalsh(offset.astype(complex if np.iscomplexobj(C) else float)))
    assert float(np.linalg.norm(outside.astype(complex))) ** 2 / _CLUSTER_GAP < 1e-18, "not nearly diagonal"
    return np.sort(np.array(values, dtype=np.longdouble))


def _exact_eigenvalues(A: Array) -> Array:
    """The eigenvalues of a batch with norms of about 1, in extended precision. It starts from NumPy's eigenvectors."""
    V = np.linalg.eigh(A.astype(complex if np.iscomplexobj(A) else float))[1].astype(A.dtype)
    V = V @ (3 * np.eye(A.shape[-1]) - _adjoint(V) @ V) / 2  # orthonormal in the extended precision
    C = _adjoint(V) @ (A @ V)
    return np.stack([_from_rayleigh_quotient((X + X.conj().T) / 2) for X in C])


_known: dict[bytes, Array] = {}


def exact_eigenvalues(A: Tensor) -> Array:
    """The ascending eigenvalues of each matrix of a batch (k, n, n), to less than a tenth of an ulp of the largest."""
    wide = widened(A)
    largest = abs(wide).max((-2, -1))
    exponents = np.where(largest > 0, np.frexp(np.where(largest > 0, largest, 1))[1], 0)
    unit = np.ldexp(np.ones_like(largest), exponents)[:, None]
    scaled = wide / unit[..., None]
    if scaled.real.dtype == np.float64:  # from float32; float64 has many more digits
        return np.linalg.eigvalsh(scaled) * unit
    # The keys are the bytes in float64, because the padding of extended numbers is arbitrary. Matrices with the same
    # key differ by less than 1e-300 of the largest entry.
    keys = [X.tobytes() for X in scaled.astype(complex if np.iscomplexobj(scaled) else float)]
    missing = {key: k for k, key in enumerate(keys) if key not in _known}
    if missing:
        _known.update(zip(missing, _exact_eigenvalues(scaled[list(missing.values())])))
    return np.stack([_known[key] for key in keys]) * unit


class Ratios(NamedTuple):
    """The error ratios of each matrix; NaN if a result has a NaN."""

    residual: Array  # |A V - V Λ| / (n |A| eps)
    orthogonality: Array  # |Vᴴ V - 1| / (n eps)
    eigenvalues: Array  # max |λ - exact| / (|A| eps)


def _ulp_of_norm(A: Tensor, exact: Array) -> Array:
    """|A| eps, but at least the smallest subnormal number."""
    limits = torch.finfo(A.dtype)
    return np.maximum(abs(exact).max(-1) * limits.eps, limits.tiny * limits.eps)


def value_ratios(A: Tensor, L: Tensor) -> Array:
    exact = exact_eigenvalues(A)
    return abs(widened(L) - exact).max(-1) / _ulp_of_norm(A, exact)


def ratios(A: Tensor, L: Tensor, V: Tensor) -> Ratios:
    """|A| is the 2-norm. The numerators have the larger Frobenius norm, so the ratios are upper bounds for 2-norms."""
    n, eps, exact = A.shape[-1], torch.finfo(A.dtype).eps, exact_eigenvalues(A)
    a, values, vectors = widened(A), widened(L), widened(V)
    unit = _ulp_of_norm(A, exact)
    # Dividing by an ulp of the norm first avoids overflow in the norms.
    residual = (a @ vectors - vectors * values[:, None, :]) / unit[:, None, None]
    defect = _adjoint(vectors) @ vectors - np.eye(n)

    def frobenius(X: Array) -> Array:
        return np.sqrt((abs(X) ** 2).sum((-2, -1)))

    return Ratios(frobenius(residual) / n, frobenius(defect) / (n * eps), abs(values - exact).max(-1) / unit)


# --- bounds and comparisons ------------------------------------------------------------------------------------------

# Bounds of the ratios, see `Ratios`.
RESIDUAL = 3.0
ORTHOGONALITY = 5.0
IN_LANES = 64  # the method "lanes" is tested up to this n


def value_bound(n: int, method: str | None = None) -> float:
    """The bound on errors of eigenvalues, in ulps of the norm.

    The largest errors seen are 8 in SIMD lanes, and 14 (n = 16) and 35 (n = 64) from LAPACK, which decomposes small
    batches.
    """
    return 10.0 if method == "lanes" else max(10.0, 5 * n**0.5)


def fill_unread_entries_with_nan(A: Tensor, UPLO: str) -> Tensor:
    """Overwrites the other triangle and the imaginary part of the diagonal with NaN."""
    read = torch.ones_like(A, dtype=torch.bool)
    hidden = torch.where(read.tril() if UPLO == "L" else read.triu(), A, torch.nan)
    if A.is_complex():
        hidden.diagonal(dim1=-2, dim2=-1).imag.fill_(torch.nan)
    return hidden


def bits(x: Tensor) -> Tensor:
    """The bits of x, to compare NaN, and zeros with their signs."""
    x = x.detach().resolve_conj().resolve_neg().contiguous()
    x = torch.view_as_real(x) if x.is_complex() else x
    return x.view(torch.int32 if x.dtype == torch.float32 else torch.int64)


def decompose(A: Tensor, UPLO: str = "L") -> tuple[Tensor, Tensor, Tensor]:
    return (*sg.eigh(A, UPLO), sg.eigvalsh(A, UPLO))


def assert_same_bits(results: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for name, x, y in zip(["eigenvalues", "eigenvectors", "eigvalsh"], results, expected, strict=True):
        different = (bits(x) != bits(y)).flatten(1).any(1)
        assert not different.any(), f"{name} of the matrices {different.nonzero().flatten().tolist()}"


def assert_within(values: np.ndarray, bound: float, batch: Batch, what: str) -> None:
    # Not `values > bound`, because a NaN is not within any bound.
    bad = np.flatnonzero(~(values <= bound))
    assert not len(bad), f"{what} > {bound:.3g}: " + ", ".join(f"{batch.names[k]} {values[k]:.3g}" for k in bad[:8])


def assert_accurate(batch: Batch, L: Tensor, V: Tensor, method: str | None = None, label: str = "") -> None:
    measured = ratios(batch.A, L, V)
    assert_within(measured.residual, RESIDUAL, batch, f"{label}|AV - VΛ| / (n |A| eps)")
    assert_within(measured.orthogonality, ORTHOGONALITY, batch, f"{label}|VᴴV - 1| / (n eps)")
    bound = value_bound(batch.A.shape[-1], method)
    assert_within(measured.eigenvalues, bound, batch, f"{label}|λ - exact| / (|A| eps)")


def slow_if_large(sizes: list[int]) -> list[Any]:
    """Marks larger sizes as slow, because their exact eigenvalues take seconds."""
    return [n if n <= 17 else pytest.param(n, marks=pytest.mark.slow) for n in sizes]


def first_matrices(n: int, dtype: torch.dtype, count: int) -> Tensor:
    return mixed_batch(n, dtype, every_scale=n <= 8).A[:count].clone()


# --- the table -------------------------------------------------------------------------------------------------------

DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128)}


def _decompose_or_nan(f: Callable[..., Any], A: Tensor, UPLO: str) -> tuple[Tensor, ...]:
    """Decomposes a batch. Matrices that do not converge give NaN (inf in the table); the others are one batch."""
    converge = torch.ones(len(A), dtype=torch.bool)
    while True:
        try:
            results = f(A[converge], UPLO)
            break
        except LinAlgError as error:
            position = int(str(error).partition("Batch element ")[2].partition(")")[0])
            converge[converge.nonzero()[position]] = False
    results = (results,) if isinstance(results, Tensor) else tuple(results)
    return tuple(
        torch.full((len(A), *x.shape[1:]), torch.nan, dtype=x.dtype).index_put((converge,), x) for x in results
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The worst ratios of spectralgrad.eigh; see `Ratios` for the columns.")
    parser.add_argument("-n", type=int, nargs="+", default=[1, 2, 3, 4, 5, 8, 12, 16, 17, 24, 32, 33, 48, 64, 65])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--by", nargs="+", choices=["family", "n", "scale"], default=["family"], help="lines are for")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, metavar="NAME", help="only these")
    parser.add_argument("--uplo", choices=["L", "U"], default="L")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    columns = [*Ratios._fields, "eigvalsh"]
    worst: dict[tuple[str, ...], dict[tuple[str, str], float]] = {}
    for name in arguments.dtype:
        for n in arguments.n:
            batch = mixed_batch(n, DTYPES[name], arguments.seed)
            (L, V), (values,) = (_decompose_or_nan(f, batch.A, arguments.uplo) for f in (sg.eigh, sg.eigvalsh))
            table = [*ratios(batch.A, L, V), value_ratios(batch.A, values)]
            for k, full_name in enumerate(batch.names):
                if arguments.family and batch.family(k) not in arguments.family:
                    continue
                parts = {"family": batch.family(k), "n": f"n = {n}", "scale": full_name.partition("× ")[2] or "1"}
                for line in (tuple(parts[by] for by in arguments.by), ("all",)):
                    entries = worst.setdefault(line, {})
                    for column, measured in zip(columns, table):
                        ratio = np.inf if np.isnan(measured[k]) else float(measured[k])
                        entries[name, column] = max(entries.get((name, column), 0.0), ratio)

    lines = [line for line in worst if line != ("all",)] + [("all",)]
    if arguments.by == ["family"]:
        lines.sort(key=lambda line: [*FAMILIES, "all"].index(line[0]))
    labels = [", ".join(line) for line in lines]
    width = max(map(len, labels))
    print(" " * width, *(f"{name:>35}" for name in arguments.dtype))
    print(
        " " * width,
        *("".join(f"{c:>9.8}" for c in ["resid", "orthog", "values", "vals only"]) for _ in arguments.dtype),
    )
    for line, label in zip(lines, labels):
        cells = ("".join(f"{worst[line][name, c]:9.2f}" for c in columns) for name in arguments.dtype)
        print(f"{label:{width}}", *cells)


if __name__ == "__main__":
    main()
