"""A call of every operator and of every public function, for the tests that run all of them.

A new operator needs a line in OPERATORS, and a new function one in FUNCTIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import spectralgrad as sg
from problems import distinct, normal

# --- public functions ------------------------------------------------------------------------------------------------


def _with_values(A: Any) -> tuple[Any, Any]:
    """As many numbers as A has columns, in place of the eigenvalues of eigenvectors A."""
    if not isinstance(A, Tensor) or A.dim() < 2 or A.layout != torch.strided:
        return A, A
    return A[..., 0, :].real, A


def _as_path(A: Any) -> tuple[Any, Any]:
    """The same for a path of one matrix."""
    return _with_values(A.unsqueeze(-3) if isinstance(A, Tensor) and A.dim() > 1 and A.layout == torch.strided else A)


# A tensor of each result.
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "eig": lambda A: sg.eig(A)[0],
    "eigh": lambda A: sg.eigh(A)[0],
    "eigh_subset": lambda A: sg.eigh_subset(A, 0, 2)[0],
    "eigvals": sg.eigvals,
    "eigvalsh": sg.eigvalsh,
    "generalized_eigh": lambda A: sg.generalized_eigh(A, A, itype=2)[0],
    "svd": lambda A: sg.svd(A)[1],
    "svd_truncated": lambda A: sg.svd_truncated(A, 2, keep_multiplets=False)[1],
    "svdvals": sg.svdvals,
    "polar": lambda A: sg.polar(A)[0],
    "orthogonal_procrustes": lambda A: sg.orthogonal_procrustes(A, A)[0],
    "rigid_alignment": lambda A: sg.rigid_alignment(A, A)[0],
    "expm": sg.expm,
    "logm": sg.logm,
    "sqrtm": sg.sqrtm,
    "invsqrtm": sg.invsqrtm,
    "powm": lambda A: sg.powm(A, 1.5),
    "trace_sqrtm": sg.trace_sqrtm,
    "pinvm": sg.pinvm,
    "pseudo_logdet": sg.pseudo_logdet,
    "eigvalsh_directional": lambda A: sg.eigvalsh_directional(A, A),
    "canonical_gauge": lambda A: sg.canonical_gauge(*_with_values(A)),
    "track": lambda A: sg.track(*_as_path(A))[0],
    "spectral_projector": lambda A: sg.spectral_projector(A, 0, 2),
    "funm": lambda A: sg.funm(A, torch.tanh),
    "trace_funm": lambda A: sg.trace_funm(A, torch.tanh),
    "density_matrix": lambda A: sg.density_matrix(A, electrons=2, kT=0.1),
    # Not V @ V.mH, which autocast computes in half precision.
    "spectral_map": lambda A: sg.spectral_map(
        lambda L, V: (V.unsqueeze(-2) * V.conj().unsqueeze(-3) * L.exp()[..., None, None, :]).sum(-1), A
    ),
}

# --- operators -------------------------------------------------------------------------------------------------------

GATED = ("gated", [4.0, 2.0])
Layout = Callable[[Tensor], Tensor]


class Batch:
    """Arguments for operators: three n × n matrices, and what belongs to them. `layout` is applied to each tensor."""

    size = 3

    def __init__(self, dtype: torch.dtype, n: int, layout: Layout = lambda x: x) -> None:
        A = torch.stack(
            [distinct(n, dtype, seed) if n else torch.zeros(0, 0, dtype=dtype) for seed in range(self.size)]
        )
        positive = A + (n + 1) * torch.eye(n, dtype=dtype)
        self.n, self._dtype, self._layout = n, dtype, layout
        self.A, self.P = layout(A), layout(positive)
        self.L, self.V = map(layout, torch.linalg.eigh(A))
        self.P_eigenvalues, self.P_eigenvectors = map(layout, torch.linalg.eigh(positive))
        self.U, self.S, self.Vh = map(layout, torch.linalg.svd(A))
        self.values, self.vectors = map(layout, torch.linalg.eig(A))  # of a general matrix, complex
        self.gL, self.gV = layout(normal(self.size, n, dtype=self.L.dtype, seed=1)), self.direction(2)

    def direction(self, seed: int) -> Tensor:
        return self._layout(normal(self.size, self.n, self.n, dtype=self._dtype, seed=seed))

    def cotangent(self) -> Tensor:
        """A cotangent of `vectors`, for a loss that does not depend on their phases."""
        return self._layout(self.vectors * self.gL.unsqueeze(-2))

    def B_diagonal(self) -> Tensor:
        """The diagonal of a B for the generalized problem."""
        return self._layout(self.gL.abs() + 1)

    def jets(self) -> Tensor:
        return torch.stack([self.L.sin(), self.L.cos(), -self.L.sin(), -self.L.cos()], -2)

    def quantity(self, value: float) -> Tensor:
        return torch.full((self.size,), value, dtype=self.L.dtype)

    def units(self) -> Tensor:
        return torch.tensor([1.0, 2.0, 0.5], dtype=self.L.dtype).expand(self.size, 3)

    def frame(self) -> tuple[Tensor, Tensor, Tensor]:
        vectors, pivots, clusters = torch.ops.spectralgrad.canonical_frame(self.L, self.V, 0.5)
        return vectors, pivots, clusters

    def path(self) -> tuple[Tensor, Tensor]:
        """Paths of two matrices."""
        return torch.stack([self.L, self.L.flip(0)], -2), torch.stack([self.V, self.V.flip(0)], -3)

    def rotated(self) -> tuple[Tensor, Tensor]:
        *_, values, vectors = torch.ops.spectralgrad.rotated_eigenpairs(self.A, self.L, self.V, 1)
        return values, vectors


class Call(NamedTuple):
    arguments: Callable[[Batch], tuple[Any, ...]]
    without: tuple[tuple[int, ...], ...] = ()
    """Positions of optional tensors. Each tuple is a further call, with None at these positions."""
    differentiable_without: tuple[int, ...] = ()
    """Positions of optional tensors that must be None if the result is to be differentiated."""

    def __call__(self, batch: Batch, without: tuple[int, ...] = ()) -> tuple[Any, ...]:
        return tuple(None if i in without else x for i, x in enumerate(self.arguments(batch)))


OPERATORS: dict[str, Call] = {
    "canonical_frame": Call(lambda x: (x.L, x.V, 0.5)),
    "canonical_gauge": Call(lambda x: (x.L, x.V)),
    "chemical_potential": Call(lambda x: (x.A, x.L, x.V, x.quantity(x.n / 3), x.quantity(0.5), 2.0, "cold")),
    "cluster_rounds": Call(lambda x: (x.L,)),
    "consecutive_eigenpairs": Call(
        lambda x: (x.A, x.P, x.n // 3, x.n - x.n // 3, "L", *GATED, "eigh_subset"), without=((1,),)
    ),
    "constant": Call(lambda x: (x.A,)),
    "density_matrix": Call(
        lambda x: (x.A, None, x.quantity(0.1), x.quantity(0.5), x.P, 2.0, "methfessel-paxton"), without=((3, 4),)
    ),
    "density_matrix_full": Call(
        lambda x: (x.A, None, x.quantity(0.1), x.quantity(0.5), x.P, 2.0, "methfessel-paxton"), without=((3, 4),)
    ),
    "drop_small_eigenvalues": Call(lambda x: (x.L, None, "pinvm")),
    "eig": Call(lambda x: (x.A, *GATED)),
    "eig_jvp": Call(lambda x: (x.direction(1), x.values, x.vectors, *GATED)),
    "eig_vjp": Call(
        lambda x: (x.gL.to(x.values.dtype), x.cotangent(), x.values, x.vectors, x.A, *GATED), without=((0,), (1,))
    ),
    "eigenpairs": Call(lambda x: (x.A, "expm", "all")),
    "eigenvalues_of_power": Call(lambda x: (x.P_eigenvalues, x.quantity(1.5), "powm")),
    "eigh": Call(lambda x: (x.A, "L", *GATED)),
    "eigh_jvp": Call(lambda x: (x.direction(1), x.L, x.V, *GATED)),
    "eigh_subset": Call(lambda x: (x.A, x.n // 2, None, "U", x.P, *GATED), without=((4,),)),
    "eigh_subset_vjp": Call(
        lambda x: (x.gL[..., 1:3], x.gV[..., 1:3], x.L, x.V, min(x.n, 1), *GATED), without=((0,), (1,))
    ),
    "eigh_vjp": Call(lambda x: (x.gL, x.gV, x.L, x.V, *GATED), without=((0,), (1,))),
    "eigh_vjp_jvp": Call(
        lambda x: (x.L, x.direction(2), x.gL, x.direction(1), x.gL, x.gV, x.L, x.V, *GATED[:2]),
        without=((0, 1), (2, 3), (1, 5), (4,)),
    ),
    "eigh_vjp_vjp": Call(lambda x: (x.direction(1), x.gL, x.gV, x.L, x.V, *GATED[:2]), without=((1,), (2,))),
    "eigvals": Call(lambda x: (x.A, *GATED)),
    "eigvalsh_directional": Call(lambda x: (x.A, x.P)),
    "eigvalsh": Call(lambda x: (x.A, "U", *GATED)),
    "expm": Call(lambda x: (x.A,)),
    "fill_levels": Call(
        lambda x: (x.L, x.quantity(x.n / 2), x.quantity(0.1), "density_matrix", "electrons", 2.0, True), without=((2,),)
    ),
    "generalized_eigenpairs": Call(lambda x: (x.A, x.P, "L", 1, *GATED)),
    "generalized_eigh": Call(lambda x: (x.A, x.P, "U", 1, *GATED)),
    "generalized_eigh_jvp": Call(
        lambda x: (x.direction(1), x.direction(2), x.L, x.V, x.B_diagonal(), 3, *GATED), without=((0,), (1,))
    ),
    "generalized_eigh_vjp": Call(
        lambda x: (x.gL, x.gV, x.L, x.V, x.B_diagonal(), 2, 0, True, True, *GATED), without=((0,), (1,))
    ),
    "hermitian": Call(lambda x: (x.A, "density_matrix", "H")),
    "in_canonical_gauge": Call(lambda x: (x.V, *x.frame())),
    "in_canonical_gauge_vjp": Call(lambda x: (x.direction(1), x.V, *x.frame())),
    "invsqrtm": Call(lambda x: (x.P,)),
    "judge_cotangents": Call(
        lambda x: (x.gL, x.gV, x.gV.abs() + 1, x.L, "eigh", 0, x.quantity(2.0)), without=((0,), (1, 2), (6,))
    ),
    "judge_eigenvectors": Call(
        lambda x: (
            *(x.gL.to(x.values.dtype), x.cotangent(), x.gV.abs() + 1, x.cotangent(), x.gL.abs(), x.gL.abs()),
            *(x.quantity(1.0), x.values, x.values.abs() + 1, x.quantity(3.0), x.quantity(2.0)),
        ),
        without=((0,), (1, 2, 3, 4, 5)),
    ),
    "judge_polar_factor": Call(lambda x: (x.gV, x.V, x.S, x.V, False)),
    "judge_rotations": Call(
        lambda x: (x.gL, x.gV, *(y + 1 for y in x.rotated()), x.L, x.V, 1), without=((0,), (1,), (2, 3))
    ),
    "judge_singular_vectors": Call(
        lambda x: (x.gL, x.gV, x.gV, x.gV.abs() + 1, x.gL.abs(), x.S), without=((0,), (4,), (1, 2, 3, 4))
    ),
    "leading_singular_triples": Call(
        lambda x: (x.A, x.U, x.S, x.Vh, min(x.n, 2), *GATED, "svd_truncated"),
    ),
    "logm": Call(lambda x: (x.P,)),
    "near_defective_gradient": Call(lambda x: (x.gL.to(x.values.dtype), x.values, x.vectors, x.A)),
    "once": Call(lambda x: (x.direction(1), torch.zeros_like(x.A, dtype=torch.long), "once")),
    "orthogonal_procrustes": Call(lambda x: (x.A, x.P, False)),
    "path_order": Call(lambda x: (*x.path(), 0.5)),
    "pinvm": Call(lambda x: (x.A, None)),
    "point_moments": Call(lambda x: (x.A.real, x.P.real, x.gL.abs()), without=((2,),)),
    "point_moments_vjp": Call(
        lambda x: (
            x.gL,
            x.L,
            x.gV.real,
            x.quantity(1.0),
            x.A.real,
            x.P.real,
            x.gL.abs(),
            x.L,
            x.gL,
            x.units(),
            [True] * 3,
        ),
        without=((0, 1), (2, 3), (6,)),
    ),
    "polar": Call(lambda x: (x.A, "left")),
    "polar_factor": Call(lambda x: (x.A, x.quantity(0.0), False), without=((1,),)),
    "polar_factor_vjp": Call(lambda x: (x.gV, x.quantity(1.0), x.A, x.V, x.S, x.V, False), without=((0,), (1,))),
    "polar_quotient": Call(lambda x: (x.P, x.direction(1), x.P_eigenvalues, x.P_eigenvectors, True)),
    "power_of_eigenpairs": Call(lambda x: (x.P, x.P_eigenvalues, x.P_eigenvectors, x.quantity(1.5))),
    "powm": Call(lambda x: (x.P, 1.5)),
    "pseudo_logdet": Call(lambda x: (x.A, 0.1)),
    "quantity": Call(lambda x: (x.L.abs() + 1, "density_matrix", "kT", True)),
    "rigid_alignment": Call(lambda x: (x.A.real, x.P.real, x.gL.abs(), True), without=((2,),)),
    "rotated_eigenpairs": Call(lambda x: (x.A, x.L, x.V, 1)),
    "singular_triples": Call(lambda x: (x.A, None, "svd_truncated")),
    "spectral_function": Call(
        lambda x: (x.A, x.L, x.V, x.jets(), x.direction(1), x.direction(2), "jets", [], x.direction(3)),
        without=((8,), (5, 8), (4, 5, 8)),
        differentiable_without=(5, 8),
    ),
    "spectral_function_transposed": Call(
        lambda x: (x.A, x.L, x.V, x.jets(), x.direction(1), x.direction(2), x.direction(3)),
        without=((6,), (5, 6)),
        differentiable_without=(5, 6),
    ),
    "spectral_projector": Call(lambda x: (x.A, 0, x.n // 2)),
    "spectral_trace": Call(lambda x: (x.A, x.L, x.V, x.jets())),
    "sqrtm": Call(lambda x: (x.P,)),
    "svd": Call(lambda x: (x.A, True, None, *GATED)),
    "svd_jvp": Call(lambda x: (x.direction(1), x.U, x.S, x.Vh, *GATED)),
    "svd_truncated": Call(lambda x: (x.A, 2, None, None, False, None, *GATED)),
    "svd_truncated_vjp": Call(
        lambda x: (x.gV[..., :2], x.gL[..., :2], x.direction(3)[..., :2, :], x.U, x.S, x.Vh, *GATED),
        without=((0,), (1,), (2,), (0, 2)),
    ),
    "svd_vjp": Call(lambda x: (x.gV, x.gL, x.direction(3), x.U, x.S, x.Vh, *GATED), without=((0,), (1,), (2,))),
    "svdvals": Call(lambda x: (x.A, None, *GATED)),
    "trace_sqrtm": Call(lambda x: (x.P,)),
    "track": Call(lambda x: (*x.path(), 0.5)),
    "truncation_rank": Call(lambda x: (x.S, 2, None, None, True, x.n)),
    "warn_of_second_order": Call(lambda x: (x.V, x.L, "eigh", x.quantity(2.0)), without=((3,),)),
    "watch_second_order": Call(lambda x: (x.L, x.V, "eigh", x.quantity(2.0)), without=((3,),)),
}
