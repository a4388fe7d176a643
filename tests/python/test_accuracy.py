"""The accuracy of decompositions for the families of `spectra.py`, and of gradients of mixed batches.

`python tests/python/decomposition_errors.py` prints the ratios that are bounded here.
"""

from __future__ import annotations

import re
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
from decomposition_errors import (
    IN_LANES,
    ORTHOGONALITY,
    RESIDUAL,
    Ratios,
    assert_accurate,
    assert_same_bits,
    assert_within,
    decompose,
    exact_eigenvalues,
    fill_unread_entries_with_nan,
    ratios,
    slow_if_large,
    value_bound,
    value_ratios,
    widened,
)
from problems import ALL, DOUBLE, eps, random_hermitian
from reference import relative_error
from script_files import ROOT
from spectra import FAMILIES, Batch, family, mixed_batch

SIZES = [1, 2, 3, 4, 5, 8, 12, 16, 17, 32, 33, 64, 65, 100]


# --- residuals, orthogonality, eigenvalues ---------------------------------------------------------------------------


@pytest.mark.parametrize("UPLO", ["L", "U"])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", slow_if_large(SIZES))
def test_a_mixed_batch(n: int, dtype: torch.dtype, UPLO: str) -> None:
    batch = mixed_batch(n, dtype, every_scale=n < 32)
    if n > 65 or (n > 17 and UPLO == "U"):  # to save time
        batch = Batch(batch.names[:48], batch.A[:48])
    A = fill_unread_entries_with_nan(batch.A, UPLO)
    L, V, values_only = decompose(A, UPLO)
    assert_same_bits(decompose(batch.A, UPLO), (L, V, values_only))
    for values in (L, values_only):
        assert (values.shape, values.dtype) == (A.shape[:2], dtype.to_real())
        assert bool((values.diff() >= 0).all())
    assert_accurate(batch, L, V)
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
    batch = mixed_batch(n, dtype, every_scale=True)
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
    batch = mixed_batch(n, dtype, every_scale=True)
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
