"""The SIMD kernels of polar factors and of the moments of point clouds agree with tensor code and in every batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

import spectralgrad as sg
from decomposition_errors import bits
from problems import ALL, REAL, normal

COUNT = 37  # more than two registers, and a part of one


def eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def assert_agree(loss: Callable[..., Tensor], arguments: list[Tensor], factor: float = 1e3) -> None:
    """Without create_graph, the backward runs the kernels, and with it, tensor code."""
    leaves = [x.clone().requires_grad_() for x in arguments]
    fused = torch.autograd.grad(loss(*leaves), leaves)
    recorded = torch.autograd.grad(loss(*leaves), leaves, create_graph=True)
    for ours, theirs in zip(fused, recorded, strict=True):
        assert theirs.requires_grad
        assert not ours.requires_grad
        assert (ours - theirs).abs().max() <= factor * eps(ours.dtype) * theirs.abs().max()
    for i, leaf in enumerate(leaves):  # the others are not needed
        assert torch.equal(torch.autograd.grad(loss(*leaves), leaf)[0], fused[i])


def well_conditioned(n: int, dtype: torch.dtype) -> Tensor:
    return normal(COUNT, n, n, dtype=dtype, seed=n) / n**0.5 + 3 * torch.linalg.qr(normal(n, n, dtype=dtype, seed=2)).Q


@pytest.mark.parametrize("unit", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_polar(n: int, dtype: torch.dtype, unit: float) -> None:
    A, M = unit * well_conditioned(n, dtype), normal(n, n, dtype=dtype, seed=3)
    W, trace, values, vectors = torch.ops.spectralgrad.polar_factor(A, None, False)
    P = W.mH @ A / unit
    assert (vectors * (values / unit).unsqueeze(-2) @ vectors.mH - P).abs().max() <= 50 * eps(dtype) * P.abs().max()
    torch.testing.assert_close(trace, values.sum(-1))
    assert_agree(lambda A: (M.conj() * sg.polar(A).U).sum().real, [A])
    if not dtype.is_complex:
        eye = torch.eye(n, dtype=dtype)

        def loss(A: Tensor) -> Tensor:
            R, scale = sg.orthogonal_procrustes(eye, A, proper=True)
            return (M * R).sum() + (scale / unit).sum()

        R, scale = sg.orthogonal_procrustes(eye, A, proper=True)
        expected = torch.where(torch.linalg.det(W) < 0, trace - 2 * values[:, -1], trace)
        torch.testing.assert_close(scale / unit, expected / unit, rtol=0, atol=20 * n * eps(dtype))
        assert (torch.linalg.det(R.double()) - 1).abs().max() < 100 * eps(dtype)
        assert_agree(loss, [A])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("shape", [(5, 2), (6, 3), (16, 3), (7, 4), (500, 3)])
def test_rigid_alignment(shape: tuple[int, int], dtype: torch.dtype, weighted: bool) -> None:
    d = shape[-1]
    source = normal(COUNT, *shape, dtype=dtype, seed=1) + 2
    target = source.flip(-1) + 0.1 * normal(COUNT, *shape, dtype=dtype, seed=2)
    weights = [normal(COUNT, shape[0], dtype=dtype, seed=3).abs()] if weighted else []
    M, m = normal(d, d, dtype=dtype, seed=4), normal(d, dtype=dtype, seed=5)

    def loss(source: Tensor, target: Tensor, *weights: Tensor) -> Tensor:
        R, t, scale = sg.rigid_alignment(source, target, weights=weights[0] if weights else None, scale=True)
        return (M * R).sum() + (m * t).sum() + scale.sum()

    assert_agree(loss, [source, target, *weights], 1e5)  # a covariance may be nearly singular
    if d == 3:
        x, y = source[5].double().numpy(), target[5].double().numpy()
        w = weights[0][5].double().numpy() if weighted else np.ones(shape[0])
        a, b = w @ x / w.sum(), w @ y / w.sum()
        expected, _ = Rotation.align_vectors(y - b, x - a, weights=w)
        R, t, _ = sg.rigid_alignment(source, target, weights=weights[0] if weighted else None)
        found = R[5].double().numpy()
        assert abs(found - expected.as_matrix()).max() < 1e3 * eps(dtype)
        assert abs(t[5].double().numpy() - (b - found @ a)).max() < 1e2 * eps(dtype)


@pytest.mark.parametrize("dtype", REAL)
def test_same_bits_in_every_batch(dtype: torch.dtype, set_threads: Callable[[int], None]) -> None:
    source, target = (normal(COUNT, 6, 3, dtype=dtype, seed=s) for s in (1, 2))
    M = normal(3, 3, dtype=dtype, seed=4)

    def results(source: Tensor, target: Tensor) -> list[Tensor]:
        source = source.clone().requires_grad_()
        R, t, scale = sg.rigid_alignment(source, target, scale=True)
        (G,) = torch.autograd.grad((M * R).sum() + t.sum() + scale.sum(), source)
        return [bits(x.detach()) for x in (R, t, scale, G)]

    expected = results(source, target)
    order = torch.arange(COUNT).roll(5)
    for threads in (1, 2):
        set_threads(threads)
        for x, y in zip(results(source[order], target[order]), expected, strict=True):
            assert torch.equal(x, y[order])
    for k in (0, 8, COUNT - 1):
        for x, y in zip(results(source[k], target[k]), expected, strict=True):
            assert torch.equal(x, y[k])


_RESULTS = """
import sys
import torch
import spectralgrad as sg
results = []
for x, y, w in torch.load(sys.argv[1]):
    x.requires_grad_()
    R, t, scale = sg.rigid_alignment(x, y, weights=w, scale=True)
    results.append((R.detach(), t.detach(), scale.detach(), torch.autograd.grad(R[..., 0].sum() + scale.sum(), x)[0]))
torch.save(results, sys.argv[2])
"""


@pytest.mark.slow
def test_each_instruction_set(tmp_path: Path) -> None:
    """AVX2 and AVX-512 give the same bits, and the portable kernels the same up to round-off."""
    environment = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    here = torch.backends.cpu.get_cpu_capability().lower()
    names = ("default", "avx2", "avx512")
    clouds = []
    for dtype in REAL:
        for n, d in ((5, 2), (9, 3), (8, 4)):
            x = normal(COUNT, n, d, dtype=dtype, seed=1)
            y = x.flip(-1) + 0.1 * normal(COUNT, n, d, dtype=dtype, seed=2)
            clouds += [(x, y, w) for w in (None, normal(COUNT, n, dtype=dtype, seed=3).abs())]
    torch.save(clouds, tmp_path / "clouds")
    found: dict[str, list[Any]] = {}
    for name in names[: names.index(here) + 1] if here in names else names[:1]:
        command = [sys.executable, "-c", _RESULTS, str(tmp_path / "clouds"), str(tmp_path / name)]
        subprocess.run(command, env={**environment, "ATEN_CPU_CAPABILITY": name}, check=True)
        found[name] = torch.load(tmp_path / name)
    for name, results in found.items():
        for ours, portable, best in zip(results, found["default"], found[list(found)[-1]], strict=True):
            for x, y, z in zip(ours, portable, best, strict=True):
                assert (x - y).abs().max() <= 1e5 * eps(x.dtype) * y.abs().max()
                if name != "default":
                    assert torch.equal(bits(x), bits(z))
