"""The kernel of svd in SIMD lanes: its accuracy on difficult spectra, in each instruction set, and its gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from decomposition_errors import bits, exact_eigenvalues, widened
from problems import ALL, DOUBLE, eps, gradient_of, normal, with_singular_values
from spectra import mixed_batch

svd = torch.ops.spectralgrad.svd
CAPABILITIES = ("default", "avx2", "avx512")


def frobenius(X: Any) -> Any:
    return np.sqrt((abs(X) ** 2).sum((-2, -1)))


def check_accuracy(A: Tensor, factors: tuple[Tensor, Tensor, Tensor], exact: Any, names: list[str]) -> None:
    """|A - U Σ Vᴴ| ≤ 3 max(m, n) eps |A|, |UᴴU - 1| ≤ 5 n eps, |σ - exact| ≤ 10 eps |A|, in extended precision."""
    a, u, s, vh = (widened(x) for x in (A, *factors))
    limits = torch.finfo(A.dtype)
    unit = np.maximum(abs(exact).max(-1) * limits.eps, limits.tiny * limits.eps)
    residual = frobenius((a - (u * s[:, None, :]) @ vh) / unit[:, None, None])
    left = frobenius(u.swapaxes(-1, -2).conj() @ u - np.eye(s.shape[-1])) / limits.eps
    right = frobenius(vh @ vh.swapaxes(-1, -2).conj() - np.eye(s.shape[-1])) / limits.eps
    values = abs(s - exact).max(-1) / unit
    most, least = max(A.shape[-2:]), min(A.shape[-2:])
    for name, r, x, y, v in zip(names, residual, left, right, values, strict=True):
        bounded = np.array([r / (3 * most), x / (5 * least), y / (5 * least), v / 10])
        assert bounded.max() <= 1, (name, bounded)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 12, 33])
def test_difficult_spectra(n: int, dtype: torch.dtype) -> None:
    """Hermitian matrices, whose singular values are the absolute values of the eigenvalues."""
    batch = mixed_batch(n, dtype)
    exact = np.sort(abs(exact_eigenvalues(batch.A)))[:, ::-1]
    check_accuracy(batch.A, svd(batch.A, False, method="lanes"), exact, batch.names)


def exact_singular_values(A: Tensor) -> Any:
    """By mpmath, of [[0, A], [Aᴴ, 0]], with 40 digits more than the numbers have."""
    m, n = A.shape
    a = widened(A)
    with mpmath.workdps(80):
        entries = [[mpmath.mpmathify(complex(z)) if A.is_complex() else mpmath.mpf(float(z)) for z in row] for row in a]
        X = mpmath.matrix(m + n, m + n)
        for i in range(m):
            for j in range(n):
                X[i, m + j], X[m + j, i] = entries[i][j], mpmath.conj(entries[i][j])
        largest = max(abs(z) for row in entries for z in row) or mpmath.mpf(1)
        values = mpmath.eighe(X / largest, eigvals_only=True) if A.is_complex() else mpmath.eigsy(X / largest, True)
        found = sorted((np.longdouble(mpmath.nstr(v * largest, 25)) for v in values), reverse=True)
    return np.maximum(np.array(found[: min(m, n)]), 0)


@pytest.mark.parametrize("dtype", ALL)
def test_rectangular_matrices_against_mpmath(dtype: torch.dtype) -> None:
    far = 1e30 if dtype.to_real() == torch.float32 else 1e150
    for m, n in ((6, 3), (3, 5), (7, 6)):
        k = min(m, n)
        A = torch.stack(
            [
                normal(m, n, dtype=dtype, seed=1),
                normal(m, n, dtype=dtype, seed=2) * far,
                normal(m, n, dtype=dtype, seed=3) / far,
                with_singular_values(m, n, [10.0 ** (-3 * i) for i in range(k)], dtype, 4),
                with_singular_values(m, n, [1.0] * (k - 1) + [0.0], dtype, 5),
                torch.ones(m, n, dtype=dtype),
                torch.zeros(m, n, dtype=dtype),
            ]
        )
        exact = np.stack([exact_singular_values(X) for X in A])
        names = ["random", "large", "small", "graded", "deficient", "rank one", "zero"]
        check_accuracy(A, svd(A, False, method="lanes"), exact, [f"{m} × {n} {name}" for name in names])


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("shape", [(8, 8), (64, 3), (3, 64), (40, 33)], ids=str)
def test_the_fused_gradient_is_that_of_the_formula(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """The gradient of an invariant loss, in a batch, against differentiable code, which does not use the kernel."""
    A = normal(9, *shape, dtype=dtype, seed=6)
    M = normal(*shape, dtype=dtype, seed=7)

    def loss(X: Tensor) -> Tensor:
        U, S, Vh = sg.svd(X, full_matrices=False)
        return ((M.conj() * (U[..., :3] @ Vh[..., :3, :])).sum().real + (S**3).sum()) / 10

    fused = gradient_of(loss, A)
    X = A.clone().requires_grad_()
    (recorded,) = torch.autograd.grad(loss(X), X, create_graph=True)
    assert recorded.requires_grad
    assert not fused.requires_grad
    scale = recorded.abs().max()
    assert (fused - recorded).abs().max() <= 1e3 * eps(dtype) * scale


_RESULTS = """
import sys
import torch
import spectralgrad  # noqa: F401, which registers the operators
ops, results = torch.ops.spectralgrad, []
for A in torch.load(sys.argv[1]):
    U, S, Vh = ops.svd(A, False, method="lanes")
    M = torch.ones(A.shape[-2:], dtype=A.dtype)
    gradient = ops.svd_vjp(M @ Vh.mH, S, U.mH @ M, U, S, Vh, "gated", [4.0, 2.0])
    results.append((U, S, Vh, gradient))
torch.save(results, sys.argv[2])
"""


@pytest.mark.slow
def test_each_instruction_set(tmp_path: Path) -> None:
    """The bounds hold for each, and AVX2 and AVX-512 give the same bits."""
    environment = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    here = torch.backends.cpu.get_cpu_capability().lower()
    available = CAPABILITIES[: CAPABILITIES.index(here) + 1] if here in CAPABILITIES else ("default",)
    batches = [mixed_batch(n, dtype, every_scale=False) for n in (1, 2, 3, 4, 5, 17) for dtype in ALL]
    matrices = [batch.A for batch in batches]
    matrices += [normal(21, m, n, dtype=dtype, seed=8) for m, n in ((9, 4), (5, 7)) for dtype in ALL]
    torch.save(matrices, tmp_path / "matrices")
    found: dict[str, list[Any]] = {}
    for name in available:
        out = tmp_path / name
        command = [sys.executable, "-c", _RESULTS, str(tmp_path / "matrices"), str(out)]
        subprocess.run(command, env={**environment, "ATEN_CPU_CAPABILITY": name}, check=True)
        found[name] = torch.load(out)
        for batch, (U, S, Vh, _) in zip(batches, found[name]):
            exact = np.sort(abs(exact_eigenvalues(batch.A)))[:, ::-1]
            check_accuracy(batch.A, (U, S, Vh), exact, [f"{name}: {family}" for family in batch.names])
    if "avx512" in found:
        for ours, theirs in zip(found["avx512"], found["avx2"], strict=True):
            for x, y in zip(ours, theirs, strict=True):
                assert torch.equal(bits(x.contiguous()), bits(y.contiguous()))
