"""References for eig: mpmath with 60 digits, and matrices with known eigenvalues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mpmath
import torch
from torch import Tensor

from problems import double_of, normal

DIGITS = 60


def to_mp(A: Tensor) -> Any:
    return mpmath.matrix(A.detach().to(double_of(A.dtype)).tolist())


def to_tensor(M: Any, dtype: torch.dtype) -> Tensor:
    rows = [[complex(x) for x in row] for row in M.tolist()]
    result = torch.tensor(rows, dtype=torch.complex128)
    return (result if dtype.is_complex else result.real).to(double_of(dtype))


def spectral_parts(A: Tensor) -> tuple[list[Any], list[Any]]:
    """The eigenvalues, and for each the projector x yᴴ / (yᴴ x), in mpmath. Call it with `DIGITS` digits."""
    values, left, right = mpmath.eig(to_mp(A), left=True, right=True)
    n = A.shape[-1]
    parts = []
    for i in range(n):
        x, y = right[:, i], left[i, :]
        parts.append(x * y / (y * x)[0])
    return list(values), parts


def inside(values: Sequence[Any], center: complex, radius: float) -> list[int]:
    return [i for i, x in enumerate(values) if abs(complex(x) - center) < radius]


def projector_gradient(A: Tensor, M: Tensor, center: complex, radius: float) -> Tensor:
    """The gradient of Re tr(Mᴴ P), for the Riesz projector P onto the eigenvalues around `center`."""
    with mpmath.workdps(DIGITS):
        values, parts = spectral_parts(A)
        chosen = inside(values, center, radius)
        M_mp = to_mp(M)
        n = A.shape[-1]
        G = mpmath.zeros(n)
        for i in chosen:
            for j in range(n):
                if j not in chosen:
                    gap = mpmath.conj(values[i] - values[j])
                    P, Q = parts[i].H, parts[j].H
                    G += (P * M_mp * Q + Q * M_mp * P) / gap
        return to_tensor(G, A.dtype)


def eigenvalues_gradient(A: Tensor, weights: Any) -> Tensor:
    """The gradient of Re Σ conj(wᵢ) λᵢ, where weights(λ) returns wᵢ: Σ wᵢ (x yᴴ / (yᴴ x))ᴴ."""
    with mpmath.workdps(DIGITS):
        values, parts = spectral_parts(A)
        n = A.shape[-1]
        G = mpmath.zeros(n)
        for value, part in zip(values, parts, strict=True):
            G += mpmath.mpmathify(weights(value)) * part.H
        return to_tensor(G, A.dtype)


def normal_matrix(values: Sequence[complex], dtype: torch.dtype, seed: int) -> Tensor:
    """A normal matrix with these eigenvalues, of which a real one has the conjugates, too."""
    wide = double_of(dtype)
    Q = torch.linalg.qr(normal(len(values), len(values), dtype=wide, seed=seed)).Q
    if dtype.is_complex:
        D = torch.diag(torch.tensor(values, dtype=wide))
        return (Q @ D @ Q.mH).to(dtype)
    blocks, rest = [], [complex(x) for x in values]
    while rest:
        x = rest.pop(0)
        if x.imag == 0:
            blocks.append(torch.tensor([[x.real]], dtype=wide))
        else:
            rest.remove(x.conjugate())
            blocks.append(torch.tensor([[x.real, x.imag], [-x.imag, x.real]], dtype=wide))
    return (Q @ torch.block_diag(*blocks) @ Q.mT).to(dtype)


def similar(T: Tensor, dtype: torch.dtype, seed: int) -> Tensor:
    """X T X⁻¹ with a well-conditioned X."""
    n = T.shape[-1]
    wide = double_of(dtype)
    X = torch.eye(n, dtype=wide) + 0.4 / n**0.5 * normal(n, n, dtype=wide, seed=seed)
    return (X @ T.to(wide) @ torch.linalg.inv(X)).to(dtype)
