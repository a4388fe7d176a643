"""Polar factors and rigid alignments in 60 digits, and their derivatives by finite differences in 60 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

DIGITS = 60
Function = Callable[..., Any]


def exact_array(x: Tensor) -> Any:
    convert: Any = mpmath.mpc if x.is_complex() else mpmath.mpf
    return np.vectorize(convert, otypes=[object])(x.detach().resolve_conj().numpy())


def _factors(A: Any) -> tuple[Any, Any, Any]:
    is_complex = any(isinstance(x, mpmath.mpc) for x in A.flat)
    decompose = mpmath.svd_c if is_complex else mpmath.svd_r
    U, values, Vh = decompose(mpmath.matrix(A.tolist()))
    return tuple(np.array(x.tolist(), dtype=object) for x in (U, values, Vh))  # type: ignore[return-value]


def polar_factor(A: Any, *, proper: bool = False) -> tuple[Any, Any]:
    """The factor of A (m x n, m >= n), and the trace of P."""
    U, values, Vh = _factors(A)
    values = values[:, 0]
    W = U @ Vh
    if proper and mpmath.det(mpmath.matrix(W.tolist())) < 0:
        values[-1] = -values[-1]
        U[:, -1] = -U[:, -1]
        W = U @ Vh
    return W, values.sum()


def polar(A: Any, side: str = "right") -> tuple[Any, Any]:
    W = polar_factor(A.conj().T)[0].conj().T if A.shape[0] < A.shape[1] else polar_factor(A)[0]
    return W, W.conj().T @ A if side == "right" else A @ W.conj().T


def rigid_alignment(source: Any, target: Any, weights: Any) -> tuple[Any, Any, Any]:
    total, w = weights.sum(), weights[:, None]
    a, b = (w * source).sum(0) / total, (w * target).sum(0) / total
    x, y = source - a, target - b
    R, trace = polar_factor(y.T @ (w * x), proper=True)
    scale = trace / (w * x * x).sum()
    return R, b - scale * R @ a, scale


def _pairing(weights: list[Any], results: tuple[Any, ...]) -> Any:
    terms = (np.sum(np.conj(M) * x) for M, x in zip(weights, results, strict=True))
    return mpmath.re(sum(terms))


def loss(weights: list[Tensor], results: tuple[Tensor, ...]) -> Tensor:
    terms = [(M.conj() * x).sum().real for M, x in zip(weights, results, strict=True)]
    return torch.stack(terms).sum()


def derivatives(f: Function, x: list[Tensor], weights: list[Tensor], E: list[Tensor], F: list[Tensor]) -> list[float]:
    """The first derivative along E, and the second along E and F, of the pairing of f with weights."""
    with mpmath.workdps(DIGITS):
        arrays, M, e, g = ([exact_array(y) for y in tensors] for tensors in (x, weights, E, F))

        def at(s: Any, t: Any) -> Any:
            return _pairing(M, f(*(a + s * b + t * c for a, b, c in zip(arrays, e, g, strict=True))))

        h, k = mpmath.mpf(10) ** -20, mpmath.mpf(10) ** -14
        first = (at(h, 0) - at(-h, 0)) / (2 * h)
        second = (at(k, k) - at(k, -k) - at(-k, k) + at(-k, -k)) / (4 * k * k)
        return [float(first), float(second)]


def computed(f: Function, x: list[Tensor], weights: list[Tensor], E: list[Tensor], F: list[Tensor]) -> list[float]:
    """The same by automatic differentiation of a function of tensors."""
    leaves = [y.detach().clone().requires_grad_() for y in x]
    gradients = torch.autograd.grad(loss(weights, f(*leaves)), leaves, create_graph=True)
    along = loss(E, gradients)
    second = torch.autograd.grad(along, leaves, allow_unused=True, materialize_grads=True)
    return [along.item(), loss(F, second).item()]
