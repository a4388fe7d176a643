"""Decompositions have the same bits in every batch, layout and number of threads, and beside a matrix with a NaN."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import spectralgrad as sg
from decomposition_errors import (
    assert_same_bits,
    bits,
    decompose,
    fill_unread_entries_with_nan,
    first_matrices,
    slow_if_large,
)
from problems import ALL, LinAlgError, random_hermitian
from spectra import family

SMALL = [1, 2, 3, 4, 5, 7, 8]
LARGER = [9, 12, 17, 33, 64, 65]
COPIES = [1, 3, 7, 8, 9, 16, 17, 33]


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
