"""Gradients of rotations that are computed by svd, in roma and by hand, compared with closed forms.

`test_clients.py` runs them. The functions by hand are those of docs/clients.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clients_of_eigh import client, relative_error
from problems import gradient_of, normal

X = normal(3, 3, dtype=torch.float64, seed=3)
# A quarter turn. Its entries are 0 and ±1, so products with it have no round-off, and its singular values are equal.
R = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
# Name -> S, for the matrix R S.
DIAGONALS: dict[str, list[float]] = {"R": [1, 1, 1], "1e-6 R": [1e-6, 1e-6, 1e-6], "R diag(2, 2, -1)": [2, 2, -1]}
# Name -> the distance of the corners from the centre.
OCTAHEDRA = {"octahedron": 1.0, "1e-3 octahedron": 1e-3}


@cache
def by_hand() -> dict[str, Callable[..., Tensor]]:
    """The functions of docs/clients.md that are written by hand, by name."""
    text = (Path(__file__).parents[2] / "docs/clients.md").read_text()
    (code,) = re.findall(r"```python\n(def .*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"torch": torch}
    exec(code, names)
    return {"rotation": names["rotation"], "kabsch": names["kabsch"]}


def matrix(at: str) -> Tensor:
    return R * torch.tensor(DIAGONALS[at], dtype=torch.float64)


def nearest_rotation_gradient(at: str) -> Tensor:
    """The gradient of tr(Xᵀ Q) at M = R S, where Q is the rotation nearest to M.

    Q turns by dQ = R Ω. M = Q P with symmetric P gives Ω S + S Ω = Rᵀ dM - dMᵀ R.
    """
    s = torch.tensor(DIAGONALS[at], dtype=torch.float64)
    Z = R.mT @ X
    sums = s.unsqueeze(-1) + s
    return R @ ((Z - Z.mT) / sums)


def clouds(at: str) -> tuple[Tensor, Tensor]:
    """The corners of an octahedron (6, 3), and the same turned by R."""
    corners = OCTAHEDRA[at] * torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    return corners, corners @ R.mT


def alignment_gradient(at: str) -> Tensor:
    """The gradient of tr(Xᵀ Q) in the points x (6, 3), where Q is the rotation that takes x nearest to y.

    Q is the rotation nearest to yᵀ x, which is 2 c² R for corners at the distance c.
    """
    y = clouds(at)[1]
    Z = R.mT @ X
    return y @ R @ (Z - Z.mT) / (4 * OCTAHEDRA[at] ** 2)


def nearest_rotation_error(function: Callable[[Tensor], Tensor], at: str) -> float:
    return relative_error(gradient_of(lambda M: (X * function(M)).sum(), matrix(at)), nearest_rotation_gradient(at))


def alignment_error(function: Callable[[Tensor, Tensor], Tensor], at: str) -> float:
    x, y = clouds(at)
    return relative_error(gradient_of(lambda p: (X * function(p, y)).sum(), x), alignment_gradient(at))


# Key: the client, and the second column of docs/clients.md without the markup.
MEASUREMENTS: dict[tuple[str, str], Callable[[str], float]] = {
    ("by hand", "rotation"): lambda at: nearest_rotation_error(by_hand()["rotation"], at),
    ("by hand", "kabsch"): lambda at: alignment_error(by_hand()["kabsch"], at),
    ("roma", "special_procrustes_naive"): lambda at: nearest_rotation_error(
        client("roma").special_procrustes_naive, at
    ),
    ("roma", "special_procrustes"): lambda at: nearest_rotation_error(client("roma").special_procrustes, at),
    ("roma", "rigid_points_registration, rotation"): lambda at: alignment_error(
        lambda x, y: client("roma").rigid_points_registration(x, y)[0], at
    ),
}
