"""The accuracy of decompositions for the families of `spectra.py`, and the same bits for every batch and layout.

`python tests/python/spectra.py` prints the ratios that are bounded here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference
import spectralgrad as sg
from problems import ALL, DOUBLE, LinAlgError, eps, random_hermitian
from reference import relative_error
from script_files import ROOT
from spectra import (
    FAMILIES,
    Batch,
    Ratios,
    exact_eigenvalues,
    family,
    mixed_batch,
    ratios,
    value_ratios,
    widened,
)

SIZES = [1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 24, 32, 33, 48, 64, 65, 100]


def slow_if_large(sizes: list[int]) -> list[Any]:
    """Marks larger sizes as slow, because their exact eigenvalues take seconds."""
    return [n if n <= 17 else pytest.param(n, marks=pytest.mark.slow) for n in sizes]


RESIDUAL, ORTHOGONALITY = 3.0, 5.0


IN_LANES = 64  # the method "lanes" is tested up to this n


def value_bound(n: int, method: str | None = None) -> float:
    """The bound on errors of eigenvalues, in ulps of the norm.

    The largest errors seen are 8 in SIMD lanes, and 14 (n = 16) and 35 (n = 64) from LAPACK, which decomposes small
    batches.
    """
    return 10.0 if method == "lanes" else max(10.0, 5 * n**0.5)


def batch_of(n: int, dtype: torch.dtype, **options: Any) -> Batch:
    return mixed_batch(n, dtype, **options)


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


# --- residuals, orthogonality, eigenvalues ---------------------------------------------------------------------------


@pytest.mark.parametrize("UPLO", ["L", "U"])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", slow_if_large(SIZES))
def test_a_mixed_batch(n: int, dtype: torch.dtype, UPLO: str) -> None:
    batch = batch_of(n, dtype, every_scale=n < 32)
    if n > 65 or (n > 48 and UPLO == "U"):  # to save time
        batch = Batch(batch.names[:48], batch.A[:48])
    A = fill_unread_entries_with_nan(batch.A, UPLO)
    L, V, values_only = decompose(A, UPLO)
    assert_same_bits(decompose(batch.A, UPLO), (L, V, values_only))
    for values in (L, values_only):
        assert (values.shape, values.dtype) == (A.shape[:2], dtype.to_real())
        assert bool((values.diff() >= 0).all())
    measured = ratios(batch.A, L, V)
    assert_within(measured.residual, RESIDUAL, batch, "|AV - VΛ| / (n |A| eps)")
    assert_within(measured.orthogonality, ORTHOGONALITY, batch, "|VᴴV - 1| / (n eps)")
    assert_within(measured.eigenvalues, value_bound(n), batch, "|λ - exact| / (|A| eps)")
    assert_within(value_ratios(batch.A, values_only), value_bound(n), batch, "eigvalsh: |λ - exact| / (|A| eps)")
    if n <= IN_LANES:
        in_lanes = torch.ops.spectralgrad.eigh(A, UPLO, method="lanes")[0]
        assert_within(value_ratios(batch.A, in_lanes), value_bound(n, "lanes"), batch, "|λ - exact| / (|A| eps)")


def _entries(dtype: torch.dtype) -> st.SearchStrategy[float]:
    largest, limits = 1e150 if dtype in DOUBLE else 1e30, torch.finfo(dtype)
    anything = st.floats(-largest, largest).map(lambda x: x if abs(x) >= limits.tiny else 0.0)
    # Equal and opposite entries cause cancellation in closed forms.
    return anything | st.sampled_from([0.0, 1.0, -1.0, 1 + limits.eps, limits.eps])


@given(st.data(), st.integers(1, 4), st.sampled_from(ALL))
@settings(max_examples=150)
def test_any_small_matrix(data: st.DataObject, n: int, dtype: torch.dtype) -> None:
    count = n * (n + 1) // 2 * (2 if dtype.is_complex else 1)
    numbers = data.draw(st.lists(_entries(dtype), min_size=count, max_size=count))
    rows, columns = torch.tril_indices(n, n)
    lower = torch.tensor(numbers, dtype=dtype.to_real())
    A = torch.zeros(1, n, n, dtype=dtype)
    A[0, rows, columns] = torch.view_as_complex(lower.view(-1, 2)) if dtype.is_complex else lower
    A = A.tril() + A.tril(-1).mH
    if dtype.is_complex:
        A.diagonal(dim1=-2, dim2=-1).imag.zero_()
    L, V, values_only = decompose(A)
    worst = Ratios(*map(np.max, ratios(A, L, V)))
    assert worst.residual <= RESIDUAL
    assert worst.orthogonality <= ORTHOGONALITY
    assert worst.eigenvalues <= value_bound(n)
    assert value_ratios(A, values_only).max() <= value_bound(n)
    assert bool((L.diff() >= 0).all())


def test_the_readme_quotes_the_bounds_of_eigenvalues() -> None:
    text = re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))
    quoted = re.search(
        r"SIMD kernels are accurate to `(\d+) eps \|A\|`, .* to `max\((\d+), (\d+) sqrt\(n\)\) eps \|A\|`", text
    )
    assert quoted is not None
    lanes, least, factor = map(float, quoted.groups())
    for n in SIZES:
        assert (value_bound(n, "lanes"), value_bound(n)) == (lanes, max(least, factor * n**0.5))


# --- the reference and the ratios ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "dtype"), [(2, DOUBLE[0]), (8, DOUBLE[0]), (12, DOUBLE[0]), (3, DOUBLE[1]), (8, DOUBLE[1])]
)
def test_reference_is_mpmaths(n: int, dtype: torch.dtype) -> None:
    batch = mixed_batch(n, dtype, every_scale=False)
    exact = exact_eigenvalues(batch.A)
    with mpmath.workdps(50):
        for name, A, values in zip(batch.names, batch.A, exact, strict=True):
            solve = mpmath.eighe if dtype.is_complex else mpmath.eigsy
            expected = sorted(solve(mpmath.matrix(A.tolist()), eigvals_only=True))
            size = max(max(map(abs, expected)), mpmath.mpf(2) ** -1022)
            quotients = [x.as_integer_ratio() for x in values]
            # As numerator and denominator, because mpmath would not read all digits of a longdouble.
            error = max(abs(x - mpmath.mpf(int(p)) / int(q)) for x, (p, q) in zip(expected, quotients))
            assert error <= 0.02 * eps(dtype) * size, f"{name}: {float(error / size / eps(dtype))}"


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("n", [33, 100])
def test_reference_has_the_eigenvalues_of_graphs(n: int, dtype: torch.dtype) -> None:
    """Closed forms for sizes that are too large for mpmath."""
    k = np.arange(n, dtype=np.longdouble)
    pi = np.longdouble("3.14159265358979323846")
    expected = [
        2 - 2 * np.cos(pi * k / n),
        2 - 2 * np.cos(2 * pi * ((k + 1) // 2) / n),
        np.where(k == 0, 0, n),
        np.where(k == 0, 0, np.where(k == n - 1, n, 1)),
    ]
    A = family("Laplacian", n, dtype)[:4]
    error = abs(exact_eigenvalues(A) - np.sort(np.stack(expected), -1)).max(-1)
    assert (error <= 0.05 * eps(dtype) * np.array([4, 4, n, n])).all()


@pytest.mark.parametrize("dtype", ALL)
def test_ratios_detect_wrong_decompositions(dtype: torch.dtype) -> None:
    """An error of 64 ulps in an eigenvalue, a norm or a direction exceeds the bound of its ratio, at all scales."""
    n = 4
    A, off = mixed_batch(n, dtype, without=("all subnormal", "some subnormal entries")).A, 64 * eps(dtype)
    A = A[A.abs().amax((-2, -1)) > 0]
    L, V = sg.eigh(A)
    shifted = L.clone()
    shifted[:, -1] += off * L.abs().amax(-1)
    assert (ratios(A, shifted, V).eigenvalues > 10).all()
    assert (ratios(A, shifted, V).residual > RESIDUAL).all()
    assert (value_ratios(A, shifted) > 10).all()
    longer = V.clone()
    longer[..., 0] *= 1 + off
    assert (ratios(A, L, longer).orthogonality > ORTHOGONALITY).all()
    assert (ratios(A, L, longer).residual <= RESIDUAL + 1).all()
    turned = V.clone()
    turned[..., 0], turned[..., -1] = V[..., 0] + off * V[..., -1], V[..., -1] - off * V[..., 0]
    spread = (L[:, -1] - L[:, 0] > 0.5 * L.abs().amax(-1)).numpy()
    assert (ratios(A, L, turned).residual[spread] > RESIDUAL).all()
    assert (ratios(A, L, turned).orthogonality <= ORTHOGONALITY).all()
    exchanged = V.roll(1, -1)
    assert (ratios(A, L, exchanged).residual[spread] > 1e3).all()
    assert not (ratios(A, L * torch.nan, V).residual <= RESIDUAL).any()


@pytest.mark.parametrize("dtype", ALL)
def test_families_have_their_properties(dtype: torch.dtype) -> None:
    far = 100 if eps(dtype) > 1e-10 else 499
    for n in (1, 2, 3, 7, 30):
        batch = mixed_batch(n, dtype)
        A = batch.A
        assert (A.dtype, A.shape[1:]) == (dtype, (n, n))
        assert bool(A.isfinite().all())
        assert torch.equal(A, A.mH)
        assert len(A) > 100
        if n > 1:  # for n = 1, many are the zero matrix, which has no scale
            own_scale = {"all subnormal", "nearly overflowing", *(name for name in FAMILIES if "LAPACK" in name)}
            for exponent in (far, -far):
                scaled = {batch.family(k) for k, name in enumerate(batch.names) if name.endswith(f"2^{exponent}")}
                assert scaled >= FAMILIES.keys() - own_scale


# --- the same bits ---------------------------------------------------------------------------------------------------


SMALL = [1, 2, 3, 4, 5, 7, 8]
LARGER = [9, 12, 17, 33, 64, 65]
COPIES = [1, 3, 7, 8, 9, 16, 17, 33]


def first_matrices(n: int, dtype: torch.dtype, count: int) -> Tensor:
    return batch_of(n, dtype, every_scale=n <= 8).A[:count].clone()


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", slow_if_large(SMALL + LARGER))
def test_place_in_the_batch(n: int, dtype: torch.dtype, threads: int) -> None:
    A = first_matrices(n, dtype, 67 if n <= 8 else 19)
    expected = decompose(A)
    count = torch.arange(len(A))
    for order in (count.roll(1), count.flip(0), torch.randperm(len(A))):
        assert_same_bits(decompose(A[order]), tuple(x[order] for x in expected))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", slow_if_large(SMALL + LARGER))
def test_number_of_threads(n: int, dtype: torch.dtype, set_threads: Callable[[int], None]) -> None:
    A = first_matrices(n, dtype, 67 if n <= 8 else 19)
    results = []
    for count in (1, 2, 3):
        set_threads(count)
        results.append(decompose(A))
    for result in results[1:]:
        assert_same_bits(result, results[0])


def assert_batch_size_does_not_matter(A: Tensor) -> None:
    expected = decompose(A)
    for k, copies in enumerate(COPIES):
        one = A[k].expand(copies, -1, -1).clone()
        assert_same_bits(decompose(one), tuple(x[k].expand(copies, *x[k].shape) for x in expected))
    for start, stop in [(1, 4), (0, 8), (3, 12), (5, 22)]:
        assert_same_bits(decompose(A[start:stop]), tuple(x[start:stop] for x in expected))
    singly = [decompose(X.unsqueeze(0)) for X in A]
    assert_same_bits(tuple(torch.cat(parts) for parts in zip(*singly, strict=True)), expected)
    # Without a batch dimension, and with two of them.
    assert_same_bits(tuple(x.unsqueeze(0) for x in decompose(A[2])), tuple(x[2:3] for x in expected))
    two = decompose(A[:6].unflatten(0, (2, 3)))
    assert_same_bits(tuple(x.flatten(0, 1) for x in two), tuple(x[:6] for x in expected))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", SMALL)
def test_size_of_the_batch(n: int, dtype: torch.dtype, threads: int) -> None:
    assert_batch_size_does_not_matter(first_matrices(n, dtype, 67))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", LARGER)
@pytest.mark.usefixtures("deterministic")
def test_size_of_the_batch_under_deterministic_algorithms(n: int, dtype: torch.dtype) -> None:
    assert_batch_size_does_not_matter(first_matrices(n, dtype, 24))


@given(st.data(), st.integers(1, 8), st.sampled_from(ALL))
def test_any_order_in_any_pieces(data: st.DataObject, n: int, dtype: torch.dtype) -> None:
    A = first_matrices(n, dtype, 120)
    order = torch.tensor(data.draw(st.lists(st.integers(0, len(A) - 1), min_size=1, max_size=40)))
    cuts = sorted(data.draw(st.lists(st.integers(1, max(len(order) - 1, 1)), max_size=3)))
    sizes = torch.tensor([0, *cuts, len(order)]).diff().tolist()
    pieces = [decompose(piece) for piece in A[order].split(sizes)]
    results = tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
    assert_same_bits(results, tuple(x[order] for x in decompose(A)))


# --- NaN and Inf -----------------------------------------------------------------------------------------------------


def _spoiled(A: Tensor) -> tuple[Tensor, list[int]]:
    """A with a NaN or an Inf at varying places of every third matrix, and the indices of these matrices."""
    n = A.shape[-1]
    bad = [torch.nan, torch.inf, -torch.inf]
    places = [(i, j) for i in range(n) for j in range(i + 1)]
    A, spoiled = A.clone(), list(range(1, len(A), 3))
    for count, k in enumerate(spoiled):
        i, j = places[(5 * count) % len(places)]
        value = bad[count % 3]
        part = A.imag if A.is_complex() and i != j and count % 2 else A
        part[k, i, j] = value
    return A, spoiled


@pytest.mark.parametrize("UPLO", ["L", "U"])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [5, 8, 16, 17, 40, 64, 65, 100])
def test_diagonal_matrices_are_exact_in_any_batch(n: int, dtype: torch.dtype, UPLO: str) -> None:
    count = 33
    diagonals = torch.randn(count, n, generator=torch.Generator().manual_seed(n), dtype=dtype.to_real())
    diagonals[1::3] = diagonals[1::3].round() + 0.0  # repeated eigenvalues
    A = torch.diag_embed(diagonals).to(dtype)
    expected = diagonals.sort(stable=True)
    vectors = torch.eye(n, dtype=dtype)[expected.indices].mT
    other = random_hermitian(count, n, n, dtype=dtype, seed=n)
    for batch, places in (
        (A, range(count)),
        (A[:3], range(3)),
        (torch.stack([A, other], 1).flatten(0, 1), range(0, 2 * count, 2)),
        (torch.stack([A[0], other[0], A[1]]), (0, 2)),
    ):
        hidden = fill_unread_entries_with_nan(batch, UPLO)
        L, V = sg.eigh(hidden, UPLO)
        for found in (L, sg.eigvalsh(hidden, UPLO)):
            assert torch.equal(found[list(places)], expected.values[: len(places)])
        assert torch.equal(V[list(places)], vectors[: len(places)])


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 17, 33, 65])
def test_a_nonfinite_matrix_does_not_change_the_others(n: int, dtype: torch.dtype, threads: int) -> None:
    clean = first_matrices(n, dtype, 35)
    A, spoiled = _spoiled(clean)
    others = [k for k in range(len(A)) if k not in spoiled]
    expected = decompose(clean)
    with sg.checks("ignore"):
        results = decompose(A)
    for result in results:
        assert bool(result[spoiled].isnan().flatten(1).all(1).all())
    assert_same_bits(tuple(x[others] for x in results), tuple(x[others] for x in expected))
    for f in (sg.eigh, sg.eigvalsh):
        with pytest.raises(LinAlgError, match=r"\(Batch element 1\): Expected the lower triangle of A to be"):
            f(A)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [2, 4, 9, 33])
def test_a_batch_of_nonfinite_matrices(n: int, dtype: torch.dtype) -> None:
    A = torch.full((5, n, n), torch.nan, dtype=dtype)
    with sg.checks("ignore"):
        for result in decompose(A):
            assert bool(result.isnan().all())


# --- views -----------------------------------------------------------------------------------------------------------


def _imaginary_part(A: Tensor, sign: int) -> Tensor:
    """A as the imaginary part of a complex tensor, a strided view; with the negative bit if `sign` is negative."""
    return torch.complex(torch.ones_like(A), sign * A).imag if sign > 0 else torch.complex(A, -A).conj().imag


# Each returns a view in another layout; the reference is the contiguous clone of that view.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda A: A.mT,
    "adjoint": lambda A: A.mH,
    "expanded": lambda A: A[3].expand(17, -1, -1),
    "every third": lambda A: A[1::3],
    "backwards in the batch": lambda A: torch.stack([A, A.flip(0)], 1)[:, 1],
    "part of rows": lambda A: torch.nn.functional.pad(A, (1, 2, 3, 1), value=torch.nan)[..., 3:-1, 1:-2],
    "step in columns": lambda A: torch.stack([A, torch.full_like(A, torch.nan)], -1).flatten(-2)[..., ::2],
    "step in rows": lambda A: torch.stack([A, torch.full_like(A, torch.nan)], -2).flatten(-3, -2)[..., ::2, :],
    "offset by one": lambda A: torch.cat([A.new_full((1,), torch.nan), A.flatten()])[1:].view(A.shape),
    "batch last": lambda A: A.movedim(0, -1).contiguous().movedim(-1, 0),
    "two batch dimensions exchanged": lambda A: A[:12].unflatten(0, (3, 4)).transpose(0, 1),
    "a sliding window": lambda A: A[:1].repeat(4, 1, 1).flatten().as_strided((3, *A.shape[1:]), (1, A.shape[-1], 1), 1),
    "equal rows": lambda A: A[:, :1, :].real.to(A.dtype).expand(A.shape),
    "conjugated": lambda A: A.conj(),
    "negative": lambda A: torch._neg_view(A),
    # Without zeros, because the order of conjugation and negation decides their signs, and these decide the signs of V.
    "conjugated and negative": lambda A: torch._neg_view(family("normal", A.shape[-1], A.dtype).conj()).mT,
    "half of a complex one": lambda A: (
        torch.view_as_complex(torch.stack([A.real, A.real], -1)).real.to(A.dtype)
        if A.is_complex()
        else _imaginary_part(A, 1)
    ),
    "negated half of a complex one": lambda A: A.conj().imag.to(A.dtype) if A.is_complex() else _imaginary_part(A, -1),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("dtype", ALL)
def test_views_give_the_numbers_of_their_copies(view: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    for n in (1, 2, 3, 4, 5, 8, 17, 33, 65):
        source = first_matrices(n, dtype, 19)
        before = source.clone()
        A = view(source)
        plain = A.clone(memory_format=torch.contiguous_format).resolve_conj().resolve_neg()
        for UPLO in ("L", "U"):
            results, expected = decompose(A, UPLO), decompose(plain, UPLO)
            assert all(torch.equal(x, y) for x, y in zip(results, expected, strict=True)), f"n = {n}, {UPLO}"
        assert torch.equal(bits(source), bits(before))


@pytest.mark.parametrize("dtype", ALL)
def test_read_only_memory_and_inference_mode(dtype: torch.dtype) -> None:
    for n in (1, 2, 3, 4, 5, 8, 17, 33, 65):
        A = first_matrices(n, dtype, 19)
        array = A.numpy().copy()
        array.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns once about such arrays
            read_only = torch.from_numpy(array)
        expected = decompose(A)
        assert_same_bits(decompose(read_only), expected)
        assert array.tobytes() == A.numpy().tobytes()
        with torch.inference_mode():
            assert_same_bits(decompose(A), expected)
            assert_same_bits(decompose(A.clone()), expected)


# --- gradients of mixed batches --------------------------------------------------------------------------------------


def _unit(A: Tensor) -> Tensor:
    """A power of two from |A| to 2 |A|, so that A / unit is exact and has a norm of at most 1."""
    largest = abs(exact_eigenvalues(A)).max(-1)
    exponent = np.frexp(np.where(largest > 0, largest, 1))[1]
    return torch.from_numpy(np.ldexp(np.ones(len(A)), exponent)).to(A.dtype.to_real())


def _cosine(X: np.ndarray) -> np.ndarray:
    """The cosine of matrices with norms of at most 1, by its power series, without eigenvectors."""
    square = X @ X
    result = np.zeros_like(X) + np.eye(X.shape[-1])
    for k in range(24, 0, -2):  # Horner; the first term left out is 1/26!
        result = np.eye(X.shape[-1]) - square @ result / (k * (k - 1))
    return result


@pytest.mark.parametrize("function", ["eigh", "eigvalsh"])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 16])
def test_gradient_of_a_function_of_the_eigenvalues(n: int, dtype: torch.dtype, function: str) -> None:
    """Σ unit sin(λ/unit) has the gradient cos(A/unit), with or without degenerate eigenvalues.

    It is well-conditioned: |cos(A/unit)| >= cos(1) √n, and it changes by no more than A/unit does.
    """
    batch = batch_of(n, dtype, every_scale=True)
    A = batch.A.clone().requires_grad_()
    unit = _unit(batch.A)
    L = sg.eigvalsh(A) if function == "eigvalsh" else sg.eigh(A).eigenvalues
    cotangent = (L.detach() / unit[:, None]).cos()
    with sg.checks("ignore"):  # the cotangents of equal eigenvalues differ by round-off
        (G,) = torch.autograd.grad(L, A, cotangent)
    expected = _cosine(widened(batch.A) / widened(unit)[:, None, None])
    error = np.sqrt((abs(widened(G) - expected) ** 2).sum((-2, -1)) / (abs(expected) ** 2).sum((-2, -1)))
    assert_within(error / (n * eps(dtype)), 10, batch, f"{function}: relative error / (n eps)")
    assert torch.equal(G, G.mH.resolve_conj())


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 16])
def test_gradient_through_eigenvectors(n: int, dtype: torch.dtype) -> None:
    """Re tr(M V diag(w) Vᴴ), w = 1, 2, …, for the matrices with distinct eigenvalues; the others have zero cotangents.

    The condition number is |A| over the smallest gap: round-off turns an eigenvector by about that many ulps.
    """
    batch = batch_of(n, dtype, every_scale=True)
    A = batch.A.clone().requires_grad_()
    exact = exact_eigenvalues(batch.A)
    size = abs(exact).max(-1)
    gap = np.diff(exact).min(-1)
    condition = np.divide(size, gap, out=np.full_like(size, np.inf), where=gap > 0)
    limits = torch.finfo(dtype)
    in_range = (size > limits.tiny / limits.eps) & (size < limits.max * limits.eps)  # the matrix and its gradient
    chosen = np.flatnonzero((condition < 1e3) & in_range)
    assert len(chosen) > 20
    M = random_hermitian(n, n, dtype=dtype, seed=n)
    w = torch.arange(1.0, n + 1, dtype=dtype.to_real())
    _, V = sg.eigh(A)
    cotangent = torch.zeros_like(V)
    # The cotangent of Re tr(M V diag(w) Vᴴ) is 2 M V diag(w) for Hermitian M.
    cotangent[chosen] = (2 * M @ V.detach() * w)[chosen]
    (G,) = torch.autograd.grad(V, A, cotangent)
    taken_part = np.zeros(len(condition), dtype=bool)
    taken_part[chosen] = True
    assert not G[torch.from_numpy(~taken_part)].any()

    def weights(values: list[Any]) -> np.ndarray:
        K = np.zeros((n, n), dtype=object)
        for i in range(n):
            for j in range(n):
                if i != j:
                    K[i, j] = (i - j) / (values[i] - values[j])
        return K

    # The 60-digit reference is slow, so only some of the matrices are compared, other ones for each n.
    count = {2: 60, 3: 40, 4: 30, 5: 24, 8: 12, 16: 3}[n]
    for k in np.random.default_rng(n).permutation(chosen)[:count]:
        expected = reference.frechet(batch.A[k], M, weights)
        # Relative to |M| over the smallest gap, because the gradient itself may be arbitrarily small.
        largest = torch.linalg.matrix_norm(M).item() / float(gap[k])
        error = relative_error(G[k], expected) * torch.linalg.matrix_norm(expected / largest).item()
        allowed = 10 * max(float(condition[k]), 1) * n * eps(dtype)
        assert error <= allowed, f"{batch.names[k]}: {error:.3g} > {allowed:.3g}"


# --- instruction sets ------------------------------------------------------------------------------------------------

_CAPABILITIES = ("default", "avx2", "avx512")

_IN_LANES = """
import sys
import torch
import spectralgrad  # noqa: F401, which registers the operators
eigh = torch.ops.spectralgrad.eigh
torch.save([eigh(A, method="lanes") for A in torch.load(sys.argv[1])], sys.argv[2])
"""

# Runs no kernel of torch, because torch trusts ATEN_CPU_CAPABILITY, whether the processor has the instructions or not.
_WITHOUT_KERNELS_OF_TORCH = """
import array
import torch
import spectralgrad  # noqa: F401
A = array.array("d", [2, 1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 1, 2])
L, _ = torch.ops.spectralgrad.eigh(torch.frombuffer(A, dtype=torch.float64).view(1, 5, 5), method="lanes")
print(*memoryview(L.numpy()).cast("B").cast("d"))
"""


def _python(*arguments: object, capability: str | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    if capability is not None:
        env["ATEN_CPU_CAPABILITY"] = capability
    command = [sys.executable, "-c", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def processor_capabilities() -> tuple[str, ...]:
    """The capability that torch finds without ATEN_CPU_CAPABILITY, and all lower ones."""
    found = _python("import torch; print(torch.backends.cpu.get_cpu_capability())").strip().lower()
    return _CAPABILITIES[: _CAPABILITIES.index(found) + 1] if found in _CAPABILITIES else ("default",)


@pytest.fixture(scope="module")
def batches_for_each() -> list[Batch]:
    return [mixed_batch(n, dtype, every_scale=False) for n in (1, 2, 3, 4, 5, 17, 33) for dtype in ALL]


@pytest.fixture(scope="module")
def results_with_capability(
    batches_for_each: list[Batch], processor_capabilities: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[Any]]:
    folder = tmp_path_factory.mktemp("instruction_sets")
    torch.save([batch.A for batch in batches_for_each], folder / "matrices")

    def results(capability: str) -> list[Any]:
        if capability not in processor_capabilities:
            pytest.skip(f"this processor does not have {capability}")
        out = folder / capability
        if not out.exists():
            _python(_IN_LANES, folder / "matrices", out, capability=capability)
        loaded: list[Any] = torch.load(out)
        return loaded

    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", _CAPABILITIES)
def test_instruction_sets(
    name: str, batches_for_each: list[Batch], results_with_capability: Callable[[str], list[Any]]
) -> None:
    """The bounds also hold for "default", which has no fused multiplications."""
    for batch, (L, V) in zip(batches_for_each, results_with_capability(name), strict=True):
        measured = ratios(batch.A, L, V)
        assert_within(measured.residual, RESIDUAL, batch, f"{name}: |AV - VΛ| / (n |A| eps)")
        assert_within(measured.orthogonality, ORTHOGONALITY, batch, f"{name}: |VᴴV - 1| / (n eps)")
        bound = value_bound(batch.A.shape[-1], "lanes")
        assert_within(measured.eigenvalues, bound, batch, f"{name}: |λ - exact| / (|A| eps)")


@pytest.mark.slow
def test_avx2_and_avx512_give_the_same_bits(results_with_capability: Callable[[str], list[Any]]) -> None:
    for ours, theirs in zip(results_with_capability("avx512"), results_with_capability("avx2"), strict=True):
        assert all(torch.equal(bits(x), bits(y)) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", _CAPABILITIES)
def test_no_instruction_set_is_used_that_the_processor_lacks(name: str) -> None:
    """For every value of ATEN_CPU_CAPABILITY, the program prints the right eigenvalues and does not end with SIGILL."""
    found = [float(x) for x in _python(_WITHOUT_KERNELS_OF_TORCH, capability=name).split()]
    expected = 2 - 2 * np.cos(np.pi * np.arange(1, 6) / 6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
